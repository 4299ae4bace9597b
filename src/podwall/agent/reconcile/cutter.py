"""End connections that are not allowed any more, promptly and at a bounded cost (S46).

Judging goes over the host's connections, so it is done beside the reconciler, in a thread of its
own, and what is asked for while it is at work is done together afterwards. Only connections with an
end whose policies, peers or addresses changed are judged. A round takes some 50 ms, and as long as
there are few of them each begins at once. Whoever asks all the time uses up the time that is saved
for that, and from then on gets a fixed share of one processor.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from podwall.agent.bucket import TokenBucket
from podwall.agent.reconcile.ledger import Ledger
from podwall.agent.reconcile.observer import Observer
from podwall.agent.reconcile.options import ReconcileOptions
from podwall.agent.reconcile.words import plain
from podwall.dataplane.conntrack import CutReport, cut_among, flow_of
from podwall.dataplane.enforced import judged_addresses, node_allows
from podwall.dataplane.kernel import KernelDataPlane
from podwall.errors import KernelError
from podwall.model.flow import Flow
from podwall.model.net import Address
from podwall.ruleset.ir import Ruleset

log = logging.getLogger(__name__)

SAVED = 1.0
"""Seconds of work that are done without a break, after some time without any."""

LONGEST_BREAK = 5.0
"""Seconds that a request waits at most because of earlier ones."""

Among = frozenset[Address] | None
"""Addresses of which connections have to have one at an end; ``None`` for all connections."""

Basis = tuple[KernelDataPlane, Ruleset]
"""The kernel, and the rules that it holds."""


class Cutter:
    """The thread that judges connections.

    Args:
        basis: asks the reconciler by what to judge; ``None`` if that is not known, or the end.
        observer: is told of each round.
        ledger: counts what was cut.
        options: how much of the time it may take, and how soon it tries again.
        clock: a monotonic time.
    """

    def __init__(
        self,
        basis: Callable[[], Basis | None],
        observer: Observer,
        ledger: Ledger,
        options: ReconcileOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._basis = basis
        self._observer = observer
        self._ledger = ledger
        self._options = options
        self._clock = clock
        self._failures = 0
        self._remains = True
        self._asked: Among = frozenset()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="podwall-cutter", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether it is still at work."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End; what was asked for and not begun is left."""
        self._stopped.set()
        with self._changed:
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def submit(self, among: Among) -> None:
        """Ask that connections with an end in ``among`` be judged; returns at once."""
        if among is not None and not among:
            return
        with self._changed:
            self._asked = _merged(self._asked, among)
            self._changed.notify()

    def _run(self) -> None:
        bucket = TokenBucket(self._options.cut_share, SAVED, self._clock)
        while (asked := self._wait()) != frozenset():
            start = self._clock()
            pause = self._round(asked)
            bucket.spend(self._clock() - start)
            self._stopped.wait(min(LONGEST_BREAK, bucket.delay(0)) if pause is None else pause)

    def _wait(self) -> Among:
        """What was asked for; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._asked != frozenset() or self._stopped.is_set())
            if self._stopped.is_set():
                return frozenset()
            asked, self._asked = self._asked, frozenset()
            return asked

    def _round(self, among: Among) -> float | None:
        """Judge once; the seconds to wait after a failure."""
        try:
            basis = self._basis()
            if basis is None:
                return None
            report = self.judge(*basis, among)
        except Exception as error:
            self.submit(among)
            return self._failed(error)
        self._failures = 0
        self._ledger.cut(report.cut)
        self._observer.cut(report)
        return None

    def _failed(self, error: Exception) -> float:
        """Tell what went wrong; the seconds to wait. Only the end of the agent ends the thread."""
        if not isinstance(error, KernelError):
            log.error("a defect of podwall", exc_info=error)
            error = KernelError(f"a defect of podwall: {type(error).__name__}: {error}")
        pause = self._options.retry_pause(self._failures)
        self._failures += 1
        self._ledger.cut_failed(plain(str(error)))
        self._observer.cut_failed(error, pause)
        return pause

    def judge(self, dataplane: KernelDataPlane, ruleset: Ruleset, among: Among) -> CutReport:
        """Judge the connections with an end in ``among``; cut, and release what is allowed again.

        Raises:
            KernelError: the connections or the set of cut ones cannot be read or changed.
        """
        start = self._clock()
        allows = node_allows(ruleset, dataplane.own_addresses())
        self._release(dataplane, allows, among)
        report = cut_among(
            dataplane,
            dataplane.connections(among),
            allows,
            judged_addresses(ruleset) if among is None else among.__contains__,
        )
        self._remains = self._remains or report.cut > 0
        return msgspec.structs.replace(report, seconds=self._clock() - start)

    def _release(
        self, dataplane: KernelDataPlane, allows: Callable[[Flow], bool], among: Among
    ) -> None:
        """Forget the remains that are allowed again; asked only while there may be any."""
        if not self._remains:
            return
        remains = dataplane.read_remains()
        again = [
            each
            for each in remains
            if (among is None or each.server in among or each.client in among)
            and allows(flow_of(each))
        ]
        if again:
            dataplane.release(again)
        self._remains = len(again) < len(remains)


def _merged(one: Among, other: Among) -> Among:
    return None if one is None or other is None else one | other
