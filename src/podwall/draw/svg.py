"""A scene as SVG that stands alone: no script, nothing from elsewhere, light and dark by itself.

All that comes from users is escaped text. Classes and ids begin with a prefix, so that several
pictures can stand in one page without a word of their styles getting out or in. A text says how
much room it was given, but letters are never squeezed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from podwall.draw.metrics import MONO, SANS, Style, clean
from podwall.draw.scene import Box, Ink, Item, Label, Look, Mark, Point, Scene, Sign, Wire
from podwall.draw.theme import DARK, LIGHT, Palette, Theme

_HEAD = 7.5
_BRICK = 10.0
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})


def escape(text: str) -> str:
    """``text`` as the content of an element or attribute."""
    return clean(text).translate(_ENTITIES)


def render_svg(
    scene: Scene, title: str, description: str, theme: Theme = Theme.AUTO, prefix: str = "pw"
) -> str:
    """The document; ``prefix`` begins all ids and classes.

    Raises:
        ValueError: the prefix is not letters, digits and ``-`` after a letter.
    """
    if not (prefix[:1].isalpha() and prefix.isascii() and prefix.replace("-", "").isalnum()):
        raise ValueError(f"{prefix!r} cannot begin ids and classes")
    width, height = _number(scene.width), _number(scene.height)
    body = "".join(f"{line}\n" for item in scene.items for line in _item(item, prefix))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{prefix}" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{prefix}-title {prefix}-desc">\n'
        f'<title id="{prefix}-title">{escape(title)}</title>\n'
        f'<desc id="{prefix}-desc">{escape(description)}</desc>\n'
        f"<style>\n{_styles(theme, prefix)}</style>\n{body}</svg>\n"
    )


def _styles(theme: Theme, prefix: str) -> str:
    lines = [f".{prefix} text {{ font-family: {SANS}; white-space: pre }}"]
    for style in Style:
        weight = "; font-weight: 700" if style.bold else ""
        family = f"; font-family: {MONO}" if style.mono else ""
        size = _number(style.size)
        name = _style(prefix, style)
        lines.append(f".{prefix} .{name} {{ font-size: {size}px{weight}{family} }}")
    lines.append(f".{prefix} path {{ fill: none; stroke-width: 1.5; stroke-linejoin: round }}")
    lines += _colours(DARK if theme is Theme.DARK else LIGHT, prefix)
    if theme is Theme.AUTO:
        lines += ["@media (prefers-color-scheme: dark) {", *_colours(DARK, prefix), "}"]
    return "".join(f"{line}\n" for line in lines)


def _colours(palette: Palette, prefix: str) -> Iterator[str]:
    for look in Look:
        fill = palette.fills[look]
        text = f"fill: {fill.fill}"
        if fill.stroke:
            text += f"; stroke: {fill.stroke}; stroke-width: {_number(fill.width)}"
        if fill.dashed:
            text += "; stroke-dasharray: 5 4"
        yield f".{prefix} .{prefix}-{look.value} {{ {text} }}"
    page = palette.fills[Look.PAGE].fill
    yield f".{prefix} .{prefix}-mortar {{ stroke: {page}; stroke-width: 1 }}"
    for ink in Ink:
        colour = palette.inks[ink]
        yield f".{prefix} text.{prefix}-{ink.value} {{ fill: {colour} }}"
        yield f".{prefix} path.{prefix}-{ink.value} {{ stroke: {colour} }}"
        yield f".{prefix} path.{prefix}-tip-{ink.value} {{ fill: {colour} }}"


def _style(prefix: str, style: Style) -> str:
    return f"{prefix}-{style.name.lower().replace('_', '-')}"


def _item(item: Item, prefix: str) -> Iterator[str]:
    match item:
        case Box():
            yield from _box(item, prefix)
        case Label():
            yield _label(item, prefix)
        case Wire():
            yield from _wire(item, prefix)
        case Mark():
            yield _mark(item, prefix)
        case _:
            assert_never(item)


def _box(box: Box, prefix: str) -> Iterator[str]:
    if box.look is Look.PLAIN:
        return
    rect = (
        f'<rect class="{prefix}-{box.look.value}" x="{_number(box.x)}" y="{_number(box.y)}" '
        f'width="{_number(box.width)}" height="{_number(box.height)}" rx="{_number(box.radius)}"'
    )
    yield f"{rect}><title>{escape(box.title)}</title></rect>" if box.title else f"{rect}/>"
    if box.look is Look.WALL:
        yield f'<path class="{prefix}-mortar" d="{_bricks(box)}"/>'
    if box.look is Look.HOLE:
        left, right, top, bottom = map(_number, (box.x, box.right, box.y, box.bottom))
        yield f'<path class="{prefix}-stop" d="M{left} {bottom}L{right} {top}"/>'


def _bricks(wall: Box) -> str:
    parts: list[str] = []
    y, row = wall.y + _BRICK, 0
    while y < wall.bottom - 1:
        parts.append(f"M{_number(wall.x)} {_number(y)}H{_number(wall.right)}")
        y += _BRICK
    y = wall.y
    while y < wall.bottom - 1:
        x = wall.x + wall.width * (0.35 if row % 2 else 0.65)
        parts.append(f"M{_number(x)} {_number(y)}V{_number(min(y + _BRICK, wall.bottom))}")
        y += _BRICK
        row += 1
    return "".join(parts)


def _label(label: Label, prefix: str) -> str:
    classes = f"{_style(prefix, label.style)} {prefix}-{label.ink.value}"
    whole = f"<title>{escape(label.whole)}</title>" if label.whole else ""
    at = f'x="{_number(label.x)}" y="{_number(label.y)}"'
    return f'<text class="{classes}" {at}>{escape(label.text)}{whole}</text>'


def _wire(wire: Wire, prefix: str) -> Iterator[str]:
    points = list(wire.points)
    tip = ""
    if wire.head:
        tip, points[-1] = _tip(points[-2], points[-1], wire.curved)
    dash = ' stroke-dasharray="5 4"' if wire.dashed else ""
    heavy = ' style="stroke-width: 2.5"' if wire.heavy else ""
    name = f'class="{prefix}-{wire.ink.value}"'
    yield f'<path {name}{dash}{heavy} d="{_line(points, curved=wire.curved)}"/>'
    if tip:
        yield f'<path class="{prefix}-tip-{wire.ink.value}" d="{tip}"/>'


def _line(points: list[Point], *, curved: bool) -> str:
    (x, y), *rest = points
    start = f"M{_number(x)} {_number(y)}"
    if not curved:
        return start + "".join(f"L{_number(a)} {_number(b)}" for a, b in rest)
    a, b = rest[-1]
    half = (x + a) / 2
    way = " ".join(f"{_number(u)} {_number(v)}" for u, v in ((half, y), (half, b), (a, b)))
    return f"{start}C{way}"


def _tip(before: Point, end: Point, curved: bool) -> tuple[str, Point]:
    """The head of an arrow, and where its line has to stop."""
    (x, y), (a, b) = before, end
    across, down = (1.0 if a >= x else -1.0, 0.0)
    if not curved and abs(b - y) > abs(a - x):
        across, down = 0.0, (1.0 if b >= y else -1.0)
    foot = (a - across * _HEAD, b - down * _HEAD)
    wing = _HEAD * 0.55
    corners = (
        end,
        (foot[0] + down * wing, foot[1] + across * wing),
        (foot[0] - down * wing, foot[1] - across * wing),
    )
    return "M" + "L".join(f"{_number(u)} {_number(v)}" for u, v in corners) + "Z", foot


# Drawn on a field of 16 by 16.
_SIGNS = {
    Sign.CROSS: "M3.5 3.5L12.5 12.5M12.5 3.5L3.5 12.5",
    Sign.CHECK: "M3 8.5L6.5 12L13 4.5",
    Sign.WARNING: "M8 2L15 14H1ZM8 6.5V10M8 11.5V12.5",
    Sign.EYE: "M1 8C4 3.5 12 3.5 15 8C12 12.5 4 12.5 1 8ZM8 6A2 2 0 1 0 8 10A2 2 0 1 0 8 6Z",
    Sign.POD: "M8 1.5L14 5V11L8 14.5L2 11V5ZM2 5L8 8.5L14 5M8 8.5V14.5",
    Sign.NET: "M2 2.5H6.5V6H2ZM9.5 10H14V13.5H9.5ZM4.25 6V11.75H9.5M9.5 4.25H14M6.5 4.25H9.5",
    Sign.WORLD: "M8 1.5A6.5 6.5 0 1 0 8 14.5A6.5 6.5 0 1 0 8 1.5ZM1.5 8H14.5M8 1.5C4.5 5 4.5 11 8 "
    "14.5C11.5 11 11.5 5 8 1.5",
}


def _mark(mark: Mark, prefix: str) -> str:
    scale = mark.size / 16
    place = f"translate({_number(mark.x)} {_number(mark.y)}) scale({_number(scale)})"
    return f'<path class="{prefix}-{mark.ink.value}" transform="{place}" d="{_SIGNS[mark.sign]}"/>'


def _number(value: float) -> str:
    """A number as short as it can be said, to a hundredth."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text
