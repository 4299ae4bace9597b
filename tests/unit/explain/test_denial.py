"""Denied packets by name: what people read of a packet that was dropped."""

from __future__ import annotations

import json

import msgspec
import pytest

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.explain.denial import Denial, name_packet
from podwall.model.flow import Flow, Verdict
from podwall.model.objects import Pod
from podwall.model.policy import Direction, Mode, Policy
from podwall.model.selector import Operator
from podwall.model.settings import Settings
from podwall.ruleset.ir import LogKind
from tests.builders import (
    SCTP,
    UDP,
    all_of,
    allow,
    block,
    flow,
    icmp,
    labels,
    named,
    namespace,
    need,
    node,
    pod,
    pods,
    policy,
    port,
)

WEB, DB, FAR, NODE = "10.0.1.2", "10.0.1.3", "10.0.2.2", "192.168.0.1"
DENY_ALL = policy("shop/deny-all", ingress=[])


def cluster(*policies: Policy, more: tuple[Pod, ...] = ()) -> Snapshot:
    web = pod("shop/web-0", WEB, node="n1", role="web")
    return build_snapshot(
        pods=[
            msgspec.structs.replace(web, workload="Deployment/web"),
            pod("shop/db-0", DB, "fd00::3", node="n1", ports=["sql:5432/tcp"], role="db"),
            pod("blog/front", FAR, node="n2", role="web"),
            *more,
        ],
        namespaces=[namespace("shop"), namespace("blog", team="blue")],
        policies=policies,
        nodes=[
            node("n1", NODE, pod_cidrs=["10.0.1.0/24"]),
            node("n2", "192.168.0.2", pod_cidrs=["10.0.2.0/24"]),
        ],
    )


def name(snapshot: Snapshot, packet: Flow, kind: LogKind = LogKind.DENY, at: str = "") -> Denial:
    [denial] = name_packet(snapshot, packet, kind, 1.5, node=at)
    return denial


def from_role(role: str, **more: object) -> Policy:
    peer = pods({"role": role}, namespaces="shop")
    return policy("shop/db-from-api", {"role": "db"}, ingress=[allow(peer, ports=[port(6379)])])


def test_the_line_names_both_ends_the_policies_and_the_label_that_no_rule_wants() -> None:
    denial = name(cluster(DENY_ALL, from_role("api")), flow(WEB, DB, 6379))
    assert str(denial) == (
        "shop/web-0 → shop/db-0 6379/tcp denied: ingress of shop/db-0 is isolated by "
        "shop/db-from-api, shop/deny-all; no rule allows role=web; "
        "shop/db-from-api ingress[0] wants role=api"
    )
    assert denial.verdict_now is Verdict.DENIED
    assert not denial.stale


def test_the_right_peer_at_the_wrong_port_reads_which_port_is_open_to_it() -> None:
    denial = name(cluster(DENY_ALL, from_role("web")), flow(WEB, DB, 5432))
    assert denial.reason.endswith(
        "no rule allows 5432/tcp from shop/web-0; shop/db-from-api ingress[0] allows 6379/tcp"
    )


def test_every_kind_of_port_of_a_rule_is_told_in_a_few_words() -> None:
    rule = allow(
        ports=[port(80, 90, UDP), all_of(SCTP), named("sql"), named("gone"), port(1, protocol=UDP)]
    )
    denial = name(cluster(policy("shop/p", {"role": "db"}, ingress=[rule])), flow(WEB, DB, 81))
    assert denial.reason.endswith(
        "shop/p ingress[0] allows 80-90/udp, any sctp port, sql (5432/tcp), "
        "tcp port gone (not declared by shop/db-0) and 1 more"
    )


def test_a_pod_that_lacks_a_label_reads_which() -> None:
    peer = pods(labels({}, need("tier", Operator.EXISTS)), namespaces="shop")
    denial = name(cluster(policy("shop/p", ingress=[allow(peer)])), flow(WEB, DB))
    assert denial.reason.endswith(
        "no rule allows pods without label tier; shop/p ingress[0] wants label tier"
    )


