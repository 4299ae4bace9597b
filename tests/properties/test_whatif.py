"""What a change opens and closes is what asking before and after, pair by pair, tells apart."""

from __future__ import annotations

import itertools
from collections import defaultdict

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.explain.ends import End, end_at
from podwall.explain.matrix import parties_of
from podwall.explain.reach import NOTHING, Reach, minus, reach
from podwall.model.net import Family
from podwall.model.objects import Namespace
from podwall.model.settings import Settings
from podwall.policy.evaluate import evaluate
from podwall.whatif.compare import compare
from podwall.whatif.outcome import Outcome, Shift, Turn
from tests.strategies import label_sets, pods, policies, rarely, settings, snapshots
from tests.universe import OUTSIDE

Pairs = dict[tuple[str, str, Family, str, bool, Reach], int]


_KINDS = ("relabel", "ports", "pods", "policies", "namespaces", "nodes")


@st.composite
def _changed(draw: st.DrawFn, before: Snapshot) -> Snapshot:
    """A cluster in which one or two kinds of things are others."""
    kinds = draw(st.sets(st.sampled_from(_KINDS), min_size=1, max_size=2))
    everyone = dict(before.pods)
    for key, pod in before.pods.items():
        if "relabel" in kinds and draw(st.booleans()):
            everyone[key] = msgspec.structs.replace(pod, labels=draw(label_sets()))
        if "ports" in kinds and draw(st.booleans()):
            everyone[key] = msgspec.structs.replace(pod, ports=draw(pods()).ports)
        if "pods" in kinds and draw(rarely()):
            del everyone[key]
    if "pods" in kinds:
        new = draw(pods())
        everyone[new.key] = new
    kept = dict(before.policies)
    if "policies" in kinds:
        kept = {key: each for key, each in kept.items() if draw(st.booleans())}
        kept |= {each.key: each for each in draw(st.lists(policies(), max_size=2))}
    spaces = [
        Namespace(each.name, draw(label_sets()))
        if "namespaces" in kinds and draw(st.booleans())
        else each
        for each in before.namespaces.values()
    ]
    nodes = list(before.nodes.values())[: 1 if "nodes" in kinds else None]
    return build_snapshot(everyone.values(), spaces, kept.values(), nodes)


def _with_workloads(snapshot: Snapshot, count: int) -> Snapshot:
    """Pods of a few workloads in each namespace."""
    return build_snapshot(
        [
            msgspec.structs.replace(pod, workload=f"Deployment/d{int(key.name[1:]) % count}")
            for key, pod in snapshot.pods.items()
        ],
        snapshot.namespaces.values(),
        snapshot.policies.values(),
        snapshot.nodes.values(),
    )


def _pair_by_pair(
    before: Snapshot, after: Snapshot, others: list[End], switches: Settings
) -> Pairs:
    """How many pairs of two parties change in the same way, said plainly."""
    both = (before, after)
    ends: dict[str, list[End | None]] = {}
    home: dict[str, str] = {}
    for index, snapshot in enumerate(both):
        for party in parties_of(snapshot, True, others):
            for end in party.ends:
                ends.setdefault(end.title, [None, None])[index] = end
                home[end.title] = party.title
    found: Pairs = defaultdict(int)
    for (source, mine), (target, theirs) in itertools.permutations(ends.items(), 2):
        if not any(end is not None and end.pod for end in (*mine, *theirs)):
            continue
        for family in Family:
            reaches = [
                _reach_of(*each, family, switches) for each in zip(both, mine, theirs, strict=True)
            ]
            old, new = (each or NOTHING for each in reaches)
            for turn, what in (("opens", minus(new, old)), ("closes", minus(old, new))):
                if not what.nothing:
                    found[home[source], home[target], family, turn, None in reaches, what] += 1
    return found


def _reach_of(
    snapshot: Snapshot, source: End | None, target: End | None, family: Family, switches: Settings
) -> Reach | None:
    src = None if source is None else source.address(family)
    dst = None if target is None else target.address(family)
    return None if src is None or dst is None else reach(snapshot, src, dst, switches)


def _told(outcome: Outcome) -> Pairs:
    found: Pairs = {}
    sections = (
        (outcome.opens, False),
        (outcome.closes, False),
        (outcome.arrivals, True),
        (outcome.departures, True),
    )
    for shifts, moves in sections:
        for each in shifts:
            for family in each.families:
                key = (each.source, each.target, family, each.turn.value, moves, each.what)
                assert key not in found
                assert each.pairs <= each.of
                found[key] = each.pairs
    return found


@given(st.data(), snapshots(min_policies=1, min_pods=4), settings(), st.integers(1, 4))
def test_a_comparison_is_what_asking_pair_by_pair_tells_apart(
    data: st.DataObject, plain: Snapshot, switches: Settings, workloads: int
) -> None:
    before = _with_workloads(plain, workloads)
    after = _with_workloads(data.draw(_changed(before)), workloads)
    others = [end_at(before, each) for each in OUTSIDE[::2]]

    outcome = compare(before, after, switches, others)

    expected = _pair_by_pair(before, after, others, switches)
    told = _told(outcome)
    staying = {key: count for key, count in expected.items() if not key[4]}
    assert {key: count for key, count in told.items() if not key[4]} == staying
    # Of pods that come and go, what others of their workload do as well is left out.
    assert all(expected[key] == count for key, count in told.items() if key[4])
    for each in (*outcome.opens, *outcome.closes):
        _assert_example(each, before, after, switches)


def _assert_example(shift: Shift, before: Snapshot, after: Snapshot, switches: Settings) -> None:
    there, gone = (after, before) if shift.turn is Turn.OPENS else (before, after)
    assert evaluate(there, shift.example, switches).allowed
    if before.owners == after.owners:
        assert not evaluate(gone, shift.example, switches).allowed
        assert shift.causes


@given(snapshots(), settings())
def test_nothing_changes_without_a_change(snapshot: Snapshot, switches: Settings) -> None:
    outcome = compare(snapshot, snapshot, switches)
    assert outcome.nothing
    assert outcome.unchanged == outcome.pairs


@given(st.data(), snapshots(min_policies=1), settings())
def test_what_opens_one_way_closes_the_other_way(
    data: st.DataObject, before: Snapshot, switches: Settings
) -> None:
    after = data.draw(_changed(before))
    there, back = compare(before, after, switches), compare(after, before, switches)
    for ours, theirs in ((there.opens, back.closes), (there.closes, back.opens)):
        assert {(s.source, s.target, s.families, s.what, s.pairs) for s in ours} == {
            (s.source, s.target, s.families, s.what, s.pairs) for s in theirs
        }
