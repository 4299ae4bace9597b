"""The matrix asks the oracle once a class; asking it for every pair gives the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot
from podwall.explain.classes import Classes
from podwall.explain.ends import end_at
from podwall.explain.matrix import Party, compute_matrix, parties_of
from podwall.explain.reach import Reach, reach
from podwall.model.net import Family
from podwall.model.settings import Settings
from tests.strategies import settings, snapshots
from tests.universe import OUTSIDE

Cells = dict[tuple[str, str, Family], set[Reach]]


def _asked_pair_by_pair(snapshot: Snapshot, parties: list[Party], switches: Settings) -> Cells:
    """What a matrix is, said plainly: every end of every party against every other."""
    cells: Cells = {}
    for source in parties:
        for target in parties:
            for family in Family:
                pairs = list(_pairs(source, target, family))
                if pairs:
                    cells[source.title, target.title, family] = {
                        reach(snapshot, src, dst, switches) for src, dst in pairs if src != dst
                    }
    return cells


def _pairs(source: Party, target: Party, family: Family) -> Iterator[tuple]:  # type: ignore[type-arg]
    for one in source.ends:
        for other in target.ends:
            src, dst = one.address(family), other.address(family)
            if src is not None and dst is not None and (one.pod or other.pod):
                yield src, dst


@given(snapshots(), settings(), st.booleans(), st.sets(st.sampled_from(OUTSIDE), max_size=3))
def test_the_matrix_is_what_asking_pair_by_pair_gives(
    snapshot: Snapshot, switches: Settings, by_workload: bool, outside: set
) -> None:
    others = [end_at(snapshot, each) for each in sorted(outside, key=str)]
    parties = parties_of(snapshot, by_workload, others)

    matrix = compute_matrix(snapshot, parties, switches)

    found: Cells = defaultdict(set)
    for cell in matrix.cells:
        assert len(set(cell.reaches)) == len(cell.reaches)
        found[cell.source, cell.target, cell.family] = set(cell.reaches)
    assert found == _asked_pair_by_pair(snapshot, parties, switches)


@given(snapshots(), settings())
def test_addresses_of_one_class_reach_the_same(snapshot: Snapshot, switches: Settings) -> None:
    addresses = [
        *snapshot.owners,
        *OUTSIDE,
        *(a for n in snapshot.nodes.values() for a in n.addresses),
    ]
    classes = Classes(snapshot, switches)
    for src in addresses:
        for dst in addresses:
            if src.family is dst.family:
                assert classes.reach(src, dst) == reach(snapshot, src, dst, switches)
