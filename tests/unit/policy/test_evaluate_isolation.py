"""S1 to S12: what isolates, and what an isolating policy allows when it says little."""

from __future__ import annotations

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.flow import Verdict
from podwall.model.policy import Direction, Policy, PolicyKey, PolicyRule, RuleId
from podwall.policy.decision import Exemption
from podwall.policy.evaluate import evaluate, isolating_policies
from tests.builders import (
    addr,
    allow,
    block,
    flow,
    icmp,
    labels,
    named,
    namespace,
    pod,
    pod_key,
    pods,
    policy,
    port,
)

WEB, DB, OTHER = "10.0.1.2", "10.0.1.3", "10.0.1.4"
OUTSIDE = "172.16.0.1"
IN_DEV = "dev"


def cluster(*policies: Policy) -> Snapshot:
    return build_snapshot(
        pods=[
            pod("dev/web", WEB, app="web"),
            pod("dev/db", DB, app="db"),
            pod("ops/other", OTHER, app="web"),
        ],
        namespaces=[namespace("dev"), namespace("ops")],
        policies=policies,
    )


def allowed(snapshot: Snapshot, src: str, dst: str, number: int = 80) -> bool:
    return evaluate(snapshot, flow(src, dst, number)).allowed


def test_without_policies_everything_is_allowed_and_says_why() -> None:
    decision = evaluate(cluster(), flow(WEB, DB))
    assert decision.verdict is Verdict.ALLOWED
    assert [each.exemption for each in decision.directions] == [Exemption.NOT_ISOLATED] * 2


def test_s1_an_ingress_policy_leaves_egress_open() -> None:
    snapshot = cluster(policy("dev/p", {"app": "web"}, ingress=[]))
    assert not allowed(snapshot, DB, WEB)
    assert allowed(snapshot, WEB, DB)


def test_s1_an_egress_policy_leaves_ingress_open() -> None:
    snapshot = cluster(policy("dev/p", {"app": "web"}, egress=[]))
    assert allowed(snapshot, DB, WEB)
    assert not allowed(snapshot, WEB, DB)


def test_s2_egress_that_allows_does_not_skip_ingress_that_does_not() -> None:
    snapshot = cluster(
        policy("dev/out", {"app": "web"}, egress=[allow(pods({"app": "db"}, namespaces=IN_DEV))]),
        policy("dev/in", {"app": "db"}, ingress=[]),
    )
    decision = evaluate(snapshot, flow(WEB, DB))
    assert decision.egress.allowed
    assert not decision.ingress.allowed
    assert not decision.allowed


def test_s2_ingress_that_allows_does_not_make_up_for_egress_that_does_not() -> None:
    snapshot = cluster(
        policy("dev/out", {"app": "web"}, egress=[]),
        policy("dev/in", {"app": "db"}, ingress=[allow()]),
    )
    decision = evaluate(snapshot, flow(WEB, DB))
    assert not decision.egress.allowed
    assert decision.ingress.allowed
    assert not decision.allowed


def test_s2_both_directions_that_allow_let_the_flow_through() -> None:
    snapshot = cluster(
        policy("dev/out", {"app": "web"}, egress=[allow()]),
        policy("dev/in", {"app": "db"}, ingress=[allow()]),
    )
    decision = evaluate(snapshot, flow(WEB, DB))
    assert decision.allowed
    assert str(decision.egress.allowed_by) == "dev/out egress[0]"
    assert str(decision.ingress.allowed_by) == "dev/in ingress[0]"


def test_s3_policies_add_up() -> None:
    snapshot = cluster(
        policy("dev/a", {"app": "web"}, ingress=[allow(ports=[port(80)])]),
        policy("dev/b", {"app": "web"}, ingress=[allow(ports=[port(81)])]),
    )
    assert allowed(snapshot, DB, WEB, 80)
    assert allowed(snapshot, DB, WEB, 81)
    assert not allowed(snapshot, DB, WEB, 82)


