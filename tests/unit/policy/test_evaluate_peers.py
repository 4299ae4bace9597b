"""S13 to S30: who a peer means."""

from __future__ import annotations

import pytest

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.objects import NAME_LABEL, Phase, Pod
from podwall.model.policy import Direction, Peer
from podwall.model.selector import Operator, Selector
from podwall.policy.evaluate import evaluate, isolating_policies, refuse_peer
from podwall.policy.refusal import (
    InExcept,
    NamespaceLabels,
    NotAPod,
    OtherFamily,
    OtherNamespace,
    OutsideBlock,
    PodLabels,
    UnknownNamespace,
)
from tests.builders import (
    addr,
    allow,
    block,
    flow,
    labels,
    namespace,
    need,
    net,
    node,
    pod,
    pods,
    policy,
)

SUBJECT = "10.0.1.9"
DEV_WEB, DEV_DB, OPS_WEB, OPS_BARE = "10.0.1.2", "10.0.1.3", "10.0.2.2", "10.0.2.3"
NODE, OUTSIDE = "192.168.0.1", "172.16.0.1"
EVERYBODY = {DEV_WEB, DEV_DB, OPS_WEB, OPS_BARE, NODE, OUTSIDE}
PODS = EVERYBODY - {NODE, OUTSIDE}


def cluster(*more: Pod) -> Snapshot:
    return build_snapshot(
        pods=[
            pod("dev/subject", SUBJECT, node="n2", app="subject"),
            pod("dev/web", DEV_WEB, "fd00:1::2", node="n1", app="web", tier="front"),
            pod("dev/db", DEV_DB, node="n1", app="db", tier=""),
            pod("ops/web", OPS_WEB, node="n2", app="web"),
            pod("ops/bare", OPS_BARE, node="n2"),
            *more,
        ],
        namespaces=[namespace("dev", team="dev"), namespace("ops", team="ops", env="prod")],
        nodes=[node("n1", NODE)],
    )


def matching(peer: Peer, *more: Pod) -> set[str]:
    """Who of everybody a peer means, in both directions."""
    snapshot = cluster(*more)
    means = {each for each in EVERYBODY if refuse_peer(snapshot, peer, addr(each)) is None}
    policies = [policy("dev/p", {"app": "subject"}, ingress=[allow(peer)], egress=[allow(peer)])]
    with_policy = build_snapshot(
        snapshot.pods.values(), snapshot.namespaces.values(), policies, snapshot.nodes.values()
    )
    ingress = {each for each in EVERYBODY if evaluate(with_policy, flow(each, SUBJECT)).allowed}
    egress = {each for each in EVERYBODY if evaluate(with_policy, flow(SUBJECT, each)).allowed}
    assert means == ingress == egress
    return means


def test_s13_a_pod_selector_alone_means_the_own_namespace() -> None:
    assert matching(pods({"app": "web"}, namespaces="dev")) == {DEV_WEB}
    refused = refuse_peer(cluster(), pods({"app": "web"}, namespaces="dev"), addr(OPS_WEB))
    assert isinstance(refused, OtherNamespace)
    assert str(refused) == "pod ops/web is not in namespace dev"


def test_s14_an_empty_namespace_selector_means_all_pods_and_nothing_else() -> None:
    assert matching(pods(namespaces={})) == PODS
    assert refuse_peer(cluster(), pods(namespaces={}), addr(OUTSIDE)) == NotAPod(addr(OUTSIDE))


def test_s15_both_selectors_in_one_peer_are_and() -> None:
    assert matching(pods({"app": "web"}, namespaces={"team": "ops"})) == {OPS_WEB}


def test_s15_separate_peers_are_or() -> None:
    peers = (pods({"app": "web"}, namespaces="dev"), pods(namespaces={"team": "ops"}))
    snapshot = cluster()
    means = {
        each
        for each in EVERYBODY
        if any(refuse_peer(snapshot, peer, addr(each)) is None for peer in peers)
    }
    assert means == {DEV_WEB, OPS_WEB, OPS_BARE}


