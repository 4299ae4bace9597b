from __future__ import annotations

from podwall.check.finding import Severity
from podwall.model.objects import Phase
from tests.builders import allow, block, pod, policy, port
from tests.unit.check.helpers import cluster, codes, found, paths, run

WEB = pod("dev/web", "10.0.0.2", app="web")


def test_a_policy_that_selects_no_pod_is_found_with_the_likely_typo() -> None:
    snapshot = cluster(WEB, policy("dev/p", {"app": "wbe"}, ingress=[]))
    [(path, message)] = found("selects-no-pod", snapshot)
    assert path == "spec.podSelector"
    assert "Did you mean app=web?" in message


def test_the_hint_names_a_likely_key_or_the_values_in_use() -> None:
    by_key = cluster(WEB, policy("dev/p", {"apps": "web"}, ingress=[]))
    assert (
        "No pod there has a label apps; did you mean app?" in found("selects-no-pod", by_key)[0][1]
    )
    by_value = cluster(WEB, policy("dev/p", {"app": "database"}, ingress=[]))
    assert "Values of app in use: web." in found("selects-no-pod", by_value)[0][1]


def test_a_policy_that_selects_a_pod_is_fine_whatever_the_number() -> None:
    assert not paths("selects-no-pod", cluster(WEB, policy("dev/p", {"app": "web"}, ingress=[])))
    assert not paths("selects-no-pod", cluster(WEB, policy("dev/p", ingress=[])))


def test_s21_a_terminated_pod_is_not_selected() -> None:
    ended = pod("dev/job", phase=Phase.SUCCEEDED, app="job")
    assert paths("selects-no-pod", cluster(WEB, ended, policy("dev/p", {"app": "job"}, ingress=[])))


def test_a_pod_without_an_address_yet_is_selected() -> None:
    pending = pod("dev/new", app="new")
    snapshot = cluster(WEB, pending, policy("dev/p", {"app": "new"}, ingress=[]))
    assert not paths("selects-no-pod", snapshot)


def test_a_namespace_without_pods_is_one_finding_and_not_two() -> None:
    snapshot = cluster(WEB, policy("prod/p", {"app": "web"}, ingress=[]))
    assert paths("namespace-without-pods", snapshot) == ["metadata.namespace"]
    assert not paths("selects-no-pod", snapshot)


def test_a_namespace_with_a_pod_is_not_without() -> None:
    on_host = pod("prod/agent", host_network=True)
    for each in (pod("prod/web"), on_host):
        snapshot = cluster(each, policy("prod/p", {"app": "other"}, ingress=[]))
        assert not paths("namespace-without-pods", snapshot)


def test_s23_a_policy_for_host_network_pods_only_has_no_effect() -> None:
    agent = pod("dev/agent", "192.168.0.1", host_network=True, app="agent")
    snapshot = cluster(WEB, agent, policy("dev/p", {"app": "agent"}, ingress=[]))
    [finding] = run("host-network-subject", snapshot)
    assert finding.severity is Severity.WARNING
    assert "has no effect" in finding.message
    assert not paths("selects-no-pod", snapshot)


def test_s23_a_policy_that_also_selects_host_network_pods_is_good_to_know() -> None:
    agent = pod("dev/agent", "192.168.0.1", host_network=True)
    [finding] = run("host-network-subject", cluster(WEB, agent, policy("dev/p", ingress=[])))
    assert finding.severity is Severity.INFO
    assert "dev/agent" in finding.message


def test_s23_host_network_pods_that_are_not_selected_are_no_matter() -> None:
    agent = pod("dev/agent", host_network=True, app="agent")
    snapshot = cluster(WEB, agent, policy("dev/p", {"app": "web"}, ingress=[]))
    assert not paths("host-network-subject", snapshot)


def test_s5_everything_for_everybody_is_asked_about_in_each_direction() -> None:
    snapshot = cluster(
        WEB, policy("dev/p", ingress=[allow()], egress=[allow(), allow(ports=[port(80)])])
    )
    assert paths("allows-everything", snapshot) == ["spec.egress[0]", "spec.ingress[0]"]


def test_s5_a_subject_a_port_or_a_peer_makes_it_less_than_everything() -> None:
    some = policy("dev/some", {"app": "web"}, ingress=[allow()])
    one_port = policy("dev/port", ingress=[allow(ports=[port(80)])])
    one_block = policy("dev/block", ingress=[allow(block("10.0.0.0/8"))])
    assert not paths("allows-everything", cluster(WEB, some, one_port, one_block))


def test_a_good_policy_has_no_findings_at_all() -> None:
    snapshot = cluster(
        WEB,
        policy("dev/p", {"app": "web"}, ingress=[allow(block("192.0.2.0/24"), ports=[port(80)])]),
    )
    assert codes(snapshot) == set()
