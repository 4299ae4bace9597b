"""Whether an audited policy can be enforced."""

from __future__ import annotations

import msgspec

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.learn.auditing import Evidence, Safety, WouldDeny, audit, unsafe_first
from podwall.learn.observed import Observation
from podwall.model.flow import Flow
from podwall.model.objects import Pod
from podwall.model.policy import Direction, Mode, Policy
from tests.builders import allow, flow, icmp, namespace, node, pod, pods, policy, port


def of(workload: str, key: str, address: str, **labels: str) -> Pod:
    return msgspec.structs.replace(pod(key, address, node="n1", **labels), workload=workload)


def audited(each: Policy) -> Policy:
    return msgspec.structs.replace(each, mode=Mode.AUDIT)


PODS = [
    of("Deployment/web", "shop/web-0", "10.1.0.2", app="web"),
    of("Deployment/web", "shop/web-1", "10.1.0.3", app="web"),
    of("Deployment/api", "shop/api-0", "10.1.0.4", app="api"),
    of("StatefulSet/db", "shop/db-0", "10.1.0.5", app="db"),
]
WEB, WEB_TOO, API, DB = "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"
TO_DB = audited(
    policy(
        "shop/db",
        {"app": "db"},
        ingress=[allow(pods({"app": "api"}, namespaces="shop"), ports=[port(5432)])],
    )
)


def cluster(*policies: Policy) -> Snapshot:
    nodes = [node("n1", "192.168.0.1", pod_cidrs=["10.1.0.0/24"])]
    return build_snapshot(PODS, [namespace("shop")], policies, nodes)


def evidence(snapshot: Snapshot, *flows: Flow, count: int = 1) -> dict[str, Evidence]:
    found = audit(snapshot, [Observation(each, count) for each in flows])
    return {str(each.policy): each for each in found}


def test_a_policy_that_allows_all_that_was_seen_is_safe() -> None:
    found = evidence(cluster(TO_DB), flow(API, DB, 5432), flow(WEB, API), count=3)
    assert (found["shop/db"].safety, found["shop/db"].seen) == (Safety.SAFE, 3)


def test_a_policy_of_which_nothing_was_seen_is_not_known() -> None:
    found = evidence(cluster(TO_DB), flow(WEB, API))["shop/db"]
    assert (found.safety, found.seen, len(found.pods)) == (Safety.UNKNOWN, 0, 1)


def test_what_would_be_denied_is_summed_by_workload() -> None:
    flows = (flow(WEB, DB, 5432), flow(WEB_TOO, DB, 5432), icmp(API, DB))
    found = evidence(cluster(TO_DB), *flows, flow(API, DB, 5432), count=2)["shop/db"]
    assert found.safety is Safety.UNSAFE
    assert [(each.source, each.target, each.service, each.count) for each in found.denied] == [
        ("shop/deployment/web", "shop/statefulset/db", "5432/tcp", 4),
        ("shop/deployment/api", "shop/statefulset/db", "icmp", 2),
    ]
    assert found.denied[0].example == ("shop/web-0", "shop/db-0")


def test_s51_audited_policies_of_a_pod_are_judged_together() -> None:
    web = audited(policy("shop/db-too", {"app": "db"}, ingress=[allow(ports=[port(80)])]))
    found = evidence(cluster(TO_DB, web), flow(WEB, DB), flow(API, DB, 5432), flow(WEB, DB, 81))
    assert [each.seen for each in found.values()] == [2, 2]
    assert [[flow.service for flow in each.denied] for each in found.values()] == [["81/tcp"]] * 2
    assert [list(map(str, each.together)) for each in found.values()] == [
        ["shop/db-too"],
        ["shop/db"],
    ]


def test_s51_what_enforced_policies_allow_is_not_denied_by_audited_ones() -> None:
    enforced = policy("shop/open", {"app": "db"}, ingress=[allow(ports=[port(80)])])
    found = evidence(cluster(TO_DB, enforced), flow(WEB, DB), flow(WEB, DB, 81))["shop/db"]
    assert (found.safety, found.seen) == (Safety.SAFE, 1)


def test_what_is_denied_today_speaks_neither_for_nor_against() -> None:
    closed = policy("shop/closed", {"app": "web"}, egress=[])
    found = evidence(cluster(TO_DB, closed), flow(WEB, DB, 5432))["shop/db"]
    assert (found.safety, found.denied) == (Safety.UNKNOWN, ())


def test_s42_probes_of_the_own_node_are_never_denied() -> None:
    assert evidence(cluster(TO_DB), flow("192.168.0.1", DB))["shop/db"].denied == ()


def test_each_direction_is_about_its_own_pods() -> None:
    out = audited(policy("shop/web", {"app": "web"}, egress=[]))
    found = evidence(cluster(TO_DB, out), flow(WEB, DB, 5432))
    assert [each.denied[0].direction for each in found.values()] == list(Direction)
    assert found["shop/web"].together == ()


def test_a_policy_that_selects_nobody_denies_nothing() -> None:
    nobody = audited(policy("shop/nobody", {"app": "gone"}, ingress=[]))
    assert evidence(cluster(nobody))["shop/nobody"].safety is Safety.SAFE


def test_what_an_agent_logged_and_conntrack_holds_as_well_is_counted_once() -> None:
    def told(count: int, first: float, last: float) -> WouldDeny:
        names = ("shop/deployment/web", "shop/statefulset/db", "9/tcp")
        ends = ("shop/web-0", "shop/db-0")
        return WouldDeny(*names, Direction.INGRESS, count, ends, first, last)

    snapshot = cluster(TO_DB)
    seen = [Observation(flow(WEB, DB, 9), 1)]
    (found,) = audit(
        snapshot, seen, told=[(TO_DB.key, told(5, 10, 20)), (TO_DB.key, told(1, 5, 7))]
    )
    (denied,) = found.denied
    assert (denied.count, denied.first, denied.last) == (6, 5, 20)
    more = [Observation(flow(WEB, DB, 9), 8)]
    (found,) = audit(snapshot, more, told=[(TO_DB.key, told(5, 10, 20))])
    assert [(each.count, each.first) for each in found.denied] == [(8, 10)]


def test_what_needs_work_comes_first() -> None:
    web = audited(policy("shop/web", {"app": "web"}, ingress=[]))
    api = audited(policy("shop/api", {"app": "api"}, ingress=[]))
    found = audit(
        cluster(TO_DB, web, api), [Observation(flow(WEB, API)), Observation(flow(API, DB, 5432))]
    )
    assert [str(each.policy) for each in unsafe_first(found)] == ["shop/api", "shop/web", "shop/db"]
