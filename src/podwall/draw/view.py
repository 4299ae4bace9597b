"""What a picture of policies tells, before anything has a place: plain words and counts.

A view is bounded. What is left out is counted in it, so that the picture can say so.
"""

from __future__ import annotations

import enum

import msgspec


class Hole(msgspec.Struct, frozen=True):
    """A part of a block that is left out: where it begins and ends, from 0 to 1, and its text."""

    first: float
    last: float
    text: str


class PeerView(msgspec.Struct, frozen=True):
    """Somebody at the other end: ``title`` as the policy says it, ``note`` who that is now."""

    title: str
    note: str = ""
    kind: str = "pods"
    missing: bool = False
    holes: tuple[Hole, ...] = ()
    more_holes: int = 0


class PlaceView(msgspec.Struct, frozen=True):
    """Peers of one namespace, or of one selector of namespaces; without ``title`` of none."""

    peers: tuple[PeerView, ...]
    title: str = ""
    note: str = ""


class PortView(msgspec.Struct, frozen=True):
    """A port, and what its name stands for."""

    title: str
    note: str = ""


class RuleView(msgspec.Struct, frozen=True):
    """One rule: any of ``places`` on any of ``ports``."""

    title: str
    whole: str
    places: tuple[PlaceView, ...]
    ports: tuple[PortView, ...]
    more_peers: int = 0
    more_ports: int = 0
    audited: bool = False
    broken: bool = False


class Gate(enum.Enum):
    """How a direction stands: not isolated, isolated, or isolated only by audited policies."""

    OPEN = "open"
    CLOSED = "closed"
    AUDITED = "audited"


class SideView(msgspec.Struct, frozen=True):
    """One direction of a group: its rules, and what is said of everybody else."""

    gate: Gate
    rules: tuple[RuleView, ...] = ()
    more_rules: int = 0
    rest: str = ""
    rest_note: str = ""


class GroupView(msgspec.Struct, frozen=True):
    """Pods with the same policies."""

    title: str
    note: str
    pods: tuple[str, ...]
    policies: tuple[str, ...]
    ingress: SideView
    egress: SideView
    empty: bool = False
    policies_title: str = "policies"


class FrameView(msgspec.Struct, frozen=True):
    """A namespace and the groups of its pods."""

    title: str
    note: str
    groups: tuple[GroupView, ...]
    left_out: str = ""


class PolicyView(msgspec.Struct, frozen=True):
    """A whole picture."""

    title: str
    subtitle: str
    frames: tuple[FrameView, ...]
    problems: tuple[str, ...] = ()
    audited: bool = False
    left_out: str = ""
