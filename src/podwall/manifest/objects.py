"""The objects of a document: itself, or the items of a List, each with its kind and place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from podwall.model.decode import Path, describe, printable_name, shown

_LIST = "List"
_MAX_NESTING = 4
_CLUSTER_WIDE = ("Namespace", "Node")
_MAX_NAME = 80


class Entry(NamedTuple):
    """One object: its data, its place in the document, and what it says it is."""

    data: dict[str, Any]
    path: Path
    kind: str
    api_version: str

    @property
    def shown_kind(self) -> str:
        """The kind as messages name it."""
        return _short(self.kind)

    def shown_name(self, default_namespace: str) -> str:
        """``ns/name``, or ``name`` of an object that is in no namespace, as messages name it."""
        meta = self.data.get("metadata")
        meta = meta if isinstance(meta, dict) else {}
        name, namespace = meta.get("name"), meta.get("namespace")
        if name is None and isinstance(meta.get("generateName"), str):
            name = f"{meta['generateName']}*"
        text = _short(name) if isinstance(name, str) and name else "(no name)"
        if self.kind in _CLUSTER_WIDE:
            return text
        known = isinstance(namespace, str) and namespace
        return f"{_short(str(namespace)) if known else default_namespace}/{text}"


class Nothing(NamedTuple):
    """A place where an object should be and is none."""

    path: Path
    found: str
    expected: str


def _short(text: str) -> str:
    safe = printable_name(text)
    return safe if len(safe) <= _MAX_NAME else f"{safe[:_MAX_NAME]}…"


def entries(data: object, path: Path = ()) -> Iterator[Entry | Nothing]:
    """The objects in ``data``, Lists and typed lists (``PodList``) taken apart."""
    yield from _entries(data, path, "", "", 0)


def _entries(
    data: object, path: Path, kind: str, api_version: str, nesting: int
) -> Iterator[Entry | Nothing]:
    """``kind`` and ``api_version`` hold where the object names none, as in a typed list."""
    if type(data) is not dict:
        yield Nothing(path, describe(data), "expected a Kubernetes object")
        return
    own_kind = data.get("kind", kind)
    own_version = data.get("apiVersion", api_version)
    if not isinstance(own_kind, str) or not own_kind:
        found = "it has no kind" if own_kind in (None, "") else f"kind: {describe(own_kind)}"
        yield Nothing(path, found, "expected a Kubernetes object with apiVersion and kind")
        return
    if not isinstance(own_version, str):
        own_version = "" if own_version is None else shown(describe(own_version))
    items = data.get("items")
    if own_kind != _LIST and not (own_kind.endswith(_LIST) and isinstance(items, list)):
        yield Entry(data, path, own_kind, own_version)
        return
    if nesting >= _MAX_NESTING:
        yield Nothing(path, "Lists nest too deeply", "expected a List of objects")
        return
    if items is not None and not isinstance(items, list):
        yield Nothing((*path, "items"), describe(items), "expected a list of objects")
        return
    item_kind = own_kind.removesuffix(_LIST)
    item_version = own_version if item_kind else ""
    for index, item in enumerate(items or ()):
        where = (*path, "items", index)
        yield from _entries(item, where, item_kind, item_version, nesting + 1)
