"""An excerpt explains as the whole cluster does, and the kernel is held against it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from podwall.agent.control.excerpt import excerpt
from podwall.agent.control.explaining import REFUSED, Counters, View, explain_live
from podwall.api import Cluster
from podwall.cluster.events import Kind, Replaced
from podwall.cluster.state import ClusterState
from podwall.dataplane.counters import CountedRule
from podwall.model.net import Family
from podwall.model.policy import PolicyKey
from podwall.ruleset.ir import FamilyRules, Ruleset
from podwall.ruleset.plan import HookJump, Observed, ObservedFamily

GOLDEN = Path(__file__).parents[3] / "golden"
NODE = "worker-1"


def held(rules: FamilyRules) -> ObservedFamily:
    """A kernel that holds what it shall."""
    hooks = {hook: (HookJump(0, chain, ""),) for hook, chain in rules.hooks.items()}
    chains = {name: chain.rules for name, chain in rules.chains.items()}
    return ObservedFamily(rules.family, rules.sets, chains, hooks)


def counters(ruleset: Ruleset, family: Family) -> Mapping[str, tuple[CountedRule, ...]]:
    return {
        name: tuple(CountedRule(rule, 7, 420) for rule in chain.rules)
        for name, chain in ruleset.family(family).chains.items()
    }


def view(cluster: Cluster, node: str = NODE) -> View:
    ruleset = cluster.ruleset(node)

    def counted(family: Family) -> Counters:
        return counters(ruleset, family)

    return View(
        node=node,
        settings=cluster.settings,
        snapshot=cluster.snapshot,
        ruleset=ruleset,
        refused=frozenset(),
        observed=Observed(held(ruleset.v4), held(ruleset.v6)),
        counters=counted,
    )


def load(case: str) -> Cluster:
    return Cluster.load([str(GOLDEN / case / "cluster.yaml")])


def state_of(cluster: Cluster) -> ClusterState:
    state, snapshot = ClusterState(), cluster.snapshot
    for kind, objects in (
        (Kind.POD, snapshot.pods),
        (Kind.NAMESPACE, snapshot.namespaces),
        (Kind.POLICY, snapshot.policies),
        (Kind.NODE, snapshot.nodes),
    ):
        state.apply(Replaced(kind, tuple(objects.values())))
    return state


@pytest.mark.parametrize("case", ["example", "dual-stack", "host-network", "hostile-names"])
def test_an_excerpt_explains_as_the_whole_cluster_does(case: str) -> None:
    cluster = load(case)
    state = state_of(cluster)
    whole = view(cluster, next(iter(cluster.snapshot.nodes)))
    pods = [pod for pod in cluster.snapshot.pods.values() if pod.addresses]
    ends = [
        *(str(pod.key) for pod in pods),
        *(str(pod.addresses[-1]) for pod in pods),
        *(f"node/{node.name}" for node in cluster.snapshot.nodes.values() if node.addresses),
        "203.0.113.77",
    ]
    asked = 0
    for source, target in itertools.product(ends, ends):
        for service in ("6379/tcp", "icmp"):
            part = msgspec.structs.replace(whole, snapshot=excerpt(state, (source, target)))
            assert answer(part, source, target, service) == answer(whole, source, target, service)
            asked += 1
    assert asked > 20


def answer(found: View, source: str, target: str, service: str) -> object:
    try:
        return explain_live(found, source, target, service)
    except Exception as error:
        return str(error)


def test_an_end_that_is_not_named_exactly_is_found_in_the_whole_cluster() -> None:
    cluster = load("example")
    state = state_of(cluster)
    name = next(iter(cluster.snapshot.pods)).name
    assert excerpt(state, (name, "203.0.113.77")).pods
    assert excerpt(state, ("no-such-pod", "203.0.113.77")) == cluster.snapshot


def first_allowed(found: View) -> tuple[str, str]:
    """Two pods of the node of which one may reach the other through a set."""
    here = [str(pod.key) for pod in found.snapshot.pods.values() if pod.node == found.node]
    for source, target in itertools.permutations(here, 2):
        (each, *_) = explain_live(found, source, target, "6379/tcp")
        if each.verdict == "allowed" and any(stop.sets for stop in each.path):
            return source, target
    raise AssertionError("the example has none")


def test_a_kernel_that_holds_everything_is_said_to() -> None:
    found = view(load("example"))
    (each, *_) = explain_live(found, *first_allowed(found), "6379/tcp")
    assert each.programmed
    assert each.missing == ()
    assert each.rules_agree
    assert all(step.packets == 7 for stop in each.path for step in stop.steps)


def test_what_the_kernel_lacks_on_the_way_is_named() -> None:
    found = view(load("example"))
    ends = first_allowed(found)
    empty = Observed(ObservedFamily(Family.V4), ObservedFamily(Family.V6))
    bare = msgspec.structs.replace(found, observed=empty, counters=lambda _family: {})
    (each, *_) = explain_live(bare, *ends, "6379/tcp")
    assert not each.programmed
    assert each.missing[0] == "FORWARD does not lead to PW-FORWARD first of all"
    assert "chain PW-FORWARD is not there" in each.missing
    assert any(text.startswith("set PW4-p-") and "is not there" in text for text in each.missing)
    assert all(step.packets is None for stop in each.path for step in stop.steps)


def test_s10_a_policy_that_the_kernel_refuses_is_explained_as_it_is_enforced() -> None:
    cluster = load("example")
    found = view(cluster)
    source, target = first_allowed(found)
    (before, *_) = explain_live(found, source, target, "6379/tcp")
    assert before.ingress.allowed_by is not None
    namespace, name = before.ingress.allowed_by.split(" ")[0].split("/")
    refused = frozenset({PolicyKey(namespace, name)})
    (after, *_) = explain_live(
        msgspec.structs.replace(found, refused=refused), source, target, "6379/tcp"
    )
    assert after.verdict == "denied"
    assert any(REFUSED in reason for reason in after.ingress.reasons)
