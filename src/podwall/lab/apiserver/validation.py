"""What the server refuses to store. A selection: what tests and people are likely to get wrong."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from podwall.lab.apiserver.resources import Resource
from podwall.lab.apiserver.status import (
    Cause,
    forbidden_value,
    invalid_value,
    required,
    unsupported,
)
from podwall.lab.apiserver.store import Object

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_LABEL_KEY = re.compile(
    rf"({_LABEL}(\.{_LABEL})*/)?(?=.{{1,63}}$)[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
)
_LABEL_VALUE = re.compile(r"(?=.{0,63}$)([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_NAME_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_NAMESPACE_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
    "'12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_KEY_WORDS = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PORT_WORDS = "must be between 1 and 65535, inclusive"
_CIDR_WORDS = "must be a valid CIDR value, (e.g. 10.9.8.7/8 or 2001:db8::/64)"
_POD_SPEC_WORDS = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
    "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set "
    "to 1 if it was previously negative)"
)


def misfits(thing: Object) -> str | None:
    """Why the object cannot even be read as its kind: a field of the wrong shape."""
    metadata = thing["metadata"]
    if not isinstance(metadata, dict):
        return "cannot unmarshal into Go struct field .metadata"
    for field, fits in _METADATA_SHAPES.items():
        if not fits(metadata.get(field)):
            return f"cannot unmarshal into Go struct field ObjectMeta.metadata.{field}"
    for section in ("spec", "status"):
        if not isinstance(thing.get(section), dict | None):
            return f"cannot unmarshal into Go struct field .{section}"
    return None


def _text(value: object) -> bool:
    return isinstance(value, str | None)


def _texts(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(x, str) for x in value))


def _text_map(value: object) -> bool:
    return value is None or (
        isinstance(value, dict) and all(isinstance(x, str) for x in value.values())
    )


_METADATA_SHAPES: Mapping[str, Callable[[object], bool]] = {
    "name": _text,
    "generateName": _text,
    "namespace": _text,
    "resourceVersion": _text,
    "uid": _text,
    "labels": _text_map,
    "annotations": _text_map,
    "finalizers": _texts,
}


def problems(resource: Resource, thing: Object) -> list[Cause]:
    """What is wrong with a new or replaced object."""
    return [*_metadata(resource, thing["metadata"]), *_specific(resource, thing.get("spec") or {})]


def change_problems(resource: Resource, old: Object, new: Object) -> list[Cause]:
    """What may not change between two versions."""
    if resource.kind != "Pod" or _fixed(old["spec"]) == _fixed(new["spec"]):
        return []
    return [forbidden_value("spec", _POD_SPEC_WORDS)]


def _fixed(spec: dict[str, Any]) -> dict[str, Any]:
    free = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds")
    fixed = {k: v for k, v in spec.items() if k not in free}
    for field in ("containers", "initContainers"):
        listed = fixed.get(field)
        if isinstance(listed, list):
            fixed[field] = [
                {k: v for k, v in each.items() if k != "image"} if isinstance(each, dict) else each
                for each in listed
            ]
    return fixed


def _metadata(resource: Resource, metadata: dict[str, Any]) -> Iterator[Cause]:
    name = metadata.get("name", "")
    if not name:
        yield required("metadata.name", "name or generateName is required")
    elif resource.kind == "Namespace":
        if len(name) > 63 or not re.fullmatch(_LABEL, name):
            yield invalid_value("metadata.name", name, _NAMESPACE_WORDS)
    elif resource.group == "rbac.authorization.k8s.io":
        if "/" in name or "%" in name:
            yield invalid_value("metadata.name", name, "may not contain '/'")
    elif len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        yield invalid_value("metadata.name", name, _NAME_WORDS)
    for key, value in (metadata.get("labels") or {}).items():
        if not _LABEL_KEY.fullmatch(key):
            yield invalid_value("metadata.labels", key, _KEY_WORDS)
        if not _LABEL_VALUE.fullmatch(value):
            yield invalid_value("metadata.labels", value, _VALUE_WORDS)


def _specific(resource: Resource, spec: dict[str, Any]) -> Iterator[Cause]:
    if resource.kind == "NetworkPolicy":
        yield from _policy_section(spec.get("ingress"), "spec.ingress", "from")
        yield from _policy_section(spec.get("egress"), "spec.egress", "to")
    elif resource.kind == "Pod":
        yield from _pod_spec(spec, "spec")
    elif resource.group == "apps":
        yield from _workload(spec)


def _pod_spec(spec: dict[str, Any], path: str) -> Iterator[Cause]:
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    for index, container in enumerate(spec.get("containers") or []):
        where = f"{path}.containers[{index}]"
        for field in ("name", "image"):
            if not container.get(field):
                yield required(f"{where}.{field}")
        for at, port in enumerate(container.get("ports") or []):
            number = port.get("containerPort")
            if not isinstance(number, int):
                yield required(f"{where}.ports[{at}].containerPort")
            elif not 1 <= number <= 65535:
                yield invalid_value(f"{where}.ports[{at}].containerPort", number, _PORT_WORDS)
            if port.get("protocol", "TCP") not in _PROTOCOLS:
                yield unsupported(f"{where}.ports[{at}].protocol", port["protocol"], _PROTOCOLS)


def _workload(spec: dict[str, Any]) -> Iterator[Cause]:
    template = spec.get("template") or {}
    wanted = (spec.get("selector") or {}).get("matchLabels") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not spec.get("selector"):
        yield required("spec.selector")
    elif not wanted.items() <= labels.items():
        words = "`selector` does not match template `labels`"
        yield invalid_value("spec.template.metadata.labels", labels, words)
    yield from _pod_spec(template.get("spec") or {}, "spec.template.spec")


def _policy_section(rules: object, path: str, peers: str) -> Iterator[Cause]:
    for index, rule in enumerate(rules if isinstance(rules, list) else []):
        for at, port in enumerate(rule.get("ports") or []):
            yield from _port(port, f"{path}[{index}].ports[{at}]")
        for at, peer in enumerate(rule.get(peers) or []):
            where = f"{path}[{index}].{peers}[{at}]"
            if not peer:
                yield required(where, "must specify a peer")
            elif block := peer.get("ipBlock"):
                yield from _block(block, f"{where}.ipBlock")


def _port(port: dict[str, Any], path: str) -> Iterator[Cause]:
    number, end = port.get("port"), port.get("endPort")
    if isinstance(number, int) and not 1 <= number <= 65535:
        yield invalid_value(f"{path}.port", number, _PORT_WORDS)
    if end is None:
        return
    if number is None:
        yield invalid_value(f"{path}.endPort", end, "may not be specified when `port` is not")
    elif not isinstance(number, int):
        yield invalid_value(
            f"{path}.endPort", end, "may not be specified when `port` is non-numeric"
        )
    elif end < number:
        yield invalid_value(f"{path}.endPort", end, "must be greater than or equal to `port`")


def _block(block: dict[str, Any], path: str) -> Iterator[Cause]:
    cidr = _cidr(block.get("cidr"))
    if cidr is None:
        yield invalid_value(f"{path}.cidr", block.get("cidr"), _CIDR_WORDS)
    for index, text in enumerate(block.get("except") or []):
        hole = _cidr(text)
        if hole is None:
            yield invalid_value(f"{path}.except[{index}]", text, _CIDR_WORDS)
        elif cidr is not None and not _strictly_inside(hole, cidr):
            words = f'must be a strict subset of `cidr`: "{block["cidr"]}"'
            yield invalid_value(f"{path}.except[{index}]", text, words)


def _cidr(text: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(str(text), strict=False) if "/" in str(text) else None
    except ValueError:
        return None


def _strictly_inside(
    hole: ipaddress.IPv4Network | ipaddress.IPv6Network,
    cidr: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> bool:
    return (
        hole.version == cidr.version
        and hole.prefixlen > cidr.prefixlen
        and hole.network_address in cidr
    )
