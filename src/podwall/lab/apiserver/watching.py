"""Watches: what happens to objects, line by line.

A :class:`Watch` is filled by the store as changes happen and emptied by a connection. What a watch
selects may begin and end with a change of labels, so the news of an object that no longer matches
is that it was deleted, with the last state that did match.
"""

from __future__ import annotations

import asyncio
import enum
import random
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping

import msgspec

from podwall.lab.apiserver import forms, status
from podwall.lab.apiserver.forms import Form
from podwall.lab.apiserver.listing import parse_revision, parse_selection
from podwall.lab.apiserver.resources import Target
from podwall.lab.apiserver.store import Change, Compacted, Store, Stored, restamped

LIMIT = 200_000  # lines that a slow client may be behind before its watch ends
CHUNK = 1 << 20


class WatchList(enum.Enum):
    """What a server makes of ``sendInitialEvents``."""

    ON = "on"
    FORBIDDEN = "forbidden"  # known, but its feature gate is off
    UNKNOWN = "unknown"  # a server that is too old to know it ignores it


class WatchOptions(msgspec.Struct, frozen=True):
    """The query of a watch. ``initial`` is ``None`` where the revision decides.

    ``timeout`` in seconds.
    """

    revision: int | None
    bookmarks: bool
    initial: bool | None
    timeout: float


def parse_options(query: Mapping[str, str], watch_list: WatchList) -> WatchOptions:
    """The query of a watch.

    Raises:
        ApiError: parameters that don't go together (422), or are no numbers (400).
    """
    match_rule, initial = query.get("resourceVersionMatch", ""), _flag(query, "sendInitialEvents")
    if watch_list is WatchList.UNKNOWN:
        initial, match_rule = None, ""
    elif initial is not None and watch_list is WatchList.FORBIDDEN:
        raise status.invalid_options(
            "sendInitialEvents",
            "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
        )
    elif initial is not None and match_rule != "NotOlderThan":
        raise status.invalid_options(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )
    elif initial is None and match_rule:
        raise status.invalid_options(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )
    # Without one, a server picks something between half an hour and an hour.
    timeout = float(query.get("timeoutSeconds") or 0) or random.uniform(1800, 3600)  # noqa: S311 - no secret
    revision = parse_revision(query.get("resourceVersion", ""))
    return WatchOptions(revision, bool(_flag(query, "allowWatchBookmarks")), initial, timeout)


def _flag(query: Mapping[str, str], name: str) -> bool | None:
    return query[name] in ("true", "1", "") if name in query else None


class Watch:
    """One open watch: listens to the store from :meth:`start` to :meth:`close`.

    The methods that send, end or freeze are for whoever makes a server fail.
    """

    def __init__(
        self,
        store: Store,
        target: Target,
        query: Mapping[str, str],
        form: Form,
        watch_list: WatchList = WatchList.ON,
        bookmark_every: float = 60,
    ) -> None:
        self.target = target
        self.options = parse_options(query, watch_list)
        self._selection = parse_selection(target, query)
        self._store = store
        self._form = form
        self._bookmark_every = bookmark_every
        self._initial: Iterator[Stored] = iter(())
        self._initial_end: int | None = None
        self._lines: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._frozen = False
        self._headings = True

    def start(self) -> None:
        """Take the present objects or the changes since the revision, and listen from now on.

        Raises:
            ApiError: the changes are forgotten (410), or the revision is yet to come (504).
        """
        collection, options = self._store[self.target.resource], self.options
        whole = options.initial or (options.initial is None and not options.revision)
        if whole:
            if (options.revision or 0) > self._store.revision:
                raise status.too_large_revision(options.revision or 0, self._store.revision)
            present = collection.at(None, self._selection.prefix).after()
            self._initial = iter([each for each in present if self._selection.takes(each)])
            if options.initial and options.bookmarks:
                self._initial_end = self._store.revision
        elif options.revision:
            try:
                missed = collection.since(options.revision)
            except Compacted as error:
                raise status.expired_watch(options.revision, error.oldest) from None
            for change in missed:
                self._on_change(change)
        collection.listeners.add(self._on_change)

    def close(self) -> None:
        """Listen no more."""
        self._store[self.target.resource].listeners.discard(self._on_change)

    def send(self, line: bytes) -> None:
        """Send a line as it is, whatever it holds."""
        self._lines.append(line)
        self._wake.set()

    def bookmark(self) -> None:
        """Send a bookmark now, if the client wants any."""
        if self.options.bookmarks:
            self.send(self._bookmark_line(self._store.revision))

    def fail(self, error: status.ApiError) -> None:
        """Send an error, as a server does that forgot what this watch still needs, and end."""
        self.send(_event(b"ERROR", msgspec.json.encode(error.body)))
        self.end()

    def end(self) -> None:
        """End cleanly, after what is still to be sent."""
        self._ended = True
        self._wake.set()

    def freeze(self) -> None:
        """Send nothing more and do not end: the connection is dead and nobody says so."""
        self._frozen = True

    async def chunks(self) -> AsyncIterator[bytes]:
        """Lines to send, some at a time, until the watch ends."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.options.timeout
        # Real servers send the last bookmark two seconds before the end.
        last_bookmark = deadline - 2
        next_bookmark = min(clock() + self._bookmark_every, max(last_bookmark, clock()))
        while True:
            if not self._frozen:
                while chunk := self._take():
                    yield chunk
                if self._ended:
                    return
            try:
                async with asyncio.timeout_at(min(deadline, next_bookmark)):
                    await self._wake.wait()
                self._wake.clear()
            except TimeoutError:
                if clock() >= next_bookmark:
                    next_bookmark = _later(clock(), self._bookmark_every, last_bookmark)
                    self.bookmark()
                if clock() >= deadline:
                    self._ended = True
                    deadline = float("inf")

    def _take(self) -> bytes:
        """The next lines, about a megabyte of them; empty if there are none."""
        taken: list[bytes] = []
        size = 0
        for version in self._initial:
            taken.append(self._object_line(b"ADDED", version.body, version.revision))
            size += len(taken[-1])
            if size > CHUNK:
                return b"".join(taken)
        if self._initial_end is not None:
            taken.append(self._bookmark_line(self._initial_end, initial=True))
            self._initial_end = None
        while self._lines and size <= CHUNK:
            taken.append(self._lines.popleft())
            size += len(taken[-1])
        return b"".join(taken)

    def _on_change(self, change: Change) -> None:
        before, after = change.before, change.after
        did = before is not None and self._selection.takes(before)
        does = after is not None and self._selection.takes(after)
        if after is not None and does:
            word = b"MODIFIED" if did else b"ADDED"
            self.send(self._object_line(word, after.body, change.revision))
        elif before is not None and did:
            body = restamped(before, change.revision)
            self.send(self._object_line(b"DELETED", body, change.revision))
        if len(self._lines) > LIMIT:
            self.end()

    def _object_line(self, word: bytes, body: bytes, revision: int) -> bytes:
        resource = self.target.resource
        line = _event(word, forms.thing(resource, body, revision, self._form, self._headings))
        self._headings = False
        return line

    def _bookmark_line(self, revision: int, initial: bool = False) -> bytes:
        body = forms.bookmark(self.target.resource, revision, self._form, initial)
        return _event(b"BOOKMARK", body)


def _later(now: float, interval: float, last: float) -> float:
    """When the next bookmark is due: after the interval, or at the last moment, or never."""
    if now >= last:
        return float("inf")
    return min(now + interval, last)


def _event(word: bytes, body: bytes) -> bytes:
    return b'{"type":"' + word + b'","object":' + body + b"}\n"
