"""Denied packets by name say what the oracle says, of any cluster and packet."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot
from podwall.explain.denial import Denial, name_packet
from podwall.model.flow import Flow
from podwall.model.settings import Settings
from podwall.policy.evaluate import evaluate
from podwall.ruleset.ir import LogKind
from tests import strategies

SNAPSHOTS = strategies.snapshots(min_policies=1)
LONGEST = 3000


def flows(data: st.DataObject, snapshot: Snapshot) -> list[Flow]:
    new = data.draw(strategies.flows(snapshot, new_only=True))
    return [new, *strategies.telling_flows(snapshot, 40)]


@given(st.data(), SNAPSHOTS, strategies.settings())
def test_a_denied_packet_is_named_by_the_direction_that_denies_it(
    data: st.DataObject, snapshot: Snapshot, settings: Settings
) -> None:
    for flow in flows(data, snapshot):
        decision = evaluate(snapshot, flow, settings)
        [denial] = name_packet(snapshot, flow, LogKind.DENY, 0.0, settings)
        _check_text(denial)
        assert denial.verdict_now is decision.verdict
        assert denial.stale is decision.allowed
        if denial.stale:
            continue
        first = next(each for each in decision.directions if not each.allowed)
        assert denial.direction is first.direction
        assert denial.subject == ("" if first.subject is None else str(first.subject))
        assert denial.isolated_by == (() if first.exemption else first.isolated_by)


@given(st.data(), SNAPSHOTS, strategies.settings())
def test_s51_an_audited_packet_is_named_by_each_direction_that_would_deny_it(
    data: st.DataObject, snapshot: Snapshot, settings: Settings
) -> None:
    for flow in flows(data, snapshot):
        decision = evaluate(snapshot, flow, settings)
        objecting = [each for each in decision.directions if each.would_deny]
        named = name_packet(snapshot, flow, LogKind.AUDIT, 0.0, settings)
        for denial in named:
            _check_text(denial)
        assert [each.stale for each in named] == ([False] * len(objecting) or [True])
        if objecting:
            assert [each.direction for each in named] == [each.direction for each in objecting]
            assert [each.isolated_by for each in named] == [each.audited_by for each in objecting]


def _check_text(denial: Denial) -> None:
    line = str(denial)
    assert line.isprintable()
    assert len(line) < LONGEST
    assert denial.reason
    msgspec.json.encode(denial.to_dict())
