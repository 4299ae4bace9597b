"""Namespaces and Nodes from plain data."""

from __future__ import annotations

from podwall.errors import AddressError
from podwall.model.decode.fields import (
    Data,
    expected_string,
    mapping,
    mappings,
    sequence,
    warn_typos,
)
from podwall.model.decode.meta import (
    decode_labels,
    decode_name,
    decode_namespace_name,
    metadata,
)
from podwall.model.decode.names import printable_name
from podwall.model.decode.pod import decode_address
from podwall.model.decode.problem import Decoded, Path, Problems, describe, shown
from podwall.model.net import Address, Cidr, parse_cidr
from podwall.model.objects import NAME_LABEL, Namespace, Node

_FIELDS = ("apiVersion", "kind", "metadata", "spec", "status")
_SPEC_FIELDS = ("podCIDR", "podCIDRs")
_ADDRESS_TYPES = ("InternalIP", "ExternalIP")
_MAX_CIDR = 64


def make_namespace(name: str) -> Namespace:
    """A namespace that nobody declared, as an API server would have it (S18)."""
    return Namespace(name, {NAME_LABEL: name})


def decode_namespace(data: object) -> Decoded[Namespace | None]:
    """Read a ``v1`` Namespace and give it its name label (S18)."""
    problems = Problems()
    namespace = _decode_namespace(data, problems)
    return Decoded(namespace, problems.finish())


def _decode_namespace(data: object, problems: Problems) -> Namespace | None:
    if type(data) is not dict:
        problems.error((), describe(data), "expected a Namespace")
        return None
    warn_typos(data, _FIELDS, (), problems)
    meta = metadata(data, problems)
    name = decode_namespace_name(meta, problems)
    labels = decode_labels(meta, "labels", ("metadata",), problems)
    if name is None:
        return None
    if labels.get(NAME_LABEL, name) != name:
        found = f"{shown(labels[NAME_LABEL])} is not the name"
        problems.warn(("metadata", "labels", NAME_LABEL), found, f"it is read as {name}")
    return Namespace(name, {**labels, NAME_LABEL: name})


def decode_node(data: object) -> Decoded[Node | None]:
    """Read a ``v1`` Node: its addresses and the ranges of its pods; what is wrong is left out."""
    problems = Problems()
    node = _decode_node(data, problems)
    return Decoded(node, problems.finish())


def _decode_node(data: object, problems: Problems) -> Node | None:
    if type(data) is not dict:
        problems.error((), describe(data), "expected a Node")
        return None
    warn_typos(data, _FIELDS, (), problems)
    name = decode_name(metadata(data, problems), problems)
    spec = mapping(data, "spec", (), problems)
    warn_typos(spec, _SPEC_FIELDS, ("spec",), problems)
    addresses = _decode_addresses(mapping(data, "status", (), problems), problems)
    ranges = _decode_ranges(spec, problems)
    return None if name is None else Node(name, addresses, ranges)


def _decode_addresses(status: Data, problems: Problems) -> tuple[Address, ...]:
    found: dict[Address, None] = {}
    for path, item in mappings(status, "addresses", ("status",), problems):
        if item.get("type") in _ADDRESS_TYPES:
            address = decode_address(item.get("address"), (*path, "address"), problems)
            if address is not None:
                found[address] = None
    return tuple(found)


def _decode_ranges(spec: Data, problems: Problems) -> tuple[Cidr, ...]:
    found: dict[Cidr, None] = {}
    listed = sequence(spec, "podCIDRs", ("spec",), problems)
    candidates: list[tuple[Path, object]] = [
        (("spec", "podCIDRs", index), item) for index, item in enumerate(listed)
    ]
    candidates.append((("spec", "podCIDR"), spec.get("podCIDR")))
    for path, item in candidates:
        if item is None or item == "":
            continue
        cidr = _decode_range(item, path, problems)
        if cidr is not None:
            found[cidr] = None
    return tuple(found)


def _decode_range(found: object, path: Path, problems: Problems) -> Cidr | None:
    if not isinstance(found, str):
        problems.error(path, describe(found), expected_string(found))
        return None
    try:
        if len(found) <= _MAX_CIDR:
            return parse_cidr(found)
    except AddressError as error:
        problems.error(path, printable_name(str(error)), "expected a CIDR such as 10.244.1.0/24")
        return None
    problems.error(path, f"{shown(found)} is not a CIDR", "expected one such as 10.244.1.0/24")
    return None
