"""The computed matrix: who can reach whom on which ports, by pod or by workload."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.explain.ends import End
from podwall.explain.reach import Reach, reach
from podwall.model.net import Family
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

    ``progress`` is told how many of how many parties are done.
    """
    families = tuple(
        family
        for family in Family
        if any(end.address(family) for party in parties for end in party.ends if end.pod)
    )
    cells: list[ReachCell] = []
    for done, source in enumerate(parties, start=1):
        for target in parties:
            for family in families:
                cell = _cell(snapshot, source, target, family, settings)
                if cell is not None:
                    cells.append(cell)
        progress(done, len(parties))
    return ReachMatrix(tuple(parties), families, tuple(cells))


def _cell(
    snapshot: Snapshot, source: Party, target: Party, family: Family, settings: Settings
) -> ReachCell | None:
    pairs = list(_pairs(source, target, family))
    if not pairs:
        return None
    reaches = dict.fromkeys(reach(snapshot, src, dst, settings) for src, dst in pairs if src != dst)
    return ReachCell(source.title, target.title, family, tuple(reaches))


def _pairs(source: Party, target: Party, family: Family) -> Iterator[tuple]:  # type: ignore[type-arg]
    for one in source.ends:
        for other in target.ends:
            src, dst = one.address(family), other.address(family)
            if src is not None and dst is not None and (one.pod or other.pod):
                yield src, dst
