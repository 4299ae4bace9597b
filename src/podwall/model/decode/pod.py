"""Pods from plain data: from the API server, from a dump of a cluster, or written by hand.

A pod that was never in a cluster has no ``status``; it counts as running, and
:mod:`podwall.cluster.placement` gives it a node and addresses. This is the hot path of loading (a
cluster has thousands of pods), so the common, correct case does little more than look things up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from podwall.errors import AddressError
from podwall.model.decode.fields import (
    Data,
    expected_string,
    flag,
    mapping,
    mappings,
    text,
    warn_typos,
)
from podwall.model.decode.meta import decode_labels, decode_name, decode_namespace_of, metadata
from podwall.model.decode.names import near_miss, printable_name
from podwall.model.decode.ports import decode_container_port
from podwall.model.decode.problem import Decoded, Path, Problems, describe, shown
from podwall.model.net import Address, parse_address
from podwall.model.objects import ContainerPort, Phase, Pod, PodKey

_FIELDS = ("apiVersion", "kind", "metadata", "spec", "status")
_SPEC_FIELDS = ("containers", "initContainers", "ephemeralContainers", "nodeName", "hostNetwork")
_CONTAINER_FIELDS = ("name", "ports", "restartPolicy", "restartPolicyRules")
_PORT_FIELDS = ("name", "containerPort", "protocol", "hostPort", "hostIP")
_PHASES = {each.value: each for each in Phase}
_MAX_ADDRESS = 64
TEMPLATE_HASH = "pod-template-hash"
"""The label that tells which of a Deployment's ReplicaSets a pod belongs to."""

# A CronJob's Jobs end in the scheduled minute since 1970; eight digits that begin with 20 are more
# likely somebody's date.
_SCHEDULED = re.compile(r"(.+)-(?:2[5-9]|3\d)\d{6}\Z")


def decode_pod(data: object, *, default_namespace: str = "default") -> Decoded[Pod | None]:
    """Read a ``v1`` Pod; ``None`` where ``data`` is no mapping or has no usable name.

    Ports and addresses that are wrong are reported and left out, labels are kept as text.
    """
    problems = Problems()
    pod = _decode(data, default_namespace, problems)
    return Decoded(pod, problems.finish())


def _decode(data: object, default_namespace: str, problems: Problems) -> Pod | None:
    if type(data) is not dict:
        problems.error((), describe(data), "expected a Pod")
        return None
    warn_typos(data, _FIELDS, (), problems)
    meta = metadata(data, problems)
    name = decode_name(meta, problems)
    namespace = decode_namespace_of(meta, default_namespace, problems)
    labels = decode_labels(meta, "labels", ("metadata",), problems)
    spec = mapping(data, "spec", (), problems)
    warn_typos(spec, _SPEC_FIELDS, ("spec",), problems)
    status = mapping(data, "status", (), problems)
    host_network = flag(spec, "hostNetwork", ("spec",), problems)
    ports = _decode_ports(spec, problems)
    if name is None or namespace is None:
        return None
    return Pod(
        key=PodKey(namespace, name),
        uid=printable_name(text(meta, "uid", ("metadata",), problems)),
        labels=labels,
        node=_decode_node_name(spec, problems),
        addresses=_decode_addresses(status, host_network, problems),
        ports=ports,
        host_network=host_network,
        phase=_decode_phase(status, problems),
        terminating=meta.get("deletionTimestamp") is not None,
        workload=owning_workload(meta, labels),
        created=printable_name(text(meta, "creationTimestamp", ("metadata",), problems)),
    )


def _decode_node_name(spec: Data, problems: Problems) -> str:
    return printable_name(text(spec, "nodeName", ("spec",), problems))


