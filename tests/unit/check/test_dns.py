from __future__ import annotations

from podwall.check.finding import Severity
from podwall.model.policy import Port
from tests.builders import SCTP, TCP, UDP, all_of, allow, block, named, pod, pods, policy, port
from tests.unit.check.helpers import cluster, found, paths, run

CODE = "egress-without-dns"
WEB = pod("dev/web", "10.0.0.2", app="web")
DB = pod("dev/db", "10.0.0.3", app="db")
TO_DB = allow(pods({"app": "db"}, namespaces="dev"), ports=[port(5432)])


def test_egress_to_something_but_not_to_dns_is_found() -> None:
    snapshot = cluster(WEB, DB, policy("dev/p", {"app": "web"}, egress=[TO_DB]))
    [finding] = run(CODE, snapshot)
    assert finding.severity is Severity.WARNING
    assert finding.path == "spec.egress"
    assert "no rule allows UDP 53 for dev/web:" in finding.message


def test_dns_by_udp_alone_is_good_to_know() -> None:
    rules = [TO_DB, allow(ports=[port(53, protocol=UDP)])]
    [finding] = run(CODE, cluster(WEB, policy("dev/p", egress=rules)))
    assert finding.severity is Severity.INFO
    assert "not by TCP 53" in finding.message


def test_dns_by_both_protocols_is_fine_in_every_form() -> None:
    forms: list[list[Port]] = [
        [port(53, protocol=UDP), port(53)],
        [port(1, 100, protocol=UDP), port(1, 100)],
        [all_of(UDP), all_of(TCP)],
        [named("dns", UDP), named("dns-tcp")],
    ]
    for ports in forms:
        rules = [TO_DB, allow(block("10.96.0.10/32"), ports=ports)]
        assert not paths(CODE, cluster(WEB, policy("dev/p", egress=rules)))
    assert not paths(CODE, cluster(WEB, policy("dev/p", egress=[allow(block("0.0.0.0/0"))])))


def test_s34_port_53_of_another_protocol_is_no_dns() -> None:
    rules = [allow(ports=[port(53, protocol=SCTP), port(53)])]
    assert "UDP 53" in found(CODE, cluster(WEB, policy("dev/p", egress=rules)))[0][1]


def test_s31_the_port_of_the_dns_pods_behind_their_service_counts() -> None:
    resolver = pod("prod/dns", "10.0.0.9", ports=["dns:5353/udp", "dns-tcp:5353/tcp"])
    rules = [allow(ports=[port(5353, protocol=UDP), port(5353)])]
    assert paths(CODE, cluster(WEB, policy("dev/p", egress=rules)))
    assert not paths(CODE, cluster(WEB, resolver, policy("dev/p", egress=rules)))


def test_s3_another_policy_may_allow_dns_for_the_same_pods() -> None:
    both = [port(53, protocol=UDP), port(53)]
    apart = policy("dev/p", {"app": "web"}, egress=[TO_DB])
    for_all = policy("dev/dns", egress=[allow(ports=both)])
    assert not paths(CODE, cluster(WEB, apart, for_all))
    by_other_labels = policy("dev/dns", {"net": "on"}, egress=[allow(ports=both)])
    online = pod("dev/web", "10.0.0.2", app="web", net="on")
    assert not paths(CODE, cluster(online, apart, by_other_labels))
    assert paths(CODE, cluster(online, WEB, pod("dev/w2", app="web"), apart, by_other_labels))


def test_dns_of_another_namespace_or_direction_does_not_help() -> None:
    both = [port(53, protocol=UDP), port(53)]
    apart = policy("dev/p", {"app": "web"}, egress=[TO_DB])
    elsewhere = policy("prod/dns", egress=[allow(ports=both)])
    inwards = policy("dev/dns", ingress=[allow(ports=both)])
    assert paths(CODE, cluster(WEB, apart, elsewhere, inwards)) == ["spec.egress"]


def test_a_default_that_allows_no_egress_is_meant() -> None:
    assert not paths(CODE, cluster(WEB, policy("dev/default", ingress=[], egress=[])))


def test_ingress_isolation_needs_no_dns() -> None:
    assert not paths(CODE, cluster(WEB, policy("dev/p", ingress=[TO_DB])))


def test_policies_without_any_pods_are_checked_too() -> None:
    apart = policy("dev/p", {"app": "web"}, egress=[TO_DB])
    assert "no rule allows UDP 53:" in found(CODE, cluster(apart))[0][1]
    helper = policy("dev/dns", {"net": "on"}, egress=[allow()])
    assert not paths(CODE, cluster(apart, helper))
