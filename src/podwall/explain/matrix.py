"""The computed matrix: who can reach whom on which ports, by pod or by workload."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.explain.classes import Classes, Judges
from podwall.explain.ends import End
from podwall.explain.reach import Reach
from podwall.model.net import Address, Family
from podwall.model.objects import PodKey
from podwall.model.policy import Direction
from podwall.model.settings import Settings

OWN_ADDRESS = "self"
"""What a cell says of a pod and itself."""


class Party(msgspec.Struct, frozen=True):
    """A row and a column: a pod, the pods of a workload, a node, or an address outside."""

    title: str
    ends: tuple[End, ...]


class ReachCell(msgspec.Struct, frozen=True):
    """What one party can reach of another, in one family.

    ``reaches`` holds the distinct answers over all pairs of the two parties' ends; more than one
    means that it depends on the pod. None means that there was no pair but of pods with themselves.
    """

    source: str
    target: str
    family: Family
    reaches: tuple[Reach, ...]

    def __str__(self) -> str:
        return " | ".join(map(str, self.reaches)) or OWN_ADDRESS


class ReachMatrix(msgspec.Struct, frozen=True):
    """All cells, by source and then by target in the order of ``parties``."""

    parties: tuple[Party, ...]
    families: tuple[Family, ...]
    cells: tuple[ReachCell, ...]

    def to_dict(self) -> dict[str, object]:
        """The matrix as plain values, as ``-o json`` prints it."""
        return {
            "parties": [
                {
                    "name": party.title,
                    "members": [
                        {"name": end.title, "addresses": list(map(str, end.addresses))}
                        for end in party.ends
                    ],
                }
                for party in self.parties
            ],
            "cells": [
                {
                    "from": cell.source,
                    "to": cell.target,
                    "family": f"ipv{cell.family.value}",
                    "reach": [each.to_dict() for each in cell.reaches],
                    "text": str(cell),
                }
                for cell in self.cells
            ],
        }


def parties_of(snapshot: Snapshot, by_workload: bool, others: Iterable[End] = ()) -> list[Party]:
    """The parties of a snapshot: pods with an address, sorted, then nodes, then ``others``."""
    groups: dict[str, list[End]] = {}
    for pod in snapshot.pods.values():
        addresses = snapshot.owned_addresses(pod)
        if not addresses:
            continue
        title = str(pod.key)
        if by_workload and pod.workload:
            title = f"{pod.key.namespace}/{pod.workload.lower()}"
        groups.setdefault(title, []).append(End(str(pod.key), addresses, pod.key))
    for node in snapshot.nodes.values():
        if node.addresses:
            groups[f"node/{node.name}"] = [End(f"node/{node.name}", node.addresses)]
    for end in others:
        groups.setdefault(end.title, []).append(end)
    return [Party(title, tuple(ends)) for title, ends in groups.items()]


def compute_matrix(
    snapshot: Snapshot,
    parties: Sequence[Party],
    settings: Settings = Settings(),
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ReachMatrix:
    """Ask the oracle about every pair of parties of which one at least is a pod.

    It is asked once for each pair of classes (:mod:`podwall.explain.classes`), so the cost grows
    with what policies tell apart and not with the pods. ``progress`` is told how many of how many
    parties are done.
    """
    families = tuple(
        family
        for family in Family
        if any(end.address(family) for party in parties for end in party.ends if end.pod)
    )
    classes = Classes(snapshot, settings)
    grouped = {family: [_Sorted(classes, each, family) for each in parties] for family in families}
    cells: list[ReachCell] = []
    for done, source in enumerate(parties, start=1):
        for index, target in enumerate(parties):
            for family in families:
                reaches = _reaches(classes, grouped[family][done - 1], grouped[family][index])
                if reaches is not None:
                    cells.append(ReachCell(source.title, target.title, family, reaches))
        progress(done, len(parties))
    return ReachMatrix(tuple(parties), families, tuple(cells))


class _Group(msgspec.Struct, frozen=True):
    """The addresses of a party that answer alike, by what each of them is one with."""

    is_pod: bool
    addresses: dict[PodKey | Address, dict[Address, None]]


class _Member(msgspec.Struct, frozen=True):
    """One end of a party in one family."""

    address: Address
    is_pod: bool


class _Sorted:
    """The ends of a party, sorted into those that answer alike."""

    def __init__(self, classes: Classes, party: Party, family: Family) -> None:
        self._classes = classes
        self._members = [
            _Member(address, end.pod is not None)
            for end in party.ends
            if (address := end.address(family)) is not None
        ]
        addresses = [each.address for each in self._members]
        self.only = self._members[0] if len(self._members) == 1 else None
        self.has_node = any(classes.of(each).nodes for each in addresses)
        self.egress, self.ingress = (
            tuple({each.number: each for each in judging}.values())
            for judging in (
                [classes.judges(each, Direction.EGRESS) for each in addresses],
                [classes.judges(each, Direction.INGRESS) for each in addresses],
            )
        )
        self._groups: dict[object, tuple[_Group, ...]] = {}

    def placed(self) -> tuple[_Group, ...]:
        """By class and node: to nodes it matters on which one a pod is (S42)."""
        return self._known("placed", self._classes.of)

    def as_sources(self, ingress: Sequence[Judges]) -> tuple[_Group, ...]:
        """By what they look like to those who decide for the targets."""
        return self._known(
            ("source", *(each.number for each in ingress)),
            lambda address: self._classes.source_looks(address, ingress),
        )

    def as_targets(self, egress: Sequence[Judges]) -> tuple[_Group, ...]:
        """By what they look like to those who decide for the sources."""
        return self._known(
            ("target", *(each.number for each in egress)),
            lambda address: self._classes.target_looks(address, egress),
        )

    def _known(self, name: object, looks: Callable[[Address], Hashable]) -> tuple[_Group, ...]:
        found = self._groups.get(name)
        if found is None:
            groups: dict[object, _Group] = {}
            for each in self._members:
                key = looks(each.address), each.is_pod
                group = groups.setdefault(key, _Group(each.is_pod, {}))
                identity = self._classes.identity(each.address)
                group.addresses.setdefault(identity, {})[each.address] = None
            found = self._groups[name] = tuple(groups.values())
        return found


def _reaches(classes: Classes, source: _Sorted, target: _Sorted) -> tuple[Reach, ...] | None:
    """The distinct answers over all pairs; ``None`` where there is no pair to ask about."""
    one, other = source.only, target.only
    if one is not None and other is not None and one.address != other.address:
        return (classes.reach(one.address, other.address),) if one.is_pod or other.is_pod else None
    found: dict[Reach, None] = {}
    asked = False
    by_node = source.has_node or target.has_node
    sources = source.placed() if by_node else source.as_sources(target.ingress)
    targets = target.placed() if by_node else target.as_targets(source.egress)
    for mine in sources:
        for theirs in targets:
            if mine.is_pod or theirs.is_pod:
                asked = True
                for src, dst in _representatives(mine, theirs):
                    found[classes.reach(src, dst)] = None
    return tuple(found) if asked else None


def _representatives(source: _Group, target: _Group) -> Iterator[tuple[Address, Address]]:
    """Pairs of two groups that stand for all: one of two different pods, and each pod with itself.

    A pair of equal addresses is none: it says nothing about policies.
    """
    apart = next(
        (
            (src, dst)
            for one, mine in source.addresses.items()
            for other, theirs in target.addresses.items()
            if one != other
            for src in mine
            for dst in theirs
        ),
        None,
    )
    if apart is not None:
        yield apart
    for one in source.addresses.keys() & target.addresses.keys():
        for src in source.addresses[one]:
            for dst in target.addresses[one]:
                if src != dst:
                    yield src, dst
