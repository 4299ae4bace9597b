"""Patches: JSON patch, merge patch, strategic merge patch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from podwall.lab.apiserver.status import ApiError, bad_request
from podwall.lab.apiserver.store import Object

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)

_ORDER = "$setElementOrder/"
_TAKE_AWAY = "$deleteFromPrimitiveList/"


def merge(target: object, patch: object) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic_merge(target: Object, patch: Object, keys: Mapping[str, str]) -> Object:
    """Kubernetes' own: like merge, but lists in ``keys`` are merged item by item.

    ``keys`` maps the name of a list field to the key of its items; empty for lists of values.
    """
    if patch.get("$patch") == "replace":
        return {k: v for k, v in patch.items() if k != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    result = dict(target)
    if "$retainKeys" in patch:
        result = {k: v for k, v in result.items() if k in patch["$retainKeys"]}
    for field, value in patch.items():
        if field.startswith(_TAKE_AWAY):
            name = field.removeprefix(_TAKE_AWAY)
            result[name] = [each for each in result.get(name) or [] if each not in value]
        elif field.startswith("$"):
            continue
        elif value is None:
            result.pop(field, None)
        else:
            result[field] = _merged(result.get(field), value, field, keys)
    for field, order in patch.items():
        if field.startswith(_ORDER):
            name = field.removeprefix(_ORDER)
            if isinstance(result.get(name), list):
                result[name] = _ordered(result[name], order, keys.get(name, ""))
    return result


def _merged(old: object, value: object, field: str, keys: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return strategic_merge(old if isinstance(old, dict) else {}, value, keys)
    if isinstance(value, list) and field in keys:
        return _merged_list(old if isinstance(old, list) else [], value, keys[field], keys)
    return value


def _merged_list(old: list[Any], patch: list[Any], key: str, keys: Mapping[str, str]) -> list[Any]:
    if not key:
        return old + [each for each in patch if each not in old]
    if {"$patch": "replace"} in patch:
        return [each for each in patch if each != {"$patch": "replace"}]
    result = list(old)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        at = next((i for i, each in enumerate(result) if each.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(strategic_merge({}, item, keys))
        else:
            result[at] = strategic_merge(result[at], item, keys)
    return result


def _ordered(items: list[Any], order: list[Any], key: str) -> list[Any]:
    """Items that ``order`` names come in its order, the others stay behind them."""
    named = [each[key] if key else each for each in order]

    def rank(item: Any) -> int:
        value = item.get(key) if key else item
        return named.index(value) if value in named else len(named)

    return sorted(items, key=rank)


def json_patch(target: Object, operations: object) -> Object:
    """RFC 6902.

    Raises:
        ApiError: an operation is malformed (400) or cannot be done (422).
    """
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: a JSON patch is a list")
    holder: dict[str, Any] = {"": copy.deepcopy(target)}
    for operation in operations:
        try:
            _operate(holder, operation)
        except (AttributeError, KeyError, IndexError, ValueError, TypeError) as error:
            raise ApiError(
                422,
                "Invalid",
                f"the server rejected our request due to an error in our request: "
                f"{operation}: {error}",
            ) from error
    result: Object = holder[""]
    return result


def _operate(holder: dict[str, Any], operation: dict[str, Any]) -> None:
    parent, last = _resolve(holder, operation["path"])
    match operation["op"]:
        case "add":
            _add(parent, last, operation["value"])
        case "remove":
            _pop(parent, last)
        case "replace":
            _pop(parent, last)
            _add(parent, last, operation["value"])
        case "test":
            if _get(parent, last) != operation["value"]:
                raise ValueError("testing value failed")
        case "copy":
            _add(parent, last, copy.deepcopy(_get(*_resolve(holder, operation["from"]))))
        case "move":
            _add(parent, last, _pop(*_resolve(holder, operation["from"])))
        case other:
            raise ValueError(f"unknown operation {other!r}")


def _resolve(holder: dict[str, Any], pointer: str) -> tuple[Any, str]:
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
    node: Any = holder
    for part in parts[:-1]:
        node = _get(node, part)
    return node, parts[-1]


def _get(parent: Any, key: str) -> Any:
    return parent[int(key)] if isinstance(parent, list) else parent[key]


def _pop(parent: Any, key: str) -> Any:
    return parent.pop(int(key) if isinstance(parent, list) else key)


def _add(parent: Any, key: str, value: Any) -> None:
    if not isinstance(parent, list):
        parent[key] = value
    elif key == "-":
        parent.append(value)
    else:
        parent.insert(int(key), value)