def test_s16_an_empty_pod_selector_means_all_pods_of_the_own_namespace() -> None:
    assert matching(pods({}, namespaces="dev")) == {DEV_WEB, DEV_DB}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (labels(None, need("app", Operator.IN, "web", "db")), {DEV_WEB, DEV_DB, OPS_WEB}),
        (labels(None, need("app", Operator.NOT_IN, "web")), {DEV_DB, OPS_BARE}),
        (labels(None, need("tier", Operator.EXISTS)), {DEV_WEB, DEV_DB}),
        (labels(None, need("tier", Operator.DOES_NOT_EXIST)), {OPS_WEB, OPS_BARE}),
        (labels({"tier": ""}), {DEV_DB}),
        (labels(None, need("tier", Operator.NOT_IN, "")), {DEV_WEB, OPS_WEB, OPS_BARE}),
        (
            labels({"app": "web"}, need("tier", Operator.DOES_NOT_EXIST)),
            {OPS_WEB},
        ),
    ],
)
def test_s17_a_missing_label_meets_only_not_in_and_does_not_exist(
    wanted: Selector, expected: set[str]
) -> None:
    assert matching(pods(wanted, namespaces={})) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (labels({"team": "dev"}), {DEV_WEB, DEV_DB}),
        (labels(None, need("env", Operator.DOES_NOT_EXIST)), {DEV_WEB, DEV_DB}),
        (labels(None, need("env", Operator.NOT_IN, "prod")), {DEV_WEB, DEV_DB}),
        (labels(None, need("env", Operator.EXISTS)), {OPS_WEB, OPS_BARE}),
        (labels({"env": ""}), set()),
    ],
)
def test_s17_namespace_selectors_read_missing_labels_alike(
    wanted: Selector, expected: set[str]
) -> None:
    assert matching(pods(namespaces=wanted)) == expected


def test_s18_a_namespace_can_be_selected_by_its_name_label() -> None:
    assert matching(pods(namespaces={NAME_LABEL: "ops"})) == {OPS_WEB, OPS_BARE}


def test_s19_namespace_labels_decide_anew_when_they_change() -> None:
    before = cluster()
    after = build_snapshot(
        before.pods.values(), [namespace("dev", team="ops"), namespace("ops", team="dev")]
    )
    peer = pods({"app": "web"}, namespaces={"team": "ops"})
    assert refuse_peer(before, peer, addr(OPS_WEB)) is None
    assert refuse_peer(after, peer, addr(OPS_WEB)) is not None
    assert refuse_peer(after, peer, addr(DEV_WEB)) is None


def test_s20_pod_labels_decide_anew_when_they_change() -> None:
    peer = pods({"app": "web"}, namespaces="dev")
    after = cluster(pod("dev/web", DEV_WEB, app="db"), pod("dev/db", DEV_DB, app="web"))
    assert refuse_peer(after, peer, addr(DEV_WEB)) is not None
    assert refuse_peer(after, peer, addr(DEV_DB)) is None


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.FAILED])
def test_s21_a_pod_that_ended_is_no_peer_and_no_subject(phase: Phase) -> None:
    ended = pod("dev/web", DEV_WEB, phase=phase, app="web")
    peer = pods({"app": "web"}, namespaces="dev")
    assert refuse_peer(cluster(ended), peer, addr(DEV_WEB)) == NotAPod(addr(DEV_WEB))
    closed = build_snapshot([ended], policies=[policy("dev/p", ingress=[], egress=[])])
    assert evaluate(closed, flow(OUTSIDE, DEV_WEB)).allowed


