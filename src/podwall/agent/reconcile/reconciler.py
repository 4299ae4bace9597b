"""The reconciler's thread: takes what waits, hands it to the keeper, answers questions.

Everything that touches the cluster's state or writes rules happens in this one thread, one thing
after the other. Looking at the kernel and judging connections take longer and are done beside it; a
look during which something was written is taken again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TypeVar, assert_never

from podwall.agent.bucket import TokenBucket
from podwall.agent.reconcile.cutter import Basis, Cutter
from podwall.agent.reconcile.drift import Look, look
from podwall.agent.reconcile.inbox import (
    Arrival,
    Complaint,
    Inbox,
    Item,
    Looked,
    Question,
)
from podwall.agent.reconcile.keeper import Keeper, OpenDataPlane
from podwall.agent.reconcile.observer import Observer
from podwall.agent.reconcile.options import DEFAULTS, ReconcileOptions
from podwall.agent.reconcile.picture import Picture
from podwall.agent.status import Enforced, KernelStatus, ObjectProblem
from podwall.cluster.events import Event, ObjectKey
from podwall.dataplane.kernel import KernelDataPlane
from podwall.errors import KernelError
from podwall.model.decode import Problem
from podwall.model.settings import Settings

T = TypeVar("T")

COUNT_EVERY = 1.0
"""Seconds between two countings of what is enforced."""

STALE_LOOKS = 3
"""So many looks in a row may be overtaken by a write; the next one is taken between two batches."""


class Reconciler:
    """Keeps the kernel of one node at what the cluster says; a :class:`~podwall.agent.feed.Feed`.

    Args:
        node: the node whose pods are protected.
        settings: the switches.
        open_dataplane: finds the tools of the host; asked at the start, and again after somebody
            removed everything of ours.
        observer: is told what happens.
        options: how often, how long.
        clock: a monotonic time, the one by which events were received.
        wall: the time in seconds since the epoch.
    """

    def __init__(
        self,
        node: str,
        settings: Settings,
        open_dataplane: OpenDataPlane,
        observer: Observer,
        options: ReconcileOptions = DEFAULTS,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._settings = settings
        self._clock = clock
        self._inbox = Inbox()
        self._keeper = Keeper(node, settings, open_dataplane, observer, options, clock, wall)
        self._bucket = TokenBucket(options.applies_per_second, options.burst, clock)
        self._cutter = Cutter(self._basis, observer, self._keeper.ledger, options, clock)
        if settings.cut_connections:
            self._keeper.judge = self._cutter.submit
        self._busy = 0
        self._looking = False
        self._stale = 0
        self._count_at = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="podwall-reconciler", daemon=True)

    def start(self) -> None:
        """Begin to work; what was taken in before is not lost."""
        self._thread.start()
        self._cutter.start()

    def stop(self, timeout: float) -> bool:
        """End after the write that is under way; the rules stay in force.

        Whether the threads ended within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        self._stopping.set()
        self._inbox.close()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        for item in self._inbox.rest():
            if isinstance(item, Question):
                item.refuse()
        self._cutter.stop(max(0.0, deadline - time.monotonic()))
        return not (self._thread.is_alive() or self._cutter.alive)

    def take(self, event: Event, received: float) -> None:
        """See :meth:`podwall.agent.feed.Feed.take`."""
        self._inbox.put(Arrival(event, received))

    def complain(self, key: ObjectKey, problems: tuple[Problem, ...]) -> None:
        """See :meth:`podwall.agent.feed.Feed.complain`."""
        self._inbox.put(Complaint(key, problems))

    def ask(self, question: Callable[[Picture], T]) -> Future[T]:
        """Ask between two batches, in the reconciler's thread; nothing is applied meanwhile.

        The answer is the question's, also where it raises; a :class:`KernelError` if the reconciler
        has ended.
        """
        answer: Future[T] = Future()
        asked = Question(question, answer)
        if not self._inbox.put(asked):
            asked.refuse()
        return answer

    def status(self) -> KernelStatus:
        """The kernel side of the status."""
        return self._keeper.ledger.status

    def enforced(self) -> Enforced:
        """What the kernel shall hold, in numbers; a second old at most while much changes."""
        return self._keeper.ledger.enforced

    def problems(self) -> tuple[ObjectProblem, ...]:
        """The objects that are not enforced as they were written."""
        return self._keeper.problems.all()

    def waiting(self) -> int:
        """Events that were taken in and are not enforced yet."""
        return self._inbox.events + self._busy + self._keeper.waiting

    def objects(self) -> dict[str, int]:
        """How much is known of the cluster, by kind."""
        return self._keeper.ledger.objects

    def ended(self) -> tuple[str, ...]:
        """What says that a thread ended that nobody stopped; nothing if all is well."""
        if self._thread.ident is None or self._stopping.is_set():
            return ()
        threads = {
            "the thread that writes to the kernel has ended": self._thread.is_alive(),
            "the thread that cuts connections has ended": self._cutter.alive,
        }
        return tuple(text for text, alive in threads.items() if not alive)

    def _work(self) -> None:
        self._guarded(self._keeper.open)
        while (items := self._inbox.take(self._timeout())) is not None:
            self._handle(items)
            self._guarded(self._do_what_is_due)
            self._stopping.wait(self._bucket.delay())

    def _guarded(self, part: Callable[[], object]) -> None:
        """Do a part of the work; a defect in it must not end the thread."""
        try:
            part()
        except Exception as error:
            self._keeper.fail(error)

    def _timeout(self) -> float | None:
        """Seconds until there is something to do that nobody has to ask for."""
        keeper = self._keeper
        due = [keeper.retry_at, None if self._looking else keeper.check_at]
        if not keeper.counted:
            due.append(self._count_at)
        times = [each for each in due if each is not None]
        return max(0.0, min(times) - self._clock()) if times else None

    def _handle(self, items: Sequence[Item]) -> None:
        arrivals: list[Arrival] = []
        questions: list[Question] = []
        looked: Looked | None = None
        for item in items:
            match item:
                case Arrival():
                    arrivals.append(item)
                    self._guarded(partial(self._keeper.problems.forget, item.event))
                case Complaint():
                    self._guarded(partial(self._keeper.problems.complain, item.key, item.problems))
                case Question():
                    questions.append(item)
                case Looked():
                    looked = item
                case _:
                    assert_never(item)
        if arrivals:
            self._busy = len(arrivals)
            self._take(arrivals)
            self._busy = 0
        if looked is not None:
            self._looking = False
            self._guarded(partial(self._looked, looked))
        for question in questions:
            question.put(self._picture())

    def _take(self, arrivals: Sequence[Arrival]) -> None:
        try:
            if self._keeper.take(arrivals):
                self._bucket.spend()
        except Exception as error:
            self._keeper.rebuild(arrivals, error)

    def _do_what_is_due(self) -> None:
        keeper, now = self._keeper, self._clock()
        if keeper.retry_at is not None and now >= keeper.retry_at:
            keeper.retry()
        elif keeper.check_at is not None and now >= keeper.check_at and not self._looking:
            self._begin_to_look()
        if not keeper.counted and now >= self._count_at and not len(self._inbox):
            self._count_at = self._clock() + COUNT_EVERY
            keeper.count()

    def _begin_to_look(self) -> None:
        dataplane = self._keeper.dataplane
        if dataplane is None:
            return
        began, writes = self._clock(), self._keeper.writes

        def see() -> None:
            self._inbox.put(Looked(_look(dataplane), began, writes))

        # A host that has no thread to spare now may have one later.
        threading.Thread(target=see, name="podwall-look", daemon=True).start()
        self._looking = True

    def _looked(self, looked: Looked) -> None:
        keeper, result = self._keeper, looked.result
        if looked.writes != keeper.writes:
            # What was seen is neither what was there before the write nor what is there now.
            self._stale += 1
            if self._stale < STALE_LOOKS or keeper.dataplane is None:
                return
            result = _look(keeper.dataplane)
        self._stale = 0
        if isinstance(result, Exception):
            raise result
        keeper.checked(result, looked.began)

    def _picture(self) -> Picture:
        return Picture(self._node, self._settings, self._keeper.live, self._keeper.dataplane)

    def _basis(self) -> Basis | None:
        """What the cutter judges by; called from its thread."""
        try:
            return self.ask(_basis).result()
        except KernelError:
            return None


def _basis(picture: Picture) -> Basis | None:
    if picture.live is None or picture.dataplane is None:
        return None
    return picture.dataplane, picture.live.ruleset()


def _look(dataplane: KernelDataPlane) -> Look | Exception:
    try:
        return look(dataplane)
    except Exception as error:
        return error
