"""How the parts of the fake kernel tell that a line is refused."""

from __future__ import annotations


class Refused(Exception):  # named as podwall.errors.BatchRefused is
    """A line is refused; ``line`` counts from 1, ``at_commit`` if only the kernel saw the fault."""

    def __init__(self, line: int, reason: str, at_commit: bool = False) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason
        self.at_commit = at_commit
