"""Bodies in protobuf, as far as ``kubectl create`` sends them: simple objects.

Only requests are read; answers are always JSON, which every client accepts. A message is described
by the numbers of the fields that are read; the others are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from podwall.lab.apiserver.store import Object

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"
_TEXT, _NUMBER, _MAP, _EITHER = "text", "number", "map", "a number or a text"

_Message: TypeAlias = "Mapping[int, tuple[str, _Shape]]"
_Shape: TypeAlias = "str | _Message | list[str | _Message]"

_METADATA: _Message = {
    1: ("name", _TEXT),
    2: ("generateName", _TEXT),
    3: ("namespace", _TEXT),
    11: ("labels", _MAP),
    12: ("annotations", _MAP),
}
_CONTAINER: _Message = {
    1: ("name", _TEXT),
    2: ("image", _TEXT),
    3: ("command", [_TEXT]),
    4: ("args", [_TEXT]),
    6: ("ports", [{1: ("name", _TEXT), 3: ("containerPort", _NUMBER), 4: ("protocol", _TEXT)}]),
}
_TEMPLATE: _Message = {1: ("metadata", _METADATA), 2: ("spec", {2: ("containers", [_CONTAINER])})}
_DEPLOYMENT: _Message = {
    1: ("replicas", _NUMBER),
    2: ("selector", {1: ("matchLabels", _MAP)}),
    3: ("template", _TEMPLATE),
}
_SERVICE_PORT: _Message = {
    1: ("name", _TEXT),
    2: ("protocol", _TEXT),
    3: ("port", _NUMBER),
    4: ("targetPort", _EITHER),
    5: ("nodePort", _NUMBER),
}
_SERVICE: _Message = {
    1: ("ports", [_SERVICE_PORT]),
    2: ("selector", _MAP),
    3: ("clusterIP", _TEXT),
    4: ("type", _TEXT),
    10: ("externalName", _TEXT),
}
_KINDS: Mapping[str, _Message] = {
    "Namespace": {},
    "ServiceAccount": {},
    "ConfigMap": {2: ("data", _MAP)},
    "Deployment": {2: ("spec", _DEPLOYMENT)},
    "Service": {2: ("spec", _SERVICE)},
}


def decode(data: bytes) -> Object:
    """An object.

    Raises:
        ValueError: it is none, or of a kind that is not read here.
    """
    if not data.startswith(_MAGIC):
        raise ValueError("it does not begin as a protobuf object does")
    envelope = dict(_fields(data[len(_MAGIC) :]))
    type_meta = dict(_fields(_bytes(envelope[1])))
    kind = _bytes(type_meta[2]).decode()
    if kind not in _KINDS:
        raise ValueError(f"a {kind} is not read")
    message = {1: ("metadata", _METADATA), **_KINDS[kind]}
    read = _decode(_bytes(envelope[2]), message)
    return {"kind": kind, "apiVersion": _bytes(type_meta[1]).decode(), "metadata": {}, **read}


def _decode(data: bytes, message: _Message) -> Object:
    """The fields of a message; like in JSON, empty text is left out."""
    found: Object = {}
    for number, value in _fields(data):
        if number not in message:
            continue
        name, shape = message[number]
        if isinstance(shape, list):
            found.setdefault(name, []).append(_value(value, shape[0]))
        elif shape == _MAP:
            entry = dict(_fields(_bytes(value)))
            key = _bytes(entry.get(1, b"")).decode()
            found.setdefault(name, {})[key] = _bytes(entry.get(2, b"")).decode()
        elif value != b"":
            found[name] = _value(value, shape)
    return found


def _value(value: bytes | int, shape: str | _Message) -> Any:
    if shape == _NUMBER:
        if isinstance(value, bytes):
            raise ValueError("expected a number")
        return value
    if shape == _EITHER:
        union = dict(_fields(_bytes(value)))
        return _bytes(union.get(3, b"")).decode() if union.get(1) else union.get(2, 0)
    if isinstance(shape, str):
        return _bytes(value).decode()
    return _decode(_bytes(value), shape)


def _bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ValueError("expected bytes")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a message that are numbers or have a length."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
                yield tag >> 3, value
            case 1:
                at += 8
            case 2:
                length, at = _varint(data, at)
                yield tag >> 3, data[at : at + length]
                at += length
            case 5:
                at += 4
            case other:
                raise ValueError(f"unknown wire type {other}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
