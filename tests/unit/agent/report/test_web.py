"""HTTP for those who watch over the agent, whoever else connects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from podwall.agent.config.fields import Listen
from podwall.agent.report.web import MOST_CONNECTIONS, Web

PATIENCE = 30.0
LOCAL = Listen("127.0.0.1", 0)


class World:
    """The endpoints, and what they say."""

    def __init__(self) -> None:
        self.why_dead: list[str] = []
        self.why_not_ready: list[str] = []
        self.web = Web(lambda: self.why_dead, lambda: self.why_not_ready, lambda: b"podwall 1\n")
        self.all = self.metrics = ""

    async def ask(self, url: str, method: str = "GET") -> tuple[int, str]:
        async with ClientSession() as session, session.request(method, url) as response:
            return response.status, await response.text()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    made.all, made.metrics = (f"http://{each}" for each in await made.web.start(LOCAL, LOCAL))
    try:
        async with asyncio.timeout(PATIENCE):
            yield made
    finally:
        await made.web.stop()


async def test_alive_and_ready_are_told_apart_and_say_why_not(world: World) -> None:
    assert await world.ask(f"{world.all}/livez") == (200, "alive\n")
    assert await world.ask(f"{world.all}/readyz") == (200, "ready\n")
    world.why_not_ready.append("no news")
    assert await world.ask(f"{world.all}/readyz") == (503, "not ready:\nno news\n")
    assert await world.ask(f"{world.all}/livez") == (200, "alive\n")


async def test_the_second_address_has_the_metrics_and_nothing_else(world: World) -> None:
    for url in (world.all, world.metrics):
        assert await world.ask(f"{url}/metrics") == (200, "podwall 1\n")
        assert (await world.ask(f"{url}/"))[0] == 404
    assert (await world.ask(f"{world.metrics}/readyz"))[0] == 404


async def test_pages_are_read_and_not_written(world: World) -> None:
    assert await world.ask(f"{world.all}/livez", "HEAD") == (200, "")
    assert (await world.ask(f"{world.all}/livez", "POST"))[0] == 405


async def test_who_connects_and_says_nothing_shuts_nobody_out(world: World) -> None:
    host, port = world.all.removeprefix("http://").split(":")
    idle = [await asyncio.open_connection(host, int(port)) for _ in range(4 * MOST_CONNECTIONS)]
    assert await world.ask(f"{world.all}/livez") == (200, "alive\n")
    ends = [asyncio.create_task(reader.read()) for reader, _ in idle]
    while sum(each.done() for each in ends) < 3 * MOST_CONNECTIONS:
        await asyncio.sleep(0.01)
    for each in ends:
        each.cancel()
    await asyncio.gather(*ends, return_exceptions=True)
    for _, writer in idle:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