@pytest.mark.parametrize(
    ("source", "peer", "said"),
    [
        (FAR, pods(namespaces="shop"), "pods of namespace blog; {} wants namespace shop"),
        (
            FAR,
            pods(namespaces={"team": "red"}),
            "namespaces with team=blue; {} wants namespaces with team=red",
        ),
        (NODE, pods(namespaces="shop"), "192.168.0.1, which is node n1"),
        ("198.51.100.7", pods(namespaces="shop"), "198.51.100.7, which is no pod's"),
        ("198.51.100.7", block("10.0.0.0/8"), "198.51.100.7; {} wants 10.0.0.0/8"),
        (
            "198.51.100.7",
            block("198.51.100.0/24", "198.51.100.0/28"),
            "198.51.100.7, in the except 198.51.100.0/28",
        ),
        ("198.51.100.7", block("2001:db8::/32"), "198.51.100.7, an IPv4 address"),
    ],
)
def test_a_peer_of_any_other_kind_reads_what_is_wrong_with_it(
    source: str, peer: object, said: str
) -> None:
    rule = allow(peer)  # type: ignore[arg-type]
    denied = cluster(policy("shop/p", {"role": "db"}, ingress=[rule]))
    # The pod's own node always reaches it (S42); the packet is denied at another one's.
    if source == NODE:
        source, said = "192.168.0.2", said.replace(NODE, "192.168.0.2").replace("n1", "n2")
    denial = name(denied, flow(source, DB))
    assert denial.reason.endswith("no rule allows " + said.format("shop/p ingress[0]"))


def test_what_no_rule_is_near_to_says_so() -> None:
    assert name(cluster(DENY_ALL), flow(WEB, DB)).reason.endswith("no rule allows any ingress")
    far = policy(
        "shop/p", ingress=[allow(pods({"role": "api"}, namespaces="shop"), ports=[port(1)])]
    )
    denial = name(cluster(far), flow(WEB, DB, 2))
    assert denial.reason.endswith("no rule is about shop/web-0 or 2/tcp")


def test_s10_a_policy_that_could_not_be_understood_is_named() -> None:
    broken = policy("shop/p", ingress=[], problems=["spec.ingress[0]: expected a list"])
    assert name(cluster(broken), flow(WEB, DB)).reason.endswith(
        "parts of shop/p could not be understood and allow nothing (S10)"
    )


def test_egress_is_told_first_and_a_node_tells_only_what_it_judges() -> None:
    closed = cluster(
        policy("blog/quiet", egress=[]), policy("shop/deny-all", {"role": "db"}, ingress=[])
    )
    packet = flow(FAR, DB)
    assert name(closed, packet).direction is Direction.EGRESS
    assert name(closed, packet, at="n2").subject == "blog/front"
    denial = name(closed, packet, at="n1")
    assert denial.direction is Direction.INGRESS
    assert denial.namespace == "shop"


def test_a_node_that_nothing_is_known_of_tells_whatever_denies() -> None:
    denial = name(cluster(DENY_ALL), flow(WEB, DB), at="n9")
    assert not denial.stale
    assert denial.direction is Direction.INGRESS


def test_s48_an_address_that_no_known_pod_has_is_told_with_its_node() -> None:
    denial = name(cluster(), flow("10.0.1.77", DB), at="n1")
    assert str(denial) == (
        "10.0.1.77 → shop/db-0 80/tcp denied: 10.0.1.77 is in the pod range of node n1, and no "
        "known pod has it (S48)"
    )
    assert denial.subject == denial.namespace == ""
    assert denial.isolated_by == ()


def test_s48_a_link_local_address_is_never_forwarded() -> None:
    denial = name(cluster(), flow("fe80::1", "fd00::3"))
    assert denial.reason == "fe80::1 is link-local, and no such address is forwarded (S48)"
    assert not denial.stale


def test_s48_what_pods_on_a_bridge_tell_each_other_of_their_groups_is_no_denial() -> None:
    report = icmp("fe80::1", "ff02::16")
    assert name_packet(cluster(), report, LogKind.DENY, 0.0) == ()
    mdns = flow("fe80::1", "ff02::fb", 5353, UDP)
    assert len(name_packet(cluster(), mdns, LogKind.DENY, 0.0)) == 1
    assert len(name_packet(cluster(), icmp("fe80::1", "fe80::2"), LogKind.DENY, 0.0)) == 1


