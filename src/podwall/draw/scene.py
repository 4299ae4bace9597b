"""What is in a picture and where: boxes, texts, lines and signs, without any format's words.

A text knows the box that it stands in and a line the boxes that it joins, so that a test can walk a
scene and see that nothing lies on anything else. Coordinates are pixels from the top left corner.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from podwall.draw.metrics import Style, clean, fit, width_of

Point: TypeAlias = tuple[float, float]


class Look(enum.Enum):
    """What a thing means, which is what its colours and lines say; the value is its class."""

    PAGE = "page"
    FRAME = "frame"
    CARD = "card"
    PLAIN = "plain"
    SUBJECT = "subject"
    PORTS = "ports"
    BLOCK = "block"
    HOLE = "hole"
    REST = "rest"
    WALL = "wall"
    OPEN = "open"
    AUDIT = "audit"
    WARNING = "warning"
    DENY = "deny"
    HEAT = "heat"


class Ink(enum.Enum):
    """The colour of a text or line."""

    INK = "ink"
    MUTED = "muted"
    ALLOW = "allow"
    DENY = "stop"
    AUDIT = "audited"
    ACCENT = "accent"


class Sign(enum.Enum):
    """Small drawn signs, so that colour is never all that tells things apart."""

    CROSS = "cross"
    CHECK = "check"
    WARNING = "warning"
    EYE = "eye"
    POD = "pod"
    NET = "net"
    WORLD = "world"


class Box(msgspec.Struct, frozen=True):
    """A rectangle; boxes overlap only those that they lie in (``parent``, and its own)."""

    id: int
    x: float
    y: float
    width: float
    height: float
    look: Look
    parent: int | None = None
    radius: float = 6
    title: str = ""

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.height

    @property
    def middle(self) -> float:
        """Half its height down."""
        return self.y + self.height / 2


class Label(msgspec.Struct, frozen=True):
    """One line of text in a box; ``y`` is where its letters stand, ``whole`` what was cut."""

    box: int
    x: float
    y: float
    text: str
    style: Style
    ink: Ink
    whole: str = ""

    @property
    def width(self) -> float:
        """The most pixels that it takes."""
        return width_of(self.text, self.style)


class Wire(msgspec.Struct, frozen=True):
    """A line from box to box, along ``points``; ``curved`` ones have just two."""

    points: tuple[Point, ...]
    ink: Ink
    ends: tuple[int, ...] = ()
    head: bool = False
    dashed: bool = False
    curved: bool = False
    heavy: bool = False


class Mark(msgspec.Struct, frozen=True):
    """A sign of ``size`` pixels, its top left corner at ``x`` and ``y``."""

    sign: Sign
    x: float
    y: float
    size: float
    ink: Ink
    box: int


Item: TypeAlias = Box | Label | Wire | Mark


class Scene(msgspec.Struct, frozen=True):
    """All of a picture, in the order in which it is painted."""

    width: float
    height: float
    items: tuple[Item, ...]


class Canvas:
    """Collects the items of a scene; the page itself is box 0."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._boxes = 1

    def box(
        self,
        rect: tuple[float, float, float, float],
        look: Look,
        parent: int = 0,
        *,
        radius: float = 6,
        title: str = "",
    ) -> Box:
        """Add a box of (x, y, width, height)."""
        x, y, width, height = map(_round, rect)
        box = Box(self._boxes, x, y, width, height, look, parent, radius, clean(title))
        self._boxes += 1
        self._items.append(box)
        return box

    def text(
        self,
        box: int,
        at: Point,
        text: str,
        style: Style,
        ink: Ink = Ink.INK,
        room: float = 1e6,
    ) -> Label:
        """Add a text that starts at ``at``, cut to ``room``."""
        whole = clean(text)
        shown = fit(whole, room, style)
        label = Label(
            box,
            _round(at[0]),
            _round(at[1]),
            shown,
            style,
            ink,
            "" if shown == whole else whole[:1000],
        )
        self._items.append(label)
        return label

    def wire(
        self,
        points: Sequence[Point],
        ink: Ink,
        ends: Sequence[int] = (),
        *,
        head: bool = False,
        dashed: bool = False,
        curved: bool = False,
        heavy: bool = False,
    ) -> None:
        """Add a line."""
        places = tuple((_round(x), _round(y)) for x, y in points)
        self._items.append(Wire(places, ink, tuple(ends), head, dashed, curved, heavy))

    def mark(self, sign: Sign, at: Point, size: float, ink: Ink, box: int = 0) -> None:
        """Add a sign."""
        self._items.append(Mark(sign, _round(at[0]), _round(at[1]), size, ink, box))

    def scene(self, width: float, height: float) -> Scene:
        """What was added, on a page of this size."""
        page = Box(0, 0, 0, _round(width), _round(height), Look.PAGE, None, 0)
        return Scene(page.width, page.height, (page, *self._items))


def _round(value: float) -> float:
    return round(value * 2) / 2
