"""Diagnostics: what is wrong with the input, and on which line of which file."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from podwall.errors import InputError
from podwall.model.decode import Severity


class Diagnostic(msgspec.Struct, frozen=True, gc=False):
    """One mistake in the input; its text has no control characters and a bounded length.

    ``line`` counts from 1 and is 0 where the whole file is meant. ``kind`` and ``name`` (with the
    namespace, as ``ns/name``) are empty where no object is concerned, ``path`` where the whole
    object is.
    """

    severity: Severity
    file: str
    line: int
    found: str
    expected: str = ""
    kind: str = ""
    name: str = ""
    path: str = ""

    @property
    def message(self) -> str:
        """What was found and what was expected, as one clause."""
        return f"{self.found}, {self.expected}" if self.expected else self.found

    def __str__(self) -> str:
        """``file:line: Kind ns/name: spec.path: what, what was expected``."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        subject = f"{self.kind} {self.name}".strip()
        return ": ".join(filter(None, (where, subject, self.path, self.message)))

    def to_dict(self) -> dict[str, str | int]:
        """The fields under their names, for JSON; ``severity`` is ``error`` or ``warning``."""
        return {
            "severity": self.severity.value,
            "file": self.file,
            "line": self.line,
            "kind": self.kind,
            "name": self.name,
            "path": self.path,
            "found": self.found,
            "expected": self.expected,
        }


def sort_diagnostics(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """By file and line; those of one line keep their order."""
    return tuple(sorted(diagnostics, key=lambda each: (each.file, each.line)))


class UnusableInput(InputError):
    """None of the given paths could be read; ``diagnostics`` say why, and so does the text."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = sort_diagnostics(diagnostics)
        super().__init__("\n".join(map(str, self.diagnostics)))
