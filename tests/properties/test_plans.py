"""Plans lead to what is desired, from anywhere, and never open or close too much on the way."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.flow import ConnState, Flow, Verdict
from podwall.model.net import Family
from podwall.model.settings import Settings
from podwall.ruleset import dispatch
from podwall.ruleset.compile import compile_node
from podwall.ruleset.diff import cleanup, diff
from podwall.ruleset.ir import Hook, Ruleset
from podwall.ruleset.plan import Observed
from podwall.ruleset.simulate import simulate
from tests import strategies
from tests.properties import kernel_model

# The fixture sets a constant for all examples of a test, which is what it should do.
WITH_FIXTURE = hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

NODE = strategies.NODES[0].name


@pytest.fixture(params=(1, dispatch.LEAF_ADDRESSES), ids=("deep tree", "flat tree"), autouse=True)
def _tree_depth(request: pytest.FixtureRequest) -> Iterator[None]:
    """The universe has few pods, so that a tree of the real leaf size would have one level."""
    with mock.patch.object(dispatch, "LEAF_ADDRESSES", request.param):
        yield


@st.composite
def one_change(draw: st.DrawFn) -> tuple[Snapshot, Snapshot]:
    """A cluster before and after one object came, changed or went."""
    before = draw(strategies.snapshots())
    pods, policies = dict(before.pods), dict(before.policies)
    namespaces = dict(before.namespaces)
    kind = draw(st.sampled_from(("pod", "policy", "namespace", "no pod", "no policy")))
    if kind == "pod":
        pod = draw(strategies.pods())
        pods[pod.key] = pod
    elif kind == "policy":
        policy = draw(strategies.policies())
        policies[policy.key] = policy
    elif kind == "namespace":
        namespace = draw(strategies.namespaces(draw(st.sampled_from(strategies.NAMESPACES))))
        namespaces[namespace.name] = namespace
    elif kind == "no pod" and pods:
        del pods[draw(st.sampled_from(sorted(pods)))]
    elif kind == "no policy" and policies:
        del policies[draw(st.sampled_from(sorted(policies)))]
    after = build_snapshot(
        pods.values(), namespaces.values(), policies.values(), before.nodes.values()
    )
    return before, after


def final(before: Observed, desired: Ruleset) -> Observed:
    """The kernel after the plan from ``before`` to ``desired`` ran."""
    return kernel_model.run_all(before, diff(before, desired))


@WITH_FIXTURE
@given(strategies.snapshots(), strategies.snapshots(), strategies.settings())
def test_a_plan_leads_from_any_state_to_the_desired_one_and_the_next_plan_is_empty(
    first: Snapshot, second: Snapshot, settings: Settings
) -> None:
    old, new = (compile_node(each, NODE, settings) for each in (first, second))
    state = final(final(kernel_model.empty_kernel(), old), new)
    assert state == kernel_model.holding(new)
    assert not diff(state, new)


@WITH_FIXTURE
@given(strategies.snapshots(), strategies.snapshots(), st.data())
def test_a_plan_that_was_cut_off_anywhere_is_resumed_by_the_next_one(
    first: Snapshot, second: Snapshot, data: st.DataObject
) -> None:
    old, new = compile_node(first, NODE), compile_node(second, NODE)
    before = kernel_model.holding(old)
    states = list(kernel_model.run(before, diff(before, new)))
    cut_off = data.draw(st.sampled_from(states)) if states else before
    assert final(cut_off, new) == kernel_model.holding(new)


@WITH_FIXTURE
@given(strategies.snapshots())
def test_cleanup_leaves_nothing(snapshot: Snapshot) -> None:
    state = kernel_model.holding(compile_node(snapshot, NODE))
    state = kernel_model.run_all(state, cleanup(state))
    assert not any(
        half.sets or half.chains or any(half.hooks.values()) for half in (state.v4, state.v6)
    )


def verdict(kernel: Observed, flow: Flow) -> Verdict:
    rules = kernel_model.as_rules(kernel.family(flow.src.family))
    return simulate(rules, Hook.FORWARD, flow).verdict


@WITH_FIXTURE
@given(one_change(), st.data())
def test_while_one_change_is_applied_a_flow_meets_the_old_or_the_new_verdict(
    change: tuple[Snapshot, Snapshot], data: st.DataObject
) -> None:
    before, after = change
    old, new = kernel_model.holding(compile_node(before, NODE)), compile_node(after, NODE)
    flows = data.draw(st.lists(strategies.flows(before), min_size=4, max_size=12))
    # One end outside the node's pods, so that one direction alone decides: what two directions
    # that change at the same time make of a flow depends on which of them changes first.
    outside = {
        family: [
            each
            for each in strategies.OUTSIDE + strategies.NODES[1].addresses
            if each.family is family
        ]
        for family in Family
    }
    aimed = strategies.telling_flows(before, 20) + strategies.telling_flows(after, 20)
    judged = [
        ended
        for index, flow in enumerate(flows + aimed)
        if flow.state is ConnState.NEW
        for far in [outside[flow.src.family][index % len(outside[flow.src.family])]]
        for ended in (
            msgspec.structs.replace(flow, src=far),
            msgspec.structs.replace(flow, dst=far),
        )
    ]
    states = list(kernel_model.run(old, diff(old, new)))
    for flow in judged:
        allowed = {verdict(old, flow), verdict(states[-1] if states else old, flow)}
        for state in states:
            assert verdict(state, flow) in allowed, flow
