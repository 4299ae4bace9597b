"""Small boxes with text in them: measured first, placed later.

A card is some lines; :func:`height_of` says how much room it needs and :func:`draw_card` puts it on
a canvas. Nothing here knows policies, only looks.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from podwall.draw.metrics import Style, clean, width_of, wrap
from podwall.draw.scene import Box, Canvas, Ink, Look, Sign

PAD_X = 10.0
PAD_Y = 7.0
SIGN = 14.0
STRIP = 10.0
_STRIP_ROOM = 18.0
_LEAST_HOLE = 0.045


class Line(msgspec.Struct, frozen=True):
    """One line of a card; ``sign`` stands before it."""

    text: str
    style: Style = Style.BODY
    ink: Ink = Ink.INK
    sign: Sign | None = None
    indent: float = 0
    tail: str = ""


class Strip(msgspec.Struct, frozen=True):
    """A range of addresses as a bar; ``holes`` are what is left out of it, from 0 to 1."""

    holes: tuple[tuple[float, float, str], ...]


class Card(msgspec.Struct, frozen=True):
    """Lines one below the other; a strip stands after the first of them."""

    lines: tuple[Line, ...]
    look: Look = Look.CARD
    strip: Strip | None = None


def width_for(lines: Sequence[Line]) -> float:
    """The width at which no line is cut."""
    widest = [
        width_of(clean(each.text[:400]), each.style) + (SIGN + 6 if each.sign else each.indent)
        for each in lines
    ]
    return max(widest, default=0) + 2 * PAD_X + 1


def wrapped(
    text: str, style: Style, ink: Ink, sign: Sign | None, room: float, most: int = 3
) -> list[Line]:
    """A text on several lines, which stand below each other whatever sign is before them."""
    indent = SIGN + 6 if sign else 0.0
    first, *rest = wrap(clean(text[:2000]), room - indent, style, most) or ("",)
    later = [Line(each, style, ink, None, indent) for each in rest]
    return [Line(first, style, ink, sign), *later]


def height_of(card: Card) -> float:
    """How high a card is."""
    lines = sum(each.style.line for each in card.lines)
    return lines + (_STRIP_ROOM if card.strip else 0) + 2 * PAD_Y


def draw_card(
    canvas: Canvas,
    card: Card,
    at: tuple[float, float],
    width: float,
    *,
    parent: int = 0,
    height: float | None = None,
    radius: float = 6,
) -> Box:
    """Put a card on a canvas; its lines begin at the top whatever its height."""
    x, y = at
    tall = height_of(card) if height is None else height
    box = canvas.box((x, y, width, tall), card.look, parent, radius=radius)
    y += PAD_Y
    for index, line in enumerate(card.lines):
        draw_line(canvas, box.id, line, (x + PAD_X, y), width - 2 * PAD_X)
        y += line.style.line
        if index == 0 and card.strip is not None:
            _draw_strip(canvas, card.strip, box, (x + PAD_X, y + 3), width - 2 * PAD_X)
            y += _STRIP_ROOM
    return box


def draw_line(canvas: Canvas, box: int, line: Line, at: tuple[float, float], room: float) -> None:
    """Put a line at the top left corner ``at``; its tail stands behind it, as far as it fits."""
    x, y = at[0] + line.indent, at[1]
    room -= line.indent
    if line.sign is not None:
        lift = (line.style.line - SIGN) / 2
        canvas.mark(line.sign, (x, y + lift), SIGN, line.ink, box)
        x += SIGN + 6
        room -= SIGN + 6
    if not line.text:
        return
    label = canvas.text(box, (x, y + line.style.ascent), line.text, line.style, line.ink, room)
    used = label.width + 8
    if line.tail and room > used + 20:
        at = (x + used, y + line.style.ascent)
        canvas.text(box, at, line.tail, Style.SMALL, Ink.MUTED, room - used)


def _draw_strip(
    canvas: Canvas, strip: Strip, card: Box, at: tuple[float, float], width: float
) -> None:
    x, y = at
    bar = canvas.box((x, y, width, STRIP), Look.BLOCK, card.id, radius=2)
    end = 0.0
    for first, last, title in sorted(strip.holes):
        size = max(last - first, _LEAST_HOLE)
        start = min(max((first + last - size) / 2, end), 1 - size)
        if start < end:
            break
        canvas.box(
            (x + start * width, y, size * width, STRIP),
            Look.HOLE,
            bar.id,
            radius=0,
            title=f"not {title}",
        )
        end = start + size
