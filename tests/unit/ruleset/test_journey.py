"""Which hooks a flow meets, and that policies and rules agree where addresses are unusual."""

from __future__ import annotations

import pytest

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.flow import Verdict
from podwall.model.net import Family
from podwall.model.settings import Settings
from podwall.policy.evaluate import evaluate
from podwall.ruleset.compile import compile_node
from podwall.ruleset.ir import Hook
from podwall.ruleset.journey import Stop, stops_of, travel
from podwall.ruleset.simulate import simulate
from tests.builders import flow, namespace, node, pod, policy

# The second node has an address in the first one's pod range, as tunnels and bridges do.
N1 = node("n1", "192.168.0.1", pod_cidrs=["10.0.0.0/16"])
N2 = node("n2", "192.168.0.2", "10.0.0.5", pod_cidrs=["10.1.0.0/16"])
HERE, THERE = pod("a/here", "10.0.9.9", node="n1"), pod("a/there", "10.1.9.9", node="n2")


def cluster(*policies: str) -> Snapshot:
    isolating = [policy(each, ingress=[], egress=[]) for each in policies]
    return build_snapshot([HERE, THERE], [namespace("a")], isolating, [N1, N2])


@pytest.mark.parametrize(
    ("src", "dst", "stops"),
    [
        ("10.0.9.9", "10.1.9.9", [("n1", Hook.FORWARD), ("n2", Hook.FORWARD)]),
        ("192.168.0.1", "10.0.9.9", [("n1", Hook.OUTPUT)]),
        ("10.0.9.9", "192.168.0.1", [("n1", Hook.INPUT)]),
        ("10.0.9.9", "192.168.0.2", [("n1", Hook.FORWARD), ("n2", Hook.INPUT)]),
        ("192.168.0.2", "10.0.9.9", [("n2", Hook.OUTPUT), ("n1", Hook.FORWARD)]),
        ("8.8.8.8", "10.0.9.9", [("n1", Hook.FORWARD)]),
        ("10.0.9.9", "8.8.8.8", [("n1", Hook.FORWARD)]),
        ("8.8.8.8", "9.9.9.9", []),
    ],
)
def test_a_flow_meets_the_hooks_of_the_nodes_on_its_way(
    src: str, dst: str, stops: list[tuple[str, Hook]]
) -> None:
    assert stops_of(cluster(), flow(src, dst)) == tuple(Stop(*each) for each in stops)


@pytest.mark.parametrize("isolating", [(), ("a/p",)])
@pytest.mark.parametrize(
    ("src", "dst"), [("10.0.0.5", "10.0.9.9"), ("10.0.9.9", "10.0.0.5"), ("10.0.9.9", "10.0.0.6")]
)
def test_another_nodes_address_in_the_pod_range_of_this_one_is_no_unknown_pod(
    src: str, dst: str, isolating: tuple[str, ...]
) -> None:
    snapshot = cluster(*isolating)
    journey = travel(snapshot, flow(src, dst), lambda name: compile_node(snapshot, name))
    assert journey.verdict is evaluate(snapshot, flow(src, dst)).verdict


def test_a_pod_range_of_everything_guards_everything() -> None:
    everywhere = node("n1", "192.168.0.1", pod_cidrs=["0.0.0.0/0"])
    rules = compile_node(build_snapshot([HERE], nodes=[everywhere]), "n1").v4
    assert simulate(rules, Hook.FORWARD, flow("9.9.9.9", "10.0.9.9")).verdict is Verdict.DENIED
    assert all(
        match.cidr.prefix  # type: ignore[union-attr]
        for chain in rules.chains.values()
        for rule in chain.rules
        for match in rule.matches
        if hasattr(match, "cidr")
    )


def test_s48_link_local_addresses_on_a_bridge_are_closed_unless_switched() -> None:
    packet = flow("fe80::1", "fe80::2")

    def verdict(settings: Settings) -> Verdict:
        rules = compile_node(cluster(), "n1", settings).family(Family.V6)
        return simulate(rules, Hook.FORWARD, packet).verdict

    assert verdict(Settings()) is Verdict.DENIED
    assert verdict(Settings(close_unknown_pods=False)) is Verdict.ALLOWED
