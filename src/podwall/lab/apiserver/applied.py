"""Server-side apply, in its basics: who set which field.

What each manager last applied to an object is kept as a set of leaves. A manager's field that it
applies no more goes, unless somebody else applies it too; a field that another manager applied with
another value is a conflict, unless the apply is forced. Fields that were written otherwise belong
to nobody here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from podwall.lab.apiserver.patches import strategic_merge
from podwall.lab.apiserver.status import apply_conflict
from podwall.lab.apiserver.store import Object

Path: TypeAlias = tuple[str | tuple[str, str], ...]
Leaves: TypeAlias = dict[Path, Any]

_IDENTITY = {("kind",), ("apiVersion",), ("metadata", "name"), ("metadata", "namespace")}


class Managers:
    """What the managers applied, object by object (by uid)."""

    def __init__(self) -> None:
        self._applied: dict[str, dict[str, Leaves]] = {}

    def apply(
        self, live: Object, config: Object, manager: str, force: bool, keys: Mapping[str, str]
    ) -> Object:
        """The object with ``config`` applied.

        Raises:
            ApiError: another manager owns a field with another value (409).
        """
        wanted = dict(leaves(config, keys))
        present = dict(leaves(live, keys))
        mine, others = self._split(live, manager)
        conflicts = [
            (name, path)
            for name, owned in others.items()
            for path in owned
            if path in wanted and present.get(path) != wanted[path] and path not in _IDENTITY
        ]
        if conflicts and not force:
            raise apply_conflict([(name, _shown(path)) for name, path in conflicts])
        kept = {path for owned in others.values() for path in owned}
        result = strategic_merge(live, {}, keys)
        for path in mine:
            if path not in wanted and path not in kept and path not in _IDENTITY:
                result = _without(result, path)
        return strategic_merge(result, config, keys)

    def record(self, thing: Object, config: Object, manager: str, keys: Mapping[str, str]) -> None:
        """Remember what was applied, and take it from those whose value it changed."""
        wanted = dict(leaves(config, keys))
        _, others = self._split(thing, manager)
        for owned in others.values():
            for path in [each for each in owned if each in wanted and owned[each] != wanted[each]]:
                del owned[path]
        self._applied.setdefault(thing["metadata"]["uid"], {})[manager] = wanted

    def _split(self, live: Object, manager: str) -> tuple[Leaves, dict[str, Leaves]]:
        known = self._applied.get(live["metadata"].get("uid", ""), {})
        return known.get(manager, {}), {k: v for k, v in known.items() if k != manager}


def leaves(value: object, keys: Mapping[str, str], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The values that are set, by path; items of keyed lists are told apart by their key."""
    if isinstance(value, dict) and value:
        for field, inner in value.items():
            yield from leaves(inner, keys, (*path, field))
        return
    key = keys.get(path[-1], "") if path and isinstance(path[-1], str) else ""
    if isinstance(value, list) and key and all(isinstance(each, dict) for each in value):
        for item in value:
            yield from leaves(item, keys, (*path, (key, str(item.get(key)))))
        return
    yield path, value


def _without(node: Any, path: Path) -> Any:
    """A copy of ``node`` that lacks what is at ``path``, and what thereby became empty."""
    head, rest = path[0], path[1:]
    if isinstance(head, tuple):
        key, value = head
        if rest == (key,):
            return [each for each in node or [] if str(each.get(key)) != value]
        return [
            (_without(each, rest) if str(each.get(key)) == value else each) for each in node or []
        ]
    if not isinstance(node, dict) or head not in node:
        return node
    inner = _without(node[head], rest) if rest else None
    if inner in (None, {}, []):
        return {k: v for k, v in node.items() if k != head}
    return {**node, head: inner}


def _shown(path: Path) -> str:
    return "".join(
        f'[{part[0]}="{part[1]}"]' if isinstance(part, tuple) else f".{part}" for part in path
    )
