"""A large cluster as Kubernetes objects: deterministic, and shaped like ones that people run.

Namespaces belong to teams and environments; each has a few applications with tiers. Policies are
those that one meets: deny by default, DNS for all, tier to tier, ingress from a gateway, egress to
blocks outside with exceptions, named ports, ranges of ports.

Run as a program it writes the cluster as one JSON `List`:

    python bench/cluster_gen.py --pods 10000 --policies 1000 > cluster.json
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

Object: TypeAlias = dict[str, object]

NODE = "node-0"
"""The node whose ruleset is wanted; `local_pods` of the cluster's pods run there."""

TIERS = ("web", "api", "worker", "cache", "db")
TEAMS = ("checkout", "search", "billing", "identity", "media", "platform", "growth", "risk")
ENVIRONMENTS = ("prod", "staging", "dev")
APPS_PER_NAMESPACE = 4
_IPV4 = int(IPv4Address("10.128.0.0"))
_IPV6 = int(IPv6Address("fd00:10:128::"))
_PODS_PER_NODE_RANGE = 256

PORTS: dict[str, list[tuple[str, int]]] = {
    "web": [("http", 8080), ("metrics", 9090)],
    "api": [("http", 8000), ("grpc", 9000), ("metrics", 9090)],
    "worker": [("metrics", 9090)],
    "cache": [("redis", 6379), ("metrics", 9121)],
    "db": [("postgres", 5432), ("metrics", 9187)],
}


@dataclass(frozen=True, slots=True)
class ClusterShape:
    """How large a cluster is; equal shapes give equal clusters."""

    pods: int = 10_000
    policies: int = 1_000
    namespaces: int = 200
    local_pods: int = 250
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Workload:
    """What the pods of one Deployment have in common."""

    namespace: str
    app: str
    tier: str

    @property
    def labels(self) -> dict[str, str]:
        """The labels that its policies select by."""
        return {"app": self.app, "tier": self.tier}


