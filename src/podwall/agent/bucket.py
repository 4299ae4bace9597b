"""How often something may be done: at once at first, and slower the longer it goes on."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """``burst`` tokens at first, and ``rate`` more each second up to that number.

    A token stands for whatever is rationed: a write to the kernel, an Event, or a second of work.

    Args:
        rate: tokens a second.
        burst: the most that there are at a time.
        clock: seconds.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled = clock()

    def spend(self, tokens: float = 1.0) -> None:
        """Take tokens, on credit if need be."""
        self._fill()
        self._tokens -= tokens

    def delay(self, tokens: float = 1.0) -> float:
        """Seconds until there are so many tokens; 0 if there are."""
        self._fill()
        return max(0.0, (tokens - self._tokens) / self._rate)

    def _fill(self) -> None:
        now = self._clock()
        # A clock that is set back gives nothing and takes nothing.
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._filled) * self._rate)
        self._filled = now
