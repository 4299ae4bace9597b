"""Where the agents of a lab have their files, as seen from inside the lab."""

from __future__ import annotations

from pathlib import Path

from podwall.lab.topology import node_netns

_NODES = Path("/run/nodes")
_PREFIX = "node_"


def run_directory(node: str) -> Path:
    """What a node's agent has for its ``/run``."""
    return _NODES / node_netns(node)


def state_directory_of(netns: str) -> str:
    """The state directory of the agent that programs a network namespace; empty if there is none.

    Hashed names are not told apart from those of pods, whose directory merely does not exist.
    """
    return str(_NODES / netns / "podwall") if netns.startswith((_PREFIX, "_")) else ""
