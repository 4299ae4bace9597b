"""Log lines about the API server: one when news stop for more than a moment, one when they return.

An API server that ends a watch, as it does every few minutes, is nothing to log. One that stays
away is, and again after twice as long each time, with the reason as it is then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from podwall.agent.reconcile.words import plain
from podwall.agent.report.health import Watched
from podwall.agent.status import WatchStatus

log = logging.getLogger("podwall.agent")

LOOK_EVERY = 0.5
"""Seconds between two looks at the watches."""

FIRST_AFTER = 2.0
"""Seconds without news until the first line."""

AGAIN_AFTER = 30.0
"""Seconds without news until the second line; from there it is twice as long each time."""


class WatchLog:
    """Follows watches; :meth:`run` is its life.

    Args:
        watches: what to follow.
        wall: the time in seconds since the epoch, as that of the watches.
        sleep: waits.
    """

    def __init__(
        self,
        watches: Sequence[Watched],
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._watches = tuple(watches)
        self._wall = wall
        self._sleep = sleep
        self._next: dict[int, float] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await self._sleep(LOOK_EVERY)

    def look(self) -> None:
        """Log what is new."""
        lost: dict[str, list[WatchStatus]] = {}
        back = []
        for index, each in enumerate(self._watches):
            status = each.status
            away = self._wall() - status.since
            if status.connected:
                if self._next.pop(index, None) is not None:
                    back.append(status)
            elif status.error and away >= self._next.get(index, FIRST_AFTER):
                self._next[index] = max(2 * away, AGAIN_AFTER)
                lost.setdefault(status.error, []).append(status)
        for error, watches in lost.items():
            away = max(self._wall() - each.since for each in watches)
            log.warning(
                "no news of %s for %.0f s, trying on: %s", _kinds(watches), away, plain(error, 500)
            )
        if back:
            log.info("news of %s arrive again", _kinds(back))


def _kinds(watches: Sequence[WatchStatus]) -> str:
    return f"{', '.join(each.kind for each in watches)} objects"
