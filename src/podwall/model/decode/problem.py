"""What is wrong with an object, as values: where, what was found, what was expected.

Input may be hostile, so everything that comes from it passes :func:`shown` on its way into a
message: control and direction characters are escaped, long texts are cut. An object reports a
bounded number of problems; those beyond it are counted.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Generic, TypeAlias, TypeVar

import msgspec

MAX_PROBLEMS = 100
"""So many problems of one severity one object reports in full."""

MAX_SHOWN = 60
"""So many characters of one text from the input a message shows."""

Path: TypeAlias = tuple[str | int, ...]
"""Field names and list indexes from the object's root."""

T = TypeVar("T")


class Severity(enum.Enum):
    """An error makes a run's input unusable (exit status 2); a warning does not."""

    ERROR = "error"
    WARNING = "warning"


class Problem(msgspec.Struct, frozen=True, gc=False):
    """One thing that is wrong with an object.

    ``found`` says what is there, ``expected`` what would be right; both are clauses that read on
    from the path: ``spec.podSelector: 5 is a number, expected a mapping``.
    """

    path: Path
    found: str
    expected: str = ""
    severity: Severity = Severity.ERROR

    @property
    def message(self) -> str:
        """Both halves as one clause."""
        return f"{self.found}, {self.expected}" if self.expected else self.found

    def __str__(self) -> str:
        return f"{path_text(self.path)}: {self.message}" if self.path else self.message


class Decoded(msgspec.Struct, Generic[T], frozen=True):
    """A value, ``None`` if nothing could be made of the data, and the problems in input order."""

    value: T
    problems: tuple[Problem, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that are errors."""
        return tuple(each for each in self.problems if each.severity is Severity.ERROR)


class Problems:
    """Collects the problems of one object, a bounded number of each severity."""

    __slots__ = ("_errors", "_kept", "_warnings")

    def __init__(self) -> None:
        self._kept: list[Problem] = []
        self._errors = 0
        self._warnings = 0

    def error(self, path: Path, found: str, expected: str = "") -> None:
        """Add an error."""
        self._errors += 1
        if self._errors <= MAX_PROBLEMS:
            self._kept.append(Problem(path, found, expected, Severity.ERROR))

    def warn(self, path: Path, found: str, expected: str = "") -> None:
        """Add a warning."""
        self._warnings += 1
        if self._warnings <= MAX_PROBLEMS:
            self._kept.append(Problem(path, found, expected, Severity.WARNING))

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add problems that another decoder found."""
        for each in problems:
            add = self.error if each.severity is Severity.ERROR else self.warn
            add(each.path, each.found, each.expected)

    @property
    def found_errors(self) -> int:
        """How many errors there were up to now, also those that are only counted."""
        return self._errors

    def finish(self) -> tuple[Problem, ...]:
        """All that were kept, in input order, and a note for each severity with more."""
        if not self._kept:
            return ()
        totals = {Severity.ERROR: self._errors, Severity.WARNING: self._warnings}
        notes = (
            Problem((), f"{total - MAX_PROBLEMS} more {severity.value}s", "not shown", severity)
            for severity, total in totals.items()
            if total > MAX_PROBLEMS
        )
        return (*self._kept, *notes)


def shown(text: str, limit: int = MAX_SHOWN) -> str:
    """``text`` in double quotes, safe to print: escaped, and cut after ``limit`` characters."""
    cut = "…" if len(text) > limit else ""
    return f'"{escaped(text[:limit])}{cut}"'


def escaped(text: str) -> str:
    """``text`` with everything that is not printable, quotes and backslashes escaped."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(map(_escaped_character, text))


def _escaped_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def describe(value: object) -> str:
    """What ``value`` is, as the start of a sentence: ``true is a boolean``."""
    match value:
        case None:
            return "it is null"
        case bool():
            return f"{'true' if value else 'false'} is a boolean"
        case int() if abs(value) < 10**20:
            return f"{value} is a number"
        case int():
            return "it is a very large number"
        case float():
            return f"{value} is a number"
        case str():
            return f"{shown(value)} is a string"
        case dict():
            return "it is a mapping"
        case list():
            return "it is a list"
        case _:
            return f"it is a {type(value).__name__}"


def path_text(path: Path) -> str:
    """The path as the API documentation writes it: ``spec.ingress[0].ports[1].endPort``."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif _is_plain(step):
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f"[{shown(step)}]")
    return "".join(parts)


def _is_plain(step: str) -> bool:
    return 0 < len(step) <= MAX_SHOWN and step.isascii() and step.replace("_", "a").isalnum()
