"""How often something may be done that users can make us do."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """``burst`` tokens at first, and ``rate`` more each second up to that number.

    Args:
        rate: tokens a second.
        burst: the most that there are at a time.
        clock: seconds.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled = clock()

    def delay(self) -> float:
        """Seconds until there is a token; 0 if there is one."""
        self._fill()
        return max(0.0, (1 - self._tokens) / self._rate)

    def spend(self) -> None:
        """Take a token."""
        self._fill()
        self._tokens -= 1

    def _fill(self) -> None:
        now = self._clock()
        # A clock that is set back gives nothing and takes nothing.
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._filled) * self._rate)
        self._filled = now
