"""Policies and flows as values: their words, their order, their directions."""

from __future__ import annotations

import pytest

from podwall.model.flow import Verdict
from podwall.model.policy import (
    AllPortsOf,
    AnyPeer,
    AnyPort,
    Direction,
    Peer,
    PolicyKey,
    Port,
    RuleId,
)
from tests.builders import (
    SCTP,
    UDP,
    allow,
    block,
    flow,
    icmp,
    labels,
    named,
    namespace,
    pods,
    policy,
    port,
)


def test_rules_are_told_apart_by_direction() -> None:
    both = policy("dev/p", ingress=[allow(ports=[port(80)])], egress=[allow(ports=[port(81)])])
    assert both.isolates == (Direction.INGRESS, Direction.EGRESS)
    assert both.rules(Direction.INGRESS) == both.ingress
    assert both.rules(Direction.EGRESS) == both.egress
    assert both.ingress[0].id == RuleId(PolicyKey("dev", "p"), Direction.INGRESS, 0)


def test_a_rule_id_reads_like_a_path_into_its_policy() -> None:
    assert str(RuleId(PolicyKey("dev", "p"), Direction.EGRESS, 3)) == "dev/p egress[3]"


def test_rule_ids_sort_by_policy_direction_and_number() -> None:
    a, b = PolicyKey("a", "p"), PolicyKey("b", "p")
    in_order = [
        RuleId(a, Direction.EGRESS, 0),
        RuleId(a, Direction.INGRESS, 2),
        RuleId(a, Direction.INGRESS, 10),
        RuleId(b, Direction.EGRESS, 0),
    ]
    shuffled = [in_order[each] for each in (2, 0, 3, 1)]
    assert sorted(shuffled, key=lambda each: each.sort_key) == in_order


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        (AnyPeer(), "any address"),
        (pods({"app": "web"}, namespaces="dev"), "pods app=web in namespace dev"),
        (pods(namespaces={"team": "a"}), "pods (everything) in namespaces team=a"),
        (block("10.0.0.0/8"), "10.0.0.0/8"),
        (
            block("10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"),
            "10.0.0.0/8 except 10.1.0.0/16, 10.2.0.0/16",
        ),
    ],
)
def test_a_peer_reads_plainly(peer: Peer, text: str) -> None:
    assert str(peer) == text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (AnyPort(), "any protocol and port"),
        (AllPortsOf(UDP), "UDP any port"),
        (port(80), "TCP 80"),
        (port(80, 90, SCTP), "SCTP 80:90"),
        (named("http"), "TCP 'http'"),
    ],
)
def test_a_port_reads_plainly(given: Port, text: str) -> None:
    assert str(given) == text


def test_s13_a_namespace_name_and_a_selector_for_it_are_different_peers() -> None:
    by_name = pods(namespaces="dev")
    by_label = pods(namespaces={"kubernetes.io/metadata.name": "dev"})
    assert by_name != by_label
    assert by_name.sort_key != by_label.sort_key


def test_s16_an_empty_selector_is_a_value_of_its_own() -> None:
    assert pods(labels(), namespaces="dev") == pods(namespaces="dev")
    every: Peer = pods(namespaces="dev")
    assert every != AnyPeer()


def test_s18_namespaces_carry_their_name_label() -> None:
    assert namespace("dev", team="a").labels == {
        "kubernetes.io/metadata.name": "dev",
        "team": "a",
    }


def test_a_flow_reads_as_what_is_sent_where() -> None:
    assert str(flow("10.0.0.1", "10.0.0.2", 80)) == "10.0.0.1 → 10.0.0.2 80/tcp"
    assert str(icmp("10.0.0.1", "10.0.0.2")) == "10.0.0.1 → 10.0.0.2 icmp"
    assert str(icmp("::1", "::2")) == "::1 → ::2 icmpv6"
    assert str(flow("10.0.0.1", "10.0.0.2", None, 47)) == "10.0.0.1 → 10.0.0.2 protocol 47"


def test_a_verdict_is_made_from_a_truth_value() -> None:
    assert Verdict.of(allowed=True) is Verdict.ALLOWED
    assert Verdict.of(allowed=False) is Verdict.DENIED
