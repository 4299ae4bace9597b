"""One kind of object, followed for as long as the agent lives: list, watch, miss nothing.

A list tells what there is; each object is handed on as it comes, and at the end a
:class:`~podwall.cluster.events.Remaining` names all, so that whatever is gone goes without the
cluster being held twice. From the list's resourceVersion a watch goes on. It moves only over lines
that were understood, so a watch that ends anywhere, for whatever reason, is taken up again where it
was. Only if the server has forgotten that place (410) everything is listed anew.

Where the server has it, the list is the beginning of the watch (WatchList), which it streams from
its cache object by object. Elsewhere it comes in pages, as of now. ``resourceVersion=0`` is never
asked for: such a list costs a server less, but it is all in one piece whatever ``limit`` says, and
it may be older than what was seen already: a pod deleted and reported would come back, and a policy
lose its last change, until the watch has caught up. Pages cost a server with 5,000 nodes more, once
for each agent that starts or was away for too long; WatchList costs it least.

Trying again waits longer each time (:mod:`podwall.agent.watch.backoff`), unless the connection had
stood for a while: servers end watches every few minutes, and nobody should have to wait then.
"""

from __future__ import annotations

import msgspec

from podwall.agent.feed import Feed
from podwall.agent.status import WatchStatus
from podwall.agent.watch.backoff import Backoff
from podwall.agent.watch.client import ApiClient, Lines
from podwall.agent.watch.intake import Intake
from podwall.agent.watch.options import Options, Outside
from podwall.agent.watch.targets import Target, targets
from podwall.agent.watch.wire import (
    WatchLine,
    parse_bookmark,
    parse_line,
    parse_page,
    parse_refusal,
)
from podwall.cluster.events import ObjectKey
from podwall.errors import (
    ApiError,
    ApiExpired,
    ApiFailed,
    ApiGarbled,
    ApiInvalid,
    ApiRefused,
    ApiSilent,
)
from podwall.model.decode import shown


