"""Who is compared: the pods of a workload, a node, an address outside, before and after.

A pod is the same if its name is; its address may be another one afterwards. Members of a party that
neither of the two clusters tells apart, as the other party's policies see them, are put together,
so that one pair of them answers for all.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.explain.classes import Classes, Judges
from podwall.explain.ends import End
from podwall.explain.matrix import parties_of
from podwall.model.net import Address, Family
from podwall.model.policy import Direction


class Member(msgspec.Struct, frozen=True):
    """One end before and after; ``None`` where it is not there, ``touched`` if it is another."""

    title: str
    before: End | None
    after: End | None
    touched: bool

    @property
    def is_pod(self) -> bool:
        """Whether it is a pod at all."""
        return any(each is not None and each.pod is not None for each in (self.before, self.after))


class Party(msgspec.Struct, frozen=True):
    """Members under one title; of a workload that has pods now or will have some."""

    title: str
    members: tuple[Member, ...]


def parties_between(
    before: Snapshot, after: Snapshot, others: Iterable[End] = ()
) -> tuple[Party, ...]:
    """Workloads in the order of their names, then nodes, then ``others``."""
    outside = tuple(each for each in others if not _is_owned(each, before, after))
    members: dict[str, dict[str, list[End | None]]] = {}
    for index, snapshot in enumerate((before, after)):
        for party in parties_of(snapshot, True, outside):
            for end in party.ends:
                ends = members.setdefault(party.title, {}).setdefault(end.title, [None, None])
                ends[index] = end
    return tuple(
        Party(
            title,
            tuple(
                Member(name, old, new, _is_touched(before, after, old, new))
                for name, (old, new) in ends.items()
            ),
        )
        for title, ends in sorted(members.items(), key=lambda each: _rank(*each))
    )


def _rank(title: str, ends: dict[str, list[End | None]]) -> tuple[int, str]:
    is_pod = any(end is not None and end.pod is not None for both in ends.values() for end in both)
    return (0 if is_pod else 1 if title.startswith("node/") else 2), title


def _is_owned(end: End, *snapshots: Snapshot) -> bool:
    return any(each.owner(address) for each in snapshots for address in end.addresses)


def _is_touched(before: Snapshot, after: Snapshot, old: End | None, new: End | None) -> bool:
    """Whether an end is not, to policies, just what it was."""
    if old is None or new is None or old.addresses != new.addresses:
        return True
    if old.pod is None or new.pod is None:
        return False
    one, other = before.pods[old.pod], after.pods[new.pod]
    spaces = [each.namespaces.get(one.key.namespace) for each in (before, after)]
    return (
        spaces[0] != spaces[1]
        or one.labels != other.labels
        or one.ports != other.ports
        or one.node != other.node
    )


class Seat(msgspec.Struct, frozen=True):
    """A member and its address in one family, before and after."""

    member: Member
    before: Address | None
    after: Address | None


class Lot(msgspec.Struct, frozen=True):
    """Members of a party that answer alike, and are there at the same times."""

    is_pod: bool
    members: tuple[Seat, ...]
    titles: frozenset[str]


class Lots:
    """A party in one family, sorted into lots as other parties see it."""

    def __init__(self, party: Party, family: Family, classes: tuple[Classes, Classes]) -> None:
        self.title = party.title
        self.family = family
        self._classes = classes
        seats = (Seat(each, *_addresses(each, family)) for each in party.members)
        self._seats = tuple(each for each in seats if each.before or each.after)
        self._titles = frozenset(each.member.title for each in self._seats)
        self.touched = any(each.member.touched for each in self._seats)
        self._has_pod = any(each.member.is_pod for each in self._seats)
        self._has_node = any(
            known.of(address).nodes
            for known, addresses in zip(classes, self._addresses(), strict=True)
            for address in addresses
        )
        self._judges: dict[Direction, tuple[tuple[Judges, ...], ...]] = {
            direction: tuple(
                _distinct(known.judges(each, direction) for each in addresses)
                for known, addresses in zip(classes, self._addresses(), strict=True)
            )
            for direction in Direction
        }
        self._known: dict[object, tuple[Lot, ...]] = {}

    def _addresses(self) -> tuple[list[Address], list[Address]]:
        """Those of before, and those of after."""
        return (
            [each.before for each in self._seats if each.before is not None],
            [each.after for each in self._seats if each.after is not None],
        )

    def can_meet(self, other: Lots) -> bool:
        """Whether there is a pair to ask about: two members of which one at least is a pod."""
        if not self._seats or not other._seats or not (self._has_pod or other._has_pod):
            return False
        return len(self._titles | other._titles) > 1

    def has_any(self, titles: frozenset[str]) -> bool:
        """Whether any of these is a member."""
        return not self._titles.isdisjoint(titles)

    def towards(self, target: Lots) -> tuple[tuple[Lot, ...], tuple[Lot, ...]]:
        """The lots of this party as a source, and those of a target."""
        if self._has_node or target._has_node:
            return self._placed(), target._placed()
        ingress, egress = target._judges[Direction.INGRESS], self._judges[Direction.EGRESS]
        return (
            self._sorted("source", ingress, Classes.source_looks),
            target._sorted("target", egress, Classes.target_looks),
        )

    def _placed(self) -> tuple[Lot, ...]:
        return self._sorted("placed", ((), ()), lambda classes, address, _: classes.of(address))

    def _sorted(
        self,
        name: str,
        judging: Sequence[Sequence[Judges]],
        looks: Callable[[Classes, Address, Sequence[Judges]], Hashable],
    ) -> tuple[Lot, ...]:
        question = (name, *(tuple(each.number for each in lot) for lot in judging))
        found = self._known.get(question)
        if found is None:
            lots: dict[object, list[Seat]] = {}
            for seat in self._seats:
                both = zip(self._classes, (seat.before, seat.after), judging, strict=True)
                seen = tuple(
                    None if address is None else looks(classes, address, judges)
                    for classes, address, judges in both
                )
                lots.setdefault((seat.member.is_pod, *seen), []).append(seat)
            found = tuple(map(_lot, lots.values()))
            self._known[question] = found
        return found


def _lot(seats: Sequence[Seat]) -> Lot:
    titles = frozenset(each.member.title for each in seats)
    return Lot(seats[0].member.is_pod, tuple(seats), titles)


def _distinct(judging: Iterable[Judges]) -> tuple[Judges, ...]:
    return tuple({each.number: each for each in judging}.values())


def _addresses(member: Member, family: Family) -> tuple[Address | None, Address | None]:
    before, after = (
        None if end is None else end.address(family) for end in (member.before, member.after)
    )
    return before, after
