"""Denials for whoever follows them, at the pace of the reader.

Followers share the ring and have nothing of their own but a number: one that does not keep up loses
what was overwritten meanwhile, and reads how much that was.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import msgspec

from podwall.agent.control.answers import DropLine
from podwall.agent.control.words import AskDrops
from podwall.agent.denied.ring import Ring

AT_ONCE = 100
"""So many lines are handed on before others get a turn."""

_END = msgspec.json.encode(DropLine(end=True))


class _When(msgspec.Struct):
    time: float


class _Kept(msgspec.Struct):
    denial: _When


_decode = msgspec.json.Decoder(_Kept).decode


class News:
    """Wakes those who wait for more; belongs to an event loop, but any thread may tell."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    @property
    def next(self) -> asyncio.Event:
        """What is set once there is something that was not there when this was asked for."""
        return self._event

    def tell(self) -> None:
        """There is something new."""
        with contextlib.suppress(RuntimeError):  # The loop has ended already.
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()


async def tell(ring: Ring, news: News, asked: AskDrops) -> AsyncGenerator[bytes, None]:
    """Lines of JSON, each a :class:`~podwall.agent.control.answers.DropLine`; several at a time."""
    place = ring.end if asked.follow and asked.since is None else ring.start
    while True:
        event = news.next
        piece = ring.read(place, AT_ONCE)
        place = piece.next
        lines = [each for each in piece.lines if _is_new(each, asked.since)]
        if piece.lost:
            lines.insert(0, msgspec.json.encode(DropLine(lost=piece.lost)))
        if lines:
            yield b"\n".join(lines)
        if piece.lines:
            await asyncio.sleep(0)
        elif asked.follow:
            await event.wait()
        else:
            break
    yield _END


def _is_new(line: bytes, since: float | None) -> bool:
    return since is None or _decode(line).denial.time >= since