def test_s3_a_policy_that_isolates_takes_nothing_from_another_that_allows() -> None:
    for names in (("a", "z"), ("z", "a")):
        snapshot = cluster(
            policy(f"dev/{names[0]}", {"app": "web"}, ingress=[]),
            policy(f"dev/{names[1]}", {"app": "web"}, ingress=[allow()]),
        )
        assert allowed(snapshot, DB, WEB)


def test_s3_peers_and_ports_of_different_rules_do_not_mix() -> None:
    snapshot = cluster(
        policy(
            "dev/p",
            {"app": "web"},
            ingress=[
                allow(pods({"app": "db"}, namespaces=IN_DEV), ports=[port(80)]),
                allow(block(f"{OUTSIDE}/32"), ports=[port(81)]),
            ],
        )
    )
    assert allowed(snapshot, DB, WEB, 80)
    assert not allowed(snapshot, DB, WEB, 81)
    assert not allowed(snapshot, OUTSIDE, WEB, 80)
    assert allowed(snapshot, OUTSIDE, WEB, 81)


def test_s4_no_rules_isolate_and_allow_nothing() -> None:
    snapshot = cluster(policy("dev/p", {"app": "web"}, ingress=[]))
    for src in (DB, OTHER, OUTSIDE):
        assert not allowed(snapshot, src, WEB)
    assert not evaluate(snapshot, icmp(DB, WEB)).allowed


def test_s4_the_reason_is_that_the_policy_has_no_rules() -> None:
    snapshot = cluster(policy("dev/p", {"app": "web"}, ingress=[]))
    ingress = evaluate(snapshot, flow(DB, WEB)).ingress
    assert ingress.isolated_by == (PolicyKey("dev", "p"),)
    assert str(ingress) == (
        "ingress: denied, dev/web is isolated by dev/p\n  dev/p isolates and has no ingress rules"
    )


def test_s5_an_empty_rule_allows_everything() -> None:
    snapshot = cluster(policy("dev/p", {"app": "web"}, ingress=[allow()]))
    for src in (DB, OTHER, OUTSIDE):
        assert allowed(snapshot, src, WEB)
    assert evaluate(snapshot, icmp(DB, WEB)).allowed


def test_s6_only_the_directions_of_the_policy_types_are_isolated() -> None:
    both = policy("dev/p", {"app": "web"}, ingress=[], egress=[])
    only_ingress = policy("dev/p", {"app": "web"}, ingress=[])
    web = pod("dev/web", WEB, app="web")
    assert isolating_policies(cluster(both), web, Direction.EGRESS) == (both,)
    assert isolating_policies(cluster(only_ingress), web, Direction.EGRESS) == ()


def test_s7_ingress_rules_never_authorise_egress_nor_the_reverse() -> None:
    snapshot = cluster(policy("dev/p", {"app": "web"}, ingress=[allow()], egress=[]))
    assert allowed(snapshot, DB, WEB)
    assert not allowed(snapshot, WEB, DB)
    snapshot = cluster(policy("dev/p", {"app": "web"}, ingress=[], egress=[allow()]))
    assert not allowed(snapshot, DB, WEB)
    assert allowed(snapshot, WEB, DB)


def test_s10_a_policy_with_problems_still_isolates_and_reports_them() -> None:
    broken = policy(
        "dev/p", {"app": "web"}, ingress=[], problems=["spec.ingress[0].ports[0]: port 0"]
    )
    decision = evaluate(cluster(broken), flow(DB, WEB))
    assert not decision.allowed
    assert "could not be understood in full: spec.ingress[0].ports[0]: port 0" in str(decision)


def test_s10_a_rule_without_a_valid_peer_or_port_allows_nobody() -> None:
    key = PolicyKey("dev", "p")
    any_rule = policy("dev/p", {"app": "web"}, ingress=[allow()]).ingress[0]
    for peers, ports, words in (
        ((), any_rule.ports, "it has no valid peer (S10)"),
        (any_rule.peers, (), "it has no valid port (S10)"),
    ):
        broken = Policy(
            key=key,
            subject=labels({"app": "web"}),
            isolates=(Direction.INGRESS,),
            ingress=(PolicyRule(RuleId(key, Direction.INGRESS, 0), peers, ports),),
        )
        decision = evaluate(cluster(broken), flow(DB, WEB))
        assert not decision.allowed
        assert f"dev/p ingress[0]: {words}" in str(decision)


