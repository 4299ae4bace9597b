"""Requests to the API server: bytes out, bytes in, and everything that goes wrong in our own words.

Objects travel as JSON bytes; what they mean is for others to say. A request that is refused for its
credentials (401) is sent once more with fresh ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import aiohttp
import msgspec

from podwall import __version__
from podwall.agent.watch.credentials import Access
from podwall.agent.watch.lines import LineSplitter
from podwall.agent.watch.wire import parse_refusal
from podwall.agent.watch.words import printable
from podwall.errors import ApiGarbled, ApiRefused, ApiSilent, ApiUnreachable

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

_MAX_REFUSAL = 64 * 1024
_CONTEXT = re.compile(r" ssl:(<[^>]*>|\w+)")


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds that a server may take: to connect, to begin an answer, and between its pieces."""

    connect: float = 10
    answer: float = 60
    piece: float = 30


class Lines:
    """A stream of lines that is open; see :meth:`ApiClient.stream`."""

    def __init__(self, response: aiohttp.ClientResponse, clock: Callable[[], float]) -> None:
        self._response = response
        self._clock = clock
        self._splitter = LineSplitter()
        self.received = 0

    async def next(self, silence: float) -> tuple[list[bytes], float] | None:
        """The lines that have arrived since, if any whole ones, and when; ``None`` at the end.

        Args:
            silence: how many seconds may pass without a byte.

        Raises:
            ApiSilent: it took longer.
            ApiUnreachable: the connection broke.
            ApiGarbled: it ended in the midst of a line, or a line never ends.
        """
        with _in_our_words():
            try:
                async with asyncio.timeout(silence):
                    chunk = await self._response.content.readany()
            except TimeoutError as error:
                raise ApiSilent(f"nothing came from the API server for {silence:g} s") from error
        if not chunk:
            if self._splitter.unfinished:
                raise ApiGarbled("the answer of the API server ends in the midst of a line")
            return None
        self.received += len(chunk)
        return self._splitter.feed(chunk), self._clock()


class _Request(msgspec.Struct, frozen=True):
    method: str
    path: str
    query: Mapping[str, str] | None
    body: bytes | None
    content_type: str


class ApiClient:
    """Talks to one API server; a context manager.

    Every method raises :class:`~podwall.errors.ApiUnreachable` where there is no answer,
    :class:`~podwall.errors.ApiRefused` or one of its kinds where it is an error, and
    :class:`~podwall.errors.ApiGarbled` where it makes no sense.

    Args:
        access: where the server is and who we are.
        clock: monotonic time, for when bytes arrived.
    """

    def __init__(
        self,
        access: Access,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access = access
        self._timeouts = timeouts
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ApiClient:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=_lively_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect),
            headers={"User-Agent": f"podwall/{__version__}", "Accept": JSON},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """The body at ``path``."""
        return await self._ask("GET", path, query)

    async def create(
        self, path: str, thing: object, query: Mapping[str, str] | None = None
    ) -> bytes:
        """Create an object in the collection at ``path``; it as it is now."""
        return await self._ask("POST", path, query, msgspec.json.encode(thing), JSON)

    async def patch(
        self,
        path: str,
        patch: object,
        content_type: str = MERGE_PATCH,
        query: Mapping[str, str] | None = None,
    ) -> bytes:
        """Change the object at ``path``; it as it is now."""
        return await self._ask("PATCH", path, query, msgspec.json.encode(patch), content_type)

    async def delete(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """Delete the object at ``path``."""
        return await self._ask("DELETE", path, query)

    @contextlib.asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Lines]:
        """Open a stream of lines, a watch for one."""
        async with self._answer("GET", path, query) as response:
            yield Lines(response, self._clock)

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | None = None,
        content_type: str = "",
    ) -> bytes:
        async with self._answer(method, path, query, body, content_type) as response:
            with _in_our_words():
                return await self._whole(response)

    async def _whole(self, response: aiohttp.ClientResponse) -> bytes:
        pieces: list[bytes] = []
        while True:
            try:
                async with asyncio.timeout(self._timeouts.piece):
                    piece = await response.content.readany()
            except TimeoutError as error:
                raise ApiSilent("the API server stopped in the midst of its answer") from error
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)

    @contextlib.asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response that is a success; closed when its reader is done with it."""
        request = _Request(method, path, query, body, content_type)
        headers = await self._access.headers()
        response = await self._send(request, headers)
        if response.status == 401 and await self._access.renew(headers):
            response.close()
            response = await self._send(request, await self._access.headers())
        try:
            if response.status >= 300:
                raise await self._refusal(response)
            yield response
        finally:
            # What is not read to its end cannot be used again; close() keeps the others.
            response.close()

    async def _send(self, request: _Request, headers: dict[str, str]) -> aiohttp.ClientResponse:
        if self._session is None:
            raise ApiUnreachable("the connection to the API server is closed")
        access = self._access
        kind = {"Content-Type": request.content_type} if request.content_type else {}
        with _in_our_words():
            try:
                async with asyncio.timeout(self._timeouts.answer):
                    return await self._session.request(
                        request.method,
                        access.base_url + request.path,
                        params=request.query,
                        data=request.body,
                        headers={**headers, **kind},
                        ssl=access.tls if access.tls is not None else True,
                        proxy=access.proxy or None,
                        server_hostname=access.server_name or None,
                        # An API server sends nobody elsewhere, and a token is for it alone.
                        allow_redirects=False,
                    )
            except aiohttp.ClientError as error:
                if _is_about_tls(error):
                    access.doubt()
                raise
            except TimeoutError as error:
                seconds = f"{self._timeouts.answer:g} s"
                raise ApiUnreachable(f"no answer from the API server within {seconds}") from error

    async def _refusal(self, response: aiohttp.ClientResponse) -> ApiRefused:
        body = b""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with asyncio.timeout(self._timeouts.piece):
                body = await response.content.read(_MAX_REFUSAL)
        return parse_refusal(body, response.status, _seconds(response.headers.get("Retry-After")))


def _seconds(header: str | None) -> float | None:
    """``Retry-After`` in seconds; a date, which API servers don't send, counts as none."""
    if header is None or not header.isascii() or not header.isdigit() or len(header) > 6:
        return None
    return float(header)


def _is_about_tls(error: BaseException) -> bool:
    """Whether certificates may be at fault, the server's or ours, which then may be renewed."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError | ssl.CertificateError | aiohttp.ClientSSLError):
            return True
        seen = seen.__cause__
    return False


@contextlib.contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except (aiohttp.InvalidURL, aiohttp.ClientPayloadError) as error:
        raise ApiUnreachable(f"the connection broke: {_words(error)}") from error
    except aiohttp.ClientResponseError as error:
        # Whatever is at the other end speaks no HTTP, or a proxy refuses.
        raise ApiGarbled(f"the answer is no HTTP answer: {_words(error)}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ApiUnreachable(f"the API server cannot be reached: {_words(error)}") from error


def _words(error: Exception) -> str:
    """What an error says, without the URL, which may hold the proxy's password, and our context."""
    if isinstance(error, aiohttp.ClientResponseError):
        return printable(f"{error.status} {error.message}")
    return printable(_CONTEXT.sub("", str(error))) or type(error).__name__


def _lively_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that notices within half a minute that the machine at the other end is gone."""
    family, kind, protocol, _, _ = address
    found = socket.socket(family, kind, protocol)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
    found.setblocking(False)
    return found
