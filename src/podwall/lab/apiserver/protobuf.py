"""Bodies in protobuf, as far as ``kubectl create`` sends them: objects that are mostly metadata.

Only requests are read; answers are always JSON, which every client accepts.
"""

from __future__ import annotations

from collections.abc import Iterator

from podwall.lab.apiserver.store import Object

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
# Field numbers of the maps of text that an object of a kind has next to its metadata.
_MAPS: dict[str, dict[int, str]] = {"Namespace": {}, "ServiceAccount": {}, "ConfigMap": {2: "data"}}


def decode(data: bytes) -> Object:
    """An object.

    Raises:
        ValueError: it is none, or of a kind that is not read here.
    """
    if not data.startswith(_MAGIC):
        raise ValueError("it does not begin as a protobuf object does")
    envelope = dict(_fields(data[len(_MAGIC) :]))
    type_meta = dict(_fields(envelope[1]))
    kind = type_meta[2].decode()
    if kind not in _MAPS:
        raise ValueError(f"a {kind} is not read")
    thing: Object = {"kind": kind, "apiVersion": type_meta[1].decode(), "metadata": {}}
    for number, value in _fields(envelope[2]):
        if number == 1:
            thing["metadata"] = _metadata(value)
        elif name := _MAPS[kind].get(number):
            _enter(thing.setdefault(name, {}), value)
    return thing


def _metadata(data: bytes) -> Object:
    metadata: Object = {}
    texts = {1: "name", 2: "generateName", 3: "namespace"}
    maps = {11: "labels", 12: "annotations"}
    for number, value in _fields(data):
        if number in texts:
            metadata[texts[number]] = value.decode()
        elif number in maps:
            _enter(metadata.setdefault(maps[number], {}), value)
    return {name: value for name, value in metadata.items() if value}


def _enter(mapping: dict[str, str], data: bytes) -> None:
    entry = dict(_fields(data))
    mapping[entry.get(1, b"").decode()] = entry.get(2, b"").decode()


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message; numbers are passed over."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                _, at = _varint(data, at)
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
