"""What audited policies would do, by the oracle: it is what evaluating them enforced says (S51)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot
from podwall.model.flow import Verdict
from podwall.model.policy import Direction, Mode, Policy
from podwall.model.settings import Settings
from podwall.policy.decision import DirectionDecision
from podwall.policy.evaluate import evaluate, judge
from tests import strategies

SNAPSHOTS = strategies.snapshots(min_policies=1)


def with_policies(snapshot: Snapshot, make: Callable[[Policy], Policy | None]) -> Snapshot:
    made = {key: make(policy) for key, policy in snapshot.policies.items()}
    kept = {key: policy for key, policy in made.items() if policy is not None}
    return msgspec.structs.replace(snapshot, policies=kept)


def enforced(policy: Policy) -> Policy:
    return msgspec.structs.replace(policy, mode=Mode.ENFORCE)


def audited(policy: Policy) -> Policy:
    return msgspec.structs.replace(policy, mode=Mode.AUDIT)


def unless_audited(policy: Policy) -> Policy | None:
    return None if policy.is_audited else policy


def without_audit(decision: DirectionDecision) -> DirectionDecision:
    return msgspec.structs.replace(decision, audited_by=(), audit=None)


@given(st.data(), SNAPSHOTS, strategies.settings())
def test_s51_what_audited_policies_would_do_is_what_they_do_once_they_are_enforced(
    data: st.DataObject, snapshot: Snapshot, settings: Settings
) -> None:
    later = with_policies(snapshot, enforced)
    for flow in (data.draw(strategies.flows(snapshot)), *strategies.telling_flows(snapshot, 40)):
        for direction in Direction:
            now = judge(snapshot, flow, direction, settings)
            then = judge(later, flow, direction, settings)
            if now.audit is not None:
                assert now.audit == then
            else:
                assert now.verdict is then.verdict
            assert now.would_deny == (now.allowed and not then.allowed)
            assert now.would_allow == (not now.allowed and then.allowed)


@given(st.data(), SNAPSHOTS, strategies.settings())
def test_s51_audited_policies_change_nothing(
    data: st.DataObject, snapshot: Snapshot, settings: Settings
) -> None:
    without = with_policies(snapshot, unless_audited)
    for flow in (data.draw(strategies.flows(snapshot)), *strategies.telling_flows(snapshot, 40)):
        now = evaluate(snapshot, flow, settings)
        never = evaluate(without, flow, settings)
        assert now.verdict is never.verdict
        for mine, other in zip(now.directions, never.directions, strict=True):
            assert without_audit(mine) == other


@given(st.data(), SNAPSHOTS)
def test_s51_only_a_pod_that_nothing_isolates_can_lose_by_enforcing(
    data: st.DataObject, snapshot: Snapshot
) -> None:
    for decision in evaluate(snapshot, data.draw(strategies.flows(snapshot))).directions:
        assert decision.audit is None or decision.audited_by
        assert not (decision.would_deny and decision.isolated_by)
        if decision.would_deny and decision.audit is not None:
            refusing = tuple(each.policy for each in decision.audit.refusals)
            assert refusing == decision.audit.isolated_by == decision.audited_by


@given(st.data(), SNAPSHOTS, strategies.settings())
def test_s51_with_every_policy_audited_nothing_is_denied_by_policy(
    data: st.DataObject, snapshot: Snapshot, settings: Settings
) -> None:
    everything = with_policies(snapshot, audited)
    decision = evaluate(everything, data.draw(strategies.flows(snapshot)), settings)
    for each in decision.directions:
        assert each.isolated_by == ()
        assert each.verdict is Verdict.ALLOWED or each.subject is None
