"""From policies to what they mean for the pods of one node.

:func:`resolve` finds the policies that select this node's pods and says for each pod and direction
what may pass: an :class:`EndpointPolicy`, or none where no policy isolates the pod. Pods for which
the same policies come out the same share one value, which the compiler turns into one profile.

Everything stays symbolic as long as it can: peers are still selectors and blocks here, with their
members beside them, because the compiler names sets by meaning, not by members.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias, assert_never

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.model.net import Address, Cidr, PortRange, Protocol, merge_ports
from podwall.model.objects import Pod, PodKey
from podwall.model.policy import (
    AllPortsOf,
    AnyPeer,
    AnyPort,
    Direction,
    IPBlock,
    NamedPort,
    NumberedPorts,
    PodPeer,
    Policy,
    PolicyKey,
    PolicyRule,
    Port,
    RuleId,
)
from podwall.policy.members import PodIndex


class Peers(msgspec.Struct, frozen=True):
    """The peers of a rule by kind, sorted and without duplicates; all empty means nobody (S12)."""

    everyone: bool = False
    pods: tuple[PodPeer, ...] = ()
    blocks: tuple[IPBlock, ...] = ()


class Ports(msgspec.Struct, frozen=True):
    """The ports of a rule.

    ``everything`` stands for all protocols. ``numbers`` maps a protocol to merged ranges, or to
    ``None`` for all its ports. ``names`` is left over for egress, where the peer says which number
    a name is (S37); it is empty for ingress.
    """

    everything: bool = False
    numbers: tuple[tuple[Protocol, tuple[PortRange, ...] | None], ...] = ()
    names: tuple[NamedPort, ...] = ()


class AllowRule(msgspec.Struct, frozen=True):
    """A rule that allows: any of ``peers`` on any of ``ports``."""

    id: RuleId
    peers: Peers
    ports: Ports


# Names of profiles come from this text: that of a tier as most are must not change.
class Tier(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """What one kind of policy says. Version 1 has one tier, which isolates and allows.

    In a tier of ``audit`` all policies are audited: what they would deny is told, and passes (S51).
    """

    isolated_by: tuple[PolicyKey, ...]
    rules: tuple[AllowRule, ...]
    audit: bool = False


class EndpointPolicy(msgspec.Struct, frozen=True):
    """What holds for an endpoint in one direction, as tiers in the order in which they decide."""

    direction: Direction
    tiers: tuple[Tier, ...]

    @property
    def rules(self) -> tuple[AllowRule, ...]:
        """The rules of all tiers."""
        return tuple(rule for tier in self.tiers for rule in tier.rules)

    @property
    def isolates(self) -> bool:
        """Whether it denies anything, and not only tells what audited policies would deny."""
        return not all(tier.audit for tier in self.tiers)


class Endpoint(msgspec.Struct, frozen=True):
    """A pod of this node as the data path sees it; a direction without policy is not isolated."""

    key: PodKey
    addresses: tuple[Address, ...]
    ingress: EndpointPolicy | None = None
    egress: EndpointPolicy | None = None

    def policy(self, direction: Direction) -> EndpointPolicy | None:
        """What holds for the endpoint in one direction."""
        return self.ingress if direction is Direction.INGRESS else self.egress


PortMember: TypeAlias = tuple[Address, Protocol, int]


class ResolvedNode(msgspec.Struct, frozen=True):
    """All that the compiler needs to know about one node.

    ``pod_members`` has an entry for each distinct ``Peers.pods``, ``port_members`` one for each
    pair of ``Peers`` and ``Ports.names``. ``known`` are the addresses within ``pod_cidrs``
    that belong to some pod or node (S48).
    """

    name: str
    pod_cidrs: tuple[Cidr, ...]
    known: frozenset[Address]
    endpoints: tuple[Endpoint, ...]
    pod_members: Mapping[tuple[PodPeer, ...], frozenset[Address]]
    port_members: Mapping[tuple[Peers, tuple[NamedPort, ...]], frozenset[PortMember]]


def resolve(
    snapshot: Snapshot, node: str, refused: frozenset[PolicyKey] = frozenset()
) -> ResolvedNode:
    """What the policies of ``snapshot`` mean for the pods of ``node``.

    ``refused`` names policies that the kernel would not take: they isolate and allow nothing
    (S10). Audited ones among them do not even isolate (S51).
    """
    index = PodIndex(snapshot)
    local = [
        pod for pod in snapshot.pods.values() if pod.node == node and snapshot.owned_addresses(pod)
    ]
    endpoints = _endpoints(snapshot, local, refused)
    rules = [rule for policy in policies_of(endpoints) for rule in policy.rules]
    selected = {rule.peers.pods for rule in rules if rule.peers.pods}
    named = {(rule.peers, rule.ports.names) for rule in rules if rule.ports.names}
    known_node = snapshot.nodes.get(node)
    pod_cidrs = known_node.pod_cidrs if known_node else ()
    return ResolvedNode(
        name=node,
        pod_cidrs=pod_cidrs,
        known=frozenset(
            address
            for address in (*snapshot.owners, *_node_addresses(snapshot))
            if any(address in cidr for cidr in pod_cidrs)
        ),
        endpoints=endpoints,
        pod_members={peers: index.addresses(peers) for peers in selected},
        port_members={
            (peers, names): _port_members(snapshot, _pod_addresses(snapshot, index, peers), names)
            for peers, names in named
        },
    )


def _node_addresses(snapshot: Snapshot) -> Iterator[Address]:
    """The addresses of all nodes: some lie in a pod range, as those of bridges and tunnels do."""
    for node in snapshot.nodes.values():
        yield from node.addresses


def policies_of(endpoints: Iterable[Endpoint]) -> tuple[EndpointPolicy, ...]:
    """The distinct policies of ``endpoints``, in the order in which they first appear."""
    return tuple(
        dict.fromkeys(
            policy
            for endpoint in endpoints
            for policy in (endpoint.ingress, endpoint.egress)
            if policy is not None
        )
    )


def _endpoints(
    snapshot: Snapshot, local: Iterable[Pod], refused: frozenset[PolicyKey]
) -> tuple[Endpoint, ...]:
    by_namespace: dict[str, list[Policy]] = {}
    for policy in snapshot.policies.values():
        by_namespace.setdefault(policy.key.namespace, []).append(policy)
    maker = EndpointMaker(refused)
    return tuple(
        maker.endpoint(pod, snapshot.owned_addresses(pod), by_namespace.get(pod.key.namespace, ()))
        for pod in local
    )


class EndpointMaker:
    """Says what policies mean for single pods; pods with the same policies share one value.

    ``refused`` names policies that isolate and allow nothing (S10). Audited policies are only asked
    where no other isolates: an isolated pod is not denied more if one more policy isolates it (S3,
    S51). Between two pods no policy may change.
    """

    def __init__(self, refused: frozenset[PolicyKey]) -> None:
        self._refused = refused
        self._shared: dict[_Identity, EndpointPolicy] = {}

    def endpoint(
        self, pod: Pod, addresses: tuple[Address, ...], policies: Iterable[Policy]
    ) -> Endpoint:
        """``pod`` with the addresses that it owns, under ``policies``: those of its namespace.

        The policies are sorted by key, as those of a snapshot are.
        """
        selecting = [policy for policy in policies if policy.subject.matches(pod.labels)]
        return Endpoint(
            key=pod.key,
            addresses=addresses,
            ingress=self._policy(Direction.INGRESS, selecting, pod),
            egress=self._policy(Direction.EGRESS, selecting, pod),
        )

    def _policy(
        self, direction: Direction, selecting: Iterable[Policy], pod: Pod
    ) -> EndpointPolicy | None:
        concerned = [policy for policy in selecting if direction in policy.isolates]
        isolating = [policy for policy in concerned if not policy.is_audited]
        audit = not isolating
        if audit:
            isolating = [each for each in concerned if each.key not in self._refused]
        if not isolating:
            return None
        identity = _identity(direction, isolating, pod, audit)
        if identity not in self._shared:
            self._shared[identity] = _endpoint_policy(identity, isolating, self._refused)
        return self._shared[identity]


class _Identity(msgspec.Struct, frozen=True):
    """What pods with equal endpoint policies have in common.

    The policies that isolate them, and for ingress the numbers that port names stand for on them.
    """

    direction: Direction
    policies: tuple[PolicyKey, ...]
    numbers: tuple[tuple[NamedPort, int | None], ...]
    audit: bool


def _identity(
    direction: Direction, isolating: Iterable[Policy], pod: Pod, audit: bool
) -> _Identity:
    names: set[NamedPort] = set()
    if direction is Direction.INGRESS:
        names = {
            port
            for policy in isolating
            for rule in policy.ingress
            for port in rule.ports
            if isinstance(port, NamedPort)
        }
    ordered = sorted(names, key=lambda port: (port.protocol, port.name))
    return _Identity(
        direction=direction,
        policies=tuple(policy.key for policy in isolating),
        numbers=tuple((port, number_of(pod, port)) for port in ordered),
        audit=audit,
    )


def number_of(pod: Pod, port: NamedPort) -> int | None:
    """The number that a port name stands for on ``pod``; its first port of that name and protocol.

    A name that resolves nowhere gives ``None`` and so allows nothing (S37).
    """
    for candidate in pod.ports:
        if candidate.name == port.name and candidate.protocol is port.protocol:
            return candidate.number
    return None


def _endpoint_policy(
    identity: _Identity, isolating: Iterable[Policy], refused: frozenset[PolicyKey]
) -> EndpointPolicy:
    numbers = dict(identity.numbers)
    rules = tuple(
        _allow_rule(rule, numbers)
        for policy in isolating
        if policy.key not in refused
        for rule in policy.rules(identity.direction)
    )
    return EndpointPolicy(identity.direction, (Tier(identity.policies, rules, identity.audit),))


def _allow_rule(rule: PolicyRule, numbers: Mapping[NamedPort, int | None]) -> AllowRule:
    return AllowRule(rule.id, _peers(rule), _ports(rule.ports, rule.id.direction, numbers))


def _peers(rule: PolicyRule) -> Peers:
    pods: set[PodPeer] = set()
    blocks: set[IPBlock] = set()
    for peer in rule.peers:
        match peer:
            case AnyPeer():
                return Peers(everyone=True)
            case PodPeer():
                pods.add(peer)
            case IPBlock():
                blocks.add(peer)
            case _:
                assert_never(peer)
    return Peers(
        pods=tuple(sorted(pods, key=lambda each: each.sort_key)), blocks=tuple(sorted(blocks))
    )


def _ports(
    ports: Iterable[Port], direction: Direction, numbers: Mapping[NamedPort, int | None]
) -> Ports:
    ranges: dict[Protocol, list[PortRange]] = {}
    whole: set[Protocol] = set()
    names: set[NamedPort] = set()
    for port in ports:
        match port:
            case AnyPort():
                return Ports(everything=True)
            case AllPortsOf():
                whole.add(port.protocol)
            case NumberedPorts():
                ranges.setdefault(port.protocol, []).append(port.ports)
            case NamedPort() if direction is Direction.EGRESS:
                names.add(port)
            case NamedPort():
                number = numbers[port]
                if number is not None:
                    ranges.setdefault(port.protocol, []).append(PortRange(number, number))
            case _:
                assert_never(port)
    return Ports(
        numbers=tuple(
            (protocol, None if protocol in whole else merge_ports(ranges[protocol]))
            for protocol in sorted(whole | ranges.keys())
        ),
        names=tuple(sorted(names, key=lambda each: (each.protocol, each.name))),
    )


def _pod_addresses(snapshot: Snapshot, index: PodIndex, peers: Peers) -> Iterable[Address]:
    """The addresses of known pods that any of ``peers`` means; blocks mean pods, too (S30)."""
    if peers.everyone:
        return snapshot.owners.keys()
    inside = (
        address
        for address in (snapshot.owners if peers.blocks else ())
        if any(holds(block, address) for block in peers.blocks)
    )
    return index.addresses(peers.pods).union(inside)


def holds(block: IPBlock, address: Address) -> bool:
    """Whether ``block`` means ``address`` (S25)."""
    return address in block.cidr and not any(address in each for each in block.excepts)


def _port_members(
    snapshot: Snapshot, addresses: Iterable[Address], names: tuple[NamedPort, ...]
) -> frozenset[PortMember]:
    """Where the names lead at pods: an address that no known pod has gives them no number (S37)."""
    return frozenset(
        (address, protocol, number)
        for address in addresses
        for protocol, number in named_ports(snapshot.pods[snapshot.owners[address]], names)
    )


def named_ports(pod: Pod, names: Iterable[NamedPort]) -> Iterator[tuple[Protocol, int]]:
    """What the names stand for on ``pod``; those that resolve nowhere are left out (S37)."""
    for name in names:
        number = number_of(pod, name)
        if number is not None:
            yield name.protocol, number
