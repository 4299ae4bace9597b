"""Profiles: the chain that says what may pass for the pods of a class.

A rule of a policy becomes one kernel rule for each protocol (and for each fifteen port slots) and
each kind of peer. Ports are tested before sets: comparing a port costs a tenth of looking up an
address. A packet that some rule allows returns to the root chain, for the other direction to judge;
what nothing allowed goes on to the deny chain, or, of pods that only audited policies are about, to
the audit chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from podwall.model.net import Family, PortRange
from podwall.model.policy import Direction, NamedPort
from podwall.policy.resolve import AllowRule, EndpointPolicy, Peers, Ports
from podwall.ruleset import names
from podwall.ruleset.blocks import block_members
from podwall.ruleset.comments import rule_comment
from podwall.ruleset.ir import (
    MULTIPORT_SLOTS,
    Chain,
    ChainRole,
    End,
    Goto,
    IPSet,
    Match,
    MatchPorts,
    MatchProtocol,
    MatchSet,
    Return,
    Rule,
    SetRole,
    SetType,
    port_slots,
)
from podwall.ruleset.names import Namer


class PeerSet(msgspec.Struct, frozen=True):
    """A set that rules name, and what its members are.

    A set of blocks has its members already. Those of the others follow the pods: ``peers`` says
    whose addresses belong to it, ``names`` which ports of them where it holds ports.
    """

    ipset: IPSet
    peers: Peers
    names: tuple[NamedPort, ...] = ()


class Profile(msgspec.Struct, frozen=True):
    """A chain, and the sets that its rules name, each once."""

    chain: Chain
    sets: tuple[PeerSet, ...]


class ProfileCompiler:
    """Compiles the profiles of one family."""

    def __init__(self, family: Family, namer: Namer) -> None:
        self._family = family
        self._namer = namer
        self._sets: dict[str, PeerSet] = {}

    def compile_profile(self, policy: EndpointPolicy) -> Profile:
        """The chain of one profile; its name comes from its meaning, equal in both families."""
        self._sets = {}
        tier = policy.tiers[0]
        title = ", ".join(map(str, tier.isolated_by))
        end, verb = (
            (names.DENY_CHAIN, "isolated") if policy.isolates else (names.AUDIT_CHAIN, "audited")
        )
        rules = [rule for each in tier.rules for rule in self._rules(each)]
        chain = Chain(
            name=self._namer.profile_name(policy.direction, tier.isolated_by[0].name, policy),
            role=ChainRole.PROFILE,
            rules=(*rules, Rule(Goto(end))),
            title=f"{policy.direction.value} of pods {verb} by {title}",
        )
        return Profile(chain, tuple(self._sets.values()))

    def _rules(self, rule: AllowRule) -> Iterator[Rule]:
        comment = rule_comment(rule.id)
        end = End.SRC if rule.id.direction is Direction.INGRESS else End.DST
        for ports in _port_matches(rule.ports):
            for peers in self._peer_matches(rule.peers, end):
                yield Rule(Return(), (*ports, *peers), comment)
        if rule.ports.names and self._may_mean_pods(rule.peers):
            named = self._named_port_set(rule.peers, rule.ports)
            yield Rule(Return(), (MatchSet(named.name, (end, End.DST)),), comment)

    def _may_mean_pods(self, peers: Peers) -> bool:
        """Whether a pod of this family can be among ``peers``; blocks hold pods as well (S30)."""
        held = any(each.cidr.family is self._family for each in peers.blocks)
        return peers.everyone or bool(peers.pods) or held

    def _peer_matches(self, peers: Peers, end: End) -> Iterator[tuple[Match, ...]]:
        if peers.everyone:
            yield ()
            return
        if peers.pods:
            yield (MatchSet(self._pod_set(peers).name, (end,)),)
        blocks = self._block_set(peers)
        if blocks is not None:
            yield (MatchSet(blocks.name, (end,)),)

    def _pod_set(self, peers: Peers) -> IPSet:
        return self._add(
            IPSet(
                name=self._namer.set_name(
                    self._family, SetRole.PEERS, str(peers.pods[0].pods), peers.pods
                ),
                type=SetType.HASH_IP,
                family=self._family,
                role=SetRole.PEERS,
                title=" or ".join(map(str, peers.pods)),
            ),
            Peers(pods=peers.pods),
        )

    def _block_set(self, peers: Peers) -> IPSet | None:
        """The set of a union of blocks; ``None`` where it is empty in this family (S29)."""
        members = block_members(self._family, peers.blocks)
        if not members:
            return None
        blocks = tuple(each for each in peers.blocks if each.cidr.family is self._family)
        return self._add(
            IPSet(
                name=self._namer.set_name(
                    self._family, SetRole.BLOCKS, str(blocks[0].cidr), blocks
                ),
                type=SetType.HASH_NET,
                family=self._family,
                role=SetRole.BLOCKS,
                members=members,
                title=" or ".join(map(str, blocks)),
            ),
            Peers(blocks=blocks),
        )

    def _named_port_set(self, peers: Peers, ports: Ports) -> IPSet:
        """Pods and their numbers: what is no known pod's address has no named ports (S37)."""
        called = ", ".join(f"{each.protocol.name} {each.name}" for each in ports.names)
        means = "any pod" if peers.everyone else " or ".join(map(str, (*peers.pods, *peers.blocks)))
        return self._add(
            IPSet(
                name=self._namer.set_name(
                    self._family,
                    SetRole.NAMED_PORTS,
                    ports.names[0].name,
                    (peers, ports.names),
                ),
                type=SetType.HASH_IP_PORT,
                family=self._family,
                role=SetRole.NAMED_PORTS,
                title=f"{called} of {means}",
            ),
            peers,
            ports.names,
        )

    def _add(self, ipset: IPSet, peers: Peers, names: tuple[NamedPort, ...] = ()) -> IPSet:
        return self._sets.setdefault(ipset.name, PeerSet(ipset, peers, names)).ipset


def _port_matches(ports: Ports) -> Iterator[tuple[Match, ...]]:
    """The matches for the numbers of a rule: one group for each protocol and each 15 slots."""
    if ports.everything:
        yield ()
    for protocol, ranges in ports.numbers:
        if ranges is None:
            yield (MatchProtocol(protocol),)
            continue
        for group in pack_multiport(ranges):
            yield MatchProtocol(protocol), MatchPorts(group)


def pack_multiport(ports: Sequence[PortRange]) -> list[tuple[PortRange, ...]]:
    """Pack port ranges into groups that one multiport match can hold.

    A group has 15 slots; a port takes one, a range two (iptables-extensions(8)). Groups keep the
    order and join back to ``ports``.
    """
    groups: list[tuple[PortRange, ...]] = []
    group: list[PortRange] = []
    used = 0
    for port in ports:
        slots = port_slots((port,))
        if used + slots > MULTIPORT_SLOTS:
            groups.append(tuple(group))
            group, used = [], 0
        group.append(port)
        used += slots
    if group:
        groups.append(tuple(group))
    return groups
