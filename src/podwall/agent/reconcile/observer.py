"""Who is told what the reconciler does: metrics, logs, Kubernetes Events."""

from __future__ import annotations

from typing import Protocol

from podwall.agent.status import Applied, ObjectProblem
from podwall.cluster.events import ObjectKey
from podwall.dataplane.conntrack import CutReport
from podwall.errors import KernelError


class Observer(Protocol):
    """Is called from the reconciler's threads, one call at a time from each; must return soon."""

    def applied(self, applied: Applied) -> None:
        """Something was written to the kernel, or the first look found nothing to write."""
        ...

    def drifted(self, text: str, count: int) -> None:
        """Somebody changed what is ours, and it was repaired; ``text`` names the entries.

        ``count`` is how many times in a row the same was found: whoever logs it may become quieter
        (:func:`podwall.agent.reconcile.drift.worth_telling`), whoever counts it adds one.
        """
        ...

    def cut(self, report: CutReport) -> None:
        """Connections were judged; perhaps some were cut."""
        ...

    def failed(self, error: KernelError, retry_in: float) -> None:
        """The kernel could not be read or written; it is tried again in so many seconds."""
        ...

    def cut_failed(self, error: KernelError, retry_in: float) -> None:
        """Connections could not be judged or cut; it is tried again in so many seconds."""
        ...

    def problem_changed(self, key: ObjectKey, problems: tuple[ObjectProblem, ...]) -> None:
        """What is wrong with an object is another thing than before, or (empty) nothing any more.

        An object that is gone has no problems.
        """
        ...


class SilentObserver:
    """Tells nobody."""

    def applied(self, applied: Applied) -> None:
        """See :meth:`Observer.applied`."""

    def drifted(self, text: str, count: int) -> None:
        """See :meth:`Observer.drifted`."""

    def cut(self, report: CutReport) -> None:
        """See :meth:`Observer.cut`."""

    def failed(self, error: KernelError, retry_in: float) -> None:
        """See :meth:`Observer.failed`."""

    def cut_failed(self, error: KernelError, retry_in: float) -> None:
        """See :meth:`Observer.cut_failed`."""

    def problem_changed(self, key: ObjectKey, problems: tuple[ObjectProblem, ...]) -> None:
        """See :meth:`Observer.problem_changed`."""
