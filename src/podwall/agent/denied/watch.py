"""The thread that reads what the kernel logs, has it named, and keeps it.

It reads only while there is something to read: while denied packets are logged, or an audited
policy selects a pod here. A group has one reader; where another program has it, that is said once
and tried again now and then. Reading is cheap and goes on whatever happens, so that the kernel's
buffer stays empty; naming costs the oracle's work for each packet, so it has a fixed share of one
processor, and what is too much for that is counted and left out.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar

import msgspec

from podwall.agent.bucket import TokenBucket
from podwall.agent.denied.record import Named, Record
from podwall.agent.reconcile.words import plain
from podwall.agent.status import DeniedStatus
from podwall.errors import KernelError
from podwall.model.policy import Policy, PolicyKey
from podwall.ruleset.ir import LogKind

log = logging.getLogger(__name__)

SHARE, SAVED = 0.2, 1.0
"""The share of a processor that naming gets, and the seconds of it that may be saved up."""

BATCH = 32
"""So many packets are named at a time."""

MOST_WAITING = 2000
"""So many packets wait to be named; others are left out."""

LOOK_EVERY = 1.0
"""Seconds between two looks whether there is anything to read."""

KEEP_EVERY = 15.0
"""Seconds between two writings of what shall outlive the agent."""

RETRY_FIRST, RETRY_LONGEST = 2.0, 60.0
"""Seconds until a group that could not be read is tried again; doubled each time."""

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)


class Source(Protocol[P_co]):
    """An open log group: :class:`podwall.dataplane.nflog.NflogReader`, or a test's."""

    @property
    def lost(self) -> int:
        """Packets that were thrown away before they were read."""
        ...

    def fileno(self) -> int:
        """What is readable when there is something to read."""
        ...

    def read(self) -> Sequence[P_co]:
        """What there is, without waiting."""
        ...


class Surroundings(msgspec.Struct, Generic[P], frozen=True):
    """What the thread needs of the agent; everything is called from the thread.

    Attributes:
        open: opens the log group; raises :class:`KernelError`.
        wanted: whether there is anything to read.
        name: names packets, and says how many it could not; raises :class:`KernelError` once the
            agent is ending.
        audited: the audited policies of the cluster, ``None`` as long as it is not known.
        told: is told what was named, after it was kept.
    """

    open: Callable[[], AbstractContextManager[Source[P]]]
    wanted: Callable[[], bool]
    name: Callable[[Sequence[P]], tuple[Sequence[Named], int]]
    audited: Callable[[], Mapping[PolicyKey, Policy] | None]
    told: Callable[[Sequence[Named]], None]


