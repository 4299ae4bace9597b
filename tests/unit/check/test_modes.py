from __future__ import annotations

import msgspec

from podwall.check import Severity
from podwall.model.decode import decode_policy
from podwall.model.policy import Mode, Policy
from tests.builders import UDP, allow, pod, pods, policy, port
from tests.unit.check.helpers import cluster, codes, found, run

WEB = pod("dev/web", "10.0.0.2", app="web")
CLIENTS = pods({"app": "client"}, namespaces="dev")


def audited(each: Policy) -> Policy:
    return msgspec.structs.replace(each, mode=Mode.AUDIT)


def test_s51_an_audited_policy_is_good_to_know() -> None:
    [finding] = run("audited", cluster(WEB, audited(policy("dev/a", ingress=[]))))
    assert finding.severity is Severity.INFO
    assert finding.path == "metadata.annotations"
    assert "isolates nothing" in finding.message
    assert run("audited", cluster(WEB, policy("dev/a", ingress=[]))) == ()


def test_s51_a_mode_that_is_none_is_a_warning_and_not_a_part_that_allows_nothing() -> None:
    data = {
        "metadata": {"name": "a", "namespace": "dev", "annotations": {"podwall.dev/mode": "Audit"}},
        "spec": {"podSelector": {}},
    }
    decoded = decode_policy(data).value
    assert decoded is not None
    snapshot = cluster(WEB, decoded)
    [finding] = run("unknown-mode", snapshot)
    assert finding.severity is Severity.WARNING
    assert finding.path.startswith("metadata.annotations[")
    assert "so the policy is enforced" in finding.message
    assert run("invalid", snapshot) == ()


def test_s51_an_enforced_policy_is_not_superfluous_for_an_audited_one() -> None:
    narrow = policy("dev/narrow", ingress=[allow(CLIENTS, ports=[port(80)])])
    wide = policy("dev/wide", ingress=[allow(CLIENTS)])
    assert "policy-swallowed" in codes(cluster(WEB, narrow, wide))
    assert "policy-swallowed" not in codes(cluster(WEB, narrow, audited(wide)))
    assert "policy-swallowed" in codes(cluster(WEB, audited(narrow), wide))


def test_s51_a_policy_and_its_audited_copy_are_no_duplicates() -> None:
    first = policy("dev/a", ingress=[allow(CLIENTS)])
    second = policy("dev/b", ingress=[allow(CLIENTS)])
    assert "duplicate-policy" in codes(cluster(WEB, first, second))
    assert "duplicate-policy" not in codes(cluster(WEB, first, audited(second)))


def test_s51_name_resolution_that_only_an_audited_policy_allows_is_missing() -> None:
    work = policy("dev/work", egress=[allow(ports=[port(443)])])
    dns = policy("dev/dns", egress=[allow(ports=[port(53), port(53, protocol=UDP)])])
    assert found("egress-without-dns", cluster(WEB, work, dns)) == []
    assert found("egress-without-dns", cluster(WEB, work, audited(dns))) != []
    assert found("egress-without-dns", cluster(WEB, audited(work), audited(dns))) == []
    assert found("egress-without-dns", cluster(WEB, audited(work), dns)) == []