def test_what_the_policies_of_now_allow_is_stale_and_says_so() -> None:
    opened = policy("shop/open", {"role": "db"}, ingress=[allow()])
    denial = name(cluster(opened), flow(WEB, DB))
    assert denial.stale
    assert denial.verdict_now is Verdict.ALLOWED
    assert denial.reason.startswith("the policies of now allow it")
    assert (denial.direction, denial.subject) == (Direction.INGRESS, "shop/db-0")


def test_s51_an_audited_policy_reads_as_what_would_be() -> None:
    audited = msgspec.structs.replace(from_role("api"), mode=Mode.AUDIT)
    denial = name(cluster(audited), flow(WEB, DB, 6379), LogKind.AUDIT)
    assert str(denial) == (
        "shop/web-0 → shop/db-0 6379/tcp would be denied: ingress of shop/db-0 would be isolated "
        "by shop/db-from-api; no rule allows role=web; shop/db-from-api ingress[0] wants role=api"
    )
    assert denial.verdict_now is Verdict.ALLOWED
    assert denial.isolated_by == (audited.key,)


def test_s51_audited_policies_of_both_ends_are_a_denial_each_where_one_node_judges_both() -> None:
    snapshot = cluster(
        policy("shop/no-out", {"role": "web"}, egress=[], mode=Mode.AUDIT),
        policy("shop/no-in", {"role": "db"}, ingress=[], mode=Mode.AUDIT),
        policy("blog/no-out", egress=[], mode=Mode.AUDIT),
    )
    both = name_packet(snapshot, flow(WEB, DB), LogKind.AUDIT, 0.0, node="n1")
    assert [each.subject for each in both] == ["shop/web-0", "shop/db-0"]
    [one] = name_packet(snapshot, flow(FAR, DB), LogKind.AUDIT, 0.0, node="n1")
    assert one.subject == "shop/db-0"


def test_s51_what_is_no_longer_audited_is_stale() -> None:
    denial = name(cluster(), flow(WEB, DB), LogKind.AUDIT)
    assert denial.stale
    assert "no longer audited" in denial.reason


def test_services_read_as_everywhere_else() -> None:
    snapshot = cluster(DENY_ALL)
    for packet, text in [
        (flow(WEB, DB, 53, UDP), "53/udp"),
        (flow(WEB, DB, 9, SCTP), "9/sctp"),
        (icmp(WEB, DB), "icmp"),
        (icmp("fd00::9", "fd00::3"), "icmpv6"),
        (flow(WEB, DB, None, 47), "protocol 47"),
        (flow(WEB, DB, None), "tcp"),
    ]:
        assert name(snapshot, packet).service == text


def test_hostile_names_are_escaped_and_long_lists_are_cut() -> None:
    evil = pod("shop/x\x1b[31m", "10.0.1.9", node="n1", role="\n" + "x" * 5000)
    many = [policy(f"shop/p-{number:03}", ingress=[]) for number in range(500)]
    rule = allow(pods({"role": "\x1b]0;" + "y" * 5000}, namespaces="shop"))
    snapshot = cluster(*many, policy("shop/q", ingress=[rule]), more=(evil,))
    line = str(name(snapshot, flow("10.0.1.9", DB)))
    assert line.isprintable()
    assert len(line) < 1000
    assert "shop/p-003 and 497 more" in line


def test_a_denial_is_plain_json() -> None:
    denial = name(cluster(DENY_ALL), flow(WEB, DB, 6379))
    data = json.loads(msgspec.json.encode(denial.to_dict()))
    assert data == {
        "time": 1.5,
        "kind": "deny",
        "source": "shop/web-0",
        "target": "shop/db-0",
        "service": "6379/tcp",
        "src": WEB,
        "dst": DB,
        "source_workload": "shop/deployment/web",
        "target_workload": "",
        "direction": "ingress",
        "subject": "shop/db-0",
        "namespace": "shop",
        "isolated_by": ["shop/deny-all"],
        "reason": "ingress of shop/db-0 is isolated by shop/deny-all; no rule allows any ingress",
        "verdict_now": "denied",
        "stale": False,
    }


def test_the_switches_of_the_node_count() -> None:
    denied = flow(WEB, NODE)
    closed = cluster(policy("shop/quiet", egress=[]))
    [judged] = name_packet(closed, denied, LogKind.DENY, 0.0)
    assert not judged.stale
    settings = Settings(judge_node_egress=False)
    [passed] = name_packet(closed, denied, LogKind.DENY, 0.0, settings)
    assert passed.stale
