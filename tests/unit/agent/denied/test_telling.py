"""Denials for those who follow: from when on, how many at a time, and what slow ones lose."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator

import msgspec

from podwall.agent.control.answers import DropLine
from podwall.agent.control.words import AskDrops
from podwall.agent.denied.ring import Ring
from podwall.agent.denied.telling import AT_ONCE, News, tell
from tests.unit.agent.denied.making import line


def lines(*times: float) -> list[bytes]:
    return [line(each) for each in times]


async def take(told: AsyncGenerator[bytes, None]) -> list[DropLine]:
    async with asyncio.timeout(20):
        piece = await anext(told)
    return [msgspec.json.decode(each, type=DropLine) for each in piece.splitlines()]


async def times(told: AsyncGenerator[bytes, None]) -> list[float]:
    return [msgspec.json.decode(each.denial)["time"] for each in await take(told)]


def telling(ring: Ring, **asked: object) -> tuple[AsyncGenerator[bytes, None], News]:
    news = News(asyncio.get_running_loop())
    return tell(ring, news, msgspec.convert(asked, AskDrops, strict=True)), news


async def test_what_is_kept_is_told_to_its_end() -> None:
    ring = Ring()
    ring.add(lines(1, 2))
    told, _ = telling(ring)
    assert await times(told) == [1, 2]
    assert await take(told) == [DropLine(end=True)]
    assert await anext(told, None) is None


async def test_what_was_before_the_time_asked_for_is_left_out() -> None:
    ring = Ring()
    ring.add(lines(1, 2, 3))
    told, _ = telling(ring, since=2.0)
    assert await times(told) == [2, 3]


async def test_a_follower_gets_what_comes_and_with_a_time_what_was_as_well() -> None:
    ring = Ring()
    ring.add(lines(1))
    told, news = telling(ring, follow=True)
    soon = asyncio.create_task(anext(told))
    await asyncio.sleep(0)
    thread = threading.Thread(target=lambda: (ring.add(lines(2)), news.tell()))
    thread.start()
    async with asyncio.timeout(20):
        assert await soon == line(2)
    thread.join()
    past, _ = telling(ring, follow=True, since=0.0)
    assert await times(past) == [1, 2]
    for each in (told, past):
        await each.aclose()


async def test_whoever_is_too_slow_is_told_what_it_lost() -> None:
    ring = Ring(size=3)
    ring.add(lines(1, 2))
    told, news = telling(ring, follow=True, since=0.0)
    assert await times(told) == [1, 2]
    ring.add(lines(*range(3, 10)))
    news.tell()
    lost, *rest = await take(told)
    assert lost == DropLine(lost=4)
    assert len(rest) == 3
    await told.aclose()


async def test_a_long_past_is_told_piece_by_piece() -> None:
    ring = Ring()
    ring.add(lines(*range(AT_ONCE + 1)))
    told, _ = telling(ring)
    assert [len(await take(told)) for _ in range(3)] == [AT_ONCE, 1, 1]


async def test_after_the_loop_has_ended_nobody_is_woken_and_nothing_breaks() -> None:
    news = await asyncio.to_thread(lambda: asyncio.run(_news()))
    news.tell()


async def _news() -> News:
    return News(asyncio.get_running_loop())
