"""Kubernetes Events on policies that are not enforced as they were written.

Whoever wrote such a policy looks at the policy, not at the logs of agents: the Event says which
pods of which node it isolates now, and why the rest of it has no effect. Only agents that have such
pods write one, each its own, and few at a time: an object that 5,000 agents cannot read must not
become 5,000 Events at once. An Event that stays true is renewed before the API server forgets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from podwall.agent.bucket import TokenBucket
from podwall.agent.reconcile.words import few, plain
from podwall.agent.report.writing import (
    LONGEST_MESSAGE,
    EventApi,
    EventWriter,
    Said,
    Written,
)
from podwall.agent.status import ObjectProblem
from podwall.cluster.events import ObjectKey
from podwall.model.objects import PodKey
from podwall.model.policy import PolicyKey

NOT_ENFORCED = "NotEnforcedAsWritten"
ENFORCED = "EnforcedAsWritten"

LOOK_EVERY = 60.0
"""Seconds between two looks whether a policy in error has pods here now, or an Event grew old."""

RENEW_AFTER = 45 * 60.0
"""Seconds; API servers keep Events for an hour."""

RATE, BURST = 0.2, 25
"""So many Events come at first, and so many a second after that, whatever users do."""

QUIET = 5.0
"""Seconds between two Events on one policy: somebody who tries this and that needs no more."""

JITTER = 2.0
"""Up to so many seconds pass before the first: agents of many nodes learn of an error together."""

MOST = 500
"""So many policies in error are followed; the status lists them all."""

_LONGEST_NAMES = 300

Isolated = Callable[[Sequence[PolicyKey]], Awaitable[Mapping[PolicyKey, tuple[PodKey, ...]] | None]]
"""The pods of this node that policies select; ``None`` while nobody can tell."""


class PolicyEvents:
    """Writes Events; :meth:`note` may be called from the event loop only.

    Args:
        api: where to.
        node: the name of this node.
        isolated: tells which pods here a policy selects.
        count: is told of each attempt: ``written`` or ``failed``.
    """

    def __init__(
        self,
        api: EventApi,
        node: str,
        isolated: Isolated,
        count: Callable[[str], None] = lambda _outcome: None,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._writer = EventWriter(api, node, count, wall)
        self._node = node
        self._isolated = isolated
        self._wall = wall
        self._sleep = sleep
        self._chance = chance
        self._texts: dict[PolicyKey, str] = {}
        self._written: dict[PolicyKey, Written] = {}
        self._last: dict[PolicyKey, float] = {}
        self._bucket = TokenBucket(RATE, BURST, wall)
        self._changed = asyncio.Event()
        self._blind = False

    def note(self, key: ObjectKey, problems: tuple[ObjectProblem, ...]) -> None:
        """What is wrong with an object has changed."""
        if not isinstance(key, PolicyKey) or not key.namespace:
            return
        if not problems:
            self._texts.pop(key, None)
        elif key in self._texts or len(self._texts) < MOST:
            self._texts[key] = "; ".join(each.text for each in problems)
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled."""
        pause: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            self._changed.clear()
            await self._sleep(self._chance() * JITTER)
            await self.catch_up()
            soon = self._last or self._blind
            pause = QUIET if soon else LOOK_EVERY if self._texts or self._written else None

    async def catch_up(self) -> None:
        """Write what is not written yet."""
        self._last = {key: at for key, at in self._last.items() if self._wall() - at < QUIET}
        keys = {*self._texts, *self._written} - self._last.keys()
        if not keys:
            return
        isolated = await self._isolated(tuple(sorted(keys)))
        self._blind = isolated is None
        if isolated is None:
            return
        for key in sorted(keys):
            text, pods = self._texts.get(key), isolated.get(key)
            if pods is None:
                # The policy is gone, and with it whoever would read of it.
                self._written.pop(key, None)
            elif text is None:
                await self._settle(key)
            elif pods:
                await self._complain(key, self._message(pods, text))

    async def _complain(self, key: PolicyKey, message: str) -> None:
        written = self._written.get(key)
        if written is None or written.message != message or self._is_old(written):
            await self._put(key, Said(NOT_ENFORCED, "Warning", message))

    async def _settle(self, key: PolicyKey) -> None:
        message = f"node {self._node}: this policy is enforced as written"
        if await self._put(key, Said(ENFORCED, "Normal", message)):
            self._written.pop(key, None)

    def _is_old(self, written: Written) -> bool:
        return self._wall() - written.at >= RENEW_AFTER

    def _message(self, pods: tuple[PodKey, ...], text: str) -> str:
        names = plain(few((each.name for each in pods), 4), _LONGEST_NAMES)
        head = (
            f"node {self._node}: this policy is not enforced as written. It isolates {names}; "
            "what is wrong with it allows nothing: "
        )
        return head + plain(text, LONGEST_MESSAGE - len(head))

    async def _put(self, key: PolicyKey, said: Said) -> bool:
        """Write an Event, or write it once more; whether that went well."""
        await self._sleep(self._bucket.delay())
        self._bucket.spend()
        self._last[key] = self._wall()
        written = await self._writer.write(key, said, self._written.get(key))
        if written is not None:
            self._written[key] = written
        return written is not None
