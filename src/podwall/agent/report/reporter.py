"""What the reconciler does becomes log lines, metrics and news for those who want them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from podwall.agent.bucket import TokenBucket
from podwall.agent.feed import Feed
from podwall.agent.reconcile.drift import worth_telling
from podwall.agent.reconcile.words import kind_of, name_of, plain
from podwall.agent.report.metrics import Metrics
from podwall.agent.status import Applied, Cause, ObjectProblem
from podwall.cluster.events import Event, ObjectKey
from podwall.dataplane.conntrack import CutReport
from podwall.errors import KernelError
from podwall.model.decode import Problem

log = logging.getLogger("podwall.agent")

PROBLEMS_PER_SECOND, PROBLEMS_AT_ONCE = 1.0, 100
"""How many lines about objects in error are logged: what users write must not fill disks."""


class Reporter:
    """An :class:`~podwall.agent.reconcile.observer.Observer`; called from several threads.

    Args:
        metrics: counts.
        on_problem: is told when what is wrong with an object changes.
        on_sync: is called after the first full picture is enforced.
        clock: monotonic time.
    """

    def __init__(
        self,
        metrics: Metrics,
        on_problem: Callable[[ObjectKey, tuple[ObjectProblem, ...]], None],
        on_sync: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._on_problem = on_problem
        self._on_sync = on_sync
        self._failures = 0
        self._cut_failures = 0
        self._repair: Applied | None = None
        self._bucket = TokenBucket(PROBLEMS_PER_SECOND, PROBLEMS_AT_ONCE, clock)
        self._untold = 0

    def applied(self, applied: Applied) -> None:
        """One line for each apply, with its reason."""
        self._metrics.applied(applied)
        self._failures = 0
        if applied.cause is Cause.DRIFT:
            # What it was comes next, and how often it was so before.
            self._repair = applied
            return
        self._tell(logging.INFO, applied, applied.reason)
        if applied.cause is Cause.SYNC:
            self._on_sync()

    def drifted(self, text: str, count: int) -> None:
        """One line for each repair, fewer for a rival that does the same again and again."""
        self._metrics.drifted()
        repair, self._repair = self._repair, None
        if not worth_telling(count):
            return
        again = f", {count} times in a row" if count > 1 else ""
        reason = f"somebody else changed what is ours{again}: {text}"
        if repair is None:
            log.warning("repaired (reason: %s)", reason)
        else:
            self._tell(logging.WARNING, repair, reason)

    def _tell(self, level: int, applied: Applied, reason: str) -> None:
        report, latencies = applied.report, applied.latencies
        waited = f"; {_waited(latencies)}" if latencies else ""
        fields = {
            "cause": applied.cause.value,
            "reason": reason,
            "seconds": round(report.seconds, 6),
            "rules_added": report.rules_added,
            "rules_removed": report.rules_removed,
            "members_added": report.members_added,
            "members_removed": report.members_removed,
            "events": len(latencies),
            "slowest_event_seconds": round(max(latencies, default=0.0), 6),
        }
        log.log(level, "%s (reason: %s%s)", report, reason, waited, extra={"fields": fields})

    def cut(self, report: CutReport) -> None:
        """One line where connections were cut."""
        self._metrics.cut(report.cut)
        self._cut_failures = 0
        if report.cut:
            log.info(
                "cut %d of %d connections, which a change forbids",
                report.cut,
                report.judged,
                extra={"fields": {"cut": report.cut, "judged": report.judged}},
            )

    def failed(self, error: KernelError, retry_in: float) -> None:
        """One line for each failure, fewer if it goes on."""
        self._metrics.failed()
        self._failures += 1
        if worth_telling(self._failures):
            log.error(
                "the kernel is not in sync: %s; tried again in %.1f s", plain(str(error)), retry_in
            )

    def cut_failed(self, error: KernelError, retry_in: float) -> None:
        """One line for each failure, fewer if it goes on."""
        self._metrics.cut_failed()
        self._cut_failures += 1
        if worth_telling(self._cut_failures):
            log.error(
                "connections that a change forbids may go on: %s; tried again in %.1f s",
                plain(str(error)),
                retry_in,
            )

    def problem_changed(self, key: ObjectKey, problems: tuple[ObjectProblem, ...]) -> None:
        """One line for each problem of an object, a bounded number."""
        self._on_problem(key, problems)
        what = f"{kind_of(key).value} {plain(name_of(key), 300)}"
        for each in problems:
            self._tell_problem(logging.WARNING, f"{what}: {each.text}")
        if not problems:
            self._tell_problem(logging.INFO, f"{what} is in error no more")

    def _tell_problem(self, level: int, text: str) -> None:
        if self._bucket.delay():
            self._untold += 1
            return
        self._bucket.spend()
        if self._untold:
            log.warning("%d lines on objects in error were left out", self._untold)
            self._untold = 0
        log.log(level, "%s", text)


def _waited(latencies: tuple[float, ...]) -> str:
    slowest = f"{max(latencies) * 1000:.0f} ms"
    if len(latencies) == 1:
        return f"{slowest} after the event arrived"
    return f"{len(latencies)} events, the slowest {slowest} after it arrived"


class CountingFeed:
    """Counts events on their way.

    Args:
        feed: where the events go.
        metrics: counts.
    """

    def __init__(self, feed: Feed, metrics: Metrics) -> None:
        self._feed = feed
        self._metrics = metrics

    def take(self, event: Event, received: float) -> None:
        """See :meth:`podwall.agent.feed.Feed.take`."""
        self._metrics.took()
        self._feed.take(event, received)

    def complain(self, key: ObjectKey, problems: tuple[Problem, ...]) -> None:
        """See :meth:`podwall.agent.feed.Feed.complain`."""
        self._feed.complain(key, problems)
