"""What keeps a kernel right: the gate, incremental applies, and the way back after any failure.

Until every kind of object was listed to its end, events only fill the state: nothing is written,
since a cluster that is known in part looks like one in which objects were deleted. Then the kernel
is read once and the difference is written; from then on each batch of events becomes a plan, and
the kernel is believed to hold what was written to it. Whatever does not go as planned leads to the
same way back: read the kernel again and write the difference, now or a little later.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from podwall.agent.reconcile.concern import concerning
from podwall.agent.reconcile.drift import Checker, Look
from podwall.agent.reconcile.inbox import Arrival
from podwall.agent.reconcile.ledger import Ledger
from podwall.agent.reconcile.modes import settle
from podwall.agent.reconcile.notes import OwnNode
from podwall.agent.reconcile.observer import Observer
from podwall.agent.reconcile.options import DEFAULTS, ReconcileOptions
from podwall.agent.reconcile.overdue import Overdue
from podwall.agent.reconcile.problems import Problems
from podwall.agent.reconcile.words import describe_events, few, plain
from podwall.agent.status import Applied, Cause, Enforced
from podwall.cluster.events import Applied as EventApplied
from podwall.cluster.events import Kind, Remaining, Replaced
from podwall.cluster.state import ClusterState
from podwall.dataplane.apply import ApplyReport
from podwall.dataplane.hostlock import host_lock
from podwall.dataplane.kernel import KernelDataPlane
from podwall.errors import BatchRefused, KernelError, ToolMissing
from podwall.model.net import Address
from podwall.model.settings import Settings
from podwall.ruleset.live import LiveChange, LiveNode

log = logging.getLogger(__name__)

OpenDataPlane = Callable[[], KernelDataPlane]
"""Finds out what the host has, and makes a driver for it."""

Judge = Callable[[frozenset[Address] | None], None]
"""Asks that connections with an end among these addresses be judged; ``None`` for all."""

KNOWN = "the cluster is known in full"

SOON = 1.0
"""Seconds until the next look after something was wrong."""


class Keeper:
    """Keeps one node's kernel right; belongs to one thread.

    Attributes:
        live: the ruleset and the cluster; ``None`` while the gate is closed.
        dataplane: the kernel; ``None`` until its tools were found.
        counted: whether the numbers for the status are up to date.
        writes: grows before and after each attempt to write, so that a look that was taken
            meanwhile can be told.
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
        self.live: LiveNode | None = None
        self.dataplane: KernelDataPlane | None = None
        self.writes = 0
        self.ledger = Ledger(wall)
        self.problems = Problems(observer, wall)
        self.judge: Judge = lambda _among: None
        self._node = node
        self._settings = settings
        self._open_dataplane = open_dataplane
        self._observer = observer
        self._options = options
        self._clock = clock
        self._wall = wall
        self._own_node = OwnNode(node, settings)
        self._told: tuple[str, ...] = ()
        self._state = ClusterState()
        self._listed: set[Kind] = set()
        self._checker = Checker()
        self._check_at = 0.0
        self._retry_at: float | None = None
        self._failures = 0
        self._overdue = Overdue()
        self._synced = False
        self._drift = ("", 0)
        self._forgive_at = 0.0
        self._settle_at = 0.0
        self._unsettled = 0
        self.counted = True

    @property
    def waiting(self) -> int:
        """Events that were taken in and are not enforced."""
        return self._overdue.count

    @property
    def retry_at(self) -> float | None:
        """When what failed is tried again; ``None`` if nothing did."""
        return self._retry_at

    @property
    def check_at(self) -> float | None:
        """When the kernel is to be looked at; ``None`` while it is known not to be right."""
        return self._check_at if self.live is not None and self._retry_at is None else None

    def take(self, arrivals: Sequence[Arrival]) -> bool:
        """Take in events and write what they change; whether anything was written."""
        if self._own_node.take(each.event for each in arrivals):
            self._tell_notes()
        self.counted = False
        if self.live is None:
            return self._fill(arrivals)
        change = self._change(self.live, arrivals)
        if self._retry_at is not None:
            # What they change is part of the next attempt, which reads the kernel anew.
            self._overdue.add(each.received for each in arrivals)
            return False
        if not change.plan:
            self.problems.keep_refused(self.live.refused)
            return False
        return self._run(self.live, change, arrivals)

    def open(self) -> None:
        """Find the tools; the gate may be closed still, but what is missing is known early."""
        try:
            self._open()
        except KernelError as error:
            self._failed(error)

    def retry(self) -> bool:
        """Try again what failed; whether that went well."""
        self._retry_at = None
        if not self._begin():
            self.open()
            return self.dataplane is not None
        if not self._synced:
            return self.sync(Cause.SYNC, KNOWN)
        return self.sync(Cause.RETRY, "what failed before")

    def sync(self, cause: Cause, reason: str, arrivals: Sequence[Arrival] = ()) -> bool:
        """Read the kernel and write the difference; whether the kernel is right now."""
        if self.live is None:
            return False
        self._overdue.add(each.received for each in arrivals)
        try:
            report = self._enforce(self.live)
        except KernelError as error:
            self._failed(error)
            return False
        done = self._clock()
        self._failures, self._retry_at, self._synced = 0, None, True
        waited = self._overdue.settle(done)
        self._note_refusals(self.live, report)
        # What was there before the start did not wait for this.
        self._applied(cause, reason, report, () if cause is Cause.SYNC else waited)
        self._check_at = done + min(SOON, self._options.check_every)
        if report.steps or cause is not Cause.DRIFT:
            # What failed may have been written all the same, so a retry judges in any case.
            self.judge(None)
        return True

    def checked(self, seen: Look, began: float) -> None:
        """Compare what was seen, by a look that ``began`` at that time, and repair what differs."""
        if self.live is None or self.dataplane is None or self._retry_at is not None:
            return
        drift = None
        if not self._checker.same(seen, self.writes):
            ruleset = self.live.ruleset()
            drift = self._checker.compare(self.dataplane, seen, self.writes, ruleset)
        now = self._clock()
        pause = max(self._options.check_every, (now - began) / self._options.check_share)
        self._check_at = now + pause
        if drift is None:
            self.ledger.checked()
            if self.dataplane.strays and now >= self._settle_at:
                self.sync(Cause.RETRY, "rules of ours are left in the other iptables mode")
            elif self.live.refused and now >= self._forgive_at:
                self.live.forgive()
                self.sync(Cause.RETRY, "policies that the kernel refused")
            return
        if drift.everything:
            # Whoever flushes all rules may be about to go on with the other kind of iptables.
            self.dataplane = None
        if self.sync(Cause.DRIFT, f"somebody else changed the kernel: {drift.text}"):
            self._note_drift(drift.text)

    def fail(self, error: Exception) -> None:
        """Something went wrong outside of an apply; the kernel is read and written anew soon."""
        if isinstance(error, KernelError):
            self._failed(error)
        else:
            log.error("a defect of podwall", exc_info=error)
            self._failed(_defect(error))

    def count(self) -> None:
        """Bring the numbers for the status up to date, if something changed."""
        if self.counted:
            return
        self.counted = True
        enforced = Enforced()
        if self.live is not None:
            enforced = msgspec.convert(msgspec.structs.asdict(self.live.counts), Enforced)
        self.ledger.count(enforced, self._state.counts())

    def rebuild(self, arrivals: Sequence[Arrival], error: Exception) -> None:
        """After a defect of podwall: go on from the objects anew, without an event at fault.

        Nothing is worked out before the next try, so what fails then is tried again, too.
        """
        log.error("a defect of podwall; going on from the objects anew", exc_info=error)
        # Whatever half-done work left behind goes with the old state.
        self.live = None
        known = map(EventApplied, self._state.objects())
        state = ClusterState()
        for event in itertools.chain(known, (each.event for each in arrivals)):
            try:
                state.apply(event)
            except Exception as fault:
                log.error("left out: %s", describe_events([event]), exc_info=fault)
        self._state = state
        self._note_lists(arrivals)
        self._overdue.add(each.received for each in arrivals)
        self._failed(_defect(error))

    def _fill(self, arrivals: Sequence[Arrival]) -> bool:
        """Before the first full picture: remember, write nothing."""
        self._state.apply_all(each.event for each in arrivals)
        self._note_lists(arrivals)
        if self._retry_at is not None or not self._begin():
            return False
        return self.sync(Cause.SYNC, KNOWN)

    def _note_lists(self, arrivals: Sequence[Arrival]) -> None:
        for each in arrivals:
            if isinstance(each.event, Remaining | Replaced):
                self._listed.add(each.event.kind)

    def _begin(self) -> bool:
        """Whether there is a full picture; the first time it is put together."""
        if self.live is None and len(self._listed) == len(Kind):
            self.live = LiveNode(self._state, self._node, self._settings)
        return self.live is not None

    def _change(self, live: LiveNode, arrivals: Sequence[Arrival]) -> LiveChange:
        return live.apply(each.event for each in arrivals)

    def _run(self, live: LiveNode, change: LiveChange, arrivals: Sequence[Arrival]) -> bool:
        """Run a plan; where it does not go as planned, read the kernel and go on from there."""
        told = list(concerning(change, self._node, arrivals)) or list(arrivals)
        reason = describe_events([each.event for each in told])
        try:
            seconds = self._run_plan(change)
        except BatchRefused as error:
            log.info("the kernel is not as it was left, or refuses a policy: %s", plain(str(error)))
            refused = live.refused
            if self.sync(Cause.EVENT, reason, told) and live.refused == refused:
                self._note_drift(f"a planned change was refused: {plain(str(error), 300)}")
            return True
        except KernelError as error:
            self._overdue.add(each.received for each in told)
            self._failed(error)
            return True
        done = self._clock()
        self.problems.keep_refused(live.refused)
        report = ApplyReport(
            len(change.plan.steps),
            change.rules_added,
            change.rules_removed,
            change.members_added,
            change.members_removed,
            seconds,
        )
        self._applied(Cause.EVENT, reason, report, tuple(done - each.received for each in told))
        self.judge(change.judge)
        return True

    def _run_plan(self, change: LiveChange) -> float:
        """Run the steps; the seconds that it took.

        Raises:
            KernelError: a step did not succeed; those before it stay.
        """
        dataplane = self._open()
        start = self._clock()
        with self._writing():
            for step in change.plan.steps:
                dataplane.run(step)
        return self._clock() - start

    def _enforce(self, live: LiveNode) -> ApplyReport:
        """Read the kernel, write the difference, in the right mode.

        Raises:
            KernelError: it did not succeed.
        """
        dataplane = self._open()
        strays = bool(dataplane.strays)
        with self._writing():
            report = settle(dataplane, live.ruleset(), live.without)
        if strays:
            # Whoever looks again sees whether they are gone, and says so if they are not.
            self.dataplane = None
            left = bool(self._open().strays)
            self._unsettled = self._unsettled + 1 if left else 0
            self._settle_at = self._clock() + self._options.retry_pause(self._unsettled)
        return report

    def _open(self) -> KernelDataPlane:
        if self.dataplane is None:
            self.dataplane = self._open_dataplane()
            mode, families = self.dataplane.mode, self.dataplane.families
            self.ledger.host(mode.value, tuple(each.value for each in families))
            self._checker = Checker()
            self._tell_notes()
        return self.dataplane

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with host_lock(self._options.lock_seconds, self._options.lock_file):
            self.writes += 1
            try:
                yield
            finally:
                self.writes += 1

    def _applied(
        self, cause: Cause, reason: str, report: ApplyReport, latencies: tuple[float, ...]
    ) -> None:
        applied = Applied(self._wall(), cause, reason, report, latencies)
        self.ledger.applied(applied)
        self.ledger.in_sync()
        self._observer.applied(applied)

    def _failed(self, error: KernelError) -> None:
        pause = self._options.retry_pause(self._failures)
        self._failures += 1
        self._retry_at = self._clock() + pause
        if isinstance(error, ToolMissing):
            # It may be that the host has another kind of iptables now.
            self.dataplane = None
        self.ledger.out_of_sync(plain(str(error)))
        self._observer.failed(error, pause)

    def _note_refusals(self, live: LiveNode, report: ApplyReport) -> None:
        # A reason may pass: memory that was short, a module that is loaded later.
        self._forgive_at = self._clock() + self._options.forgive_every
        for refusal in report.refusals:
            live.refuse(frozenset(refusal.policies))
            for key in refusal.policies:
                others = few(each for each in refusal.policies if each != key)
                more = f" (or those of {others})" if others else ""
                policy = live.state.policy(key)
                so = "its pods are isolated and nothing of it is allowed"
                if policy is not None and policy.is_audited:
                    so = "it is not audited"
                self.problems.refuse(
                    key, f"the kernel refuses its rules{more}; {so}: {refusal.summary}"
                )
        self.problems.keep_refused(live.refused)

    def _note_drift(self, text: str) -> None:
        last, count = self._drift
        self._drift = (text, count + 1 if text == last else 1)
        self.ledger.drifted()
        self._observer.drifted(text, self._drift[1])

    def _tell_notes(self) -> None:
        host = () if self.dataplane is None else self.dataplane.notes
        own = self._own_node.notes()
        if own and own != self._told:
            log.warning("%s", "; ".join(own))
        self._told = own
        self.ledger.notes((*host, *own))


def _defect(error: Exception) -> KernelError:
    return KernelError(f"a defect of podwall: {type(error).__name__}: {error}")