def test_s10_a_broken_policy_does_not_stop_another() -> None:
    snapshot = cluster(
        policy("dev/broken", {"app": "web"}, ingress=[], problems=["spec: nonsense"]),
        policy("dev/sound", {"app": "web"}, ingress=[allow(ports=[port(80)])]),
    )
    assert allowed(snapshot, DB, WEB, 80)
    assert not allowed(snapshot, DB, WEB, 81)


def test_s11_a_rule_without_peers_is_about_every_address() -> None:
    snapshot = cluster(policy("dev/p", {"app": "web"}, ingress=[allow(ports=[port(80)])]))
    for src in (DB, OTHER, OUTSIDE):
        assert allowed(snapshot, src, WEB, 80)
        assert not allowed(snapshot, src, WEB, 81)


def test_s12_a_peer_that_matches_no_pod_allows_nobody_and_isolates() -> None:
    nobody = pods({"app": "nobody"}, namespaces=IN_DEV)
    snapshot = cluster(policy("dev/p", {"app": "web"}, ingress=[allow(nobody)]))
    for src in (DB, OTHER, OUTSIDE):
        assert not allowed(snapshot, src, WEB)


def test_a_policy_selects_pods_of_its_own_namespace_only() -> None:
    snapshot = cluster(policy("dev/p", ingress=[]))
    assert not allowed(snapshot, DB, WEB)
    assert allowed(snapshot, DB, OTHER)


def test_isolating_policies_come_sorted() -> None:
    snapshot = cluster(
        policy("dev/z", ingress=[]), policy("dev/a", ingress=[]), policy("dev/m", egress=[])
    )
    ingress = evaluate(snapshot, flow(DB, WEB)).ingress
    assert ingress.isolated_by == (PolicyKey("dev", "a"), PolicyKey("dev", "z"))


def test_the_subject_is_the_owner_of_the_address() -> None:
    decision = evaluate(cluster(), flow(WEB, OTHER))
    assert decision.egress.subject == pod_key("dev/web")
    assert decision.ingress.subject == pod_key("ops/other")
    assert cluster().owner(addr(OUTSIDE)) is None


def test_reasons_name_what_failed_of_each_rule() -> None:
    snapshot = cluster(
        policy(
            "dev/p",
            {"app": "web"},
            ingress=[
                allow(pods({"app": "web"}, namespaces=IN_DEV), ports=[port(81)]),
                allow(block("10.0.0.0/8", "10.0.1.0/24"), ports=[named("http")]),
            ],
        )
    )
    assert str(evaluate(snapshot, flow(DB, WEB)).ingress).splitlines() == [
        "ingress: denied, dev/web is isolated by dev/p",
        "  dev/p ingress[0]: not pods app=web in namespace dev: pod dev/db has app=db, "
        "wanted is app=web; not TCP 81: TCP port 80 is not 81",
        "  dev/p ingress[1]: not 10.0.0.0/8 except 10.0.1.0/24: 10.0.1.3 is in 10.0.0.0/8, "
        "but also in its except 10.0.1.0/24; not TCP 'http': pod dev/web declares no TCP port "
        "named 'http'",
    ]


def test_reasons_say_which_half_of_a_rule_matched() -> None:
    snapshot = cluster(
        policy("dev/p", {"app": "web"}, ingress=[allow(block("10.0.0.0/8"), ports=[port(81)])])
    )
    (refused,) = evaluate(snapshot, flow(DB, WEB)).ingress.refusals[0].rules
    assert refused.peer == block("10.0.0.0/8")
    assert refused.peers == ()
    assert refused.port is None
    assert [each.port for each in refused.ports] == [port(81)]
