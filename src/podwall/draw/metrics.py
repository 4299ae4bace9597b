"""How wide a text is, and how to make it fit.

Nobody knows the font that a picture is read in, so each character counts as wide as the widest of
the fonts that :data:`SANS` and :data:`MONO` name would make it; in a narrower one a box has some
room to spare. What has no place is left out in the middle, where names differ least.
"""

from __future__ import annotations

import enum
import unicodedata
from collections.abc import Sequence

SANS = (
    "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', "
    "'DejaVu Sans', sans-serif"
)
MONO = "ui-monospace, Menlo, Consolas, 'Liberation Mono', 'DejaVu Sans Mono', monospace"

_MONO_ADVANCE = 0.62
_WIDE = 1.45
ELLIPSIS = "…"

# Advances of the characters from space to tilde in thousandths of the size: the wider of DejaVu
# Sans and Liberation Sans, which has the widths of Helvetica and Arial.
# fmt: off
_REGULAR = (
    318, 401, 460, 838, 637, 951, 780, 275, 391, 391, 500, 838, 318, 361, 318, 337, 637, 637, 637,
    637, 637, 637, 637, 637, 637, 637, 337, 337, 838, 838, 838, 557, 1016, 685, 687, 723, 771, 667,
    611, 778, 752, 295, 500, 667, 558, 863, 749, 788, 667, 788, 723, 667, 611, 732, 685, 989, 686,
    667, 686, 391, 337, 391, 838, 557, 500, 613, 635, 550, 635, 616, 353, 635, 634, 278, 278, 580,
    278, 975, 634, 612, 635, 635, 412, 521, 393, 634, 592, 818, 592, 592, 525, 637, 337, 637, 838,
)
_BOLD = (
    349, 457, 521, 838, 696, 1002, 873, 307, 458, 458, 523, 838, 380, 416, 380, 366, 696, 696, 696,
    696, 696, 696, 696, 696, 696, 696, 400, 400, 838, 838, 838, 611, 1000, 774, 763, 734, 831, 684,
    684, 821, 837, 373, 557, 775, 638, 996, 837, 851, 733, 851, 771, 721, 683, 813, 774, 1104, 771,
    725, 726, 458, 366, 458, 838, 557, 500, 675, 716, 593, 716, 679, 436, 716, 712, 343, 343, 666,
    343, 1042, 712, 688, 716, 716, 494, 596, 479, 712, 652, 924, 646, 652, 583, 712, 366, 712, 838,
)
# fmt: on


class Style(enum.Enum):
    """How a text is set: size in pixels, bold, monospace."""

    TITLE = (20.0, True, False)
    HEAD = (13.0, True, False)
    BODY = (12.5, False, False)
    SMALL = (11.0, False, False)
    CAPTION = (11.0, True, False)
    CODE = (11.5, False, True)
    CODE_HEAD = (12.0, True, True)

    @property
    def size(self) -> float:
        """Font size in pixels."""
        return self.value[0]

    @property
    def bold(self) -> bool:
        """Whether it is bold."""
        return self.value[1]

    @property
    def mono(self) -> bool:
        """Whether all characters have one width."""
        return self.value[2]

    @property
    def line(self) -> float:
        """From one line to the next in pixels."""
        return round(self.size * 1.42)

    @property
    def ascent(self) -> float:
        """From the top of a line to where its letters stand."""
        return round(self.size * 1.07)


def clean(text: str) -> str:
    """``text`` as one line of visible characters: control characters, overrides and the like,
    which could move what stands beside them, are written as their numbers.
    """  # noqa: D205 - one sentence
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_clean_character, text))


def _clean_character(character: str) -> str:
    if character.isprintable() and unicodedata.category(character) not in ("Mn", "Me", "Mc"):
        return character
    return character.encode("unicode_escape").decode("ascii")


def width_of(text: str, style: Style) -> float:
    """The most pixels that ``text``, one clean line, takes."""
    if style.mono:
        return sum(_WIDE if ord(each) > 0x2FF else _MONO_ADVANCE for each in text) * style.size
    table = _BOLD if style.bold else _REGULAR
    return sum(map(_advance, text, [table] * len(text))) * style.size / 1000


def _advance(character: str, table: tuple[int, ...]) -> float:
    code = ord(character)
    if 32 <= code < 127:
        return table[code - 32]
    return 1000 if code < 0x2E80 else 1000 * _WIDE


def fit(text: str, room: float, style: Style) -> str:
    """``text``, or as much of its two ends as ``room`` pixels hold."""
    if width_of(text, style) <= room:
        return text
    low, high = 0, min(len(text), int(room / style.size * 4) + 1)
    while low < high:
        middle = (low + high + 1) // 2
        if width_of(_cut(text, middle), style) <= room:
            low = middle
        else:
            high = middle - 1
    return _cut(text, low)


def _cut(text: str, keep: int) -> str:
    """The ends of a text, ``keep`` characters together; the beginning gets the odd one."""
    tail = keep // 2
    return text[: keep - tail] + ELLIPSIS + (text[-tail:] if tail else "")


def wrap(text: str | Sequence[str], room: float, style: Style, most: int = 4) -> tuple[str, ...]:
    """``text`` on up to ``most`` lines, broken at spaces; the last one holds what is left, cut.

    A list of words is broken between them, and within one only where it has no room on a line.
    """
    words = text.split(" ") if isinstance(text, str) else list(text)
    lines: list[str] = []
    line = ""
    while words:
        word = words[0]
        longer = f"{line} {word}" if line else word
        if width_of(longer, style) <= room:
            line = longer
            words.pop(0)
            continue
        if len(lines) == most - 1:
            return (*lines, fit(" ".join([line, *words]).strip(), room, style))
        if line:
            lines.append(line)
            line = ""
            continue
        if " " in word:
            words[:1] = word.split(" ")
            continue
        piece = _prefix(word, room, style)
        lines.append(piece)
        words[0] = word[len(piece) :]
    return (*lines, line) if line else tuple(lines)


def _prefix(word: str, room: float, style: Style) -> str:
    """As much of the beginning of ``word`` as there is room for, at least a character."""
    used = 0.0
    for index, character in enumerate(word):
        used += width_of(character, style)
        if used > room:
            return word[: max(index, 1)]
    return word
