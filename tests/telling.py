"""Flows that tell much about a cluster: aimed at the rules of its policies, by plain enumeration.

Random flows rarely meet a rule, and hardly ever its except or its named port. These take the ends
and ports from the rules themselves, so that each is a hit or a near miss.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from random import Random
from typing import TypeAlias

from podwall.cluster.snapshot import Snapshot
from podwall.model.flow import Flow
from podwall.model.net import Address, Family, Protocol
from podwall.model.policy import (
    AllPortsOf,
    AnyPort,
    Direction,
    NamedPort,
    NumberedPorts,
    PolicyRule,
)
from tests.universe import OF_FAMILY

Shot: TypeAlias = tuple[Address, PolicyRule]


def shots(snapshot: Snapshot) -> list[Shot]:
    """Each address of a pod that a policy selects, with each rule of that policy."""
    return [
        (address, rule)
        for policy in snapshot.policies.values()
        for address, key in snapshot.owners.items()
        if key.namespace == policy.key.namespace
        and policy.subject.matches(snapshot.pods[key].labels)
        for rule in (*policy.ingress, *policy.egress)
    ]


def named_targets(snapshot: Snapshot, rule: PolicyRule) -> list[tuple[int, int | None]]:
    """Protocols and ports at the edges of what a rule names; TCP 80 if it names none."""
    named: list[tuple[int, int | None]] = []
    for port in rule.ports:
        match port:
            case NumberedPorts():
                edges = (port.ports.first, port.ports.last, port.ports.last + 1)
                named.extend((int(port.protocol), number) for number in edges)
            case NamedPort():
                named.extend(
                    (int(declared.protocol), declared.number)
                    for pod in snapshot.pods.values()
                    for declared in pod.ports
                    if declared.name == port.name
                )
            case AllPortsOf():
                named.append((int(port.protocol), 80))
            case AnyPort():
                named.append((int(Protocol.TCP), 80))
    return named or [(int(Protocol.TCP), 80)]


_ECHO: Mapping[Family, tuple[int, int | None]] = {Family.V4: (1, None), Family.V6: (58, None)}


def telling_flows(snapshot: Snapshot, limit: int = 300) -> list[Flow]:
    """New connections that tell much about ``snapshot``, by plain enumeration.

    For each rule and each pod that it is about: to or from every address of the universe, on each
    port that the rule names, just misses, or that a name of it stands for, and an echo. Without
    rules: between all pods. Of more than ``limit`` a fixed choice is made. Tests that compare two
    ways to a verdict want these: a drawn cluster is expensive and few drawn flows hit a rule.
    """
    found: dict[Flow, None] = {}
    for subject, rule in shots(snapshot):
        targets = {*named_targets(snapshot, rule), _ECHO[subject.family]}
        for peer, (protocol, number) in product(
            OF_FAMILY[subject.family], sorted(targets, key=str)
        ):
            ingress = rule.id.direction is Direction.INGRESS
            src, dst = (peer, subject) if ingress else (subject, peer)
            found[Flow(src, dst, protocol, number)] = None
    for src, dst in product(snapshot.owners, repeat=2):
        if src.family is dst.family:
            found[Flow(src, dst, int(Protocol.TCP), 80)] = None
    flows_in_order = list(found)
    if len(flows_in_order) <= limit:
        return flows_in_order
    return Random(0).sample(flows_in_order, limit)
