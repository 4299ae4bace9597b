"""How the reconciler goes about its work; the defaults suit a node."""

from __future__ import annotations

from pathlib import Path

import msgspec

from podwall.dataplane.hostlock import LOCK_FILE


class ReconcileOptions(msgspec.Struct, frozen=True):
    """Times are in seconds.

    Attributes:
        check_every: between two looks at whether the kernel is as it was left.
        check_share: the looks take at most this share of the time, however large the sets are.
        applies_per_second: how often the kernel is written under load that goes on.
        burst: so many applies come first without any wait.
        retry_first: until something that failed is tried again; doubled each time.
        retry_longest: the longest such wait.
        forgive_every: until policies that the kernel refused are tried again as they are.
        cut_share: the share of the time that judging connections takes, where it goes on.
        lock_file: held while the kernel is written, so that two podwalls do not work at once.
        lock_seconds: how long another podwall is waited for.
    """

    check_every: float = 5.0
    check_share: float = 0.05
    applies_per_second: float = 10.0
    burst: int = 20
    retry_first: float = 0.5
    retry_longest: float = 30.0
    forgive_every: float = 600.0
    cut_share: float = 0.1
    lock_file: Path = LOCK_FILE
    lock_seconds: float = 30.0

    def retry_pause(self, failures: int) -> float:
        """Seconds until the next try, after so many failures in a row before the last one."""
        doubled = self.retry_first * float(1 << min(failures, 30))
        return min(doubled, self.retry_longest)


DEFAULTS = ReconcileOptions()
