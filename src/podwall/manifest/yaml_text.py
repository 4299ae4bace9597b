"""YAML documents: libyaml composes nodes, this module makes plain data of them.

Not PyYAML's constructor, for three reasons: it reads scalars differently from Kubernetes
(:mod:`podwall.manifest.yaml_scalars`), takes repeated keys in silence, and is slow. Input may be
hostile: nesting is bounded while composing (libyaml would overflow the C stack), and a few lines of
aliases that expand to billions of values are refused before they are expanded.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from podwall.manifest.document import MAX_DEPTH, MAX_REPEATED, Document, Unreadable
from podwall.manifest.yaml_scalars import key_text, plain_scalar
from podwall.model.decode import Path, shown

_PLAIN = "plain"
_TEXT = "tag:yaml.org,2002:str"
_COLLECTION = "collection"
_TAGS = "tag:yaml.org,2002:"
_SCALAR_TAGS = tuple(_TAGS + each for each in ("bool", "int", "float", "null", "timestamp"))
_COLLECTION_TAGS = (_COLLECTION, _TAGS + "map", _TAGS + "seq")
_MERGE = "<<"
_FREE_VALUES = 10_000
_MAX_GROWTH = 10


class _Fault(Exception):
    """A place in the text that is refused."""

    def __init__(self, node: Node, found: str, expected: str = "") -> None:
        super().__init__(found)
        self.line: int = node.start_mark.line
        self.found = found
        self.expected = expected


class _Composer(yaml.CSafeLoader):
    """libyaml's composer, with scalars left unresolved and the nesting bounded."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def resolve(self, kind: type[Node], _value: Any, implicit: Any) -> str:
        if kind is ScalarNode:
            return _PLAIN if implicit[0] else _TEXT
        return _COLLECTION

    def descend_resolver(self, current_node: Node | None, _index: Any) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH and current_node is not None:
            raise _Fault(current_node, "values nest too deeply")

    def ascend_resolver(self) -> None:
        self._depth -= 1


def read_yaml(text: str, first_line: int = 1) -> Iterator[Document | Unreadable]:
    """Parse the documents of a text; an unreadable one is the last.

    ``first_line`` is the line of the file that ``text`` begins on.
    """
    loader = None
    try:
        loader = _Composer(text)
        index = 0
        while loader.check_node():
            root = loader.get_node()
            if root is not None:
                yield _document(root, _Lookup(text, index, first_line), aliases="&" in text)
            index += 1
    except _Fault as fault:
        yield Unreadable(first_line + fault.line, fault.found, fault.expected)
    except yaml.YAMLError as error:
        yield _unreadable(error, text, first_line)
    finally:
        if loader is not None:
            loader.dispose()


def _document(root: Node, lookup: _Lookup, *, aliases: bool) -> Document:
    if aliases:
        _AliasCheck().run(root)
    builder = _Builder()
    data = builder.build(root)
    repeated = itertools.islice(_paths_of(builder.repeated, root), MAX_REPEATED)
    return Document(data, tuple(repeated) if builder.repeated else (), lookup.line)


def _unreadable(error: yaml.YAMLError, text: str, first_line: int) -> Unreadable:
    """Turn a parser's complaint into a line and a reason."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        line = error.problem_mark.line
        found = f"it is not YAML: {error.problem}"
        if error.context:
            found += f" ({error.context})"
        rows = text.split("\n")
        row = rows[line] if line < len(rows) else ""
        if "\t" in row[: len(row) - len(row.lstrip())]:
            return Unreadable(first_line + line, found, "expected spaces instead of the tab")
        return Unreadable(first_line + line, found)
    if isinstance(error, yaml.reader.ReaderError):
        line, found = _unprintable(text, str(error.reason))
        return Unreadable(first_line + line, found)
    return Unreadable(first_line, f"it is not YAML: {shown(str(error), 200)}")


def _unprintable(text: str, reason: str) -> tuple[int, str]:
    """The first character that YAML does not allow; libyaml's position counts other units."""
    for index, character in enumerate(text):
        if not (character.isprintable() or character in "\t\n\r\x85") and ord(character) < 0xA0:
            line = text.count("\n", 0, index)
            return line, f"it is not YAML: the character {shown(character)} is not allowed"
    return 0, f"it is not YAML: {reason}"


