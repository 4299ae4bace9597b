"""The cluster as an agent knows it, for whoever asks: everything at once, without holding it up.

The reconciler's thread only gathers references, some milliseconds in the largest cluster: the
objects are frozen, so what happens to the cluster then does not touch them. They are encoded piece
by piece as they are read at the other end, so the text of a whole cluster, a hundred megabytes, is
never in memory.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator

import msgspec

from podwall.agent.control.answers import ClusterHead
from podwall.agent.control.asking import NO_PICTURE
from podwall.agent.control.explaining import without_rules
from podwall.agent.reconcile.picture import Picture
from podwall.cluster.wire import Parts, encode_parts
from podwall.errors import AgentError

_RUN = secrets.token_hex(8)
"""What tells this agent's generations from those of the one before it."""


class Gathered(msgspec.Struct, frozen=True):
    """References to what is to be told."""

    head: ClusterHead
    parts: Parts


def gather(picture: Picture, known: str = "") -> Gathered:
    """All objects of the cluster; none if ``known`` stands for what is known now.

    Raises:
        AgentError: the agent has no full picture of the cluster yet.
    """
    if picture.live is None:
        raise AgentError(NO_PICTURE)
    state, refused = picture.live.state, picture.live.refused
    # What the kernel refuses can change without any news.
    now = f"{_RUN}.{state.generation}.{hash(refused):x}"
    parts = Parts()
    if known != now:
        parts = Parts(
            tuple(state.namespaces()),
            tuple(state.nodes()),
            tuple(without_rules(p) if p.key in refused else p for p in state.policies()),
            tuple(state.pods()),
        )
    return Gathered(ClusterHead(picture.node, picture.settings, now, _count(parts)), parts)


async def tell(gathered: Gathered) -> AsyncGenerator[bytes, None]:
    """The objects as lines; whoever else has something to do gets a turn after each."""
    for piece in gathered.parts.pieces() if gathered.head.objects else ():
        yield encode_parts(piece)
        await asyncio.sleep(0)


def _count(parts: Parts) -> int:
    return sum(map(len, (parts.namespaces, parts.nodes, parts.policies, parts.pods)))
