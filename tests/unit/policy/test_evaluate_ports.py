"""S32 to S40: which ports a rule means."""

from __future__ import annotations

import pytest

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.net import PORT_PROTOCOLS, Protocol
from podwall.model.policy import Port
from podwall.policy.evaluate import evaluate, refuse_port
from podwall.policy.refusal import NameElsewhere, NameUnresolved, OtherProtocol, PortOutside
from tests.builders import (
    SCTP,
    TCP,
    UDP,
    all_of,
    allow,
    block,
    flow,
    icmp,
    named,
    node,
    pod,
    pod_key,
    pods,
    policy,
    port,
)

A, B, OUTSIDE, NODE = "10.0.1.2", "10.0.1.3", "172.16.0.1", "192.168.0.1"
GRE = 47


def cluster(*ports: Port, peer: str | None = None) -> Snapshot:
    """Pods a and b, both isolated in both directions with the same rule."""
    rule = allow(*([block(peer)] if peer else []), ports=ports)
    return build_snapshot(
        pods=[
            pod("dev/a", A, "fd00:1::2", ports=["web:80/tcp", "dns:53/udp", "dns:5353/tcp"]),
            pod("dev/b", B, "fd00:1::3", ports=["web:8080/tcp", "web:80/udp", "web:9090/tcp"]),
            pod("dev/host", NODE, host_network=True, ports=["web:80/tcp"]),
        ],
        policies=[policy("dev/p", ingress=[rule], egress=[rule])],
        nodes=[node("n1", NODE)],
    )


def allowed(snapshot: Snapshot, src: str, dst: str, number: int | None, protocol: int) -> bool:
    return evaluate(snapshot, flow(src, dst, number, protocol)).allowed


def test_s32_without_ports_every_protocol_is_allowed() -> None:
    snapshot = cluster()
    for protocol in PORT_PROTOCOLS:
        assert allowed(snapshot, A, B, 1, protocol)
    assert allowed(snapshot, A, B, None, GRE)
    assert evaluate(snapshot, icmp(A, B)).allowed
    assert evaluate(snapshot, icmp("fd00:1::2", "fd00:1::3")).allowed


@pytest.mark.parametrize("protocol", PORT_PROTOCOLS)
def test_s33_an_entry_without_port_means_all_ports_of_its_protocol_only(
    protocol: Protocol,
) -> None:
    snapshot = cluster(all_of(protocol))
    for other in PORT_PROTOCOLS:
        for number in (1, 80, 65535):
            assert allowed(snapshot, A, B, number, other) == (other is protocol)
    assert not allowed(snapshot, A, B, None, GRE)
    assert not evaluate(snapshot, icmp(A, B)).allowed


@pytest.mark.parametrize("protocol", PORT_PROTOCOLS)
def test_s34_a_port_of_one_protocol_is_never_folded_into_another(protocol: Protocol) -> None:
    snapshot = cluster(port(80, protocol=protocol))
    for other in PORT_PROTOCOLS:
        assert allowed(snapshot, A, B, 80, other) == (other is protocol)
        assert not allowed(snapshot, A, B, 81, other)


def test_s35_two_protocols_of_one_rule_keep_their_own_ports() -> None:
    snapshot = cluster(port(53, protocol=TCP), port(54, protocol=UDP))
    assert allowed(snapshot, A, B, 53, TCP)
    assert allowed(snapshot, A, B, 54, UDP)
    assert not allowed(snapshot, A, B, 54, TCP)
    assert not allowed(snapshot, A, B, 53, UDP)


def test_s36_a_name_is_looked_up_on_the_destination_and_may_differ() -> None:
    snapshot = cluster(named("web"))
    assert allowed(snapshot, B, A, 80, TCP)
    assert not allowed(snapshot, B, A, 8080, TCP)
    assert allowed(snapshot, A, B, 8080, TCP)
    assert not allowed(snapshot, A, B, 80, TCP)


def test_s36_the_protocol_of_a_named_port_must_match_as_well() -> None:
    snapshot = cluster(named("dns", UDP))
    assert allowed(snapshot, B, A, 53, UDP)
    assert not allowed(snapshot, B, A, 53, TCP)
    assert not allowed(snapshot, B, A, 5353, UDP)
    snapshot = cluster(named("dns", TCP))
    assert allowed(snapshot, B, A, 5353, TCP)
    snapshot = cluster(named("web", UDP))
    assert allowed(snapshot, A, B, 80, UDP)


