from __future__ import annotations

from podwall.check.finding import Severity
from tests.builders import TCP, UDP, allow, block, named, pod, pods, policy, port
from tests.unit.check.helpers import cluster, found, paths, run

WEB = pod("dev/web", "10.0.0.2", ports=["http:8080/tcp", "metrics:9090/tcp"], app="web")
DB = pod("dev/db", "10.0.0.3", ports=["sql:5432/tcp"], app="db")
TO_DB = pods({"app": "db"}, namespaces="dev")


def test_s37_on_ingress_the_selected_pods_must_have_the_name() -> None:
    sql = policy("dev/p", {"app": "web"}, ingress=[allow(ports=[port(80), named("sql")])])
    [(path, message)] = found("named-port-nowhere", cluster(WEB, DB, sql))
    assert path == "spec.ingress[0].ports[1].port"
    assert "Names in use: http, metrics." in message
    http = policy("dev/p", {"app": "web"}, ingress=[allow(TO_DB, ports=[named("http")])])
    assert not paths("named-port-nowhere", cluster(WEB, DB, http))


def test_s37_on_egress_the_peers_must_have_the_name() -> None:
    http = policy("dev/p", {"app": "web"}, egress=[allow(TO_DB, ports=[named("http")])])
    assert paths("named-port-nowhere", cluster(WEB, DB, http)) == ["spec.egress[0].ports[0].port"]
    sql = policy("dev/p", {"app": "web"}, egress=[allow(TO_DB, ports=[named("sql")])])
    assert not paths("named-port-nowhere", cluster(WEB, DB, sql))


def test_s37_on_egress_to_anywhere_any_pod_may_have_the_name() -> None:
    anywhere = policy("dev/p", egress=[allow(ports=[named("sql")]), allow(ports=[named("none")])])
    assert paths("named-port-nowhere", cluster(WEB, DB, anywhere)) == [
        "spec.egress[1].ports[0].port"
    ]


def test_s37_pods_inside_a_block_have_names() -> None:
    inside = policy("dev/p", egress=[allow(block("10.0.0.3/32"), ports=[named("sql")])])
    assert not paths("named-port-nowhere", cluster(WEB, DB, inside))
    other = policy("dev/p", egress=[allow(block("10.0.0.2/32"), ports=[named("sql")])])
    assert paths("named-port-nowhere", cluster(WEB, DB, other))


def test_without_a_destination_pod_nothing_is_said_about_its_names() -> None:
    nobody = pods({"app": "none"}, namespaces="dev")
    egress = policy("dev/p", egress=[allow(nobody, ports=[named("sql")])])
    assert not paths("named-port-nowhere", cluster(WEB, DB, egress))


def test_s36_a_name_of_another_protocol_is_another_port() -> None:
    udp = policy("dev/p", {"app": "web"}, ingress=[allow(ports=[named("http", UDP)])])
    [(path, message)] = found("named-port-protocol", cluster(WEB, udp))
    assert path == "spec.ingress[0].ports[0].protocol"
    assert "is TCP, not UDP" in message
    assert not paths("named-port-nowhere", cluster(WEB, udp))


def test_s36_a_name_of_both_protocols_is_fine() -> None:
    both = pod("dev/dns", "10.0.0.4", ports=["dns:53/udp", "dns:53/tcp"], app="dns")
    for protocol in (TCP, UDP):
        each = policy("dev/p", {"app": "dns"}, ingress=[allow(ports=[named("dns", protocol)])])
        assert not paths("named-port-protocol", cluster(both, each))


def test_s36_a_name_with_two_numbers_is_good_to_know() -> None:
    other = pod("dev/web-2", "10.0.0.5", ports=["http:80/tcp"], app="web")
    http = policy("dev/p", {"app": "web"}, ingress=[allow(ports=[named("http")])])
    [finding] = run("named-port-differs", cluster(WEB, other, http))
    assert finding.severity is Severity.INFO
    assert "80 on dev/web-2, 8080 on dev/web" in finding.message


def test_s36_pods_that_agree_or_lack_the_name_do_not_differ() -> None:
    same = pod("dev/web-2", "10.0.0.5", ports=["http:8080/tcp", "http:80/udp"], app="web")
    without = pod("dev/web-3", "10.0.0.6", app="web")
    http = policy("dev/p", {"app": "web"}, ingress=[allow(ports=[named("http")])])
    assert not paths("named-port-differs", cluster(WEB, same, without, http))


def test_s37_a_name_on_a_block_never_means_an_address_outside() -> None:
    outside = policy("dev/p", egress=[allow(block("192.0.2.0/24"), ports=[named("sql")])])
    assert paths("named-port-on-block", cluster(DB, outside)) == ["spec.egress[0].ports[0].port"]


def test_s37_a_number_on_a_block_or_a_name_on_ingress_is_fine() -> None:
    number = policy("dev/a", egress=[allow(block("192.0.2.0/24"), ports=[port(5432)])])
    ingress = policy("dev/b", ingress=[allow(block("192.0.2.0/24"), ports=[named("sql")])])
    assert not paths("named-port-on-block", cluster(DB, number, ingress))
