"""How the agent is doing: its status, whether it is alive, whether it is ready.

Alive: the reconciler's thread still answers, and none is gone. Ready: everything was seen once and
enforced, the kernel is in sync, and news arrive. A watch that is away for a moment, as when an API
server restarts, makes nobody unready; one that stays away does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Protocol

from podwall import __version__
from podwall.agent.reconcile.picture import Picture
from podwall.agent.status import (
    AgentStatus,
    DeniedStatus,
    Enforced,
    KernelStatus,
    ObjectProblem,
    WatchStatus,
)
from podwall.errors import AgentError

PULSE_EVERY = 5.0
"""Seconds between two questions whether the reconciler's thread goes on."""

STUCK_AFTER = 120.0
"""Seconds without an answer after which it counts as stuck, waits for the xtables lock left out."""


def stuck_after(lock_wait: float) -> float:
    """Seconds without an answer after which it is stuck, if each program may wait for that long.

    Between two answers there may be a write and another try, each in both families; each waits
    half a minute at most for another podwall on this host.
    """
    return STUCK_AFTER + 4 * lock_wait


class Watched(Protocol):
    """Something with a :class:`~podwall.agent.status.WatchStatus`."""

    @property
    def status(self) -> WatchStatus:
        """How it goes."""
        ...


class Reconciling(Protocol):
    """As much of a reconciler as there is to know from outside."""

    def status(self) -> KernelStatus: ...  # noqa: D102
    def enforced(self) -> Enforced: ...  # noqa: D102
    def problems(self) -> tuple[ObjectProblem, ...]: ...  # noqa: D102
    def waiting(self) -> int: ...  # noqa: D102
    def objects(self) -> dict[str, int]: ...  # noqa: D102


class Pulse:
    """Asks the reconciler's thread again and again whether it is there.

    Args:
        ask: puts a question to the thread.
        ended: tells of threads that are gone.
        patience: seconds that an answer may take.
        clock: monotonic time.
        sleep: waits.
    """

    def __init__(
        self,
        ask: Callable[[Callable[[Picture], None]], Future[None]],
        ended: Callable[[], Sequence[str]],
        patience: float = STUCK_AFTER,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ask = ask
        self._ended = ended
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._answered = clock()

    async def run(self) -> None:
        """Ask until cancelled.

        Raises:
            AgentError: a thread ended by itself. Whoever started the agent starts it again.
        """
        while True:
            answer = asyncio.wrap_future(self._ask(lambda _picture: None))
            try:
                while not answer.done():
                    await asyncio.wait((answer,), timeout=PULSE_EVERY)
                    if ended := self._ended():
                        raise AgentError("; ".join(ended))
                answer.result()
            finally:
                # Nobody waits any more: an agent that ends refuses what is still asked.
                answer.cancel()
            self._answered = self._clock()
            await self._sleep(PULSE_EVERY)

    def why_dead(self) -> Sequence[str]:
        """What says that there is no progress; nothing if there is."""
        ended = self._ended()
        silent = self._clock() - self._answered
        if ended or silent <= self._patience:
            return ended
        return (f"the thread that writes to the kernel has not answered for {silent:.0f} s",)


class Health:
    """Puts the status together.

    Args:
        node: the name of this node.
        reconciler: the kernel side.
        watches: the API server's side.
        unready_after: seconds that a watch may be away.
        clock: the time in seconds since the epoch.

    Attributes:
        listening: where HTTP is served.
        denied: tells how the log of denied packets is read.
    """

    def __init__(
        self,
        node: str,
        reconciler: Reconciling,
        watches: Sequence[Watched],
        unready_after: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.listening: tuple[str, ...] = ()
        self.denied: Callable[[], DeniedStatus] = DeniedStatus
        self._node = node
        self._reconciler = reconciler
        self._watches = tuple(watches)
        self._unready_after = unready_after
        self._clock = clock
        self._started = clock()

    def status(self) -> AgentStatus:
        """Everything there is to say."""
        why_not = tuple(self.why_not_ready())
        return AgentStatus(
            version=__version__,
            node=self._node,
            started=self._started,
            ready=not why_not,
            why_not=why_not,
            watches=tuple(each.status for each in self._watches),
            kernel=self._reconciler.status(),
            enforced=self._reconciler.enforced(),
            problems=self._reconciler.problems(),
            waiting=self._reconciler.waiting(),
            objects=self._reconciler.objects(),
            listening=self.listening,
            denied=self.denied(),
        )

    def why_not_ready(self) -> Sequence[str]:
        """What keeps traffic from being judged by an up-to-date picture."""
        return [*self._why_no_news(), *self._why_not_in_sync()]

    def _why_no_news(self) -> Iterator[str]:
        for each in self._watches:
            status = each.status
            away = self._clock() - status.since
            error = f": {status.error}" if status.error else ""
            if not status.listed:
                yield f"{status.kind} objects are not known yet{error}"
            elif not status.connected and away > self._unready_after:
                yield f"no news of {status.kind} objects for {away:.0f} s{error}"

    def _why_not_in_sync(self) -> Iterator[str]:
        kernel = self._reconciler.status()
        if kernel.in_sync:
            return
        if kernel.error:
            yield f"the kernel is not in sync: {kernel.error}"
        elif all(each.status.listed for each in self._watches):
            yield "nothing is enforced yet: the first write to the kernel is under way"
        else:
            yield "nothing is enforced yet: the cluster is not known in full"
