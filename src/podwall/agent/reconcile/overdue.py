"""Events that were taken in and could not be enforced yet: how many, and since when."""

from __future__ import annotations

from collections.abc import Iterable

KEPT = 10_000
"""So many are remembered one by one; a kernel that cannot be written for hours costs no memory."""


class Overdue:
    """The longest waiting events' times of arrival, and the number of all."""

    def __init__(self) -> None:
        self.count = 0
        self._received: list[float] = []

    def add(self, received: Iterable[float]) -> None:
        """These wait as well."""
        times = list(received)
        self.count += len(times)
        self._received += times[: max(0, KEPT - len(self._received))]

    def settle(self, now: float) -> tuple[float, ...]:
        """None waits any more; the seconds for which those remembered did."""
        waited = tuple(now - each for each in self._received)
        self.count = 0
        self._received = []
        return waited
