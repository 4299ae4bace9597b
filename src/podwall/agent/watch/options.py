"""How patient a reflector is, and what it needs of the world."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import msgspec


class Options(msgspec.Struct, frozen=True):
    """How patient a reflector is; times in seconds.

    Attributes:
        page: objects a page of a list.
        shortest, longest: a watch is asked to end after a time between these.
        silence: without a byte for so long, a watch is taken for dead. Servers send bookmarks about
            every minute, and up to a quarter later.
        initial_silence: the same, while a watch begins with a list: a server that does not know
            WatchList never says that the list ends.
        steady: a connection that stood for so long was a success.
        base, cap: the first and the longest wait before trying again.
        fruitless: so many watches in a row that failed before their first line, though the server
            was there, and everything is listed anew.
        watch_list: whether to ask for lists at the beginning of watches.
    """

    page: int = 500
    shortest: float = 300
    longest: float = 600
    silence: float = 90
    initial_silence: float = 20
    steady: float = 5
    base: float = 0.4
    cap: float = 30
    fruitless: int = 4
    watch_list: bool = True


class Outside(msgspec.Struct, frozen=True):
    """What a reflector needs of the world; tests bring another one.

    ``clock`` is monotonic time, ``wall`` seconds since the epoch; ``chance`` spreads waits.
    """

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: random.Random = msgspec.field(default_factory=random.Random)
