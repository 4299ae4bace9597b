"""Requests to servers that are no API servers, or poor ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from podwall.agent.watch.client import ApiClient, Timeouts
from podwall.agent.watch.credentials import Access
from podwall.agent.watch.identity import Identity
from podwall.errors import (
    ApiError,
    ApiGarbled,
    ApiRefused,
    ApiSilent,
    ApiThrottled,
    ApiUnreachable,
)
from tests.unit.agent.watch.watching import PATIENCE

BRIEF = Timeouts(connect=2, answer=0.3, piece=0.3)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.asynccontextmanager
async def saying(answer: bytes, end: bool = True) -> AsyncIterator[tuple[ApiClient, list[bytes]]]:
    """A client of a server that says the same whatever it is asked."""
    asked: list[bytes] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        if not end:
            await over.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        identity = Identity(f"http://127.0.0.1:{port}/base/", authorization="Bearer secret")
        access = Access(lambda: identity)
        await access.read()
        async with asyncio.timeout(PATIENCE), ApiClient(access, BRIEF) as client:
            yield client, asked
        over.set()


async def test_a_request_says_who_and_what_we_are() -> None:
    async with saying(OK + b"x" * 20) as (client, asked):
        assert await client.get("/api/v1/pods", {"limit": "5"}) == b"x" * 20
    request = asked[0].decode()
    assert request.startswith("GET /base/api/v1/pods?limit=5 HTTP/1.1\r\n")
    assert "Authorization: Bearer secret\r\n" in request
    assert "Accept: application/json\r\n" in request
    assert "User-Agent: podwall/" in request


@pytest.mark.parametrize(
    ("answer", "end", "error", "words"),
    [
        (b"", True, ApiUnreachable, "Server disconnected"),
        (b"", False, ApiUnreachable, "no answer from the API server within 0.3 s"),
        (b"SSH-2.0-OpenSSH\r\n", True, ApiGarbled, "the answer is no HTTP answer"),
        (b"\x15\x03\x01\x00\x02\x02\x46", True, ApiError, "answer"),
        (OK + b"half", True, ApiUnreachable, "the connection broke"),
        (OK + b"half", False, ApiSilent, "stopped in the midst of its answer"),
        (CHUNKED + b"zz\r\n", True, ApiGarbled, "the answer is no HTTP answer"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\n<b>x", True, ApiRefused, "502"),
        (b"HTTP/1.1 429 No\r\nContent-Length: 99\r\n\r\n", True, ApiThrottled, "429"),
    ],
)
async def test_answers_that_are_none_have_a_type_and_say_what_came(
    answer: bytes, end: bool, error: type[ApiError], words: str
) -> None:
    async with saying(answer, end) as (client, _):
        with pytest.raises(error, match=words):
            await client.get("/api")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("-1", None),
        ("9" * 40, None),
    ],
)
async def test_a_server_may_ask_for_a_pause(header: str, seconds: float | None) -> None:
    head = f"HTTP/1.1 429 No\r\nRetry-After: {header}\r\nContent-Length: 0\r\n\r\n"
    async with saying(head.encode()) as (client, _):
        with pytest.raises(ApiThrottled) as caught:
            await client.get("/api")
    assert caught.value.retry_after == seconds


async def test_a_token_is_not_carried_elsewhere() -> None:
    async with saying(OK + b"x" * 20) as (_, elsewhere):
        head = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
        async with saying(head) as (client, asked):
            with pytest.raises(ApiRefused, match="status 302"):
                await client.get("/api")
        assert (len(asked), elsewhere) == (1, [])


async def test_a_stream_that_ends_in_the_midst_of_a_line_is_garbled() -> None:
    async with saying(b"HTTP/1.1 200 OK\r\n\r\none\ntwo\nthr") as (client, _):
        async with client.stream("/api", {}) as lines:
            found: list[bytes] = []
            while len(found) < 2:
                found += (await lines.next(5) or ([], 0))[0]
            with pytest.raises(ApiGarbled, match="in the midst of a line"):
                await lines.next(5)
        assert found == [b"one", b"two"]


async def test_a_stream_that_goes_silent_is_given_up() -> None:
    async with (
        saying(CHUNKED + b"4\r\none\n\r\n", end=False) as (client, _),
        client.stream("/api", {}) as lines,
    ):
        assert (await lines.next(5) or ([], 0))[0] == [b"one"]
        with pytest.raises(ApiSilent, match=r"nothing came from the API server for 0.2 s"):
            await lines.next(0.2)


async def test_a_client_that_was_closed_reaches_nobody() -> None:
    async with saying(OK) as (client, _):
        pass
    with pytest.raises(ApiUnreachable):
        await client.get("/api")


async def test_who_cannot_be_reached_is_named_without_our_own_words() -> None:
    identity = Identity("https://127.0.0.1:1")
    access = Access(lambda: identity)
    await access.read()
    async with ApiClient(access, BRIEF) as client:
        with pytest.raises(ApiUnreachable) as refused:
            await client.get("/api")
    assert "127.0.0.1:1 [" in str(refused.value)
    assert "ssl" not in str(refused.value)
