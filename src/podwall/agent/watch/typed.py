"""Pods straight from their bytes: the fast way, for those on which nothing is wrong.

A cluster has many pods, and most of what an API server tells is news of them. The general decoder
(:mod:`podwall.model.decode`) looks at every field of a whole parsed object, so that it can say what
is wrong with it. Here only the fields that matter are parsed, into what they have to be. Whatever
does not fit gives no pod at all, and the general decoder has its say; where there is a pod, it is
the one that the general decoder gives.

What many pods have in common is kept once: strings, label mappings, lists of ports, workloads.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable

import msgspec

from podwall.errors import AddressError
from podwall.model.decode.names import (
    is_label_key,
    is_label_value,
    is_name,
    is_namespace_name,
    is_port_name,
    printable_name,
)
from podwall.model.decode.pod import TEMPLATE_HASH, top_level_owner
from podwall.model.net import PORT_PROTOCOLS, Address, Protocol, parse_address
from podwall.model.objects import ContainerPort, Phase, Pod, PodKey

SHARED = 4096
"""So many different label mappings, lists of ports and workloads are remembered.

Lists are sorted by name, so the pods of one workload follow each other.
"""

_MAX_ADDRESS = 64
_PHASES = {each.value: each for each in Phase}
_PROTOCOLS = {each.name: each for each in PORT_PROTOCOLS}


class _Owner(msgspec.Struct, gc=False):
    kind: str | None = None
    name: str | None = None
    controller: bool | None = None


class _Metadata(msgspec.Struct, gc=False):
    name: str
    namespace: str
    uid: str | None = None
    labels: dict[str, str] | None = None
    resourceVersion: str | None = None  # noqa: N815 - the API's word, as all below
    creationTimestamp: str | None = None  # noqa: N815
    deletionTimestamp: str | None = None  # noqa: N815
    ownerReferences: list[_Owner] | None = None  # noqa: N815


class _Port(msgspec.Struct, gc=False):
    containerPort: int  # noqa: N815
    name: str | None = None
    protocol: str | None = None


class _Container(msgspec.Struct, gc=False):
    ports: list[_Port] | None = None
    restartPolicy: str | None = None  # noqa: N815


class _Spec(msgspec.Struct, gc=False):
    containers: list[_Container] | None = None
    initContainers: list[_Container] | None = None  # noqa: N815
    nodeName: str | None = None  # noqa: N815
    hostNetwork: bool | None = None  # noqa: N815


class _IP(msgspec.Struct, gc=False):
    ip: str | None = None


class _Status(msgspec.Struct, gc=False):
    phase: str | None = None
    podIP: str | None = None  # noqa: N815
    podIPs: list[_IP] | None = None  # noqa: N815
    hostIP: str | None = None  # noqa: N815
    hostIPs: list[_IP] | None = None  # noqa: N815


class _Pod(msgspec.Struct, gc=False):
    metadata: _Metadata
    spec: _Spec | None = None
    status: _Status | None = None


class TypedPod(msgspec.Struct, frozen=True, gc=False):
    """A pod, and the resourceVersion that it came with."""

    pod: Pod
    version: str


_decoder = msgspec.json.Decoder(_Pod)
_NO_SPEC = _Spec()
_NO_STATUS = _Status()


def read_pod(raw: bytes | msgspec.Raw) -> TypedPod | None:
    """The pod in ``raw``; ``None`` where anything about it is not as it should be."""
    try:
        wire = _decoder.decode(raw)
        return TypedPod(_pod(wire), wire.metadata.resourceVersion or "")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _Unfit, AddressError):
        return None


class _Unfit(Exception):
    """Something is not as it should be; the general decoder says what."""


def _pod(wire: _Pod) -> Pod:
    meta, spec, status = wire.metadata, wire.spec or _NO_SPEC, wire.status or _NO_STATUS
    if not (is_name(meta.name) and is_namespace_name(meta.namespace)):
        raise _Unfit
    host_network = spec.hostNetwork is True
    phase = _PHASES.get(status.phase) if status.phase else Phase.RUNNING
    if phase is None:
        raise _Unfit
    return Pod(
        key=PodKey(sys.intern(meta.namespace), meta.name),
        uid=printable_name(meta.uid or ""),
        labels=_labels(tuple(meta.labels.items())) if meta.labels else _labels(()),
        node=sys.intern(printable_name(spec.nodeName or "")),
        addresses=_addresses(status, host_network),
        ports=_ports(tuple(_declared(spec))),
        host_network=host_network,
        phase=phase,
        terminating=meta.deletionTimestamp is not None,
        workload=_workload(meta),
        created=sys.intern(printable_name(meta.creationTimestamp or "")),
    )


@functools.lru_cache(maxsize=SHARED)
def _labels(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    if not all(is_label_key(key) and is_label_value(value) for key, value in pairs):
        raise _Unfit
    return {sys.intern(key): sys.intern(value) for key, value in pairs}


def _workload(meta: _Metadata) -> str:
    for owner in meta.ownerReferences or ():
        if owner.controller and owner.kind is not None and owner.name is not None:
            labels = meta.labels
            return _owner(owner.kind, owner.name, labels.get(TEMPLATE_HASH, "") if labels else "")
    return ""


@functools.lru_cache(maxsize=SHARED)
def _owner(kind: str, name: str, template_hash: str) -> str:
    return top_level_owner(kind, name, template_hash)


def _declared(spec: _Spec) -> Iterable[tuple[str, str, int]]:
    """The ports of the containers, then of init containers that keep running (S39)."""
    for container in spec.containers or ():
        for port in container.ports or ():
            yield _words(port)
    for container in spec.initContainers or ():
        if container.restartPolicy == "Always":
            for port in container.ports or ():
                yield _words(port)


def _words(port: _Port) -> tuple[str, str, int]:
    return port.name or "", "TCP" if port.protocol is None else port.protocol, port.containerPort


@functools.lru_cache(maxsize=SHARED)
def _ports(declared: tuple[tuple[str, str, int], ...]) -> tuple[ContainerPort, ...]:
    return tuple(_port(*each) for each in declared)


@functools.lru_cache(maxsize=SHARED)
def _port(name: str, protocol: str, number: int) -> ContainerPort:
    known: Protocol | None = _PROTOCOLS.get(protocol)
    if known is None or not 0 < number <= 65535 or not (name == "" or is_port_name(name)):
        raise _Unfit
    return ContainerPort(sys.intern(name), known, number)


def _addresses(status: _Status, host_network: bool) -> tuple[Address, ...]:
    """All of ``podIPs`` and ``podIP`` (S24); a hostNetwork pod's are its node's."""
    found = _listed(status.podIPs, status.podIP)
    return found or _listed(status.hostIPs, status.hostIP) if host_network else found


def _listed(many: list[_IP] | None, one: str | None) -> tuple[Address, ...]:
    texts = dict.fromkeys(each.ip for each in many or () if each.ip)
    if one:
        texts[one] = None
    if any(len(each) > _MAX_ADDRESS for each in texts):
        raise _Unfit
    return tuple(dict.fromkeys(parse_address(each) for each in texts))
