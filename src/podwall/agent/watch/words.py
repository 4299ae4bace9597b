"""Words of others, fit for our messages and logs."""

from __future__ import annotations

from podwall.model.decode import escaped

LIMIT = 500
"""So many characters of a message are shown."""


def printable(text: str, limit: int = LIMIT) -> str:
    """``text`` in one line, cut after ``limit`` characters; what is not printable is escaped."""
    cut = text[:limit] + ("…" if len(text) > limit else "")
    return cut if cut.isprintable() else escaped(cut)
