"""S42 to S49: traffic that is decided before any rule, and the two switches."""

from __future__ import annotations

import pytest

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.flow import ConnState, Verdict
from podwall.model.policy import Policy
from podwall.model.settings import Settings
from podwall.policy.decision import Exemption
from podwall.policy.evaluate import evaluate
from tests.builders import allow, block, flow, icmp, node, pod, pods, policy

A, B = "10.0.1.2", "10.0.2.2"
A6, B6 = "fd00:1::2", "fd00:2::2"
NODE_A, NODE_B = "192.168.0.1", "192.168.0.2"
BRIDGE_A = "10.0.1.1"
NODE_A6, BRIDGE_A6 = "fd00:ff::1", "fd00:1::1"
UNKNOWN_A, UNKNOWN_B = "10.0.1.7", "10.0.2.7"
OUTSIDE = "172.16.0.1"

CLOSED = policy("dev/closed", ingress=[], egress=[])


def cluster(*policies: Policy) -> Snapshot:
    return build_snapshot(
        pods=[pod("dev/a", A, A6, node="n1", app="a"), pod("dev/b", B, B6, node="n2", app="b")],
        policies=policies,
        nodes=[
            node(
                "n1",
                *(NODE_A, BRIDGE_A, NODE_A6, BRIDGE_A6),
                pod_cidrs=["10.0.1.0/24", "fd00:1::/64"],
            ),
            node("n2", NODE_B, pod_cidrs=["10.0.2.0/24", "fd00:2::/64"]),
        ],
    )


@pytest.mark.parametrize(
    ("src", "dst"), [(NODE_A, A), (BRIDGE_A, A), (NODE_A6, A6), (BRIDGE_A6, A6), (NODE_B, B)]
)
def test_s42_the_own_node_always_reaches_its_pods(src: str, dst: str) -> None:
    decision = evaluate(cluster(CLOSED), flow(src, dst))
    assert decision.allowed
    assert decision.ingress.exemption is Exemption.OWN_NODE
    assert decision.ingress.isolated_by == (CLOSED.key,)
    assert evaluate(cluster(CLOSED), icmp(src, dst)).allowed


def test_s42_another_node_is_judged_like_anybody() -> None:
    assert not evaluate(cluster(CLOSED), flow(NODE_A, B)).allowed
    opened = policy("dev/p", ingress=[allow(block(f"{NODE_A}/32"))])
    assert evaluate(cluster(opened), flow(NODE_A, B)).allowed


def test_s42_a_pod_without_node_has_no_own_node() -> None:
    snapshot = build_snapshot([pod("dev/a", A)], policies=[CLOSED], nodes=[node("n1", NODE_A)])
    assert not evaluate(snapshot, flow(NODE_A, A)).allowed


@pytest.mark.parametrize("dst", [NODE_A, BRIDGE_A])
def test_s43_traffic_to_the_own_node_is_judged_unless_switched_off(dst: str) -> None:
    snapshot = cluster(CLOSED)
    assert not evaluate(snapshot, flow(A, dst)).allowed
    decision = evaluate(snapshot, flow(A, dst), Settings(judge_node_egress=False))
    assert decision.allowed
    assert decision.egress.exemption is Exemption.NODE_EGRESS


def test_s43_an_egress_rule_can_allow_the_own_node() -> None:
    opened = policy("dev/p", egress=[allow(block(f"{NODE_A}/32"))])
    assert evaluate(cluster(opened), flow(A, NODE_A)).allowed


def test_s43_the_switch_is_about_the_own_node_only() -> None:
    off = Settings(judge_node_egress=False)
    assert not evaluate(cluster(CLOSED), flow(A, NODE_B), off).allowed


@pytest.mark.parametrize("address", [A, A6])
def test_s44_a_pod_reaches_its_own_address(address: str) -> None:
    decision = evaluate(cluster(CLOSED), flow(address, address))
    assert decision.allowed
    assert [each.exemption for each in decision.directions] == [Exemption.OWN_ADDRESS] * 2


