"""Property 1: for every flow, the compiled rules give the verdict that the oracle gives.

And they log what they deny, if asked, and what audited policies would deny (S51), and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot
from podwall.model.flow import Flow, Verdict
from podwall.model.settings import Settings
from podwall.policy.decision import Decision
from podwall.policy.evaluate import evaluate
from podwall.ruleset import dispatch
from podwall.ruleset.compile import compile_node
from podwall.ruleset.ir import LogKind, Ruleset
from podwall.ruleset.journey import travel
from podwall.ruleset.validate import validate
from tests import strategies

# The fixture sets a constant for all examples of a test, which is what it should do.
WITH_FIXTURE = hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=(1, dispatch.LEAF_ADDRESSES), ids=("deep tree", "flat tree"), autouse=True)
def _tree_depth(request: pytest.FixtureRequest) -> Iterator[None]:
    """The universe has few pods, so that a tree of the real leaf size would have one level."""
    with mock.patch.object(dispatch, "LEAF_ADDRESSES", request.param):
        yield


@st.composite
def clusters_with_flows(draw: st.DrawFn) -> tuple[Snapshot, list[Flow], Settings]:
    """A cluster, flows aimed at its rules and a few drawn at random, and switches."""
    snapshot = draw(strategies.snapshots())
    flows = draw(st.lists(strategies.flows(snapshot), min_size=1, max_size=8))
    flows += strategies.telling_flows(snapshot)
    return snapshot, flows, draw(strategies.settings())


@WITH_FIXTURE
@given(clusters_with_flows())
def test_the_rules_give_every_flow_the_verdict_of_the_oracle(
    case: tuple[Snapshot, list[Flow], Settings],
) -> None:
    snapshot, flows, settings = case
    rulesets: dict[str, Ruleset] = {}

    def ruleset_of(node: str) -> Ruleset:
        if node not in rulesets:
            rulesets[node] = compile_node(snapshot, node, settings)
        return rulesets[node]

    for flow in flows:
        decision = evaluate(snapshot, flow, settings)
        journey = travel(snapshot, flow, ruleset_of)
        assert journey.verdict is decision.verdict, f"{decision}\n{journey}"
        logs = {kind for stop in journey.stops for kind in stop.trace.logs}
        assert logs == logs_of(decision, settings), f"{decision}\n{journey}"


def logs_of(decision: Decision, settings: Settings) -> set[LogKind]:
    """What a packet shall be logged for: ingress is not judged where egress denies."""
    judged = [decision.egress, *([decision.ingress] if decision.egress.allowed else [])]
    logs = {LogKind.AUDIT} if any(each.would_deny for each in judged) else set()
    if decision.verdict is Verdict.DENIED and settings.log_denied:
        logs.add(LogKind.DENY)
    return logs


@WITH_FIXTURE
@given(strategies.snapshots(), strategies.settings())
def test_every_compiled_ruleset_keeps_the_invariants(
    snapshot: Snapshot, settings: Settings
) -> None:
    for node in {pod.node for pod in snapshot.pods.values()} | set(snapshot.nodes):
        ruleset = compile_node(snapshot, node, settings)
        validate(ruleset)
        assert ruleset == compile_node(snapshot, node, settings)