class DeniedPackets(Generic[P]):
    """Follows the log of denied packets; :meth:`start` and :meth:`stop` bracket its life.

    Args:
        status: what the settings say of it.
        around: the rest of the agent.
        record: keeps what was denied.
        clock: monotonic time.
        wall: the time in seconds since the epoch.
        work: the processor time of the calling thread, in seconds.
    """

    def __init__(
        self,
        status: DeniedStatus,
        around: Surroundings[P],
        record: Record,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        work: Callable[[], float] = time.thread_time,
    ) -> None:
        self._around = around
        self._record = record
        self._clock = clock
        self._wall = wall
        self._work = work
        self._status = msgspec.structs.replace(status, since=wall())
        self._lost = 0
        self._source: Source[P] | None = None
        self._unnamed = 0
        self._waiting: deque[P] = deque()
        self._bucket = TokenBucket(SHARE, SAVED, clock)
        self._keep_at = clock() + KEEP_EVERY
        self._failures = 0
        self._stopping = threading.Event()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="podwall-denied", daemon=True)

    def start(self) -> None:
        """Go on from what an agent before this one kept, and begin to follow."""
        self._record.load()
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End, and keep for the next agent what is worth it."""
        self._stopping.set()
        os.eventfd_write(self._wake, 1)
        if self._thread.is_alive():
            self._thread.join(timeout)
        if not self._thread.is_alive():
            os.close(self._wake)

    @property
    def alive(self) -> bool:
        """Whether the thread is at work."""
        return self._thread.is_alive()

    def status(self) -> DeniedStatus:
        """How it goes."""
        return msgspec.structs.replace(
            self._status,
            denied=self._record.count(LogKind.DENY),
            audited=self._record.count(LogKind.AUDIT),
            lost=self._lost + (0 if self._source is None else self._source.lost),
            unnamed=self._unnamed,
        )

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause = LOOK_EVERY
            if self._wanted():
                pause = self._follow()
            self._keep()
            self._wait(None, pause)
        self._record.save()

    def _wanted(self) -> bool:
        wanted = self._around.wanted()
        if wanted is not self._status.wanted:
            self._set(wanted=wanted)
        if not wanted:
            self._failures = 0
            self._set(error="")
        return wanted and not self._stopping.is_set()

    def _follow(self) -> float:
        """Read until nobody wants it any more; the seconds to wait then, or after a failure."""
        try:
            with self._around.open() as source:
                self._source = source
                self._failures = 0
                self._set(reading=True, error="")
                log.info("reading NFLOG group %d, where denied packets are", self._status.group)
                self._read(source)
        except (KernelError, OSError) as error:
            return self._failed(error)
        except Exception as error:
            log.error("a defect of podwall", exc_info=error)
            return self._failed(KernelError(f"a defect of podwall: {error!r}"))
        finally:
            self._settle()
        return LOOK_EVERY

    def _failed(self, error: Exception) -> float:
        pause = min(RETRY_FIRST * float(1 << min(self._failures, 30)), RETRY_LONGEST)
        text = plain(str(error), 300)
        if text != self._status.error:
            log.warning("denied packets are not read: %s; tried again now and then", text)
        self._failures += 1
        self._set(error=text)
        return pause

    def _settle(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            self._lost += source.lost
        self._unnamed += len(self._waiting)
        self._waiting.clear()
        self._set(reading=False)

    def _read(self, source: Source[P]) -> None:
        while self._wanted():
            pause = self._bucket.delay(0) if self._waiting else LOOK_EVERY
            if self._wait(source, min(pause, LOOK_EVERY)):
                self._take(source.read())
            if self._waiting and not self._bucket.delay(0):
                self._name()
            self._keep()

    def _take(self, packets: Sequence[P]) -> None:
        room = MOST_WAITING - len(self._waiting)
        self._waiting.extend(packets[:room])
        self._unnamed += max(0, len(packets) - room)

    def _name(self) -> None:
        start = self._work()
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        named, unnamed = self._around.name(batch)
        self._unnamed += unnamed
        if not self._record.knows(named):
            self._follow_policies()
        self._record.add(named)
        self._around.told(named)
        self._bucket.spend(self._work() - start)

    def _keep(self) -> None:
        """Now and then: forget what was counted for policies that changed, write the rest."""
        if self._clock() < self._keep_at:
            return
        self._keep_at = self._clock() + KEEP_EVERY
        try:
            if self._status.wanted or self._record.audits:
                self._follow_policies()
            self._record.save()
        except KernelError:
            pass  # The agent is ending.
        except Exception as error:
            log.error("a defect of podwall", exc_info=error)

    def _follow_policies(self) -> None:
        audited = self._around.audited()
        if audited is not None:
            self._record.follow(audited)

    def _wait(self, source: Source[P] | None, seconds: float) -> bool:
        """Wait for something to read, but not longer than that; whether there is something."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if source is not None:
            poll.register(source.fileno(), select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(seconds * 1000)}
        return source is not None and source.fileno() in ready

    def _set(self, **fields: object) -> None:
        """Change the status; ``since`` moves with ``reading`` alone."""
        if fields.get("reading", self._status.reading) is not self._status.reading:
            fields["since"] = self._wall()
        if any(getattr(self._status, name) != value for name, value in fields.items()):
            self._status = msgspec.structs.replace(self._status, **fields)
