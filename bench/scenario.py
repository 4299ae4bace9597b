"""A node under load, as data: local pods, the policies they share, and flows to send.

Everything is drawn from a seeded generator, so one set of arguments always gives the same scenario.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TypeAlias

BUCKETS = 64
"""Every pod has a label `bucket` with one of this many values; peers select a subset of them."""

NODE = "node-a"
NAMESPACE = "bench"
POD_CIDR = "10.64.0.0/24"
_LOCAL = int(IPv4Address("10.64.0.0"))
_REMOTE = int(IPv4Address("10.65.0.0"))
_FIRST_PORT = 2000
_PORT_STEP = 10

Ports: TypeAlias = tuple[tuple[int, int], ...]
"""Port ranges, both ends included; a single port is a range of one."""


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod; `profile` is the number of the policy that selects it, -1 if none does."""

    name: str
    address: str
    bucket: int
    profile: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One allowing rule: any of `ports`, from or to the pods in `buckets`."""

    ports: Ports
    buckets: frozenset[int]

    def allows(self, peer: Pod, port: int) -> bool:
        """Whether this rule alone lets traffic with `peer` pass."""
        return peer.bucket in self.buckets and any(low <= port <= high for low, high in self.ports)


@dataclass(frozen=True, slots=True)
class Profile:
    """What the pods of one policy may receive and send; both directions are isolated."""

    ingress: tuple[Rule, ...]
    egress: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """One connection, seen from the pod that opens it."""

    source: Pod
    destination: Pod
    source_port: int
    port: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """`local` pods are on the node and isolated both ways; `remote` ones are only peers.

    `protocol` is `TCP` or `UDP`, for all rules and flows.
    """

    protocol: str
    local: tuple[Pod, ...]
    remote: tuple[Pod, ...]
    profiles: tuple[Profile, ...]

    def addresses(self, buckets: frozenset[int]) -> tuple[str, ...]:
        """Addresses of all pods, local and remote, whose bucket is one of `buckets`."""
        return tuple(p.address for p in (*self.local, *self.remote) if p.bucket in buckets)

    def members(self, profile: int) -> tuple[str, ...]:
        """Addresses of the local pods of one profile."""
        return tuple(pod.address for pod in self.local if pod.profile == profile)

    def allows(self, source: Pod, destination: Pod, port: int) -> bool:
        """Whether both ends' policies let this pass; an end without a policy does not object."""
        return (
            source.profile < 0
            or any(r.allows(destination, port) for r in self.profiles[source.profile].egress)
        ) and (
            destination.profile < 0
            or any(r.allows(source, port) for r in self.profiles[destination.profile].ingress)
        )


def make_scenario(
    pods: int, profiles: int, *, rules: int = 10, remote: int = 150, protocol: str = "TCP"
) -> Scenario:
    """A node with `pods` local pods spread over `profiles` policies of `rules` rules each way."""
    rng = random.Random(pods * 1000 + profiles)
    return Scenario(
        protocol=protocol,
        local=tuple(_draw_pod(rng, "local", _LOCAL, i, i % profiles) for i in range(pods)),
        remote=tuple(_draw_pod(rng, "remote", _REMOTE, i, -1) for i in range(remote)),
        profiles=tuple(
            Profile(ingress=_draw_rules(rng, rules), egress=_draw_rules(rng, rules))
            for _ in range(profiles)
        ),
    )


def _draw_pod(rng: random.Random, kind: str, network: int, index: int, profile: int) -> Pod:
    address = str(IPv4Address(network + index + 1))
    return Pod(f"{kind}-{index}", address, rng.randrange(BUCKETS), profile)


def _draw_rules(rng: random.Random, count: int) -> tuple[Rule, ...]:
    """`count` rules with ports and peers of their own, in random order.

    Every profile uses the same blocks of ports but in an order of its own, so the rule that matches
    is equally likely to be any and differs at the two ends of a flow: half of the rules are walked.
    """
    rules = [
        Rule(_draw_ports(i), frozenset(rng.sample(range(BUCKETS), BUCKETS // 4)))
        for i in range(count)
    ]
    rng.shuffle(rules)
    return tuple(rules)


def _draw_ports(index: int) -> Ports:
    """A third of the rules each: one port, three ports, a range."""
    first = _FIRST_PORT + _PORT_STEP * index
    shapes: tuple[Ports, ...] = (
        ((first, first),),
        ((first, first), (first + 2, first + 2), (first + 4, first + 4)),
        ((first, first + 4),),
    )
    return shapes[index % len(shapes)]


def draw_flows(
    scenario: Scenario, count: int, sources: tuple[Pod, ...], *, allowed: bool = True
) -> list[Flow]:
    """`count` distinct flows from `sources` to local pods that the policies allow (or refuse).

    Pods and ports are drawn anew for every flow: no two in a row profit from each other's caches.
    """
    rng = random.Random(count)
    # The first port of a block belongs to its rule whatever the rule's shape.
    ports = [_FIRST_PORT + _PORT_STEP * i for i in range(len(scenario.profiles[0].ingress))]
    flows: list[Flow] = []
    for attempt in range(100 * count):
        source, destination = rng.choice(sources), rng.choice(scenario.local)
        port = rng.choice(ports)
        if source is not destination and scenario.allows(source, destination, port) is allowed:
            flows.append(Flow(source, destination, 10000 + attempt % 50000, port))
            if len(flows) == count:
                return flows
    raise ValueError(f"only {len(flows)} of {count} flows found")


def pack_flows(flows: Iterable[Flow]) -> bytes:
    """The load generator's input: 12 bytes a flow, in network byte order."""
    return b"".join(
        struct.pack(
            "!IIHH",
            int(IPv4Address(flow.source.address)),
            int(IPv4Address(flow.destination.address)),
            flow.source_port,
            flow.port,
        )
        for flow in flows
    )


def manifests(scenario: Scenario) -> dict[str, object]:
    """The scenario as Kubernetes objects: a `List` of a Node, the Pods and the NetworkPolicies."""
    items: list[object] = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NODE},
            "spec": {"podCIDRs": [POD_CIDR]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
        }
    ]
    items += (_pod_manifest(pod, NODE) for pod in scenario.local)
    items += (_pod_manifest(pod, "node-b") for pod in scenario.remote)
    items += (_policy_manifest(scenario, number) for number in range(len(scenario.profiles)))
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _pod_manifest(pod: Pod, node: str) -> dict[str, object]:
    labels = {"bucket": str(pod.bucket)}
    if pod.profile >= 0:
        labels["profile"] = str(pod.profile)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod.name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "example"}]},
        "status": {"phase": "Running", "podIP": pod.address, "podIPs": [{"ip": pod.address}]},
    }


def _policy_manifest(scenario: Scenario, number: int) -> dict[str, object]:
    profile = scenario.profiles[number]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"profile-{number}", "namespace": NAMESPACE},
        "spec": {
            "podSelector": {"matchLabels": {"profile": str(number)}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": list(_rule_manifests(scenario.protocol, "from", profile.ingress)),
            "egress": list(_rule_manifests(scenario.protocol, "to", profile.egress)),
        },
    }


def _rule_manifests(
    protocol: str, side: str, rules: tuple[Rule, ...]
) -> Iterator[dict[str, object]]:
    for rule in rules:
        values = [str(bucket) for bucket in sorted(rule.buckets)]
        chosen = {"key": "bucket", "operator": "In", "values": values}
        ports = [
            {"protocol": protocol, "port": low} | ({"endPort": high} if high > low else {})
            for low, high in rule.ports
        ]
        yield {side: [{"podSelector": {"matchExpressions": [chosen]}}], "ports": ports}
