"""A parsed document: its data, and the way back from a path in it to a line.

Lines are only needed where something is wrong, so nobody pays for them before: each parser hands
over a ``locate`` function that looks the place up again in the text when it is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from podwall.model.decode import Path


class Document(NamedTuple):
    """Plain data of one YAML or JSON document.

    ``repeated`` lists the fields that stand in their mapping more than once (the last one counts),
    ``locate`` gives the line of a field or list item, counted from 1 in the file; for a path that
    does not exist, that of its nearest parent that does.
    """

    data: object
    repeated: tuple[Path, ...]
    locate: Callable[[Path], int]


class Unreadable(NamedTuple):
    """A piece of text that is no document: where, and why."""

    line: int
    found: str
    expected: str = ""


MAX_DEPTH = 128
"""So deep may lists and mappings nest; Kubernetes objects stay far below."""

MAX_REPEATED = 100
"""So many repeated fields of one document are reported."""
