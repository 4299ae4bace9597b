"""JSON documents, one or several in a row, and where in the text a value stands.

Parsing is the standard library's scanner in C. To find a line, the text is scanned again, one level
of the path at a time: the children of a value are skipped over, not looked into, and the result is
kept, so that thousands of problems in one file cost little more than the first.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import msgspec

from podwall.manifest.document import MAX_REPEATED, Document, Unreadable
from podwall.model.decode import Path, shown

_BLANK = re.compile(r"[ \t\n\r]*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(text: str, first_line: int = 1) -> Iterator[Document | Unreadable]:
    """Parse one JSON document after the other; an unreadable one is the last.

    ``text`` must not be blank. ``first_line`` is the line of the file that ``text`` begins on.
    """
    lines = _Lines(text, first_line)
    position = _skip_blank(text, 0)
    while position < len(text):
        parser = _Parser()
        try:
            data, end = parser.parse(text, position)
        except json.JSONDecodeError as error:
            yield Unreadable(lines.at(error.pos), f"it is not JSON: {error.msg}")
            return
        except RecursionError:
            yield Unreadable(lines.at(position), "it is not JSON: values nest too deeply")
            return
        except ValueError as error:
            yield Unreadable(lines.at(position), f"it is not JSON: {error}")
            return
        tree = _Tree(text, position, lines)
        repeated = itertools.islice(tree.repeated(), MAX_REPEATED) if parser.repeats else ()
        yield Document(data, tuple(repeated), tree.line)
        position = _skip_blank(text, end)


def _skip_blank(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


class _Parser:
    """The standard decoder, strict about numbers and surrogates, aware of repeated keys."""

    def __init__(self) -> None:
        self.repeats = False
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._mapping, parse_constant=_refuse_constant
        )

    def _mapping(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        data = dict(pairs)
        if len(data) != len(pairs):
            self.repeats = True
        return data

    def parse(self, text: str, position: int) -> tuple[object, int]:
        data, end = self._decoder.raw_decode(text, position)
        if _SURROGATE.search(text, position, end):
            _refuse_lone_surrogates(text[position:end])
        return data, end


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _refuse_lone_surrogates(text: str) -> None:
    """Half a surrogate pair is no character: no file and no terminal could take it."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(shown(str(error), 200)) from error


class _Lines:
    """Line numbers of positions; asking in rising order, as problems do, costs one pass."""

    def __init__(self, text: str, first_line: int) -> None:
        self._text = text
        self._known = (0, first_line)
        self._start = self._known

    def at(self, position: int) -> int:
        from_position, line = self._known if position >= self._known[0] else self._start
        line += self._text.count("\n", from_position, position)
        self._known = (position, line)
        return line


class _Tree:
    """Positions of the values in one document, found level by level when asked for."""

    def __init__(self, text: str, root: int, lines: _Lines) -> None:
        self._text = text
        self._root = root
        self._lines = lines
        self._scan = json.JSONDecoder().raw_decode
        self._children: dict[int, dict[str | int, tuple[int, int]]] = {}
        self._repeated: dict[int, list[str]] = {}

    def line(self, path: Path) -> int:
        shown_at = value = self._root
        for step in path:
            place = self._children_of(value).get(step)
            if place is None:
                break
            shown_at, value = place
        return self._lines.at(shown_at)

    def repeated(self) -> Iterator[Path]:
        pending: list[tuple[Path, int]] = [((), self._root)]
        while pending:
            path, position = pending.pop()
            children = self._children_of(position)
            for key in self._repeated.get(position, ()):
                yield (*path, key)
            pending.extend(((*path, step), value) for step, (_, value) in children.items())

    def _children_of(self, position: int) -> dict[str | int, tuple[int, int]]:
        """By key or index: where the key (or the item) stands, and where its value does."""
        if position not in self._children:
            opening = self._text[position]
            scan = {"{": self._scan_mapping, "[": self._scan_list}.get(opening)
            self._children[position] = scan(position) if scan else {}
        return self._children[position]

    def _scan_mapping(self, position: int) -> dict[str | int, tuple[int, int]]:
        found: dict[str | int, tuple[int, int]] = {}
        at = _skip_blank(self._text, position + 1)
        while self._text[at] != "}":
            key, end = self._scan(self._text, at)
            value = _skip_blank(self._text, _skip_blank(self._text, end) + 1)
            if key in found:
                self._repeated.setdefault(position, []).append(key)
            found[key] = (at, value)
            at = self._after(value)
        return found

    def _scan_list(self, position: int) -> dict[str | int, tuple[int, int]]:
        found: dict[str | int, tuple[int, int]] = {}
        at = _skip_blank(self._text, position + 1)
        while self._text[at] != "]":
            found[len(found)] = (at, at)
            at = self._after(at)
        return found

    def _after(self, value: int) -> int:
        """Where the next key or item stands, or the closing bracket."""
        _, end = self._scan(self._text, value)
        at = _skip_blank(self._text, end)
        return _skip_blank(self._text, at + 1) if self._text[at] == "," else at