def test_s21_a_terminating_pod_stays_peer_and_subject() -> None:
    leaving = pod("dev/web", DEV_WEB, terminating=True, app="web")
    peer = pods({"app": "web"}, namespaces="dev")
    assert refuse_peer(cluster(leaving), peer, addr(DEV_WEB)) is None
    closed = build_snapshot([leaving], policies=[policy("dev/p", ingress=[])])
    assert not evaluate(closed, flow(OUTSIDE, DEV_WEB)).allowed


def test_s22_an_address_stands_for_its_new_owner_only() -> None:
    old = pod("dev/old", DEV_WEB, terminating=True, app="old")
    snapshot = build_snapshot([old, pod("ops/new", DEV_WEB, app="new")], [namespace("ops")])
    assert refuse_peer(snapshot, pods({"app": "new"}, namespaces={}), addr(DEV_WEB)) is None
    assert refuse_peer(snapshot, pods({"app": "old"}, namespaces="dev"), addr(DEV_WEB)) is not None


def test_s23_a_host_network_pod_matches_no_selector_but_its_nodes_block() -> None:
    host = pod("dev/host", NODE, node="n1", host_network=True, app="web")
    assert matching(pods({"app": "web"}, namespaces="dev"), host) == {DEV_WEB}
    assert matching(pods(namespaces={}), host) == PODS
    assert matching(block(f"{NODE}/32"), host) == {NODE}


def test_s23_the_reason_tells_that_the_address_is_a_nodes() -> None:
    refused = refuse_peer(cluster(), pods(namespaces={}), addr(NODE))
    assert refused == NotAPod(addr(NODE), "n1")
    assert str(refused) == (
        "192.168.0.1 is node n1, not a pod (a pod with hostNetwork counts as its node)"
    )


def test_s23_a_host_network_pod_is_never_isolated() -> None:
    host = pod("dev/host", NODE, node="n1", host_network=True)
    snapshot = build_snapshot(
        [host],
        policies=[policy("dev/p", ingress=[], egress=[])],
        nodes=[node("n1", NODE)],
    )
    assert evaluate(snapshot, flow(OUTSIDE, NODE)).allowed
    assert evaluate(snapshot, flow(NODE, OUTSIDE)).allowed
    for direction in Direction:
        assert isolating_policies(snapshot, host, direction) == ()


def test_s24_every_address_of_a_pod_counts_in_both_roles() -> None:
    peer = pods({"app": "web"}, namespaces="dev")
    assert refuse_peer(cluster(), peer, addr("fd00:1::2")) is None
    web = pod("dev/web", DEV_WEB, "fd00:1::2", app="web")
    closed = build_snapshot([web], policies=[policy("dev/p", ingress=[])])
    assert not evaluate(closed, flow(OUTSIDE, DEV_WEB)).allowed
    assert not evaluate(closed, flow("2001:db8::1", "fd00:1::2")).allowed


def test_s25_an_except_is_not_matched_by_its_own_item() -> None:
    peer = block("10.0.0.0/8", "10.0.2.0/24")
    assert matching(peer) == {DEV_WEB, DEV_DB}
    assert refuse_peer(cluster(), peer, addr(OPS_WEB)) == InExcept(
        addr(OPS_WEB), net("10.0.0.0/8"), net("10.0.2.0/24")
    )


def test_s25_an_except_never_takes_from_another_item_rule_or_policy() -> None:
    narrow = block("10.0.0.0/8", "10.0.2.0/24")
    wide = block("10.0.2.0/29")
    base = cluster()
    for policies in (
        [policy("dev/p", {"app": "subject"}, ingress=[allow(narrow, wide)])],
        [policy("dev/p", {"app": "subject"}, ingress=[allow(narrow), allow(wide)])],
        [
            policy("dev/p", {"app": "subject"}, ingress=[allow(narrow)]),
            policy("dev/q", {"app": "subject"}, ingress=[allow(wide)]),
        ],
    ):
        snapshot = build_snapshot(base.pods.values(), base.namespaces.values(), policies)
        assert evaluate(snapshot, flow(OPS_WEB, SUBJECT)).allowed
        assert evaluate(snapshot, flow(DEV_WEB, SUBJECT)).allowed
        assert not evaluate(snapshot, flow("10.0.2.8", SUBJECT)).allowed


