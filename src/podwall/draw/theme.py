"""Colours, once for light and once for dark surroundings.

Every ink can be read on every fill (4.5:1, WCAG 2.2 AA), and every line that means something stands
out from what is around it (3:1); a test computes both.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from podwall.draw.scene import Ink, Look


class Theme(enum.Enum):
    """``AUTO`` follows what the reader's system prefers."""

    AUTO = "auto"
    LIGHT = "light"
    DARK = "dark"


class Fill(msgspec.Struct, frozen=True):
    """How a box is painted; without ``stroke`` it has no border."""

    fill: str
    stroke: str = ""
    dashed: bool = False
    width: float = 1


class Palette(msgspec.Struct, frozen=True):
    """All colours of one theme."""

    inks: Mapping[Ink, str]
    fills: Mapping[Look, Fill]


LIGHT = Palette(
    inks={
        Ink.INK: "#1f2328",
        Ink.MUTED: "#57606a",
        Ink.ALLOW: "#116329",
        Ink.DENY: "#a40e26",
        Ink.AUDIT: "#7d4e00",
        Ink.ACCENT: "#0550ae",
    },
    fills={
        Look.PAGE: Fill("#ffffff"),
        Look.FRAME: Fill("#f6f8fa", "#7a828b", width=1.25),
        Look.CARD: Fill("#ffffff", "#7a828b"),
        Look.PLAIN: Fill("none"),
        Look.SUBJECT: Fill("#eaf4ff", "#0969da", width=1.75),
        Look.PORTS: Fill("#e6f7ea", "#1a7f37"),
        Look.BLOCK: Fill("#5f7fb0"),
        Look.HOLE: Fill("#ffffff", "#a40e26"),
        Look.REST: Fill("#ffffff", "#7a828b", dashed=True),
        Look.WALL: Fill("#57606a"),
        Look.OPEN: Fill("#ffffff", "#1a7f37", dashed=True, width=1.25),
        Look.AUDIT: Fill("#fff8e1", "#9a6700", dashed=True, width=1.25),
        Look.WARNING: Fill("#fff8e1", "#9a6700", width=1.25),
        Look.DENY: Fill("#fff1f0", "#cf222e", width=1.25),
        Look.HEAT: Fill("#a87400"),
    },
)

DARK = Palette(
    inks={
        Ink.INK: "#e6edf3",
        Ink.MUTED: "#a5aeb8",
        Ink.ALLOW: "#56d364",
        Ink.DENY: "#ff8f87",
        Ink.AUDIT: "#e3b341",
        Ink.ACCENT: "#79c0ff",
    },
    fills={
        Look.PAGE: Fill("#0d1117"),
        Look.FRAME: Fill("#151b23", "#768390", width=1.25),
        Look.CARD: Fill("#0d1117", "#768390"),
        Look.PLAIN: Fill("none"),
        Look.SUBJECT: Fill("#0f2138", "#388bfd", width=1.75),
        Look.PORTS: Fill("#0f2417", "#2ea043"),
        Look.BLOCK: Fill("#6f8fc0"),
        Look.HOLE: Fill("#0d1117", "#ff8f87"),
        Look.REST: Fill("#0d1117", "#768390", dashed=True),
        Look.WALL: Fill("#9aa4af"),
        Look.OPEN: Fill("#0d1117", "#2ea043", dashed=True, width=1.25),
        Look.AUDIT: Fill("#241c08", "#bb8009", dashed=True, width=1.25),
        Look.WARNING: Fill("#241c08", "#bb8009", width=1.25),
        Look.DENY: Fill("#2b1315", "#f85149", width=1.25),
        Look.HEAT: Fill("#d29922"),
    },
)