class Reflector:
    """Follows what ``target`` names and tells ``feed``.

    Args:
        client: an open client.
        target: the kind and where it is.
        feed: where the news go.
        options: how patient to be.
        outside: time and chance.

    Attributes:
        lines: how many lines watches have brought.
        bytes: how many bytes lists (after decompression) and watches have brought.
    """

    def __init__(
        self,
        client: ApiClient,
        target: Target,
        feed: Feed,
        options: Options = Options(),  # noqa: B008 - frozen
        outside: Outside | None = None,
    ) -> None:
        self.lines = 0
        self.bytes = 0
        self._client = client
        self._target = target
        self._intake = Intake(target.kind, feed)
        self._options = options
        self._outside = outside or Outside()
        self._clock = self._outside.clock
        self._backoff = Backoff(options.base, options.cap, self._outside.chance)
        self._watch_list = options.watch_list
        self._version: str | None = None
        self._opened: float | None = None
        self._fruitless = 0
        self._expired_pages = 0
        self._silent_lists = 0
        self._attempts = 0
        now = self._outside.wall()
        self._status = WatchStatus(target.kind.value, listed=False, connected=False, since=now)

    @property
    def status(self) -> WatchStatus:
        """How it goes."""
        return msgspec.structs.replace(self._status, objects=self._intake.objects)

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            while True:
                await self._sleep_after(await self._try())
        finally:
            self._disconnected("")

    async def _try(self) -> ApiError | None:
        """List if need be, and watch until the watch ends; why, if that is no clean end."""
        self._opened = None
        self._attempts += 1
        self._status = msgspec.structs.replace(self._status, restarts=self._attempts - 1)
        try:
            if self._version is not None:
                await self._watch(self._version)
            elif self._watch_list:
                await self._list_by_watch()
            else:
                await self._list_pages()
        except ApiExpired as error:
            # 410 Gone: the server was restarted, or we were away for too long. This is normal.
            self._version = None
            return error
        except ApiError as error:
            self._count_fruitless(error)
            return error
        return None

    def _count_fruitless(self, error: ApiError) -> None:
        """Give up on a version that the server cannot cope with.

        Data restored from a backup is such a case: our version is yet to come for the server,
        forever. A server that is merely busy, or away, is none: a list would only cost it more.
        """
        busy = isinstance(error, ApiFailed) and error.code == 503
        if busy or not isinstance(error, ApiGarbled | ApiInvalid | ApiFailed):
            return
        self._fruitless += 1
        if self._fruitless >= self._options.fruitless:
            self._fruitless = 0
            self._version = None

    async def _sleep_after(self, error: ApiError | None) -> None:
        """Wait as long as there is reason to."""
        stood = 0.0 if self._opened is None else self._clock() - self._opened
        if stood >= self._options.steady:
            self._backoff.reset()
            if error is None:
                return
        asked = error.retry_after if isinstance(error, ApiRefused) else None
        pause = self._backoff.pause(asked)
        if error is None:
            # Nothing failed, so nobody should be left without news for long.
            pause = min(pause, self._options.steady)
        self._disconnected(str(error or f"the watch ended after {stood:.1f} s"))
        await self._outside.sleep(pause)

    async def _list_pages(self) -> None:
        """List in pages, and watch from there."""
        keys: set[ObjectKey] = set()
        token = ""
        while True:
            query = self._target.query(limit=self._page_size(), **{"continue": token})
            try:
                body = await self._client.get(self._target.path, query)
            except ApiExpired:
                self._expired_pages += 1
                raise
            received = self._clock()
            self.bytes += len(body)
            page = parse_page(body)
            for raw in page.items or ():
                self._put(raw, received, keys)
            token = page.metadata.continue_ or ""
            if not token:
                break
        self._finish_list(keys, page.metadata.version, received)
        await self._watch(page.metadata.version)

    def _page_size(self) -> str:
        # Pages are of one state, which a server forgets after five minutes. If that happened twice
        # the list is too long to be read in time, and only without pages there is an end to it.
        return "" if self._expired_pages >= 2 else str(self._options.page)

    async def _list_by_watch(self) -> None:
        """Watch from the beginning: first come all objects, then a bookmark, then the news."""
        query = self._watch_query(sendInitialEvents="true", resourceVersionMatch="NotOlderThan")
        try:
            async with self._client.stream(self._target.path, query) as stream:
                self._opened = self._clock()
                if await self._read_list(stream):
                    await self._read_news(stream)
        except ApiInvalid:
            if self._version is not None:
                raise
            self._watch_list = False
            # The next try lists in pages.
        except ApiSilent:
            # A server that ignores what it does not know never ends the list. Once may be chance.
            if self._version is None:
                self._silent_lists += 1
                self._watch_list = self._silent_lists < 2
            raise

    async def _read_list(self, stream: Lines) -> bool:
        """Take in the list at the beginning of a watch; whether it came to its end."""
        keys: set[ObjectKey] = set()
        while (arrived := await self._next(stream, self._options.initial_silence)) is not None:
            lines, received = arrived
            for index, line in enumerate(lines):
                parsed = parse_line(line)
                if parsed.type != "BOOKMARK":
                    self._object(parsed, received, keys)
                    continue
                bookmark = parse_bookmark(parsed.object)
                if not bookmark.ends_initial:
                    # It sends bookmarks and does not know what was asked for.
                    self._watch_list = False
                    return False
                self._finish_list(keys, bookmark.version, received)
                self._connected()
                for rest in lines[index + 1 :]:
                    self._news(parse_line(rest), received)
                return True
        return False

    async def _watch(self, version: str) -> None:
        """Take in what happens after ``version``, until the watch ends."""
        query = self._watch_query(resourceVersion=version)
        async with self._client.stream(self._target.path, query) as stream:
            self._opened = self._clock()
            self._connected()
            await self._read_news(stream)

    async def _read_news(self, stream: Lines) -> None:
        while (arrived := await self._next(stream, self._options.silence)) is not None:
            lines, received = arrived
            for line in lines:
                self._news(parse_line(line), received)

    def _news(self, line: WatchLine, received: float) -> None:
        if line.type == "BOOKMARK":
            version = parse_bookmark(line.object).version
        else:
            version = self._object(line, received, None)
        self._version = version or self._version
        self._fruitless = 0

    def _object(self, line: WatchLine, received: float, keys: set[ObjectKey] | None) -> str:
        """Take in a line that is no bookmark; its resourceVersion."""
        match line.type:
            case "ADDED" | "MODIFIED":
                if keys is None:
                    self._intake.objects += line.type == "ADDED"
                    return self._intake.put(line.object, received).version
                return self._put(line.object, received, keys)
            case "DELETED":
                return self._drop(line.object, received, keys)
            case "ERROR":
                raise parse_refusal(line.object)
            case _:
                raise ApiGarbled(f"a watch of the API server says {shown(line.type)}")

    def _put(self, raw: msgspec.Raw, received: float, keys: set[ObjectKey]) -> str:
        reading = self._intake.put(raw, received)
        if reading.key is not None:
            keys.add(reading.key)
        return reading.version

    def _drop(self, raw: msgspec.Raw, received: float, keys: set[ObjectKey] | None) -> str:
        try:
            reading = self._intake.drop(raw, received)
        except ApiGarbled:
            # Only a list can tell now who is gone.
            self._version = None
            raise
        if keys is None:
            self._intake.objects -= 1
        elif reading.key is not None:
            keys.discard(reading.key)
        return reading.version

    def _finish_list(self, keys: set[ObjectKey], version: str, received: float) -> None:
        self._intake.finish(keys, received)
        self._version = version
        self._expired_pages = self._silent_lists = 0
        status = self._status
        self._status = msgspec.structs.replace(
            status, listed=True, relists=status.relists + status.listed
        )

    async def _next(self, stream: Lines, silence: float) -> tuple[list[bytes], float] | None:
        before = stream.received
        arrived = await stream.next(silence)
        self.bytes += stream.received - before
        self.lines += 0 if arrived is None else len(arrived[0])
        return arrived

    def _watch_query(self, **words: str) -> dict[str, str]:
        # All watches of a cluster must not end at the same time.
        seconds = round(self._outside.chance.uniform(self._options.shortest, self._options.longest))
        return self._target.query(
            watch="true", allowWatchBookmarks="true", timeoutSeconds=str(seconds), **words
        )

    def _connected(self) -> None:
        status = self._status
        since = status.since if status.connected else self._outside.wall()
        self._status = msgspec.structs.replace(status, connected=True, since=since, error="")

    def _disconnected(self, error: str) -> None:
        status = self._status
        since = self._outside.wall() if status.connected else status.since
        self._status = msgspec.structs.replace(status, connected=False, since=since, error=error)


def reflectors(
    client: ApiClient,
    feed: Feed,
    node_name: str,
    options: Options = Options(),  # noqa: B008 - frozen
) -> tuple[Reflector, ...]:
    """The four reflectors of an agent: its node, namespaces, policies and pods.

    Raises:
        InputError: ``node_name`` is no name.
    """
    return tuple(Reflector(client, each, feed, options) for each in targets(node_name))