def test_s26_overlapping_blocks_of_one_rule_are_a_union() -> None:
    rule = allow(block("10.0.0.0/8", "10.1.0.0/16"), block("10.0.0.0/9"))
    snapshot = build_snapshot(
        [pod("dev/subject", SUBJECT)], policies=[policy("dev/p", ingress=[rule])]
    )
    assert evaluate(snapshot, flow("10.1.9.9", SUBJECT)).allowed
    assert evaluate(snapshot, flow("10.200.0.1", SUBJECT)).allowed
    assert not evaluate(snapshot, flow("11.0.0.1", SUBJECT)).allowed


@pytest.mark.parametrize(
    ("everything", "inside", "other"),
    [("0.0.0.0/0", "203.0.113.9", "2001:db8::1"), ("::/0", "2001:db8::1", "203.0.113.9")],
)
def test_s27_s29_a_prefix_of_zero_is_everything_of_its_family(
    everything: str, inside: str, other: str
) -> None:
    assert refuse_peer(cluster(), block(everything), addr(inside)) is None
    refused = refuse_peer(cluster(), block(everything), addr(other))
    assert isinstance(refused, OtherFamily)


def test_s29_a_block_of_the_other_family_is_never_any() -> None:
    dual = pod("dev/subject", SUBJECT, "fd00:1::9")
    snapshot = build_snapshot(
        [dual], policies=[policy("dev/p", ingress=[allow(block("0.0.0.0/0"))])]
    )
    assert evaluate(snapshot, flow(OUTSIDE, SUBJECT)).allowed
    assert not evaluate(snapshot, flow("2001:db8::1", "fd00:1::9")).allowed


def test_s30_a_block_matches_pods_and_nodes_as_well() -> None:
    assert matching(block("10.0.1.0/24")) == {DEV_WEB, DEV_DB}
    assert matching(block("0.0.0.0/0")) == EVERYBODY


def test_an_address_outside_a_block_is_told() -> None:
    refused = refuse_peer(cluster(), block("10.0.0.0/8"), addr(OUTSIDE))
    assert refused == OutsideBlock(addr(OUTSIDE), net("10.0.0.0/8"))
    assert str(refused) == "172.16.0.1 is outside 10.0.0.0/8"


def test_the_first_requirement_that_fails_is_told_with_the_actual_value() -> None:
    snapshot = cluster()
    assert isinstance(
        refused := refuse_peer(snapshot, pods({"app": "web"}, namespaces="dev"), addr(DEV_DB)),
        PodLabels,
    )
    assert str(refused) == "pod dev/db has app=db, wanted is app=web"
    refused_namespace = refuse_peer(snapshot, pods(namespaces={"env": "prod"}), addr(DEV_DB))
    assert isinstance(refused_namespace, NamespaceLabels)
    assert str(refused_namespace) == "namespace dev has no label env, wanted is env=prod"


def test_pods_of_a_namespace_with_unknown_labels_match_no_namespace_selector() -> None:
    stray = pod("new/web", OUTSIDE, app="web")
    snapshot = cluster(stray)
    for wanted in ({}, {NAME_LABEL: "new"}):
        refused = refuse_peer(snapshot, pods(namespaces=wanted), addr(OUTSIDE))
        assert isinstance(refused, UnknownNamespace)
        assert str(refused) == "the labels of namespace new of pod new/web are not known"


def test_s13_own_namespace_peers_work_without_the_labels_of_the_namespace() -> None:
    snapshot = cluster(pod("new/web", OUTSIDE, app="web"))
    assert refuse_peer(snapshot, pods({"app": "web"}, namespaces="new"), addr(OUTSIDE)) is None
