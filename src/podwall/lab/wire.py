"""Snapshots as text, for the way from ``lab apply`` to the lab.

The encoding is by structure and knows no type by heart: a value of one of the model's classes is
written with the name of its class, and only classes of the model are ever made from a text.
Nothing but podwall reads it, and both ends run the same version.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import msgspec

from podwall.cluster import snapshot as snapshot_module
from podwall.cluster.snapshot import Snapshot
from podwall.errors import LabError
from podwall.model import net, objects, policy, selector


def encode_snapshot(snapshot: Snapshot) -> str:
    """A text from which :func:`decode_snapshot` makes an equal snapshot."""
    return json.dumps(_encode(snapshot), separators=(",", ":"))


def decode_snapshot(text: str) -> Snapshot:
    """The snapshot that a text stands for.

    Raises:
        LabError: it stands for something else.
    """
    try:
        value = _decode(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"the lab was sent something that is no snapshot: {error}") from error
    if not isinstance(value, Snapshot):
        raise LabError(f"the lab was sent a {type(value).__name__} instead of a snapshot")
    return value


def _classes(*modules: ModuleType) -> dict[str, Callable[..., Any]]:
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, msgspec.Struct | enum.Enum)
    }


_CLASSES = _classes(snapshot_module, net, objects, policy, selector)


def _encode(value: object) -> object:
    if isinstance(value, enum.Enum):
        return {"enum": type(value).__name__, "of": value.value}
    if isinstance(value, msgspec.Struct):
        fields = [_encode(getattr(value, name)) for name in value.__struct_fields__]
        return {"struct": type(value).__name__, "of": fields}
    if isinstance(value, Mapping):
        return {"map": [[_encode(key), _encode(item)] for key, item in value.items()]}
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    if isinstance(value, frozenset | set):
        return {"set": sorted((_encode(item) for item in value), key=json.dumps)}
    if value is None or isinstance(value, str | int | float):
        return value
    raise LabError(f"a snapshot cannot be sent: it holds a {type(value).__name__}")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    if "enum" in value:
        return _CLASSES[value["enum"]](value["of"])
    if "struct" in value:
        return _CLASSES[value["struct"]](*(_decode(item) for item in value["of"]))
    if "set" in value:
        return frozenset(_decode(item) for item in value["set"])
    return {_decode(key): _decode(item) for key, item in value["map"]}
