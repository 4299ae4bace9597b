from __future__ import annotations

import pytest

from podwall.model.policy import Peer, Policy
from podwall.model.selector import Operator
from tests.builders import allow, block, labels, namespace, need, pod, pods, policy
from tests.unit.check.helpers import cluster, found, paths

WEB = pod("dev/web", "10.0.0.2", app="web")
DB = pod("prod/db", "10.0.0.3", app="db")
TEAM = namespace("prod", team="a")

CODES = (
    "peer-matches-no-namespace",
    "namespace-name-label",
    "peer-matches-no-pod",
    "peer-in-other-namespace",
    "host-network-peer",
)


def from_peer(*peers: Peer) -> Policy:
    return policy("dev/p", {"app": "web"}, ingress=[allow(*peers)])


def only_finding(peer: Peer, *more: object) -> tuple[str, str, str]:
    """Code, path and message of the one thing that is wrong with a peer."""
    snapshot = cluster(WEB, DB, TEAM, from_peer(peer), *more)  # type: ignore[arg-type]
    findings = [(code, *each) for code in CODES for each in found(code, snapshot)]
    assert len(findings) == 1
    return findings[0]


def test_s12_no_namespace_has_the_label() -> None:
    code, path, message = only_finding(pods(namespaces={"team": "b"}))
    assert code == "peer-matches-no-namespace"
    assert path == "spec.ingress[0].from[0].namespaceSelector"
    assert "Values of team in use: a." in message


def test_s18_a_namespace_has_the_value_as_its_name() -> None:
    code, path, message = only_finding(pods(namespaces={"name": "prod"}))
    assert code == "namespace-name-label"
    assert path == "spec.ingress[0].from[0].namespaceSelector"
    assert "kubernetes.io/metadata.name" in message
    assert "named prod" in message


def test_s18_the_name_label_itself_with_an_unknown_name_is_no_confusion_of_keys() -> None:
    code, _, message = only_finding(pods(namespaces={"kubernetes.io/metadata.name": "prd"}))
    assert code == "peer-matches-no-namespace"
    assert "Did you mean kubernetes.io/metadata.name=prod?" in message


def test_s12_the_namespace_matches_but_no_pod_there_does() -> None:
    code, path, message = only_finding(pods({"app": "cache"}, namespaces={"team": "a"}))
    assert code == "peer-matches-no-pod"
    assert path == "spec.ingress[0].from[0].podSelector"
    assert "1 namespace (prod) matches team=a, but no pod there has app=cache" in message


def test_s15_pods_that_match_one_half_in_another_namespace_are_named() -> None:
    code, _, message = only_finding(pods({"app": "web"}, namespaces={"team": "a"}))
    assert code == "peer-matches-no-pod"
    assert "some in dev" in message
    assert "both selectors of one item" in message


def test_s12_a_matching_namespace_without_pods_is_said_so() -> None:
    code, path, message = only_finding(
        pods(namespaces={"team": "empty"}), namespace("x", team="empty")
    )
    assert (code, path) == ("peer-matches-no-pod", "spec.ingress[0].from[0].namespaceSelector")
    assert "without pods" in message


def test_s13_the_pods_are_in_another_namespace() -> None:
    code, path, message = only_finding(pods({"app": "db"}, namespaces="dev"))
    assert (code, path) == ("peer-in-other-namespace", "spec.ingress[0].from[0].podSelector")
    assert "namespace prod" in message


def test_s13_a_selector_that_matches_nowhere_is_a_typo_and_not_a_missing_namespace() -> None:
    code, _, message = only_finding(pods({"app": "wep"}, namespaces="dev"))
    assert code == "peer-matches-no-pod"
    assert "Did you mean app=web?" in message


def test_s23_only_host_network_pods_match() -> None:
    agent = pod("dev/agent", "192.168.0.1", host_network=True, app="agent")
    code, path, message = only_finding(pods({"app": "agent"}, namespaces="dev"), agent)
    assert (code, path) == ("host-network-peer", "spec.ingress[0].from[0]")
    assert "ipBlock" in message


@pytest.mark.parametrize(
    "peer",
    [
        pods({"app": "web"}, namespaces="dev"),
        pods(namespaces="dev"),
        pods(namespaces={}),
        pods({"app": "db"}, namespaces={"team": "a"}),
        pods({"app": "db"}, namespaces={"kubernetes.io/metadata.name": "prod"}),
        pods(labels(None, need("app", Operator.NOT_IN, "web")), namespaces={}),
        block("203.0.113.0/24"),
    ],
)
def test_a_peer_that_matches_a_pod_is_fine(peer: Peer) -> None:
    snapshot = cluster(WEB, DB, TEAM, from_peer(peer))
    assert not [code for code in CODES if paths(code, snapshot)]


def test_each_peer_is_found_in_its_own_place() -> None:
    good, bad = pods({"app": "web"}, namespaces="dev"), pods({"app": "no"}, namespaces="dev")
    both = policy("dev/p", ingress=[allow(good), allow(good, bad)], egress=[allow(bad)])
    assert paths("peer-matches-no-pod", cluster(WEB, both)) == [
        "spec.egress[0].to[0].podSelector",
        "spec.ingress[1].from[1].podSelector",
    ]


def test_s10_where_the_decoder_left_items_out_no_index_is_claimed() -> None:
    bad = pods({"app": "no"}, namespaces="dev")
    broken = policy("dev/p", ingress=[allow(bad)], problems=["spec.ingress[0].from[0]: nonsense"])
    assert paths("peer-matches-no-pod", cluster(WEB, broken)) == [
        "spec.ingress[0].from.podSelector"
    ]
