"""An outcome as a review comment: what opens first, details folded, bounded, names only as text.

Names come from whoever opened the pull request. They only appear in code spans, where a forge
follows no link, mentions nobody and reads no HTML, with a fence that the name cannot close. A
comment may have 65,536 characters, so rows are written until the room is used up, and the rest is
counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from podwall.model.net import Family
from podwall.whatif.bundles import Bundle, bundled
from podwall.whatif.outcome import Outcome, Shift
from podwall.whatif.words import (
    MOST_NAMES,
    families_of,
    family_text,
    headline,
    pair_count,
    shown,
    what_text,
)

MOST_CHARACTERS = 65_536
"""What a review comment can hold."""

_ROOM = 60_000
_OPEN_ROWS = 25
_LONGEST = 160
_MOST_PODS = 40
_UNFIT = re.compile(r"[^\x20-\x7e\xa1-\u1fff\u2190-\u21ff\u3040-\ud7ff]|[|\\]")
"""What does not print, and what ends the cell of a table even inside of a code span."""

_FENCES = re.compile(r"`+")
_TABLE = "| from | to | what | why |\n| --- | --- | --- | --- |\n"


def render_markdown(outcome: Outcome) -> str:
    """The comment; at most :data:`MOST_CHARACTERS` characters, ends with a newline."""
    text = _Text()
    text.add(f"### podwall: what this change does\n\n**{headline(outcome)}**\n")
    families = families_of(outcome)
    text.table("Opens", bundled(outcome.opens), families, pair_count(outcome.opens))
    text.table("Closes", bundled(outcome.closes), families, pair_count(outcome.closes))
    _moving(text, "Comes with the change", outcome.comes, outcome.arrivals, families)
    _moving(text, "Goes with the change", outcome.goes, outcome.departures, families)
    return text.finish()


def code(text: str) -> str:
    """A text as a code span, fit for a table; bounded, what could break out is replaced."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    plain = _UNFIT.sub("\ufffd", text)
    runs = [len(each) for each in _FENCES.findall(plain)]
    fence = "`" * (max(runs, default=0) + 1)
    space = " " if runs or plain != plain.strip() or not plain else ""
    return f"{fence}{space}{plain}{space}{fence}"


class _Text:
    """A comment under way, and how much room is left."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._left = _ROOM
        self._missing = 0

    def add(self, text: str) -> bool:
        """Add ``text`` if there is room for it."""
        if len(text) > self._left:
            return False
        self._parts.append(text)
        self._left -= len(text)
        return True

    def table(
        self, title: str, bundles: Sequence[Bundle], families: Sequence[Family], pairs: int
    ) -> None:
        """A table of bundles; from some rows on, the rest of it is folded."""
        if not bundles:
            return
        # It is not said before it is there: a table is worth nothing without a row.
        self.add(f"\n#### {title} ({pairs})\n\n{_TABLE}")
        self._rows(bundles[:_OPEN_ROWS], families)
        rest = bundles[_OPEN_ROWS:]
        if rest:
            self.folded(f"{len(rest)} more rows", rest, families)

    def folded(self, summary: str, bundles: Sequence[Bundle], families: Sequence[Family]) -> None:
        """A folded table; ``summary`` is no text of a user's."""
        if not self.add(f"\n<details><summary>{summary}</summary>\n\n{_TABLE}"):
            self._missing += len(bundles)
            return
        self._left -= len("\n</details>\n")
        self._rows(bundles, families)
        self._parts.append("\n</details>\n")

    def _rows(self, bundles: Sequence[Bundle], families: Sequence[Family]) -> None:
        for index, each in enumerate(bundles):
            if not self.add(_row(each, families)):
                self._missing += len(bundles) - index
                return

    def finish(self) -> str:
        """The comment."""
        if self._missing:
            rows = "row" if self._missing == 1 else "rows"
            self._parts.append(
                f"\n{self._missing} more {rows} had no room in this comment; "
                "`podwall whatif -o json` prints them all.\n"
            )
        return "".join(self._parts)


def _moving(
    text: _Text,
    title: str,
    pods: Sequence[object],
    shifts: Sequence[Shift],
    families: Sequence[Family],
) -> None:
    """Pods that come or go, and what that opens or closes, folded."""
    if not pods:
        return
    names = ", ".join(map(code, shown(list(map(str, pods)), _MOST_PODS)))
    text.add(f"\n#### {title} ({len(pods)})\n\n{names}\n")
    bundles = bundled(shifts)
    if bundles:
        count = pair_count(shifts)
        text.folded(f"connections of these pods ({count})", bundles, families)
    else:
        text.add("\nThey can do what the other pods of their workloads can.\n")


def _row(bundle: Bundle, families: Sequence[Family]) -> str:
    what = what_text(bundle)
    if family := family_text(bundle, families):
        what += f", {family} only"
    why = "<br>".join(code(str(each)) for each in bundle.causes)
    return f"| {_names(bundle.sources)} | {_names(bundle.targets)} | {code(what)} | {why} |\n"


def _names(names: Iterable[str]) -> str:
    return "<br>".join(map(code, shown(list(names), MOST_NAMES)))