def cluster(shape: ClusterShape) -> Object:
    """The whole cluster as a `List`."""
    rng = random.Random(shape.seed)
    names = [_namespace_name(index) for index in range(shape.namespaces)]
    workloads = [
        Workload(name, f"app-{app}", tier)
        for name in names
        for app in range(APPS_PER_NAMESPACE)
        for tier in TIERS
    ]
    items: list[Object] = [*_nodes(shape)]
    items += (_namespace(name, index) for index, name in enumerate(names))
    items += _pods(shape, workloads, rng)
    items += _policies(shape, names, workloads, rng)
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _namespace_name(index: int) -> str:
    team = TEAMS[index % len(TEAMS)]
    environment = ENVIRONMENTS[index // len(TEAMS) % len(ENVIRONMENTS)]
    return f"{team}-{environment}-{index}"


def _namespace(name: str, index: int) -> Object:
    labels = {
        "kubernetes.io/metadata.name": name,
        "team": TEAMS[index % len(TEAMS)],
        "environment": ENVIRONMENTS[index // len(TEAMS) % len(ENVIRONMENTS)],
    }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _nodes(shape: ClusterShape) -> Iterator[Object]:
    for index in range(_node_count(shape)):
        first = index * _PODS_PER_NODE_RANGE
        ranges = [
            f"{IPv4Address(_IPV4 + first)}/24",
            f"{IPv6Address(_IPV6 + first)}/120",
        ]
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": f"node-{index}"},
            "spec": {"podCIDR": ranges[0], "podCIDRs": ranges},
            "status": {"addresses": [{"type": "InternalIP", "address": f"192.0.2.{index + 1}"}]},
        }


def _node_count(shape: ClusterShape) -> int:
    per_node = max(1, min(shape.local_pods, _PODS_PER_NODE_RANGE - 2))
    return -(-shape.pods // per_node)


def _pods(shape: ClusterShape, workloads: list[Workload], rng: random.Random) -> Iterator[Object]:
    """Pods of random workloads, `local_pods` on each node until there are enough."""
    per_node = max(1, min(shape.local_pods, _PODS_PER_NODE_RANGE - 2))
    for index in range(shape.pods):
        node, slot = divmod(index, per_node)
        offset = node * _PODS_PER_NODE_RANGE + slot + 1
        addresses = [str(IPv4Address(_IPV4 + offset)), str(IPv6Address(_IPV6 + offset))]
        yield _pod(rng.choice(workloads), index, f"node-{node}", addresses)


def _pod(workload: Workload, index: int, node: str, addresses: list[str]) -> Object:
    ports = [
        {"name": name, "containerPort": number, "protocol": "TCP"}
        for name, number in PORTS[workload.tier]
    ]
    labels = workload.labels | {
        "app.kubernetes.io/name": workload.app,
        "app.kubernetes.io/component": workload.tier,
        "pod-template-hash": f"{index % 7:08x}",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{workload.app}-{workload.tier}-{index}",
            "namespace": workload.namespace,
            "uid": f"00000000-0000-4000-8000-{index:012x}",
            "creationTimestamp": "2024-01-01T00:00:00Z",
            "labels": labels,
        },
        "spec": {
            "nodeName": node,
            "containers": [{"name": "main", "image": "registry.example/app:1", "ports": ports}],
        },
        "status": {
            "phase": "Running",
            "podIP": addresses[0],
            "podIPs": [{"ip": address} for address in addresses],
        },
    }


def _policies(
    shape: ClusterShape, names: list[str], workloads: list[Workload], rng: random.Random
) -> Iterator[Object]:
    """A default deny and DNS for every namespace first, then policies for single workloads."""
    common = [make(name) for name in names for make in (default_deny, allow_dns)]
    yield from common[: shape.policies]
    for index in range(shape.policies - len(common)):
        workload = workloads[index * 7919 % len(workloads)]
        policy = POLICY_MAKERS[index % len(POLICY_MAKERS)](workload, rng)
        name = f"{workload.app}-{workload.tier}-{index}"
        yield policy_object(name, workload.namespace, policy)


def policy_object(name: str, namespace: str, spec: Object) -> Object:
    """A NetworkPolicy."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def default_deny(namespace: str) -> Object:
    """Nothing in, nothing out."""
    spec: Object = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return policy_object("default-deny", namespace, spec)


def allow_dns(namespace: str) -> Object:
    """Everybody may ask the DNS."""
    peer = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": _namespace_name(5)}},
        "podSelector": {"matchLabels": {"tier": "cache"}},
    }
    ports = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    spec: Object = {
        "podSelector": {},
        "policyTypes": ["Egress"],
        "egress": [{"to": [peer], "ports": ports}],
    }
    return policy_object("allow-dns", namespace, spec)


def _tier_to_tier(workload: Workload, rng: random.Random) -> Object:
    """Some tiers of the same application may come in, by number."""
    tiers = rng.sample(TIERS, 2)
    number = PORTS[workload.tier][0][1]
    peer = {
        "podSelector": {
            "matchLabels": {"app": workload.app},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": tiers}],
        }
    }
    ports = [{"protocol": "TCP", "port": number}, {"protocol": "TCP", "port": 9090}]
    return {
        "podSelector": {"matchLabels": workload.labels},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [peer], "ports": ports}],
    }


def _from_gateway(workload: Workload, rng: random.Random) -> Object:
    """Another team's web tier and a load balancer's range may come in."""
    gateway = {
        "namespaceSelector": {"matchLabels": {"team": rng.choice(TEAMS), "environment": "prod"}},
        "podSelector": {"matchLabels": {"tier": "web"}},
    }
    block = {"ipBlock": {"cidr": f"172.20.{rng.randrange(0, 256, 16)}.0/20"}}
    return {
        "podSelector": {"matchLabels": workload.labels},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [gateway, block], "ports": [{"protocol": "TCP", "port": 8080}]},
            {
                "from": [{"namespaceSelector": {"matchLabels": {"team": "platform"}}}],
                "ports": [{"protocol": "TCP", "port": "metrics"}],
            },
        ],
    }


def _to_outside(workload: Workload, rng: random.Random) -> Object:
    """The internet without private ranges, and one private block with a hole."""
    private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
    second = rng.randrange(0, 256)
    blocks: list[Object] = [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": private}},
        {"ipBlock": {"cidr": f"10.{second}.0.0/16", "except": [f"10.{second}.64.0/18"]}},
        {"ipBlock": {"cidr": "2001:db8::/32", "except": ["2001:db8:ffff::/48"]}},
    ]
    return {
        "podSelector": {"matchLabels": {"tier": workload.tier}},
        "policyTypes": ["Egress"],
        "egress": [{"to": blocks, "ports": [{"protocol": "TCP", "port": 443}]}],
    }


def _named_ports(workload: Workload, rng: random.Random) -> Object:
    """To named ports of another tier, whatever number they have there."""
    tier = rng.choice([each for each in TIERS if each != workload.tier])
    name = PORTS[tier][0][0]
    peer = {"podSelector": {"matchLabels": {"app": workload.app, "tier": tier}}}
    return {
        "podSelector": {"matchLabels": workload.labels},
        "policyTypes": ["Egress"],
        "egress": [{"to": [peer], "ports": [{"protocol": "TCP", "port": name}]}],
    }


def _port_range(workload: Workload, rng: random.Random) -> Object:
    """A range of ports from pods that are labelled in one of several ways."""
    first = rng.randrange(30000, 31000)
    missing = {"key": "quarantine", "operator": "DoesNotExist"}
    listed = {"key": "app", "operator": "NotIn", "values": [workload.app]}
    peers = [
        {"podSelector": {"matchExpressions": [missing, listed]}},
        {"namespaceSelector": {"matchLabels": {"team": rng.choice(TEAMS)}}},
    ]
    ports = [{"protocol": "TCP", "port": first, "endPort": first + rng.randrange(1, 100)}]
    return {
        "podSelector": {"matchLabels": {"app": workload.app}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": peers, "ports": ports}],
    }


POLICY_MAKERS: tuple[Callable[[Workload, random.Random], Object], ...] = (
    _tier_to_tier,
    _tier_to_tier,
    _from_gateway,
    _to_outside,
    _named_ports,
    _port_range,
)
"""What people write for single workloads, as often as they write it."""


def parse_arguments() -> ClusterShape:
    """The command line."""
    shape = ClusterShape()
    parser = argparse.ArgumentParser(description="Write a made-up cluster as one JSON List.")
    parser.add_argument("--pods", type=int, default=shape.pods)
    parser.add_argument("--policies", type=int, default=shape.policies)
    parser.add_argument("--namespaces", type=int, default=shape.namespaces)
    parser.add_argument(
        "--local-pods", type=int, default=shape.local_pods, help=f"pods on {NODE}, at most 254"
    )
    parser.add_argument("--seed", type=int, default=shape.seed)
    return ClusterShape(**vars(parser.parse_args()))


def main() -> None:
    """Write the cluster to standard output."""
    json.dump(cluster(parse_arguments()), sys.stdout)


if __name__ == "__main__":
    main()
