"""Denials over the control socket, from the agent's ring to whoever asks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from podwall.agent.control.answers import DropLine, DropsHead
from podwall.agent.control.client import ask_drops
from podwall.agent.control.server import ControlServer
from podwall.agent.control.words import AskDrops, Request
from podwall.agent.denied.auditing import AuditLedger
from podwall.agent.denied.record import Record
from podwall.agent.denied.ring import Ring
from podwall.agent.denied.service import Denials
from podwall.agent.denied.telling import News
from podwall.agent.status import DeniedStatus
from podwall.errors import AgentError
from tests.unit.agent.denied.making import named


class Agent:
    """As much of an agent as there is to ask."""

    def __init__(self, directory: Path, size: int) -> None:
        self.directory = directory
        self.record = Record(AuditLedger(directory / "audit.json", lambda: 0.0), Ring(size))
        self.news = News(asyncio.get_running_loop())
        status = DeniedStatus(logging=True, reading=True)
        self._denials = Denials("a", self.record, self.news, lambda: status)
        self.server = ControlServer(directory / "agent.sock", self._answer)

    async def _answer(self, request: Request) -> object:
        assert isinstance(request, AskDrops)
        return self._denials.drops(request)

    def deny(self, *times: float) -> None:
        self.record.add([named(when=each) for each in times])
        self.news.tell()

    def take(
        self, most: int, follow: bool, since: float | None
    ) -> tuple[DropsHead, list[DropLine]]:
        with ask_drops(str(self.directory), follow, since) as (head, lines):
            assert head.status.reading
            return head, list(itertools.islice(lines, most))

    async def ask(
        self, most: int = 1000, *, follow: bool = False, since: float | None = None
    ) -> tuple[DropsHead, list[DropLine]]:
        async with asyncio.timeout(20):
            return await asyncio.to_thread(self.take, most, follow, since)


@contextlib.asynccontextmanager
async def agent(directory: Path, size: int = 100) -> AsyncIterator[Agent]:
    found = Agent(directory, size)
    await found.server.start()
    try:
        yield found
    finally:
        await found.server.stop()


def times(lines: list[DropLine]) -> list[float]:
    return [msgspec.json.decode(each.denial)["time"] for each in lines]


async def test_what_is_kept_is_told(tmp_path: Path) -> None:
    async with agent(tmp_path) as found:
        found.deny(1, 2, 3)
        head, lines = await found.ask()
        assert (head.kept, times(lines)) == (3, [1, 2, 3])
        assert times((await found.ask(since=2.0))[1]) == [2, 3]


async def test_who_asks_learns_how_many_are_kept_and_how_many_are_not_any_more(
    tmp_path: Path,
) -> None:
    async with agent(tmp_path, size=2) as found:
        found.deny(1, 2, 3, 4, 5)
        head, lines = await found.ask(2, follow=True, since=0.0)
        assert (head.kept, head.overwritten, times(lines)) == (2, 3, [4, 5])


async def test_a_follower_gets_what_happens_until_the_agent_ends(tmp_path: Path) -> None:
    async with agent(tmp_path) as found:
        found.deny(1)
        following = asyncio.create_task(found.ask(follow=True, since=0.0))
        while not found.server._followers:
            await asyncio.sleep(0.01)
        found.deny(2)
    with pytest.raises(AgentError, match="the agent has ended"):
        await following
