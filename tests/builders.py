"""Short ways to write clusters, policies and flows in tests.

Everything takes texts as a manifest has them and gives the model's values:

    pod("dev/web-0", "10.0.0.2", app="web")
    policy("dev/web", {"app": "web"}, ingress=[allow(block("10.0.0.0/8"), ports=[port(80)])])

Defaults are the plainest thing: a running pod on no node, a policy that selects every pod of its
namespace, a rule that allows everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from podwall.model.flow import ConnState, Flow
from podwall.model.net import Address, Cidr, PortRange, Protocol, parse_address, parse_cidr
from podwall.model.objects import NAME_LABEL, ContainerPort, Namespace, Node, Phase, Pod, PodKey
from podwall.model.policy import (
    AllPortsOf,
    AnyPeer,
    AnyPort,
    Direction,
    IPBlock,
    Mode,
    NamedPort,
    NumberedPorts,
    Peer,
    PodPeer,
    Policy,
    PolicyKey,
    PolicyRule,
    Port,
    RuleId,
)
from podwall.model.selector import Operator, Requirement, Selector, selector

TCP, UDP, SCTP = Protocol.TCP, Protocol.UDP, Protocol.SCTP


def addr(text: str) -> Address:
    return parse_address(text)


def net(text: str) -> Cidr:
    return parse_cidr(text)


def pod_key(text: str) -> PodKey:
    """``namespace/name``."""
    namespace, _, name = text.partition("/")
    return PodKey(namespace, name)


def pod(
    key: str,
    *addresses: str,
    node: str = "",
    ports: Iterable[str] = (),
    host_network: bool = False,
    phase: Phase = Phase.RUNNING,
    terminating: bool = False,
    created: str = "",
    **labels: str,
) -> Pod:
    """A pod; ``key`` is ``namespace/name``, a port ``name:number/protocol``."""
    return Pod(
        key=pod_key(key),
        uid=key,
        labels=labels,
        node=node,
        addresses=tuple(map(addr, addresses)),
        ports=tuple(map(container_port, ports)),
        host_network=host_network,
        phase=phase,
        terminating=terminating,
        created=created,
    )


def container_port(text: str) -> ContainerPort:
    """``web:80/tcp``; without a name ``80/tcp``."""
    number, _, protocol = text.rpartition(":")[2].partition("/")
    return ContainerPort(text.rpartition(":")[0], Protocol[protocol.upper()], int(number))


def namespace(name: str, **labels: str) -> Namespace:
    """A namespace, with the label that an API server adds (S18)."""
    return Namespace(name, {NAME_LABEL: name, **labels})


def node(name: str, *addresses: str, pod_cidrs: Iterable[str] = ()) -> Node:
    return Node(name, tuple(map(addr, addresses)), tuple(map(net, pod_cidrs)))


def need(key: str, operator: Operator, *values: str) -> Requirement:
    return Requirement(key, operator, values)


def labels(match_labels: Mapping[str, str] | None = None, *needs: Requirement) -> Selector:
    """A selector from ``matchLabels`` and requirements; empty without either."""
    return selector(match_labels, needs)


def pods(
    match_labels: Mapping[str, str] | Selector | None = None,
    *,
    namespaces: Mapping[str, str] | Selector | str,
) -> PodPeer:
    """A selector peer; ``namespaces`` is the name of the policy's own or a selector."""
    if not isinstance(namespaces, str | Selector):
        namespaces = selector(namespaces)
    return PodPeer(
        namespaces=namespaces,
        pods=match_labels if isinstance(match_labels, Selector) else selector(match_labels),
    )


def block(cidr: str, *excepts: str) -> IPBlock:
    return IPBlock(net(cidr), tuple(map(net, excepts)))


def port(number: int, last: int | None = None, protocol: Protocol = TCP) -> NumberedPorts:
    return NumberedPorts(protocol, PortRange(number, number if last is None else last))


def named(name: str, protocol: Protocol = TCP) -> NamedPort:
    return NamedPort(protocol, name)


def all_of(protocol: Protocol) -> AllPortsOf:
    return AllPortsOf(protocol)


class Allow(msgspec.Struct, frozen=True):
    """A rule before its policy gave it an id; build it with :func:`allow`."""

    peers: tuple[Peer, ...]
    ports: tuple[Port, ...]


def allow(*peers: Peer, ports: Iterable[Port] = ()) -> Allow:
    """A rule; without peers from or to anywhere, without ports on all of them."""
    return Allow(peers or (AnyPeer(),), tuple(ports) or (AnyPort(),))


def policy(
    key: str,
    subject: Mapping[str, str] | Selector | None = None,
    *,
    ingress: Iterable[Allow] | None = None,
    egress: Iterable[Allow] | None = None,
    problems: Iterable[str] = (),
    mode: Mode = Mode.ENFORCE,
) -> Policy:
    """A policy that isolates in the directions that are given, an empty list included."""
    namespace_name, _, name = key.partition("/")
    policy_key = PolicyKey(namespace_name, name)

    def rules(direction: Direction, allows: Iterable[Allow] | None) -> tuple[PolicyRule, ...]:
        return tuple(
            PolicyRule(RuleId(policy_key, direction, index), each.peers, each.ports)
            for index, each in enumerate(allows or ())
        )

    given = {Direction.INGRESS: ingress, Direction.EGRESS: egress}
    return Policy(
        key=policy_key,
        subject=subject if isinstance(subject, Selector) else selector(subject),
        isolates=tuple(each for each in Direction if given[each] is not None),
        ingress=rules(Direction.INGRESS, ingress),
        egress=rules(Direction.EGRESS, egress),
        problems=tuple(problems),
        mode=mode,
    )


def flow(
    src: str,
    dst: str,
    number: int | None = 80,
    protocol: int = TCP,
    state: ConnState = ConnState.NEW,
) -> Flow:
    """A packet; TCP to port 80 that opens a connection unless told otherwise."""
    return Flow(addr(src), addr(dst), protocol, number, state)


def icmp(src: str, dst: str) -> Flow:
    """An echo request of the family of ``src``."""
    protocol = Protocol.ICMPV6 if ":" in src else Protocol.ICMP
    return Flow(addr(src), addr(dst), protocol)
