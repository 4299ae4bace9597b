"""What goes wrong, on demand.

Two kinds: things that happen once and now (watches end, connections break, history is forgotten),
which are methods, and requests that will go wrong, which are :class:`Trouble` in a queue. All of it
can be done in the process through :class:`Faults`, and over HTTP under ``/faults/``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from podwall.lab.apiserver import status
from podwall.lab.apiserver.api import Api
from podwall.lab.apiserver.store import Object
from podwall.lab.apiserver.watching import Watch, WatchList

LONG = 600 * 1024  # more than aiohttp's 512 KiB for a line


class Trouble(msgspec.Struct, frozen=True):
    """Requests that go wrong.

    Attributes:
        verb, resource: which requests, such as ``watch`` and ``pods``; empty for any.
        code: the answer's status; 0 for an answer as usual.
        retry_after: seconds that a 429 or 503 asks to wait.
        delay: seconds before the answer.
        cut: break the connection instead of an answer.
        body: send these bytes with status 200 instead of an answer.
        times: how many requests; negative for all until :meth:`Faults.clear`.
    """

    verb: str = ""
    resource: str = ""
    code: int = 0
    retry_after: int | None = None
    delay: float = 0
    cut: bool = False
    body: str = ""
    times: int = 1

    def hits(self, verb: str, resource: str) -> bool:
        """Whether a request is one of these."""
        return self.verb in ("", verb) and self.resource in ("", resource)

    @property
    def error(self) -> status.ApiError | None:
        """The answer, if it is an error."""
        if not self.code:
            return None
        if self.code == 429:
            return status.too_many_requests(1 if self.retry_after is None else self.retry_after)
        if self.code == 500:
            return status.internal_error("etcdserver: request timed out")
        details = {} if self.retry_after is None else {"retryAfterSeconds": self.retry_after}
        reasons = {410: "Expired", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound"}
        reason = reasons.get(self.code, "ServiceUnavailable" if self.code == 503 else "")
        return status.ApiError(self.code, reason, "the server is told to fail", details)


class Connections(Protocol):
    """What faults need of the server's connections."""

    def freeze(self, spare: object = None) -> None:
        """Answer nothing on the connections that are open now (but ``spare``), ever again."""

    def cut(self, spare: object = None) -> None:
        """Break all connections that are open now (but ``spare``), without a word."""

    async def restart(self, pause: float, spare: object = None) -> None:
        """Break all connections, refuse new ones for ``pause`` seconds, then be back."""


class Faults:
    """What goes wrong with one server. For use in the event loop of that server."""

    def __init__(self, api: Api, connections: Connections) -> None:
        self.watch_list = WatchList.ON
        self.expired_as_status = False
        self._api = api
        self._connections = connections
        self._watches: set[Watch] = set()
        self._troubles: list[Trouble] = []

    def trouble(self, trouble: Trouble) -> None:
        """Let requests to come go wrong; troubles are met in the order in which they were made."""
        self._troubles.append(trouble)

    def clear(self) -> None:
        """Let requests go well again."""
        self._troubles.clear()
        self.watch_list = WatchList.ON
        self.expired_as_status = False

    def next_trouble(self, verb: str, resource: str) -> Trouble | None:
        """The trouble that a request runs into, which is then one less."""
        for index, each in enumerate(self._troubles):
            if each.hits(verb, resource):
                if each.times == 1:
                    del self._troubles[index]
                elif each.times > 1:
                    fewer = msgspec.structs.replace(each, times=each.times - 1)
                    self._troubles[index] = fewer
                return each
        return None

    def opened(self, watch: Watch) -> None:
        """Take note of a watch that began."""
        self._watches.add(watch)

    def closed(self, watch: Watch) -> None:
        """Take note that it ended."""
        self._watches.discard(watch)

    def watches(self, resource: str = "") -> tuple[Watch, ...]:
        """The open watches (of a resource)."""
        return tuple(w for w in self._watches if resource in ("", w.target.resource.plural))

    def drop_watches(self, resource: str = "") -> int:
        """End watches cleanly, as servers do when their time is up; how many there were."""
        return self._each(resource, Watch.end)

    def expire_watches(self, resource: str = "") -> int:
        """End watches with a 410 event, as servers do that forgot what these still need."""
        revision = self._api.store.revision
        return self._each(resource, lambda w: w.fail(status.expired_watch(1, revision)))

    def send_bookmarks(self, resource: str = "") -> int:
        """Send a bookmark now."""
        return self._each(resource, Watch.bookmark)

    def send_garbage(self, resource: str = "", line: str = '{"type":"ADDED","object":{"ki') -> int:
        """Send a line that is no JSON in the midst of the events."""
        return self._each(resource, lambda w: w.send(line.encode() + b"\n"))

    def freeze(self, spare: object = None) -> None:
        """Leave all open connections half-open: nothing comes any more, not even an end."""
        self._each("", Watch.freeze)
        self._connections.freeze(spare)

    def cut(self, spare: object = None) -> None:
        """Break all connections, in the midst of whatever they are doing."""
        self._connections.cut(spare)

    async def restart(self, pause: float = 0, forget: bool = True, spare: object = None) -> None:
        """Restart: connections break, nothing listens for ``pause`` seconds, objects are kept.

        Real servers come back with an empty watch cache; with ``forget`` so does this one, and
        whoever comes with an older resourceVersion gets a 410.
        """
        if forget:
            self.compact()
        await self._connections.restart(pause, spare)

    def compact(self) -> None:
        """Forget all history: pages begun and watches resumed from the past get a 410."""
        self._api.store.compact()

    def store_raw(self, thing: Object) -> None:
        """Store an object that a server would refuse, for clients that must bear it."""
        self._api.load([thing])

    def store_undecodable(self, namespace: str = "default", name: str = "undecodable") -> None:
        """Store a pod of which hardly a field has the type that it should have."""
        self.store_raw(
            {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {"namespace": namespace, "name": name, "labels": {"app": 7}},
                "spec": {"containers": "none", "nodeName": ["node-1"]},
                "status": {"phase": {}, "podIPs": "10.0.0.1"},
            }
        )

    def store_long(self, namespace: str = "default", name: str = "long", size: int = LONG) -> None:
        """Store a pod whose line in a watch is longer than many clients' limit for a line."""
        self.store_raw(
            {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {
                    "namespace": namespace,
                    "name": name,
                    "annotations": {"padding": "x" * size},
                },
                "spec": {"containers": [{"name": "main", "image": "none"}]},
                "status": {"phase": "Pending"},
            }
        )

    def _each(self, resource: str, action: Callable[[Watch], None]) -> int:
        watches = self.watches(resource)
        for watch in watches:
            action(watch)
        return len(watches)