@pytest.mark.parametrize("state", [ConnState.ESTABLISHED, ConnState.RELATED])
@pytest.mark.parametrize(("src", "dst"), [(A, B), (OUTSIDE, A), (A, OUTSIDE), (UNKNOWN_A, B)])
def test_s45_replies_and_related_errors_pass(state: ConnState, src: str, dst: str) -> None:
    decision = evaluate(cluster(CLOSED), flow(src, dst, state=state))
    assert decision.allowed
    assert decision.egress.exemption is Exemption.REPLY


def test_s47_icmp_needs_a_rule_without_ports() -> None:
    assert not evaluate(cluster(CLOSED), icmp(A, B)).allowed
    opened = policy("dev/open", ingress=[allow()], egress=[allow()])
    assert evaluate(cluster(opened), icmp(A, B)).allowed
    assert evaluate(cluster(opened), icmp(A6, B6)).allowed


@pytest.mark.parametrize(
    ("src", "dst"), [(UNKNOWN_A, OUTSIDE), (OUTSIDE, UNKNOWN_A), (A, UNKNOWN_B), (UNKNOWN_B, A)]
)
def test_s48_an_unknown_pod_address_is_closed_until_switched_open(src: str, dst: str) -> None:
    decision = evaluate(cluster(), flow(src, dst))
    assert not decision.allowed
    assert Exemption.UNKNOWN_POD in [each.exemption for each in decision.directions]
    assert evaluate(cluster(), flow(src, dst), Settings(close_unknown_pods=False)).allowed


def test_s48_no_rule_opens_an_unknown_pod_address() -> None:
    opened = policy("dev/open", ingress=[allow()], egress=[allow()])
    decision = evaluate(cluster(opened), flow(A, UNKNOWN_B))
    assert decision.egress.allowed
    assert decision.ingress.verdict is Verdict.DENIED
    assert decision.ingress.subject is None


def test_s48_a_selector_matches_no_unknown_pod_address_even_when_open() -> None:
    picky = policy("dev/p", ingress=[allow(pods(namespaces={}))])
    still_closed = evaluate(cluster(picky), flow(UNKNOWN_B, A), Settings(close_unknown_pods=False))
    assert not still_closed.allowed


def test_s48_the_own_node_reaches_an_unknown_pod_address() -> None:
    assert evaluate(cluster(), flow(NODE_A, UNKNOWN_A)).allowed
    assert evaluate(cluster(), flow(BRIDGE_A, UNKNOWN_A)).allowed
    assert not evaluate(cluster(), flow(NODE_B, UNKNOWN_A)).allowed


def test_s48_traffic_of_an_unknown_pod_to_its_node_follows_the_switch_for_it() -> None:
    assert not evaluate(cluster(), flow(UNKNOWN_A, NODE_A)).allowed
    off = Settings(judge_node_egress=False)
    assert evaluate(cluster(), flow(UNKNOWN_A, NODE_A), off).allowed
    assert not evaluate(cluster(), flow(UNKNOWN_A, NODE_B), off).allowed


def test_s44_s48_an_unknown_pod_reaches_itself() -> None:
    assert evaluate(cluster(), flow(UNKNOWN_A, UNKNOWN_A)).allowed


def test_s48_a_nodes_own_address_in_its_range_is_no_unknown_pod() -> None:
    decision = evaluate(cluster(), flow(BRIDGE_A, OUTSIDE))
    assert decision.allowed
    assert decision.egress.exemption is Exemption.NOT_A_POD


def test_s49_addresses_that_are_no_pods_get_no_verdict_of_ours() -> None:
    decision = evaluate(cluster(CLOSED), flow(OUTSIDE, NODE_A))
    assert decision.allowed
    assert [each.exemption for each in decision.directions] == [Exemption.NOT_A_POD] * 2


def test_a_pod_without_a_node_is_judged_as_well() -> None:
    snapshot = build_snapshot([pod("dev/a", A)], policies=[CLOSED])
    assert not evaluate(snapshot, flow(OUTSIDE, A)).allowed


def test_an_exemption_reads_as_a_sentence() -> None:
    text = str(evaluate(cluster(CLOSED), flow(NODE_A, A)))
    assert text == (
        "192.168.0.1 → 10.0.1.2 80/tcp: allowed\n"
        "egress: allowed, the address is no pod's, so no policy selects it (S23, S49)\n"
        "ingress: allowed, a pod's own node always reaches it (S42)"
    )
