"""The one small cluster that the conformance cases are about, as manifests.

Three namespaces with ten pods on two nodes, all dual stack, and three hosts outside the cluster.
Whatever can take part in a connection is a *machine* with a name: ``red/a`` for a pod, ``n1`` for a
node, ``out1`` for a host outside. A machine is its addresses: when a case deletes the pod
``red/b`` and another pod gets its address, packets of both are sent by the machine ``red/b``.

Labels are chosen so that each selector of the suite tells some pods apart:

    pod   labels (besides pod=LETTER)   named ports
    a     app=web tier=front            web=TCP 80, alt=TCP 81, dgram=UDP 80, assoc=SCTP 80
    b     app=db  tier=""               web=TCP 81, alt=TCP 80, dgram=UDP 81, assoc=SCTP 80
    c                                   web=TCP 80, special=TCP 81, dgram=UDP 80, assoc=SCTP 80
    d     app=web tier=back             as a, and side=TCP 82 of a native sidecar (only red/d)

    namespace  labels
    red        team=a env=prod
    green      team=a
    blue       team=b env=""

Two more pods are traps. ``red/host`` is on the host network of n1 and has the labels of an ``a``
(S23); ``red/done`` has them too, but ended long ago, and its address is green/b's now (S21, S22).
Every machine listens on all of :data:`LISTENING`, and on ``side`` where it is declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from podwall.model.net import Family

Manifest: TypeAlias = dict[str, Any]
Probe: TypeAlias = tuple[str, int | None]

T80, T81, T82 = ("TCP", 80), ("TCP", 81), ("TCP", 82)
U80, U81 = ("UDP", 80), ("UDP", 81)
S80 = ("SCTP", 80)
ECHO: Probe = ("ICMP", None)
LISTENING: tuple[Probe, ...] = (T80, T81, U80, U81, S80, ECHO)
"""What every machine answers; ICMP is ICMPv6 between IPv6 addresses."""


class Machine(msgspec.Struct, frozen=True):
    """One end of connections: an address of each family, and the node that it is on (or is)."""

    v4: str
    v6: str
    node: str = ""

    def address(self, family: Family) -> str:
        return self.v4 if family is Family.V4 else self.v6


def _pod_machine(node: int, number: int) -> Machine:
    return Machine(f"10.80.{node}.{number}", f"fd80:{node}::{number}", f"n{node}")


MACHINES: Mapping[str, Machine] = {
    "red/a": _pod_machine(1, 10),
    "red/b": _pod_machine(2, 11),
    "red/c": _pod_machine(1, 12),
    "red/d": _pod_machine(2, 13),
    "green/a": _pod_machine(2, 20),
    "green/b": _pod_machine(1, 21),
    "green/c": _pod_machine(2, 22),
    "blue/a": _pod_machine(1, 30),
    "blue/b": _pod_machine(2, 31),
    "blue/c": _pod_machine(1, 32),
    "n1": Machine("172.29.0.1", "fd80:ff::1", "n1"),
    "n2": Machine("172.29.0.2", "fd80:ff::2", "n2"),
    "out1": Machine("198.51.100.10", "2001:db8:1::10"),
    "out2": Machine("198.51.100.200", "2001:db8:1::200"),
    "out3": Machine("203.0.113.10", "2001:db8:2::10"),
}

RED = frozenset({"red/a", "red/b", "red/c", "red/d"})
GREEN = frozenset({"green/a", "green/b", "green/c"})
BLUE = frozenset({"blue/a", "blue/b", "blue/c"})
PODS = RED | GREEN | BLUE
N1_PODS = frozenset({"red/a", "red/c", "green/b", "blue/a", "blue/c"})
N2_PODS = PODS - N1_PODS
NODES = frozenset({"n1", "n2"})
OUTSIDE = frozenset({"out1", "out2", "out3"})
EVERYONE = PODS | NODES | OUTSIDE
NOBODY: frozenset[str] = frozenset()

NAMESPACE_LABELS: Mapping[str, Mapping[str, str]] = {
    "red": {"team": "a", "env": "prod"},
    "green": {"team": "a"},
    "blue": {"team": "b", "env": ""},
}
POD_LABELS: Mapping[str, Mapping[str, str]] = {
    "a": {"pod": "a", "app": "web", "tier": "front"},
    "b": {"pod": "b", "app": "db", "tier": ""},
    "c": {"pod": "c"},
    "d": {"pod": "d", "app": "web", "tier": "back"},
}

_SAME = [("web", "TCP", 80), ("dgram", "UDP", 80), ("", "UDP", 81), ("assoc", "SCTP", 80)]
POD_PORTS: Mapping[str, list[tuple[str, str, int]]] = {
    "a": [*_SAME, ("alt", "TCP", 81)],
    "b": [
        ("alt", "TCP", 80),
        ("web", "TCP", 81),
        ("dgram", "UDP", 81),
        ("", "UDP", 80),
        ("assoc", "SCTP", 80),
    ],
    "c": [*_SAME, ("special", "TCP", 81)],
    "d": [*_SAME, ("alt", "TCP", 81)],
}


def namespace(name: str, labels: Mapping[str, str] | None = None) -> Manifest:
    """The manifest of a namespace of the world, with its own labels or others."""
    given = NAMESPACE_LABELS.get(name, {}) if labels is None else labels
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": dict(given)},
    }


def node(name: str) -> Manifest:
    """The manifest of a node; its pod ranges hold its pods and addresses that nobody has."""
    machine, number = MACHINES[name], name.removeprefix("n")
    ranges = [f"10.80.{number}.0/24", f"fd80:{number}::/64"]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"podCIDR": ranges[0], "podCIDRs": ranges},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": machine.v4},
                {"type": "InternalIP", "address": machine.v6},
            ]
        },
    }


def pod(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    ports: list[tuple[str, str, int]] | None = None,
    machine: str = "",
    phase: str = "Running",
    host_network: bool = False,
    terminating: bool = False,
    created: str = "2024-01-01T00:00:00Z",
) -> Manifest:
    """The manifest of the pod ``namespace/name``: as in the world, but for what is given.

    ``machine`` is whose addresses it has, itself where it is one of the world's.
    """
    namespace_name, _, short = name.partition("/")
    at = MACHINES[machine or name]
    meta: Manifest = {
        "name": short,
        "namespace": namespace_name,
        "uid": f"{name}/{created}",
        "labels": dict(POD_LABELS[short] if labels is None else labels),
        "creationTimestamp": created,
    }
    if terminating:
        meta["deletionTimestamp"] = "2024-06-01T00:00:00Z"
    spec: Manifest = {
        "nodeName": at.node,
        "containers": [
            _container("main", POD_PORTS.get(short, []) if ports is None else ports),
        ],
    }
    if name == "red/d":
        sidecar = {**_container("proxy", [("side", "TCP", 82)]), "restartPolicy": "Always"}
        spec["initContainers"] = [_container("setup", [("once", "TCP", 81)]), sidecar]
    if host_network:
        spec["hostNetwork"] = True
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": spec,
        "status": {
            "phase": phase,
            "podIP": at.v4,
            "podIPs": [{"ip": at.v4}, {"ip": at.v6}],
        },
    }


def _container(name: str, ports: list[tuple[str, str, int]]) -> Manifest:
    return {
        "name": name,
        "image": "registry.example/app:1",
        "ports": [
            {
                **({"name": port_name} if port_name else {}),
                "containerPort": number,
                "protocol": protocol,
            }
            for port_name, protocol, number in ports
        ],
    }


def world() -> list[Manifest]:
    """All objects of the world: nodes, namespaces, pods, and the two traps."""
    traps = [
        pod("red/host", machine="n1", labels=POD_LABELS["a"], ports=_SAME, host_network=True),
        pod(
            "red/done",
            machine="green/b",
            labels=POD_LABELS["a"],
            phase="Succeeded",
            created="2024-05-01T00:00:00Z",
        ),
    ]
    return [
        *map(node, sorted(NODES)),
        *map(namespace, NAMESPACE_LABELS),
        *map(pod, sorted(PODS)),
        *traps,
    ]
