"""Which members of sets may not be in two states at once, because another thing changes with them.

A set gains members before the rules are switched and loses members after, so that a peer that moves
from one allowing rule to another is refused at no moment. For a while it is in both. That is safe
where nothing else changes that judges its flows: an allowing rule more is the old verdict or the
new one. It is not where two things change together. A pod that a peer refused and that is isolated
itself from now on would be free to send, in between: already a member, not yet isolated.

Four things judge a flow: the profile of its source, whether its destination is in the sets of that
profile, the profile of its destination, and whether its source is in the sets of that one. Profiles
change in one transaction. A membership that changes together with any of the other three *crosses*
it: such a member leaves before everything else and joins after everything else, so that what is in
between allows less than the old state and less than the new one. The price is that its connections
may be refused for that while, though both states allow them; those that stand flow on.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Set

from podwall.model.net import Address, Cidr
from podwall.model.policy import Direction
from podwall.ruleset import names
from podwall.ruleset.ir import (
    AddressPort,
    End,
    FamilyRules,
    Goto,
    IPSet,
    MatchAddress,
    MatchSet,
    Member,
    Rule,
    SetRole,
)
from podwall.ruleset.plan import ObservedFamily, ObservedRule

Chains = Mapping[str, tuple[ObservedRule, ...]]

_HELD_BY_ADDRESS = (SetRole.PEERS, SetRole.NAMED_PORTS)


def used_sets(chains: Chains) -> dict[str, frozenset[Direction]]:
    """The sets that rules name, and whose peers they hold: sources are those of ingress."""
    found: dict[str, set[Direction]] = {}
    for rules in chains.values():
        for rule in rules:
            for match in rule.matches if isinstance(rule, Rule) else ():
                if isinstance(match, MatchSet):
                    ingress = match.ends[0] is End.SRC
                    direction = Direction.INGRESS if ingress else Direction.EGRESS
                    found.setdefault(match.set, set()).add(direction)
    return {name: frozenset(directions) for name, directions in found.items()}


class Crossing:
    """Tells for one family which of the members that change cross another change.

    Args:
        everything: all members cross, since what chains mean cannot be told or changes under their
            names.
        moved: the addresses that dispatch leads elsewhere, by direction.
        uses: whose peers a set holds, by name, for the sets that rules name afterwards.
        joining: the addresses that become or cease to be members of sets of sources, as far as
            rules in the kernel name these sets.
        isolated: the addresses that lead to a profile, before or afterwards, by direction.
    """

    def __init__(
        self,
        everything: bool,
        moved: Mapping[Direction, Set[Address]],
        uses: Mapping[str, frozenset[Direction]],
        joining: Iterable[Address],
        isolated: Mapping[Direction, Container[Address]],
    ) -> None:
        self._everything = everything
        self._moved = moved
        self._uses = uses
        # Who is in sets of ingress is judged as a source, so its own egress profile counts.
        self._sources = {each for each in joining if each in isolated[Direction.EGRESS]}
        self._targets = isolated[Direction.INGRESS]

    def crosses(self, ipset: IPSet, member: Member) -> bool:
        """Whether ``member`` must leave first, or join last."""
        address = address_of(member)
        if address is None or ipset.role not in _HELD_BY_ADDRESS:
            return False
        return self._everything or any(
            self._crosses(address, direction) for direction in self._uses.get(ipset.name, ())
        )

    def _crosses(self, peer: Address, direction: Direction) -> bool:
        """Whether a change crosses that of ``peer`` in the sets of ``direction``."""
        opposite = Direction.EGRESS if direction is Direction.INGRESS else Direction.INGRESS
        if peer in self._moved[opposite] or _others(self._moved[direction], peer):
            return True
        # Memberships of both ends: it is enough that one of the two waits.
        if direction is Direction.INGRESS or peer not in self._targets:
            return False
        return _others(self._sources, peer)


def _others(addresses: Set[Address], one: Address) -> bool:
    """Whether there is any other address than ``one``."""
    return len(addresses) > (one in addresses)


def compare(
    observed: ObservedFamily,
    desired: FamilyRules,
    changes: Iterable[tuple[IPSet, frozenset[Member]]],
) -> Crossing:
    """What crosses on the way from ``observed`` to ``desired``.

    ``changes`` are the members that sets gain or lose, of those sets that rules in the kernel name.
    """
    old = dict(observed.chains)
    new: Chains = {name: chain.rules for name, chain in desired.chains.items()}
    before_uses, after_uses = used_sets(old), used_sets(new)
    uses = {
        name: directions | before_uses.get(name, frozenset())
        for name, directions in after_uses.items()
    }
    before, after = _Profiles(old), _Profiles(new)
    return Crossing(
        everything=_is_rebuilt(old, new) or before.guarded != after.guarded,
        moved={each: before.differences(after, each) for each in Direction},
        uses=uses,
        joining={
            address
            for ipset, members in changes
            if Direction.INGRESS in uses.get(ipset.name, ())
            for address in map(address_of, members)
            if address is not None
        },
        isolated={each: before.isolated(each) | after.isolated(each) for each in Direction},
    )


class _Profiles:
    """Where dispatch leads each address, and the ranges in which unknown ones are closed."""

    def __init__(self, chains: Chains) -> None:
        self._led: dict[Direction, dict[Address, str]] = {each: {} for each in Direction}
        guarded = set()
        for name, rules in chains.items():
            direction = names.dispatch_direction(name)
            if direction is None:
                continue
            for cidr, target in _branches(rules):
                if names.dispatch_direction(target) is None:
                    self._led[direction][Address(cidr.family, cidr.value)] = target
                elif name == names.dispatch_chain(direction) and _is_closed(chains.get(target)):
                    guarded.add((direction, cidr))
        self.guarded = frozenset(guarded)

    def differences(self, other: _Profiles, direction: Direction) -> frozenset[Address]:
        """The addresses that are led elsewhere there."""
        mine, theirs = self._led[direction].items(), other._led[direction].items()
        return frozenset(address for address, _ in mine ^ theirs)

    def isolated(self, direction: Direction) -> frozenset[Address]:
        """The addresses that lead to a profile."""
        return frozenset(address for address, chain in self._led[direction].items() if chain)


def _branches(rules: Iterable[ObservedRule]) -> Iterator[tuple[Cidr, str]]:
    """The blocks that a dispatch chain tells apart, and the chain of each; none is ``""``."""
    for rule in rules:
        if isinstance(rule, Rule) and rule.matches and isinstance(rule.matches[0], MatchAddress):
            target = rule.target.chain if isinstance(rule.target, Goto) else ""
            yield rule.matches[0].cidr, target


def _is_closed(rules: tuple[ObservedRule, ...] | None) -> bool:
    last = rules[-1] if rules else None
    return isinstance(last, Rule) and last.target == Goto(names.DENY_CHAIN) and not last.matches


def _is_rebuilt(old: Chains, new: Chains) -> bool:
    """Whether what an old chain means changes under its name, or cannot be told."""
    for name, rules in old.items():
        if names.dispatch_direction(name) is not None:
            if not all(isinstance(each, Rule) for each in rules):
                return True
        elif name in new and new[name] != rules:
            return True
    return False


def address_of(member: Member) -> Address | None:
    """The address that a member is about; ``None`` for a block."""
    match member:
        case Address():
            return member
        case AddressPort(address=address):
            return address
        case _:
            return None
