"""Whatever changes at once, and wherever it is broken off: what both states deny, all deny."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from unittest import mock

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.flow import Flow, Verdict
from podwall.model.policy import Peer, Policy
from podwall.ruleset import dispatch
from podwall.ruleset.compile import compile_node
from podwall.ruleset.diff import diff
from podwall.ruleset.ir import Hook
from podwall.ruleset.plan import Observed
from podwall.ruleset.simulate import simulate
from tests.builders import allow, flow, namespace, node, pod, pods, policy
from tests.properties import kernel_model

N1 = node("n1", "192.168.0.1", pod_cidrs=["10.1.0.0/24"])
N2 = node("n2", "192.168.0.2", pod_cidrs=["10.2.0.0/24"])
Y = pod("a/y", "10.1.0.2", node="n1", r="y")


@pytest.fixture(params=(1, dispatch.LEAF_ADDRESSES), ids=("deep tree", "flat tree"), autouse=True)
def _tree_depth(request: pytest.FixtureRequest) -> Iterator[None]:
    """The universe has few pods, so that a tree of the real leaf size would have one level."""
    with mock.patch.object(dispatch, "LEAF_ADDRESSES", request.param):
        yield


def holding(snapshot: Snapshot) -> Observed:
    """The kernel of the node that enforces ``snapshot``."""
    return kernel_model.holding(compile_node(snapshot, "n1"))


def allowed(kernel: Observed, packet: Flow) -> bool:
    rules = kernel_model.as_rules(kernel.family(packet.src.family))
    return simulate(rules, Hook.FORWARD, packet).verdict is Verdict.ALLOWED


def states_between(kernel: Observed, after: Snapshot) -> list[Observed]:
    """Every state that a packet could meet on the way, both ends included."""
    plan = diff(kernel, compile_node(after, "n1"))
    return [kernel, *kernel_model.run(kernel, plan)]


MEMBERS = (("x", "10.1.0.1"), ("y", "10.1.0.2"), ("far", "10.2.0.1"))
FLOWS = [flow(src, dst) for (_, src), (_, dst) in itertools.permutations(MEMBERS, 2)]
ONE_OR_TWO = st.sampled_from(("one", "two"))


@st.composite
def small_policies(draw: st.DrawFn, name: str) -> Policy:
    """Few labels, so that what changes together meets the same flow often."""

    def peer() -> Peer:
        value = draw(ONE_OR_TWO)
        if draw(st.booleans()):
            return pods({"t": value}, namespaces="a")
        return pods(namespaces={"team": value})

    subject = (
        {"t": draw(ONE_OR_TWO)} if draw(st.booleans()) else {"is": draw(st.sampled_from("xy"))}
    )
    rules = [allow(peer())] if draw(st.booleans()) else []
    if draw(st.booleans()):
        return policy(f"a/{name}", subject, ingress=rules)
    return policy(f"a/{name}", subject, egress=rules)


@st.composite
def small_clusters(draw: st.DrawFn) -> Snapshot:
    """Two pods of the node and one elsewhere."""
    members = [
        msgspec.structs.replace(
            pod(f"a/{name}", address, node="n2" if name == "far" else "n1"),
            labels={"is": name, "t": draw(ONE_OR_TWO)},
        )
        for name, address in MEMBERS
        if draw(st.integers(0, 4))
    ]
    policies = [draw(small_policies(name)) for name in "pqr"]
    return build_snapshot(members, [namespace("a", team=draw(ONE_OR_TWO))], policies, [N1, N2])


@hypothesis_settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(small_clusters(), small_clusters(), small_clusters(), st.data())
def test_what_both_states_deny_is_denied_at_every_moment_also_after_a_plan_that_was_cut_off(
    first: Snapshot, second: Snapshot, third: Snapshot, data: st.DataObject
) -> None:
    way = states_between(holding(first), second)
    resumed = states_between(data.draw(st.sampled_from(way)), third)
    for states in (way, resumed):
        for packet in FLOWS:
            if not allowed(states[0], packet) and not allowed(states[-1], packet):
                assert not any(allowed(state, packet) for state in states), packet


def sides(value: str) -> Snapshot:
    """A pod that is refused by its peer on one side, and isolated itself on the other."""
    return build_snapshot(
        [pod("a/x", "10.1.0.1", node="n1", side=value), Y],
        [namespace("a")],
        [
            policy("a/in", {"r": "y"}, ingress=[allow(pods({"side": "two"}, namespaces="a"))]),
            policy("a/out", {"side": "two"}, egress=[]),
        ],
        [N1, N2],
    )


def teams(value: str) -> Snapshot:
    """Two pods of one namespace; each looks at its labels, in its own direction."""
    return build_snapshot(
        [pod("a/x", "10.1.0.1", node="n1", r="x"), Y],
        [namespace("a", team=value)],
        [
            policy("a/in", {"r": "y"}, ingress=[allow(pods(namespaces={"team": "one"}))]),
            policy("a/out", {"r": "x"}, egress=[allow(pods(namespaces={"team": "two"}))]),
        ],
        [N1, N2],
    )


def wishes(asked: str, offered: str) -> Snapshot:
    """A policy that asks for a label, and a pod elsewhere that has one."""
    both = [allow(pods({"t": each}, namespaces="a")) for each in ("one", "two")]
    return build_snapshot(
        [
            pod("a/x", "10.1.0.1", node="n1", r="x"),
            pod("a/far", "10.2.0.1", node="n2", t=offered),
            Y,
        ],
        [namespace("a")],
        [
            policy("a/in", {"r": "y"}, ingress=[allow(pods({"t": asked}, namespaces="a"))]),
            policy("a/both", {"r": "x"}, ingress=both),
        ],
        [N1, N2],
    )


FROM_X, FROM_FAR = flow("10.1.0.1", "10.1.0.2"), flow("10.2.0.1", "10.1.0.2")


@pytest.mark.parametrize(
    ("before", "after", "packet"),
    [
        pytest.param(sides("one"), sides("two"), FROM_X, id="joins and is isolated"),
        pytest.param(sides("two"), sides("one"), FROM_X, id="leaves and is free"),
        pytest.param(teams("one"), teams("two"), FROM_X, id="both ends are relabelled"),
        pytest.param(teams("two"), teams("one"), FROM_X, id="and back"),
        pytest.param(wishes("one", "two"), wishes("two", "one"), FROM_FAR, id="edit and relabel"),
    ],
)
def test_changes_that_cross_open_nothing(before: Snapshot, after: Snapshot, packet: Flow) -> None:
    states = states_between(holding(before), after)
    assert [allowed(state, packet) for state in states] == [False] * len(states)
    assert states[-1] == holding(after)


def test_a_set_that_was_left_behind_is_made_ready_before_a_rule_names_it() -> None:
    isolated = policy("a/in", {"r": "y"}, ingress=[])
    none = msgspec.structs.replace(wishes("one", "one"), policies={isolated.key: isolated})
    way = states_between(holding(wishes("one", "one")), none)
    [left_behind] = [state for state in way if not allowed(state, FROM_FAR)][:1]
    assert any("t-one" in name for name in left_behind.v4.sets)
    states = states_between(left_behind, wishes("one", "two"))
    assert [allowed(state, FROM_FAR) for state in states] == [False] * len(states)
    assert states[-1] == holding(wishes("one", "two"))
