"""Checks of named ports, which mean whatever the destination pod says they mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias, assert_never

from podwall.check.finding import Check, Note, Severity
from podwall.check.places import PlacedPort, list_of, placed_ports
from podwall.check.world import World
from podwall.model.net import Protocol
from podwall.model.objects import Pod, PodKey
from podwall.model.policy import (
    AnyPeer,
    Direction,
    IPBlock,
    NamedPort,
    Peer,
    PodPeer,
    Policy,
    PolicyRule,
)
from podwall.ruleset.blocks import union_ranges

Declared: TypeAlias = Mapping[str, Mapping[Protocol, Mapping[int, PodKey]]]
"""Port names in use: name → protocol → number → the first pod that says so.

Of ports of one name and protocol on one pod only the first counts.
"""


def _declared(pods: Iterable[Pod]) -> Declared:
    names: dict[str, dict[Protocol, dict[int, PodKey]]] = {}
    for pod in pods:
        seen: set[tuple[str, Protocol]] = set()
        for each in pod.ports:
            if each.name and (each.name, each.protocol) not in seen:
                seen.add((each.name, each.protocol))
                numbers = names.setdefault(each.name, {}).setdefault(each.protocol, {})
                numbers.setdefault(each.number, pod.key)
    return names


def _destinations(peer: Peer, world: World) -> tuple[bool, Declared]:
    """Whether ``peer`` means any pod, and the port names of the pods that it means."""
    match peer:
        case AnyPeer():
            pods = world.pods.all()
        case PodPeer():
            pods = world.members(peer)
        case IPBlock():
            family = peer.cidr.family
            addresses = world.pod_addresses_in(family, union_ranges(family, [peer]))
            owners = map(world.snapshot.owner, addresses)
            pods = tuple({each.key: each for each in owners if each is not None}.values())
        case _:
            assert_never(peer)
    return bool(pods), _declared(pods)


def _peers_with_names(policy: Policy, rule: PolicyRule) -> tuple[Peer, ...]:
    """The peers whose pods' port names count (S37): the subjects, or the peers on egress."""
    if rule.id.direction is Direction.EGRESS:
        return rule.peers
    return (PodPeer(policy.key.namespace, policy.subject),)


def _named(policy: Policy, world: World) -> Iterator[tuple[PlacedPort, NamedPort, Declared]]:
    """Every named port of a policy with the names that its destination pods declare.

    Rules without any destination pod are left out: checks of subjects and peers speak of those.
    """
    for placed in placed_ports(policy):
        if isinstance(placed.port, NamedPort):
            peers = _peers_with_names(policy, placed.rule)
            answers = [world.remember(_destinations, peer) for peer in peers]
            if any(reaches_pods for reaches_pods, _ in answers):
                yield placed, placed.port, _merged(names for _, names in answers)


def _merged(several: Iterable[Declared]) -> Declared:
    parts = tuple(several)
    if len(parts) == 1:
        return parts[0]
    merged: dict[str, dict[Protocol, dict[int, PodKey]]] = {}
    for part in parts:
        for name, protocols in part.items():
            for protocol, numbers in protocols.items():
                into = merged.setdefault(name, {}).setdefault(protocol, {})
                into.update({each: key for each, key in numbers.items() if each not in into})
    return merged


def named_port_nowhere(policy: Policy, world: World) -> Iterator[Note]:
    """No destination pod declares the name for any protocol."""
    for placed, port, declared in _named(policy, world):
        if port.name not in declared:
            in_use = f" Names in use: {list_of(sorted(declared))}." if declared else ""
            yield Note(
                f"{placed.path}.port",
                f"{_nobody(placed)} has a container port named {port.name}, so it allows "
                f"nothing.{in_use}",
            )


def named_port_protocol(policy: Policy, world: World) -> Iterator[Note]:
    """Destination pods declare the name, but for another protocol."""
    for placed, port, declared in _named(policy, world):
        protocols = declared.get(port.name, {})
        if protocols and port.protocol not in protocols:
            yield Note(
                f"{placed.path}.protocol",
                f"port {port.name} of the destination pods is "
                f"{list_of(each.name for each in sorted(protocols))}, not {port.protocol.name}, "
                "so it allows nothing.",
            )


def named_port_differs(policy: Policy, world: World) -> Iterator[Note]:
    """The name stands for different numbers on different destination pods."""
    for placed, port, declared in _named(policy, world):
        numbers = declared.get(port.name, {}).get(port.protocol, {})
        if len(numbers) > 1:
            examples = list_of(f"{each} on {numbers[each]}" for each in sorted(numbers))
            yield Note(
                f"{placed.path}.port",
                f"{port.name} is a different port on different pods ({examples}); each pod's own "
                "number is meant.",
            )


def named_port_on_block(policy: Policy, world: World) -> Iterator[Note]:  # noqa: ARG001
    """A named port beside an ipBlock on egress: an address outside has no port names."""
    for placed in placed_ports(policy):
        if placed.rule.id.direction is Direction.INGRESS or not isinstance(placed.port, NamedPort):
            continue
        blocks = [each for each in placed.rule.peers if isinstance(each, IPBlock)]
        if blocks:
            yield Note(
                f"{placed.path}.port",
                f"only pods have port names, so {placed.port.name} never allows an address of "
                f"{list_of(blocks)} that is no pod; write the number.",
            )


def _nobody(placed: PlacedPort) -> str:
    if placed.rule.id.direction is Direction.EGRESS:
        return "no pod that the rule leads to"
    return "no selected pod"


PORT_CHECKS = (
    Check(
        code="named-port-nowhere",
        clause="S37",
        severity=Severity.WARNING,
        explains="A port name that no destination pod declares matches nothing.",
        run=named_port_nowhere,
    ),
    Check(
        code="named-port-protocol",
        clause="S36",
        severity=Severity.WARNING,
        explains="A port name counts only for the protocol that the destination pod declares.",
        run=named_port_protocol,
    ),
    Check(
        code="named-port-differs",
        clause="S36",
        severity=Severity.INFO,
        explains="A port name may be a different number on each destination pod.",
        run=named_port_differs,
    ),
    Check(
        code="named-port-on-block",
        clause="S37",
        severity=Severity.WARNING,
        explains="A port name never matches an ipBlock's addresses outside the cluster.",
        run=named_port_on_block,
        needs_pods=False,
    ),
)
