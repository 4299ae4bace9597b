"""Kubernetes Events on policies that deny what was tried, for those who ask for them.

One for each policy and pair of ends in ten minutes, and few altogether: who scans ports, or tries
again and again, makes no Events by that. Which of them are left out is of no importance: they say
that something is denied, and ``podwall drops`` says all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from podwall.agent.bucket import TokenBucket
from podwall.agent.denied.record import Named
from podwall.agent.reconcile.words import plain
from podwall.agent.report.writing import (
    LONGEST_MESSAGE,
    EventApi,
    EventWriter,
    Said,
    Written,
)
from podwall.model.policy import PolicyKey
from podwall.ruleset.ir import LogKind

REASONS = {LogKind.DENY: "Denied", LogKind.AUDIT: "WouldDeny"}

QUIET = 600.0
"""Seconds between two Events on the same policy and pair."""

RATE, BURST = 0.2, 25
"""So many Events come at first, and so many a second after that."""

MOST_POLICIES = 4
"""A pod that more policies isolate gets Events on the first of them."""

MOST_WAITING = 50
"""So many Events wait to be written; others are left out."""

MOST_REMEMBERED = 2000
"""Of so many pairs is remembered when there was an Event."""


class _Pair(msgspec.Struct, frozen=True, gc=False):
    policy: PolicyKey
    kind: LogKind
    source: str
    target: str


class _Last(msgspec.Struct, frozen=True):
    """When an Event was last tried, and what came of it."""

    at: float
    written: Written | None


class DenialEvents:
    """Writes Events; :meth:`note` may be called from the event loop only.

    Args:
        api: where to.
        node: the name of this node.
        count: is told of each attempt: ``written`` or ``failed``.
    """

    def __init__(
        self,
        api: EventApi,
        node: str,
        count: Callable[[str], None] = lambda _outcome: None,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._writer = EventWriter(api, node, count, wall)
        self._node = node
        self._wall = wall
        self._sleep = sleep
        self._bucket = TokenBucket(RATE, BURST, wall)
        self._last: OrderedDict[_Pair, _Last] = OrderedDict()
        self._waiting: dict[_Pair, str] = {}
        self._changed = asyncio.Event()

    def note(self, denials: Sequence[Named]) -> None:
        """Something was denied."""
        for each in denials:
            if each.stale:
                continue
            for policy in each.policies[:MOST_POLICIES]:
                pair = _Pair(policy, each.kind, each.source, each.target)
                last = self._last.get(pair)
                quiet = last is not None and 0 <= self._wall() - last.at < QUIET
                if not quiet and len(self._waiting) < MOST_WAITING:
                    self._waiting.setdefault(pair, each.text)
        if self._waiting:
            self._changed.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.catch_up()

    async def catch_up(self) -> None:
        """Write what waits."""
        while self._waiting:
            await self._sleep(self._bucket.delay())
            self._bucket.spend()
            pair = next(iter(self._waiting))
            text = self._waiting.pop(pair)
            before = self._last.pop(pair, None)
            message = plain(f"node {self._node}: {text}", LONGEST_MESSAGE)
            # A policy that denies does what it is there for, so it is no warning.
            said = Said(REASONS[pair.kind], "Normal", message)
            again = None if before is None else before.written
            written = await self._writer.write(pair.policy, said, again)
            self._last[pair] = _Last(self._wall(), written)
            if len(self._last) > MOST_REMEMBERED:
                self._last.popitem(last=False)
