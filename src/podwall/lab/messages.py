"""What a lab and its callers say to each other: one JSON object a line.

A request gets a :class:`Started` when it has its turn, any number of :class:`Progress` lines and
then one :class:`Result` or :class:`Failure`. One connection may carry many requests, one after the
other.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from podwall.lab.matrix import Change, Matrix, Party
from podwall.lab.topology import EVERYTHING, Cni, Selection
from podwall.model.settings import Settings


class Build(msgspec.Struct, frozen=True, tag="build"):
    """Build the lab and program its nodes.

    A lab that is ``led`` does what the connection of this request says, and ends with it.
    """

    led: bool = False


class Ask(msgspec.Struct, frozen=True, tag="probe"):
    """Probe; the result is a :class:`~podwall.lab.matrix.Matrix`."""

    selection: Selection = EVERYTHING


class Apply(msgspec.Struct, frozen=True, tag="apply"):
    """Become another snapshot (:mod:`podwall.lab.wire`); the result is :class:`Applied`."""

    snapshot: str
    probe: bool = True


class Describe(msgspec.Struct, frozen=True, tag="status"):
    """Tell what stands; the result is :class:`Status`."""


class Fetch(msgspec.Struct, frozen=True, tag="fetch"):
    """Send the snapshot that the lab stands for, as text (:mod:`podwall.lab.wire`)."""


Request: TypeAlias = Build | Ask | Apply | Describe | Fetch


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The request has its turn; until then the lab is busy with those of others."""


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far the work is, and what is being done."""

    done: int
    total: int
    label: str


class Result(msgspec.Struct, frozen=True, tag="result"):
    """The request was carried out; ``value`` is its result as JSON."""

    value: msgspec.Raw


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """The request was not carried out; ``error`` is the name of podwall's exception."""

    error: str
    text: str


Reply: TypeAlias = Started | Progress | Result | Failure


class Applied(msgspec.Struct, frozen=True):
    """The matrix after a change, if it was probed, and which answers are others than before."""

    matrix: Matrix | None = None
    changes: tuple[Change, ...] = ()


class Place(msgspec.Struct, frozen=True):
    """An endpoint that can be entered: who it is, and the network namespace it lives in."""

    party: Party
    netns: str
    node: str


class Status(msgspec.Struct, frozen=True):
    """What stands in a lab; ``led`` is whether it follows an API server of its own.

    ``settings`` are the switches that its nodes are programmed by, and its probes judged.
    """

    built: bool
    cni: Cni
    families: tuple[int, ...]
    nodes: tuple[str, ...]
    policies: tuple[str, ...]
    places: tuple[Place, ...]
    led: bool = False
    settings: Settings = Settings()