def _decode_ports(spec: Data, problems: Problems) -> tuple[ContainerPort, ...]:
    """Ports of the containers, then of init containers that keep running (S39)."""
    ports: list[ContainerPort] = []
    for path, container in mappings(spec, "containers", ("spec",), problems):
        warn_typos(container, _CONTAINER_FIELDS, path, problems)
        _decode_container(container, path, ports, problems)
    for path, container in mappings(spec, "initContainers", ("spec",), problems):
        warn_typos(container, _CONTAINER_FIELDS, path, problems)
        if container.get("restartPolicy") == "Always":
            _decode_container(container, path, ports, problems)
    return tuple(ports)


def _decode_container(
    container: Data, path: Path, ports: list[ContainerPort], problems: Problems
) -> None:
    for where, item in mappings(container, "ports", path, problems):
        warn_typos(item, _PORT_FIELDS, where, problems)
        port = decode_container_port(item, where, problems)
        if port is not None:
            ports.append(ContainerPort(*port))


def _decode_phase(status: Data, problems: Problems) -> Phase:
    found = status.get("phase")
    if found is None or found == "":
        return Phase.RUNNING
    phase = _PHASES.get(found) if isinstance(found, str) else None
    if phase is None:
        meant = near_miss(found, tuple(_PHASES)) if isinstance(found, str) else None
        hint = f"did you mean {meant}?" if meant else f"expected {', '.join(_PHASES)}"
        problems.error(("status", "phase"), describe(found), hint)
        return Phase.UNKNOWN
    return phase


def _decode_addresses(status: Data, host_network: bool, problems: Problems) -> tuple[Address, ...]:
    """All of ``podIPs`` and ``podIP`` (S24); a hostNetwork pod's are its node's."""
    found = _address_list(status, "podIPs", "podIP", problems)
    if not found and host_network:
        found = _address_list(status, "hostIPs", "hostIP", problems)
    return tuple(found)


def _address_list(status: Data, many: str, one: str, problems: Problems) -> dict[Address, None]:
    """Distinct addresses in order."""
    found: dict[Address, None] = {}
    for path, item in mappings(status, many, ("status",), problems):
        address = decode_address(item.get("ip"), (*path, "ip"), problems)
        if address is not None:
            found[address] = None
    single = decode_address(status.get(one), ("status", one), problems)
    if single is not None:
        found[single] = None
    return found


def decode_address(found: object, path: Path, problems: Problems) -> Address | None:
    """Read an address; absent and empty are ``None``, anything else that is none is an error."""
    if found is None or found == "":
        return None
    if not isinstance(found, str):
        problems.error(path, describe(found), expected_string(found))
        return None
    try:
        if len(found) <= _MAX_ADDRESS:
            return parse_address(found)
    except AddressError as error:
        problems.error(path, printable_name(str(error)), "expected an IPv4 or IPv6 address")
        return None
    problems.error(path, f"{shown(found)} is not an IP address", "expected one")
    return None


def owning_workload(meta: Data, labels: Mapping[str, str]) -> str:
    """``Kind/name`` of the top-level owner, as far as names tell; for display only."""
    owners = meta.get("ownerReferences")
    for owner in owners if isinstance(owners, list) else ():
        if isinstance(owner, dict) and owner.get("controller") is True:
            kind, name = owner.get("kind"), owner.get("name")
            if isinstance(kind, str) and isinstance(name, str):
                return top_level_owner(kind, name, labels.get(TEMPLATE_HASH, ""))
    return ""


def top_level_owner(kind: str, name: str, template_hash: str) -> str:
    """The owner of an owner: the Deployment of a ReplicaSet, the CronJob of a Job.

    ``template_hash`` is the label that a Deployment gives its pods, empty if there is none.
    """
    return printable_name(_top_level(kind, name, template_hash))


def _top_level(kind: str, name: str, template_hash: str) -> str:
    if kind == "ReplicaSet" and template_hash:
        stem = name.removesuffix(f"-{template_hash}")
        return f"Deployment/{stem}" if stem != name else f"{kind}/{name}"
    if kind == "Job" and (scheduled := _SCHEDULED.match(name)):
        return f"CronJob/{scheduled[1]}"
    return f"{kind}/{name}"
