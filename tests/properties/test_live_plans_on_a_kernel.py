"""Plans of a node that follows the cluster, run by the real driver on a kernel with its tools.

The events lead from one cluster to another, all in one batch or one by one. Nothing looks at the
kernel in between, as in an agent; in the end it must hold what is compiled from scratch.
"""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from podwall.cluster.events import Applied, ClusterObject, Event, Kind, Remaining
from podwall.cluster.snapshot import Snapshot
from podwall.cluster.state import ClusterState, key_of
from podwall.dataplane.apply import enforce
from podwall.dataplane.memory import MemoryKernel, memory_dataplane
from podwall.model.settings import Settings
from podwall.ruleset.compile import compile_node
from podwall.ruleset.diff import diff
from podwall.ruleset.live import LiveNode
from tests import strategies

NODE = strategies.NODES[0].name


def objects(snapshot: Snapshot) -> dict[Kind, list[ClusterObject]]:
    return {
        Kind.NODE: list(snapshot.nodes.values()),
        Kind.NAMESPACE: list(snapshot.namespaces.values()),
        Kind.POD: list(snapshot.pods.values()),
        Kind.POLICY: list(snapshot.policies.values()),
    }


def events_to(snapshot: Snapshot, order: random.Random) -> list[Event]:
    """Objects in any order, and for each kind that these are all."""
    known = objects(snapshot)
    events: list[Event] = [Applied(each) for things in known.values() for each in things]
    events += [Remaining(kind, frozenset(map(key_of, things))) for kind, things in known.items()]
    order.shuffle(events)
    return events


@hypothesis_settings(max_examples=30)
@given(
    strategies.snapshots(),
    strategies.snapshots(min_policies=1),
    strategies.settings(),
    st.integers(1, 30),
    st.randoms(use_true_random=False),
)
def test_the_kernel_holds_what_is_compiled_from_scratch_after_any_way_from_here_to_there(
    before: Snapshot, after: Snapshot, settings: Settings, batch: int, order: random.Random
) -> None:
    state = ClusterState()
    state.apply_all(Applied(each) for things in objects(before).values() for each in things)
    live = LiveNode(state, NODE, settings)
    dataplane = memory_dataplane(MemoryKernel())
    enforce(dataplane, live.ruleset())
    events = events_to(after, order)
    for start in range(0, len(events), batch):
        for step in live.apply(events[start : start + batch]).plan.steps:
            dataplane.run(step)
    assert live.ruleset() == compile_node(state.snapshot(), NODE, settings)
    assert not diff(dataplane.observe(), live.ruleset())