class _Builder:
    """Plain data from nodes; remembers mappings with repeated keys by the identity of the key."""

    def __init__(self) -> None:
        self.repeated: dict[int, str] = {}

    def build(self, node: Node) -> Any:
        kind = type(node)
        if kind is ScalarNode:
            if node.tag is _PLAIN:
                return plain_scalar(node.value)
            return node.value if node.tag is _TEXT else _tagged_scalar(node)
        if node.tag not in _COLLECTION_TAGS:
            raise _Fault(node, f"the tag {shown(node.tag)} is not known")
        if kind is SequenceNode:
            return [self.build(child) for child in node.value]
        return self._mapping(node)

    def _mapping(self, node: Node) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merges: list[Node] = []
        for key_node, value_node in node.value:
            if _is_merge(key_node):
                merges.append(value_node)
                continue
            key = _key(key_node)
            if key in data:
                self.repeated[id(key_node)] = key
            data[key] = self.build(value_node)
        for merge in merges:
            for merged in merge.value if type(merge) is SequenceNode else [merge]:
                if type(merged) is not MappingNode:
                    raise _Fault(merged, "<< merges something else", "expected a mapping")
                data = {**self._mapping(merged), **data}
        return data


def _is_merge(key: Node) -> bool:
    return bool(key.value == _MERGE and key.tag is _PLAIN)


def _key(node: Node) -> str:
    if type(node) is not ScalarNode:
        raise _Fault(node, "a key is a list or a mapping", "expected a string")
    value = plain_scalar(node.value) if node.tag is _PLAIN else node.value
    key = key_text(value)
    if key is None:
        raise _Fault(node, "a key is null", "expected a string")
    return key


def _tagged_scalar(node: Node) -> Any:
    """A scalar with an explicit tag: the standard ones mean little more than no quotes."""
    if node.tag == _TEXT:
        return node.value
    if node.tag in _SCALAR_TAGS:
        return plain_scalar(node.value)
    raise _Fault(node, f"the tag {shown(node.tag)} is not known")


class _AliasCheck:
    """Refuses aliases that contain themselves or multiply the document."""

    def __init__(self) -> None:
        self._sizes: dict[int, tuple[int, int]] = {}
        self._open: set[int] = set()

    def run(self, root: Node) -> None:
        size, depth = self._measure(root)
        if depth > MAX_DEPTH:
            raise _Fault(root, "aliases nest values too deeply")
        if size > _FREE_VALUES + _MAX_GROWTH * len(self._sizes):
            raise _Fault(root, f"aliases expand {len(self._sizes)} values to more than ten times")

    def _measure(self, node: Node) -> tuple[int, int]:
        """Number of values and depth of the expanded node."""
        known = self._sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in self._open:
            raise _Fault(node, "an alias contains itself")
        self._open.add(id(node))
        size, depth = 1, 0
        for child in _children(node):
            child_size, child_depth = self._measure(child)
            size += child_size
            depth = max(depth, child_depth)
        self._open.discard(id(node))
        self._sizes[id(node)] = size, depth + 1
        return size, depth + 1


def _children(node: Node) -> Iterator[Node]:
    if type(node) is SequenceNode:
        yield from node.value
    elif type(node) is MappingNode:
        for pair in node.value:
            yield from pair


def _paths_of(keys: dict[int, str], root: Node) -> Iterator[Path]:
    """The paths of the fields whose key nodes have the given identities."""
    pending: list[tuple[Path, Node]] = [((), root)]
    while pending:
        path, node = pending.pop()
        if type(node) is SequenceNode:
            pending.extend(((*path, index), child) for index, child in enumerate(node.value))
        elif type(node) is MappingNode:
            for key_node, value_node in node.value:
                if id(key_node) in keys:
                    yield (*path, keys[id(key_node)])
                if not _is_merge(key_node):
                    pending.append(((*path, _key(key_node)), value_node))


class _Lookup:
    """Finds lines by composing the document again; only documents with problems pay for it."""

    def __init__(self, text: str, index: int, first_line: int) -> None:
        self._text = text
        self._index = index
        self._first_line = first_line
        self._root: Node | None = None

    def line(self, path: Path) -> int:
        node = self._compose()
        if node is None:
            return self._first_line
        line = node.start_mark.line
        for step in path:
            place = _child(node, step)
            if place is None:
                break
            line, node = place
        return self._first_line + int(line)

    def _compose(self) -> Node | None:
        if self._root is None:
            loader = _Composer(self._text)
            try:
                # get_node() alone would stumble over the start of the stream.
                for _ in range(self._index + 1):
                    loader.check_node()
                    self._root = loader.get_node()
            finally:
                loader.dispose()
        return self._root


def _child(node: Node, step: str | int) -> tuple[int, Node] | None:
    """Line and node of a field (of the last one, if it is repeated) or an item."""
    if type(node) is SequenceNode and isinstance(step, int) and step < len(node.value):
        item = node.value[step]
        return item.start_mark.line, item
    if type(node) is MappingNode:
        for key_node, value_node in reversed(node.value):
            if not _is_merge(key_node) and _key(key_node) == step:
                return key_node.start_mark.line, value_node
        for key_node, value_node in node.value:
            if _is_merge(key_node) and (place := _child(value_node, step)) is not None:
                return place
    return None
