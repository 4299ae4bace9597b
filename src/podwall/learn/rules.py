"""From what one workload was seen to do in one direction to the fewest rules that allow it.

What is allowed is a set of pairs: a peer, and a service of it. A rule allows every pair of its
peers and its services, so the pairs are split into rules that hold nothing else: peers with equal
services share a rule, or services with equal peers do, whichever needs fewer rules. Each pair is in
one rule only, so that no rule could be left away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from podwall.explain.ends import Service
from podwall.learn.blocks import Block, Kept, cover
from podwall.learn.units import Unit
from podwall.model.net import Address, Cidr, Family, PortRange, Protocol, host_cidr, merge_ports
from podwall.model.objects import NAME_LABEL
from podwall.model.policy import AnyPort, IPBlock, NumberedPorts, Peer, PodPeer, Port
from podwall.model.selector import Operator, Requirement, selector

Far: TypeAlias = Unit | Address
"""The other end of a connection: pods that a selector can name, or an address that none can."""

ANYTHING: Service | None = None
"""The service of protocols without ports: only a rule for everything allows them."""


class Party(msgspec.Struct, frozen=True):
    """A peer of a rule, and who it stands for.

    ``unit`` is set for pods by label, ``block`` for addresses.
    """

    peer: Peer
    unit: Unit | None = None
    block: Block | None = None

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Orders peers: the own namespace's first, then others', then addresses."""
        if self.unit is not None:
            own = isinstance(self.peer, PodPeer) and isinstance(self.peer.namespaces, str)
            return 0 if own else 1, self.unit.sort_key
        assert self.block is not None  # noqa: S101 - a party is one or the other
        return 2, (self.block.cidr,)


class Draft(msgspec.Struct, frozen=True):
    """A rule before its policy gave it a number; ``counts`` says how often each pair was seen."""

    parties: tuple[Party, ...]
    services: tuple[Service | None, ...]
    counts: Mapping[tuple[Party, Service | None], int]

    @property
    def peers(self) -> tuple[Peer, ...]:
        """What the rule's ``from`` or ``to`` holds: pods that differ in one label are one peer."""
        return _joined_peers([party.peer for party in self.parties])

    @property
    def ports(self) -> tuple[Port, ...]:
        """What the rule's ``ports`` hold: ports that follow each other are one range."""
        if ANYTHING in self.services:
            return (AnyPort(),)
        numbers: dict[Protocol, list[PortRange]] = {}
        for service in self.services:
            if service is not None and service.port is not None:
                own = numbers.setdefault(service.protocol, [])
                own.append(PortRange(service.port, service.port))
        return tuple(
            NumberedPorts(protocol, each)
            for protocol in sorted(numbers)
            for each in merge_ports(numbers[protocol])
        )


def _joined_peers(peers: Sequence[Peer]) -> tuple[Peer, ...]:
    """The same pods: ``app=a`` and ``app=b`` of one namespace are ``app in (a, b)``."""
    joined: dict[object, Peer] = {}
    for peer in peers:
        place: object = peer
        if isinstance(peer, PodPeer) and len(peer.pods.requirements) == 1:
            requirement = peer.pods.requirements[0]
            if requirement.operator is Operator.IN:
                place = peer.namespaces, requirement.key
                peer = _widened(joined.get(place), peer, requirement)  # noqa: PLW2901
        joined[place] = peer
    return tuple(joined.values())


def _widened(known: Peer | None, peer: PodPeer, requirement: Requirement) -> PodPeer:
    if not isinstance(known, PodPeer):
        return peer
    values = known.pods.requirements[0].values + requirement.values
    wider = Requirement(requirement.key, Operator.IN, values)
    return PodPeer(peer.namespaces, selector(None, [wider]))


Counts: TypeAlias = Mapping[tuple[Far, Service | None], int]
"""How often a subject was seen with each peer and service."""

_Pairs: TypeAlias = dict[tuple[Party, Service | None], int]


def draft_rules(
    namespace: str, counts: Counts, known: Collection[Address], kept: Kept, limit: int
) -> tuple[Draft, ...]:
    """The rules for a subject in ``namespace``.

    Args:
        namespace: the subject's.
        counts: what was seen; not empty.
        known: addresses that stay blocks of their own: nodes, and pods that no selector can name.
        kept: what no block of several addresses may hold.
        limit: so many blocks of one address there may be in a family, before they become wider.
    """
    pairs = _pairs(namespace, counts, known, kept, limit)
    by_peer = _grouped(pairs)
    by_service = _transposed(pairs)
    drafts = by_peer if len(by_peer) <= len(by_service) else by_service
    return tuple(sorted(drafts, key=_draft_order))


