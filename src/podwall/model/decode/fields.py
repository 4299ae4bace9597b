"""Typed access to the fields of plain data; a field of the wrong type is a problem, never a crash.

``null`` counts as absent everywhere, as it does for the API server.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

from podwall.model.decode import names
from podwall.model.decode.problem import Path, Problems, describe

Data: TypeAlias = dict[str, Any]
"""A mapping from a parser, its values not yet looked at."""

_NOTHING: Data = {}
_TYPO_CUTOFF = 0.87
_MAX_FIELDS = 256  # a mapping with more fields is no Kubernetes object; don't spell-check it all


def mapping(data: Data, field: str, path: Path, problems: Problems) -> Data:
    """The mapping in ``field``; empty where it is absent or no mapping."""
    value = data.get(field)
    if type(value) is dict:
        return value
    if value is not None:
        problems.error((*path, field), describe(value), "expected a mapping")
    return _NOTHING


def sequence(data: Data, field: str, path: Path, problems: Problems) -> list[Any]:
    """The list in ``field``; empty where it is absent or no list."""
    value = data.get(field)
    if type(value) is list:
        return value
    if value is not None:
        problems.error((*path, field), describe(value), "expected a list")
    return []


def mappings(data: Data, field: str, path: Path, problems: Problems) -> Sequence[tuple[Path, Data]]:
    """The mappings of the list in ``field``, each with its path; other items are errors."""
    found: list[tuple[Path, Data]] = []
    for index, item in enumerate(sequence(data, field, path, problems)):
        if type(item) is dict:
            found.append(((*path, field, index), item))
        else:
            problems.error((*path, field, index), describe(item), "expected a mapping")
    return found


def text(data: Data, field: str, path: Path, problems: Problems) -> str:
    """The text in ``field``; empty where it is absent or no text."""
    value = data.get(field)
    if type(value) is str:
        return value
    if value is not None:
        problems.error((*path, field), describe(value), expected_string(value))
    return ""


def flag(data: Data, field: str, path: Path, problems: Problems) -> bool:
    """The boolean in ``field``; false where it is absent or no boolean."""
    value = data.get(field)
    if type(value) is bool:
        return value
    if value is not None:
        hint = " without quotes" if isinstance(value, str) else ""
        problems.error((*path, field), describe(value), f"expected true or false{hint}")
    return False


def expected_string(value: object) -> str:
    """What to say where a string was expected; names the YAML trap that led here."""
    match value:
        case bool():
            return (
                "expected a string: YAML reads true, false, yes, no, on, off, y and n "
                "without quotes as booleans, so put it in quotes"
            )
        case int() | float():
            return (
                "expected a string: YAML reads digits, also 1e3, 0x1F and 010, "
                "without quotes as numbers, so put it in quotes"
            )
        case None:
            return 'expected a string; the empty one is ""'
        case _:
            return "expected a string"


def warn_unknown(data: Data, known: tuple[str, ...], path: Path, problems: Problems) -> None:
    """Warn of every field that the API does not know; it is ignored, as an API server prunes it."""
    for field in itertools.islice(data, _MAX_FIELDS):
        if field not in known:
            meant = names.near_miss(field, known)
            hint = f"did you mean {meant}?" if meant else f"expected {_either(known)}"
            problems.warn((*path, field), "unknown field, it is ignored", hint)


def warn_typos(data: Data, read: tuple[str, ...], path: Path, problems: Problems) -> None:
    """Warn of unknown fields that look like one of those we read.

    For objects with many fields that do not matter here (and more with every release of
    Kubernetes), where only a typo in one that matters is worth a word.
    """
    for field in itertools.islice(data, _MAX_FIELDS):
        if field not in read and (meant := names.near_miss(field, read, _TYPO_CUTOFF)):
            found = "unknown field, it is ignored"
            problems.warn((*path, field), found, f"did you mean {meant}?")


def _either(words: tuple[str, ...]) -> str:
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} or {words[-1]}"
