"""Plans that come from what happened keep the promise of those that come from comparing.

The clusters are those of :mod:`tests.properties.test_plans_open_nothing`: few labels, so that what
changes at once meets the same flow often.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from podwall.cluster.events import Applied, ClusterObject, Event, Kind, Replaced
from podwall.cluster.snapshot import Snapshot
from podwall.cluster.state import ClusterState
from podwall.model.flow import Flow
from podwall.ruleset.live import LiveNode
from podwall.ruleset.plan import Observed
from tests.properties import kernel_model
from tests.properties.test_plans_open_nothing import (
    FLOWS,
    FROM_FAR,
    FROM_X,
    allowed,
    holding,
    sides,
    small_clusters,
    teams,
    wishes,
)


def lists(snapshot: Snapshot) -> list[Event]:
    """All objects of each kind, as a watch that begins anew sends them."""
    return [
        Replaced(Kind.POD, tuple(snapshot.pods.values())),
        Replaced(Kind.NAMESPACE, tuple(snapshot.namespaces.values())),
        Replaced(Kind.NODE, tuple(snapshot.nodes.values())),
        Replaced(Kind.POLICY, tuple(snapshot.policies.values())),
    ]


def following(snapshot: Snapshot) -> LiveNode:
    state = ClusterState()
    state.apply_all(lists(snapshot))
    return LiveNode(state, "n1")


def states_between(live: LiveNode, kernel: Observed, after: Snapshot) -> list[Observed]:
    """Every state that a packet could meet while all changes come at once, both ends included."""
    return [kernel, *kernel_model.run(kernel, live.apply(lists(after)).plan)]


@hypothesis_settings(max_examples=150)
@given(small_clusters(), small_clusters(), small_clusters())
@example(sides("one"), sides("two"), sides("one"))
@example(wishes("one", "two"), wishes("two", "one"), wishes("one", "two"))
def test_what_both_states_deny_is_denied_at_every_moment(
    first: Snapshot, second: Snapshot, third: Snapshot
) -> None:
    live, kernel = following(first), holding(first)
    for after in (second, third):
        states = states_between(live, kernel, after)
        kernel = states[-1]
        assert kernel == holding(after)
        for packet in FLOWS:
            if not allowed(states[0], packet) and not allowed(states[-1], packet):
                assert not any(allowed(state, packet) for state in states), packet


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
    states = states_between(following(before), holding(before), after)
    assert [allowed(state, packet) for state in states] == [False] * len(states)
    assert states[-1] == holding(after)


@hypothesis_settings(max_examples=100)
@given(small_clusters(), st.data())
def test_while_one_change_is_applied_a_flow_meets_the_old_or_the_new_verdict(
    before: Snapshot, data: st.DataObject
) -> None:
    other = data.draw(small_clusters())
    things: list[ClusterObject] = [*other.policies.values(), *other.pods.values()]
    thing = data.draw(st.sampled_from(things))
    live, kernel = following(before), holding(before)
    states = [kernel, *kernel_model.run(kernel, live.apply([Applied(thing)]).plan)]
    # From a pod elsewhere, so that one direction alone decides.
    for packet in (each for each in FLOWS if each.src == FROM_FAR.src):
        verdicts = {allowed(states[0], packet), allowed(states[-1], packet)}
        assert {allowed(state, packet) for state in states} <= verdicts
