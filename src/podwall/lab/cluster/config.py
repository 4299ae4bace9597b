"""What the leader of a lab is told when it starts, and what it says when everything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

OVERVIEW = "/podwall-lab"
"""Path below the API server's where :class:`Overview` is."""


class Config(msgspec.Struct, frozen=True):
    """What to lead.

    Attributes:
        name: the lab's.
        nodes: a snapshot with the nodes that stand (:mod:`podwall.lab.wire`).
        node_labels: labels of nodes, by name.
        families: IP versions in which pods get addresses.
        objects: what the API server holds from the start, as in manifests.
        agents: whether each node has an agent.
        agent_options: options of all agents.
    """

    name: str
    nodes: str
    families: tuple[int, ...]
    node_labels: Mapping[str, Mapping[str, str]] = {}
    objects: tuple[dict[str, Any], ...] = ()
    agents: bool = True
    agent_options: tuple[str, ...] = ()


class Up(msgspec.Struct, frozen=True):
    """Everything runs; ``refused`` tells which objects the API server did not take, and why."""

    url: str
    refused: tuple[str, ...] = ()


class AgentState(msgspec.Struct, frozen=True):
    """An agent, as ``lab status`` tells of it; ``pid`` is its number inside the lab, 0 if none."""

    node: str
    pid: int
    restarts: int
    ready: bool
    why_not: str = ""


class Overview(msgspec.Struct, frozen=True):
    """What the leader knows that the holder does not."""

    url: str
    agents: tuple[AgentState, ...]
