"""Kubernetes Events on NetworkPolicies: how one is written, and written once more.

An Event has a name that follows from what it says, so that the same thing said again is one Event
with a count, also for the agent that runs here next.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from podwall.agent.reconcile.words import plain
from podwall.errors import ApiConflict, ApiError, ApiForbidden, ApiNotFound
from podwall.model.policy import PolicyKey

log = logging.getLogger(__name__)

COMPONENT = "podwall"

LONGEST_MESSAGE = 1024  # as the API takes it

_LONGEST_NAME = 200


class EventApi(Protocol):
    """What is needed of :class:`~podwall.agent.watch.client.ApiClient`."""

    async def create(self, path: str, thing: object) -> bytes: ...  # noqa: D102
    async def patch(self, path: str, patch: object) -> bytes: ...  # noqa: D102


class Said(msgspec.Struct, frozen=True):
    """What an Event says: why in one word, ``Normal`` or ``Warning``, and in words."""

    reason: str
    kind: str
    message: str


class Written(msgspec.Struct, frozen=True):
    """An Event of ours: its name and message, how often it was written, and when last."""

    name: str
    message: str
    count: int
    at: float


class EventWriter:
    """Writes Events; failures are logged, and those of missing rights only once.

    Args:
        api: where to.
        node: the name of this node.
        count: is told of each attempt: ``written`` or ``failed``.
        wall: the time in seconds since the epoch.
    """

    def __init__(
        self,
        api: EventApi,
        node: str,
        count: Callable[[str], None] = lambda _outcome: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._node = node
        self._count = count
        self._wall = wall
        self._forbidden = False

    async def write(self, key: PolicyKey, said: Said, before: Written | None) -> Written | None:
        """Write an Event on a policy, or write ``before`` once more; ``None`` if it failed."""
        name = _event_name(key, self._node, said)
        again = before is not None and before.name == name
        count = before.count + 1 if before is not None and again else 1
        try:
            await self._send(key, name, self._event(key, name, said, count), again)
        except ApiForbidden as error:
            self._failed(f"RBAC does not allow to write Events: {error}", once=True)
            return None
        except ApiError as error:
            self._failed(f"no Event on NetworkPolicy {key}: {error}")
            return None
        self._forbidden = False
        self._count("written")
        return Written(name, said.message, count, self._wall())

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

    def _event(self, key: PolicyKey, name: str, said: Said, count: int) -> dict[str, object]:
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
            "reason": said.reason,
            "message": said.message,
            "type": said.kind,
            "source": {"component": COMPONENT, "host": self._node},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._node,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": count,
        }


def _event_name(key: PolicyKey, node: str, said: Said) -> str:
    words = "\0".join((key.namespace, key.name, node, said.reason, said.message))
    digest = hashlib.blake2b(words.encode(), digest_size=8).hexdigest()
    return f"{key.name[:_LONGEST_NAME].rstrip('.-')}.{digest}"