def _pairs(
    namespace: str, counts: Counts, known: Collection[Address], kept: Kept, limit: int
) -> _Pairs:
    pairs: _Pairs = {}
    outside: dict[Service | None, dict[Address, int]] = {}
    open_to = {far for far, service in counts if service is ANYTHING}
    for (far, service), count in counts.items():
        # To whom everything is allowed, no port has to be by itself.
        if service is not ANYTHING and far in open_to:
            continue
        if isinstance(far, Unit):
            pairs[_unit_party(far, namespace), service] = count
        elif far in known:
            pairs[_block_party(Block(host_cidr(far), (far,))), service] = count
        else:
            outside.setdefault(service, {})[far] = count
    found = _blocks(outside, kept, limit)
    seen: dict[Cidr, set[Address]] = {}
    for block, _, _ in found:
        seen.setdefault(block.cidr, set()).update(block.seen)
    for block, service, count in found:
        whole = Block(block.cidr, tuple(sorted(seen[block.cidr])), block.holes)
        pairs[_block_party(whole), service] = count
    return pairs


def _blocks(
    outside: Mapping[Service | None, Mapping[Address, int]], kept: Kept, limit: int
) -> list[tuple[Block, Service | None, int]]:
    """Blocks for each service by itself: of one service they never overlap, so each is needed."""
    everyone = frozenset(each for found in outside.values() for each in found)
    few = all(sum(each.family is family for each in everyone) <= limit for family in Family)
    blocks: list[tuple[Block, Service | None, int]] = []
    for service in sorted(outside, key=service_order):
        # What is open to everything comes first, and needs no port by itself either.
        wide = [block for block, open_to, _ in blocks if open_to is ANYTHING]
        found = {
            address: count
            for address, count in outside[service].items()
            if not any(address in block.cidr for block in wide)
        }
        for block in cover(found, len(everyone) if few else limit, kept):
            blocks.append((block, service, sum(found[each] for each in block.seen)))
    return blocks


def _grouped(pairs: _Pairs) -> list[Draft]:
    """Peers with equal services together."""
    services: dict[Party, list[Service | None]] = {}
    for party, service in pairs:
        services.setdefault(party, []).append(service)
    rules: dict[frozenset[Service | None], list[Party]] = {}
    for party, found in services.items():
        rules.setdefault(frozenset(found), []).append(party)
    return [_draft(parties, found, pairs) for found, parties in rules.items()]


def _transposed(pairs: _Pairs) -> list[Draft]:
    """Services with equal peers together; what is about everything stays by itself."""
    parties: dict[Service | None, list[Party]] = {}
    for party, service in pairs:
        parties.setdefault(service, []).append(party)
    rules: dict[tuple[frozenset[Party], bool], list[Service | None]] = {}
    for service, found in parties.items():
        rules.setdefault((frozenset(found), service is ANYTHING), []).append(service)
    return [_draft(found, services, pairs) for (found, _), services in rules.items()]


def _draft(parties: Iterable[Party], services: Iterable[Service | None], pairs: _Pairs) -> Draft:
    own = tuple(sorted(parties, key=lambda party: party.sort_key))
    offered = tuple(sorted(services, key=service_order))
    counts = {(party, each): pairs[party, each] for party in own for each in offered}
    return Draft(own, offered, counts)


def _draft_order(draft: Draft) -> tuple[object, ...]:
    services = [service_order(each) for each in draft.services]
    return [party.sort_key for party in draft.parties], services


def service_order(service: Service | None) -> tuple[int, int]:
    """Orders services."""
    return (0, 0) if service is None else (service.protocol, service.port or 0)


def _unit_party(unit: Unit, namespace: str) -> Party:
    where = namespace if unit.namespace == namespace else selector({NAME_LABEL: unit.namespace})
    return Party(PodPeer(where, unit.selector), unit=unit)


def _block_party(block: Block) -> Party:
    return Party(IPBlock(block.cidr, block.holes), block=block)
