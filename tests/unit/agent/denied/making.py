"""Denials for tests, and a log group that a test fills."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from podwall.agent.control.answers import DropLine
from podwall.agent.denied.record import Named
from podwall.model.policy import Direction, PolicyKey
from podwall.ruleset.ir import LogKind


def line(when: float = 0.0, **more: object) -> bytes:
    denial = msgspec.Raw(msgspec.json.encode({"time": when, **more}))
    return msgspec.json.encode(DropLine(denial=denial))


def named(
    source: str = "dev/web",
    *,
    target: str = "dev/db",
    when: float = 0.0,
    kind: LogKind = LogKind.DENY,
    policies: Sequence[str] = ("dev/db",),
    namespace: str = "dev",
) -> Named:
    return Named(
        kind=kind,
        when=when,
        source=source,
        target=target,
        service="80/tcp",
        direction=Direction.INGRESS,
        namespace=namespace,
        policies=tuple(PolicyKey(*each.split("/")) for each in policies),
        line=line(when, source=source),
        text=f"{source} → dev/db 80/tcp denied: no rule allows it",
    )


class Group:
    """A log group: what a test puts in is there to be read."""

    def __init__(self) -> None:
        self.lost = 0
        self.opened = 0
        self.failure: Exception | None = None
        self.on_read: Exception | None = None
        self._packets: list[str] = []
        self._readable = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_SEMAPHORE)

    @contextmanager
    def open(self) -> Iterator[Group]:
        if self.failure is not None:
            raise self.failure
        self.opened += 1
        yield self

    def put(self, *packets: str) -> None:
        self._packets += packets
        os.eventfd_write(self._readable, 1)

    def fileno(self) -> int:
        return self._readable

    def read(self) -> Sequence[str]:
        os.eventfd_read(self._readable)
        if self.on_read is not None:
            failure, self.on_read = self.on_read, None
            raise failure
        packets, self._packets = self._packets, []
        return packets

    def close(self) -> None:
        os.close(self._readable)
