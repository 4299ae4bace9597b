"""The matrix asks the oracle once a class; asking it for every pair gives the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot
from podwall.explain.classes import Classes
from podwall.explain.ends import End, end_at
from podwall.explain.matrix import Party, compute_matrix, parties_of
from podwall.explain.reach import Reach, reach
from podwall.model.net import Family
from podwall.model.settings import Settings
from tests.strategies import settings, snapshots
from tests.universe import UNIVERSE

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


@st.composite
def _parties(draw: st.DrawFn, snapshot: Snapshot) -> list[Party]:
    """Pods, nodes and any other addresses in a few parties, whether they belong together or not."""
    others = draw(st.lists(st.sampled_from(UNIVERSE), max_size=4, unique=True))
    parties = parties_of(snapshot, False, [end_at(snapshot, each) for each in others])
    ends = [end for party in parties for end in party.ends]
    lots: dict[int, list[End]] = {}
    for end in ends:
        lots.setdefault(draw(st.integers(0, 2)), []).append(end)
    return [Party(str(number), tuple(lots[number])) for number in sorted(lots)]


@given(st.data(), snapshots(min_policies=1), settings())
def test_the_matrix_is_what_asking_pair_by_pair_gives(
    data: st.DataObject, snapshot: Snapshot, switches: Settings
) -> None:
    parties = data.draw(_parties(snapshot))

    matrix = compute_matrix(snapshot, parties, switches)

    found: Cells = defaultdict(set)
    for cell in matrix.cells:
        assert len(set(cell.reaches)) == len(cell.reaches)
        found[cell.source, cell.target, cell.family] = set(cell.reaches)
    families = {each.family for each in snapshot.owners}
    expected = _asked_pair_by_pair(snapshot, parties, switches)
    assert found == {key: cell for key, cell in expected.items() if key[2] in families}


@given(st.data(), snapshots(min_policies=1, min_pods=5), settings())
def test_addresses_of_one_class_reach_the_same(
    data: st.DataObject, snapshot: Snapshot, switches: Settings
) -> None:
    others = data.draw(st.lists(st.sampled_from(UNIVERSE), max_size=3, unique=True))
    addresses = [*snapshot.owners, *others]
    classes = Classes(snapshot, switches)
    for src in addresses:
        for dst in addresses:
            if src.family is dst.family:
                assert classes.reach(src, dst) == reach(snapshot, src, dst, switches)
