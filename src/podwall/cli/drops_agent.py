"""Denied packets from agents: that of this host, or those of a lab's nodes.

An agent keeps the last denials, so it can also tell the past. Several of them are listened to by a
thread each; what they say meets in one queue. It is short: whoever reads too slowly makes the agent
wait, and is told then how much it missed.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterable, Iterator

import msgspec

from podwall.agent.control.answers import DropLine, DropsHead
from podwall.agent.control.client import OTHER_WORDS, ask_drops
from podwall.cli.drops_model import Drop, Gap, Heard
from podwall.errors import AgentError

TICK = 0.25
"""Seconds after which whoever listens gets a turn although nothing came."""

_ROOM = 200


class Told(msgspec.Struct, frozen=True):
    """What agents keep of the past, the oldest first, and what each says of its log."""

    heads: tuple[DropsHead, ...]
    drops: tuple[Drop, ...]
    gaps: tuple[Gap, ...]


def kept_by(places: Iterable[str], since: float | None) -> Told:
    """What agents keep, from ``since`` on, in seconds since the epoch.

    Args:
        places: the agents' state directories.
        since: ``None`` is all of it.

    Raises:
        AgentError: an agent cannot be asked.
    """
    heads: list[DropsHead] = []
    heard: list[Heard] = []
    for each in places:
        with ask_drops(each, since=since) as (head, lines):
            heads.append(head)
            heard += (_heard(head.node, line) for line in lines)
    drops = sorted((each for each in heard if isinstance(each, Drop)), key=lambda each: each.time)
    return Told(tuple(heads), tuple(drops), tuple(each for each in heard if isinstance(each, Gap)))


def heads_of(places: Iterable[str]) -> list[DropsHead]:
    """What agents say of their logs.

    Raises:
        AgentError: an agent cannot be asked.
    """
    heads: list[DropsHead] = []
    for each in places:
        with ask_drops(each, since=math.inf) as (head, _lines):
            heads.append(head)
    return heads


def follow_agents(places: Iterable[str], since: float | None) -> Iterator[Heard]:
    """What agents keep from ``since`` on, if that is given, and then what happens, without an end.

    Raises:
        AgentError: an agent cannot be asked, or ended.
    """
    heard: queue.Queue[Heard | Exception] = queue.Queue(_ROOM)
    for each in places:
        threading.Thread(target=_listen, args=(each, since, heard), daemon=True).start()
    while True:
        try:
            found = heard.get(timeout=TICK)
        except queue.Empty:
            found = None
        if isinstance(found, Exception):
            raise found
        yield found


def _listen(directory: str, since: float | None, heard: queue.Queue[Heard | Exception]) -> None:
    """A thread's life."""
    try:
        with ask_drops(directory, follow=True, since=since) as (head, lines):
            for line in lines:
                heard.put(_heard(head.node, line))
    except Exception as error:
        heard.put(error)


def _heard(node: str, line: DropLine) -> Heard:
    if line.lost:
        return Gap(node, line.lost, "they were overwritten before they could be told")
    try:
        found = msgspec.json.decode(line.denial, type=Drop)
    except msgspec.DecodeError as error:
        raise AgentError(OTHER_WORDS.format(error)) from error
    return msgspec.structs.replace(found, node=node)