def test_s36_the_first_declaration_of_a_name_counts() -> None:
    assert not allowed(cluster(named("web")), A, B, 9090, TCP)


def test_s37_ingress_looks_on_the_subject_whoever_the_peer_is() -> None:
    snapshot = cluster(named("web"), peer=f"{OUTSIDE}/32")
    assert allowed(snapshot, OUTSIDE, A, 80, TCP)
    assert not allowed(snapshot, OUTSIDE, A, 8080, TCP)
    assert allowed(snapshot, OUTSIDE, B, 8080, TCP)


def test_s37_a_name_that_resolves_nowhere_matches_nothing() -> None:
    snapshot = cluster(named("nobody"))
    for number in (80, 8080, 53):
        assert not allowed(snapshot, A, B, number, TCP)
        assert not allowed(snapshot, OUTSIDE, A, number, TCP)


def test_s37_a_name_never_means_an_address_outside_on_egress() -> None:
    for peer in (None, "0.0.0.0/0"):
        snapshot = cluster(named("web"), peer=peer)
        assert not allowed(snapshot, A, OUTSIDE, 80, TCP)
        assert not allowed(snapshot, A, NODE, 80, TCP)


def test_s30_s37_a_block_that_holds_a_pods_address_finds_the_pods_name_on_egress() -> None:
    web = policy("dev/p", egress=[allow(block("10.0.0.0/8"), ports=[named("web")])])
    snapshot = build_snapshot(
        [pod("dev/a", A), pod("ops/b", B, ports=["web:8080/tcp"])], policies=[web]
    )
    assert allowed(snapshot, A, B, 8080, TCP)
    assert not allowed(snapshot, A, B, 80, TCP)


def test_s37_selector_peers_on_egress_use_the_peers_numbers() -> None:
    web = policy("dev/p", egress=[allow(pods(namespaces="dev"), ports=[named("web")])])
    snapshot = build_snapshot(
        [pod("dev/a", A, ports=["web:80/tcp"]), pod("dev/b", B, ports=["web:8080/tcp"])],
        policies=[web],
    )
    assert allowed(snapshot, A, B, 8080, TCP)
    assert not allowed(snapshot, A, B, 80, TCP)
    assert allowed(snapshot, B, A, 80, TCP)


def test_s38_names_of_etc_services_mean_nothing() -> None:
    snapshot = cluster(named("http"), named("domain", UDP))
    assert not allowed(snapshot, A, B, 80, TCP)
    assert not allowed(snapshot, A, B, 53, UDP)


def test_s40_a_range_includes_both_its_ends() -> None:
    snapshot = cluster(port(80, 82))
    assert [allowed(snapshot, A, B, number, TCP) for number in range(79, 84)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_s40_the_highest_port_can_end_a_range() -> None:
    snapshot = cluster(port(65534, 65535, SCTP))
    assert allowed(snapshot, A, B, 65535, SCTP)
    assert not allowed(snapshot, A, B, 65533, SCTP)


def test_s41_more_ports_than_a_multiport_match_holds_are_all_allowed() -> None:
    wanted = range(1001, 1041, 2)
    snapshot = cluster(*(port(number) for number in wanted))
    assert all(allowed(snapshot, A, B, number, TCP) for number in wanted)
    assert not any(allowed(snapshot, A, B, number + 1, TCP) for number in wanted)


def test_each_reason_reads_as_a_sentence() -> None:
    snapshot = cluster()
    other = refuse_port(snapshot, port(80), flow(A, B, 80, UDP))
    assert other == OtherProtocol(TCP, UDP)
    assert str(other) == "the protocol is UDP, not TCP"
    assert str(refuse_port(snapshot, all_of(TCP), flow(A, B, None, GRE))) == (
        "the protocol is protocol 47, not TCP"
    )
    outside = refuse_port(snapshot, port(80, 82), flow(A, B, 90))
    assert isinstance(outside, PortOutside)
    assert str(outside) == "TCP port 90 is not in 80 to 82"
    elsewhere = refuse_port(snapshot, named("web"), flow(A, B, 80))
    assert elsewhere == NameElsewhere(TCP, "web", pod_key("dev/b"), 8080, 80)
    assert str(elsewhere) == "'web' is TCP port 8080 on pod dev/b, not 80"
    unresolved = refuse_port(snapshot, named("web"), flow(A, OUTSIDE, 80))
    assert unresolved == NameUnresolved(TCP, "web", None)
    assert str(unresolved) == "the destination is no pod, so it has no TCP port named 'web'"
