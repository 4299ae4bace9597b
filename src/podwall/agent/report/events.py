"""Kubernetes Events on policies that are not enforced as they were written.

Whoever wrote such a policy looks at the policy, not at the logs of agents: the Event says which
pods of which node it isolates now, and why the rest of it has no effect. Only agents that have such
pods write one, each its own, and few at a time: an object that 5,000 agents cannot read must not
become 5,000 Events at once. An Event that stays true is renewed before the API server forgets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from podwall.agent.bucket import TokenBucket
from podwall.agent.reconcile.words import few, plain
from podwall.agent.status import ObjectProblem
from podwall.cluster.events import ObjectKey
from podwall.errors import ApiConflict, ApiError, ApiForbidden, ApiNotFound
from podwall.model.objects import PodKey
from podwall.model.policy import PolicyKey

log = logging.getLogger(__name__)

COMPONENT = "podwall"
NOT_ENFORCED = "NotEnforcedAsWritten"
ENFORCED = "EnforcedAsWritten"

LOOK_EVERY = 60.0
"""Seconds between two looks whether a policy in error has pods here now, or an Event grew old."""

RENEW_AFTER = 45 * 60.0
"""Seconds; API servers keep Events for an hour."""

RATE, BURST = 0.2, 25
"""So many Events come at first, and so many a second after that, whatever users do."""

QUIET = 5.0
"""Seconds between two Events on one policy: somebody who tries this and that needs no more."""

JITTER = 2.0
"""Up to so many seconds pass before the first: agents of many nodes learn of an error together."""

MOST = 500
"""So many policies in error are followed; the status lists them all."""

_LONGEST_NAME = 200
_LONGEST_NAMES = 300
_LONGEST_MESSAGE = 1024  # as the API takes it

Isolated = Callable[[Sequence[PolicyKey]], Awaitable[Mapping[PolicyKey, tuple[PodKey, ...]] | None]]
"""The pods of this node that policies select; ``None`` while nobody can tell."""


class EventApi(Protocol):
    """What is needed of :class:`~podwall.agent.watch.client.ApiClient`."""

    async def create(self, path: str, thing: object) -> bytes: ...  # noqa: D102
    async def patch(self, path: str, patch: object) -> bytes: ...  # noqa: D102


class _Written(msgspec.Struct, frozen=True):
    """An Event of ours: its name and message, how often it was written, and when last."""

    name: str
    message: str
    count: int
    at: float


class PolicyEvents:
    """Writes Events; :meth:`note` may be called from the event loop only.

    Args:
        api: where to.
        node: the name of this node.
        isolated: tells which pods here a policy selects.
        count: is told of each attempt: ``written`` or ``failed``.
    """

    def __init__(
        self,
        api: EventApi,
        node: str,
        isolated: Isolated,
        count: Callable[[str], None] = lambda _outcome: None,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._api = api
        self._node = node
        self._isolated = isolated
        self._count = count
        self._wall = wall
        self._sleep = sleep
        self._chance = chance
        self._texts: dict[PolicyKey, str] = {}
        self._written: dict[PolicyKey, _Written] = {}
        self._last: dict[PolicyKey, float] = {}
        self._bucket = TokenBucket(RATE, BURST, wall)
        self._changed = asyncio.Event()
        self._forbidden = False
        self._blind = False

    def note(self, key: ObjectKey, problems: tuple[ObjectProblem, ...]) -> None:
        """What is wrong with an object has changed."""
        if not isinstance(key, PolicyKey) or not key.namespace:
            return
        if not problems:
            self._texts.pop(key, None)
        elif key in self._texts or len(self._texts) < MOST:
            self._texts[key] = "; ".join(each.text for each in problems)
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled."""
        pause: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            self._changed.clear()
            await self._sleep(self._chance() * JITTER)
            await self.catch_up()
            soon = self._last or self._blind
            pause = QUIET if soon else LOOK_EVERY if self._texts or self._written else None

    async def catch_up(self) -> None:
        """Write what is not written yet."""
        self._last = {key: at for key, at in self._last.items() if self._wall() - at < QUIET}
        keys = {*self._texts, *self._written} - self._last.keys()
        if not keys:
            return
        isolated = await self._isolated(tuple(sorted(keys)))
        self._blind = isolated is None
        if isolated is None:
            return
        for key in sorted(keys):
            text, pods = self._texts.get(key), isolated.get(key)
            if pods is None:
                # The policy is gone, and with it whoever would read of it.
                self._written.pop(key, None)
            elif text is None:
                await self._settle(key)
            elif pods:
                await self._complain(key, self._message(pods, text))

    async def _complain(self, key: PolicyKey, message: str) -> None:
        written = self._written.get(key)
        if written is None or written.message != message or self._is_old(written):
            await self._put(key, written, NOT_ENFORCED, "Warning", message)

    async def _settle(self, key: PolicyKey) -> None:
        message = f"node {self._node}: this policy is enforced as written"
        if await self._put(key, self._written.get(key), ENFORCED, "Normal", message):
            self._written.pop(key, None)

    def _is_old(self, written: _Written) -> bool:
        return self._wall() - written.at >= RENEW_AFTER

    def _message(self, pods: tuple[PodKey, ...], text: str) -> str:
        names = plain(few((each.name for each in pods), 4), _LONGEST_NAMES)
        head = (
            f"node {self._node}: this policy is not enforced as written. It isolates {names}; "
            "what is wrong with it allows nothing: "
        )
        return head + plain(text, _LONGEST_MESSAGE - len(head))

    async def _put(
        self, key: PolicyKey, before: _Written | None, reason: str, kind: str, message: str
    ) -> bool:
        """Write an Event, or write it once more; whether that went well."""
        name = _event_name(key, self._node, reason, message)
        again = before is not None and before.name == name
        count = before.count + 1 if before is not None and again else 1
        await self._sleep(self._bucket.delay())
        self._bucket.spend()
        self._last[key] = self._wall()
        try:
            await self._send(key, name, self._event(key, name, reason, kind, message, count), again)
        except ApiForbidden as error:
            self._failed(f"RBAC does not allow to write Events: {error}", once=True)
            return False
        except ApiError as error:
            self._failed(f"no Event on NetworkPolicy {key}: {error}")
            return False
        self._forbidden = False
        self._count("written")
        self._written[key] = _Written(name, message, count, self._wall())
        return True

    def _failed(self, text: str, *, once: bool = False) -> None:
        self._count("failed")
        if not (once and self._forbidden):
            log.warning("%s", plain(text))
        self._forbidden = once

    async def _send(self, key: PolicyKey, name: str, event: dict[str, object], again: bool) -> None:
        path = f"/api/v1/namespaces/{key.namespace}/events"
        newer = {each: event[each] for each in ("count", "lastTimestamp")}
        if again:
            try:
                await self._api.patch(f"{path}/{name}", newer)
                return
            except ApiNotFound:
                pass  # The API server has forgotten it.
        try:
            await self._api.create(path, event)
        except ApiConflict:
            # An agent that ran here before wrote it.
            await self._api.patch(f"{path}/{name}", {"lastTimestamp": event["lastTimestamp"]})

    def _event(
        self, key: PolicyKey, name: str, reason: str, kind: str, message: str, count: int
    ) -> dict[str, object]:
        now = datetime.datetime.fromtimestamp(self._wall(), datetime.UTC)
        stamp = now.isoformat(timespec="seconds").replace("+00:00", "Z")
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": key.namespace},
            "involvedObject": {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "namespace": key.namespace,
                "name": key.name,
            },
            "reason": reason,
            "message": message,
            "type": kind,
            "source": {"component": COMPONENT, "host": self._node},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._node,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": count,
        }


def _event_name(key: PolicyKey, node: str, reason: str, message: str) -> str:
    """One name for the same thing said again, also by the agent that runs here next."""
    words = "\0".join((key.namespace, key.name, node, reason, message))
    digest = hashlib.blake2b(words.encode(), digest_size=8).hexdigest()
    return f"{key.name[:_LONGEST_NAME].rstrip('.-')}.{digest}"
