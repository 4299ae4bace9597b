"""How long to wait before trying again: longer each time, and never in step with others.

After an outage every node of a cluster comes back to the same API server. Waits are drawn from a
range that is as wide as the wait is long, so that they do not come at the same moment.
"""

from __future__ import annotations

import random

LONGEST_ASKED = 300.0
"""Seconds that a server's own request to wait is honoured; a larger number is a mistake."""


class Backoff:
    """Waits that double from ``base`` to ``cap`` seconds, each spread from half to one and a half.

    Args:
        base: the first wait, before it is spread.
        cap: the longest wait, before it is spread.
        chance: draws the spread.
    """

    def __init__(self, base: float, cap: float, chance: random.Random) -> None:
        self._base = base
        self._cap = cap
        self._chance = chance
        self._failures = 0

    def pause(self, asked: float | None = None) -> float:
        """The seconds to wait after one more failure.

        Never less than the ``asked`` ones, which are spread too: a server that is too busy asks all
        its clients for the same time.
        """
        # Past some doublings the cap decides; the power must not grow without bound.
        wait = min(self._cap, self._base * 2.0 ** min(self._failures, 32))
        self._failures += 1
        wait *= self._chance.uniform(0.5, 1.5)
        if asked is None:
            return wait
        return max(wait, min(asked, LONGEST_ASKED) * self._chance.uniform(1, 1.25))

    def reset(self) -> None:
        """Begin anew: what was tried works."""
        self._failures = 0
