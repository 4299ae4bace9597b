"""What is proposed, what it is called, and what its comments say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.learn.notes import notes_of
from podwall.learn.observed import Observation
from podwall.learn.proposal import Options, Proposal, propose
from podwall.learn.sift import Reason, Wanted
from podwall.model.flow import Flow
from podwall.model.objects import Namespace, Pod
from podwall.model.policy import AnyPort, Direction, Policy
from tests.builders import (
    SCTP,
    UDP,
    allow,
    block,
    flow,
    icmp,
    namespace,
    node,
    pod,
    pods,
    policy,
    port,
)

NODES = (
    node("n1", "192.168.0.1", pod_cidrs=["10.1.0.0/24"]),
    node("n2", "192.168.0.2", pod_cidrs=["10.2.0.0/24"]),
)


def of(workload: str, key: str, *addresses: str, **more: Any) -> Pod:
    return msgspec.structs.replace(pod(key, *addresses, **more), workload=workload)


WEB = [
    of("Deployment/web", f"shop/web-{n}", f"10.{n}.0.2", node=f"n{n}", app="web") for n in (1, 2)
]
API = of("Deployment/api", "shop/api-1", "10.1.0.3", node="n1", app="api", ports=["http:80/tcp"])
DB = of("StatefulSet/db", "data/db-0", "10.2.0.4", node="n2", app="db")
SPACES = [namespace("shop"), namespace("data")]


def cluster(*policies: Policy, spaces: Iterable[Namespace] = SPACES) -> Snapshot:
    return build_snapshot([*WEB, API, DB], spaces, policies, NODES)


def learn(snapshot: Snapshot, *flows: Flow, **options: Any) -> Proposal:
    seen = [Observation(each, 1) for each in flows]
    return propose(snapshot, seen, options=Options(**options))


def by_name(proposal: Proposal) -> Mapping[str, Policy]:
    return {str(each.policy.key): each.policy for each in proposal.policies}


def comments(proposal: Proposal, name: str) -> dict[str, list[str]]:
    (found,) = (each for each in proposal.policies if str(each.policy.key) == name)
    notes = notes_of(found, proposal.before)
    rules = {f"{key[0].value}[{key[1]}]": list(lines) for key, lines in notes.rules.items()}
    return {"head": list(notes.head), **rules}


def test_a_connection_between_workloads_becomes_a_rule_at_both_ends() -> None:
    found = by_name(learn(cluster(), flow("10.1.0.2", "10.2.0.4", 5432)))
    assert found == {
        "data/learned-db": policy(
            "data/learned-db",
            {"app": "db"},
            ingress=[
                allow(
                    pods({"app": "web"}, namespaces={"kubernetes.io/metadata.name": "shop"}),
                    ports=[port(5432)],
                )
            ],
            egress=[],
        ),
        "shop/learned-web": policy(
            "shop/learned-web",
            {"app": "web"},
            ingress=[],
            egress=[
                allow(
                    pods({"app": "db"}, namespaces={"kubernetes.io/metadata.name": "data"}),
                    ports=[port(5432)],
                )
            ],
        ),
    }


def test_peers_of_the_own_namespace_that_differ_in_one_label_are_one_peer() -> None:
    found = learn(
        cluster(),
        flow("10.1.0.2", "10.2.0.2"),
        flow("10.1.0.3", "10.2.0.2"),
        directions=(Direction.INGRESS,),
    )
    (rule,) = by_name(found)["shop/learned-web"].ingress
    assert list(map(str, rule.peers)) == ["pods app in (api, web) in namespace shop"]


def test_ports_that_follow_each_other_are_a_range_and_protocols_stay_apart() -> None:
    ports = [flow("10.1.0.2", "10.1.0.3", number) for number in (81, 80, 82, 90)]
    found = learn(cluster(), *ports, flow("10.1.0.2", "10.1.0.3", 80, SCTP))
    (rule,) = by_name(found)["shop/learned-api"].ingress
    assert list(map(str, rule.ports)) == ["TCP 80:82", "TCP 90", "SCTP 80"]
    assert comments(found, "shop/learned-api")["ingress[0]"] == [
        "from shop/deployment/web: 80-82/tcp, 90/tcp, 80/sctp, 5 connections"
    ]


def test_services_share_a_rule_where_that_takes_fewer_rules_than_peers_would() -> None:
    flows = [
        *(flow(client, "10.2.0.4", 80) for client in ("10.1.0.2", "10.1.0.3")),
        *(flow(client, "10.2.0.4", 443) for client in ("10.1.0.3", "198.51.100.1")),
    ]
    rules = by_name(learn(cluster(), *flows))["data/learned-db"].ingress
    assert [(list(map(str, each.peers)), list(map(str, each.ports))) for each in rules] == [
        (["pods app in (api, web) in namespaces kubernetes.io/metadata.name=shop"], ["TCP 80"]),
        (
            ["pods app=api in namespaces kubernetes.io/metadata.name=shop", "198.51.100.1/32"],
            ["TCP 443"],
        ),
    ]


def test_s42_a_nodes_probes_of_its_own_pods_need_no_rule_and_are_no_evidence() -> None:
    found = learn(cluster(), flow("192.168.0.1", "10.1.0.3"))
    assert found.policies == ()
    assert [each.reason for each in found.left_out] == [Reason.OWN_NODE]
    assert len(found.unseen) == 3


def test_another_node_is_an_address_of_its_own() -> None:
    found = learn(cluster(), flow("192.168.0.2", "10.1.0.3"), most_blocks=1)
    (rule,) = by_name(found)["shop/learned-api"].ingress
    assert rule.peers == (block("192.168.0.2/32"),)
    assert comments(found, "shop/learned-api")["ingress[0]"] == [
        "from node/n2 (192.168.0.2): 80/tcp (http), 1 connection"
    ]


def test_a_namespace_that_cannot_be_named_is_met_by_address() -> None:
    odd = [namespace("data"), Namespace("shop", {})]
    found = learn(cluster(spaces=odd), flow("10.1.0.2", "10.2.0.4"))
    (rule,) = by_name(found)["data/learned-db"].ingress
    assert rule.peers == (block("10.1.0.2/32"),)


def test_what_existing_policies_allow_is_not_proposed_again() -> None:
    there = policy("data/db", {"app": "db"}, ingress=[allow(ports=[port(5432)])], egress=[])
    found = learn(cluster(there), flow("10.1.0.2", "10.2.0.4", 5432))
    assert list(by_name(found)) == ["shop/learned-web"]
    assert found.after.policies[there.key] == there


def test_a_direction_that_nothing_isolates_is_closed_for_who_was_seen() -> None:
    there = policy("data/db", {"app": "db"}, ingress=[allow(ports=[port(5432)])])
    found = learn(cluster(there), flow("10.1.0.2", "10.2.0.4", 5432))
    assert by_name(found)["data/learned-db"] == policy("data/learned-db", {"app": "db"}, egress=[])
    assert comments(found, "data/learned-db") == {
        "head": ["data/statefulset/db: nothing was seen that needs a rule, so egress is closed."]
    }


def test_what_policies_deny_is_left_out_unless_asked_for() -> None:
    there = policy("data/db", {"app": "db"}, ingress=[])
    found = learn(cluster(there), flow("10.1.0.2", "10.2.0.4"))
    assert (found.policies, found.left_out[0].reason) == ((), Reason.DENIED)
    asked = learn(cluster(there), flow("10.1.0.2", "10.2.0.4"), wanted=Wanted(denied=True))
    assert list(by_name(asked)) == ["data/learned-db", "shop/learned-web"]


def test_afresh_the_policies_that_are_there_are_replaced_and_open_nobody() -> None:
    there = [
        policy("data/db", {"app": "db"}, ingress=[allow()]),
        policy("shop/all", ingress=[], egress=[]),
    ]
    found = learn(cluster(*there), flow("192.168.0.1", "10.2.0.4"), fresh=True)
    assert by_name(found) == {
        "data/learned-db": policy(
            "data/learned-db",
            {"app": "db"},
            ingress=[allow(block("192.168.0.1/32"), ports=[port(80)])],
            egress=[],
        ),
        "shop/learned-api": policy("shop/learned-api", {"app": "api"}, ingress=[], egress=[]),
        "shop/learned-web": policy("shop/learned-web", {"app": "web"}, ingress=[], egress=[]),
    }
    assert comments(found, "shop/learned-api")["head"] == [
        "shop/deployment/api: nothing was seen that needs a rule, so ingress and egress are closed."
    ]


def test_afresh_in_one_namespace_leaves_the_others_alone() -> None:
    there = [policy("data/db", ingress=[allow()]), policy("shop/all", ingress=[], egress=[allow()])]
    found = learn(cluster(*there), flow("10.1.0.2", "10.2.0.4"), fresh=True, namespaces=("shop",))
    assert sorted(map(str, found.after.policies)) == [
        *("data/db", "shop/learned-api", "shop/learned-web")
    ]


def test_no_proposal_takes_the_name_of_a_policy_that_stays() -> None:
    there = policy("shop/learned-api", {"app": "nobody"}, ingress=[])
    found = learn(cluster(there), flow("10.1.0.2", "10.1.0.3"))
    assert "shop/learned-api-2" in by_name(found)


@pytest.mark.parametrize("name", ["Web_1", "ü\n- x", "a" * 260, "..."])
def test_names_are_ones_that_an_api_server_takes(name: str) -> None:
    odd = of(f"Deployment/{name}", "shop/odd", "10.1.0.9", node="n1", app="odd")
    snapshot = build_snapshot([odd, DB], SPACES, (), NODES)
    (key,) = (
        each for each in by_name(learn(snapshot, flow("10.1.0.9", "10.2.0.4"))) if "shop" in each
    )
    plain = key.partition("/")[2]
    assert len(plain) <= 253
    assert set(plain) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
    assert plain[-1].isalnum()


def test_icmp_is_left_out_unless_asked_for_and_then_opens_everything() -> None:
    found = learn(cluster(), icmp("10.1.0.2", "10.1.0.3"))
    assert (found.policies, found.left_out[0].reason) == ((), Reason.PORTLESS)
    flows = icmp("10.1.0.2", "10.1.0.3"), flow("10.1.0.2", "10.1.0.3")
    asked = learn(cluster(), *flows, wanted=Wanted(portless=True))
    (rule,) = by_name(asked)["shop/learned-api"].ingress
    assert rule.ports == (AnyPort(),)
    assert comments(asked, "shop/learned-api")["ingress[0]"] == [
        "from shop/deployment/web: everything (ICMP was seen), 1 connection"
    ]


def test_what_is_open_to_everything_outside_needs_no_port_by_itself() -> None:
    flows = [icmp(f"198.51.100.{n}", "10.1.0.3") for n in (1, 2, 3)]
    flows += [flow(f"198.51.100.{n}", "10.1.0.3") for n in (1, 2, 9)]
    found = learn(cluster(), *flows, wanted=Wanted(portless=True), most_blocks=1)
    rules = by_name(found)["shop/learned-api"].ingress
    assert [(list(map(str, each.peers)), list(map(str, each.ports))) for each in rules] == [
        (["198.51.100.0/30"], ["any protocol and port"]),
        (["198.51.100.9/32"], ["TCP 80"]),
    ]


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        (Observation(flow("203.0.113.1", "203.0.113.2")), Reason.NO_POD),
        (Observation(flow("10.1.0.77", "10.1.0.3")), Reason.GONE),
        (Observation(flow("10.1.0.3", "10.1.0.3")), Reason.SELF),
        (Observation(flow("10.1.0.3", "224.0.0.251", 5353, UDP)), Reason.STRAY),
        (Observation(flow("10.1.0.2", "10.1.0.3"), answered=False), Reason.UNANSWERED),
    ],
)
def test_what_no_policy_is_made_for_is_told(observation: Observation, reason: Reason) -> None:
    found = propose(cluster(), [observation])
    assert (found.policies, [each.reason for each in found.left_out]) == ((), [reason])


def test_udp_that_nobody_answers_counts() -> None:
    lone = Observation(flow("10.1.0.2", "10.1.0.3", 8125, UDP), answered=False)
    assert len(propose(cluster(), [lone]).policies) == 2


def test_many_clients_outside_become_blocks_that_say_what_else_they_hold() -> None:
    flows = [flow(f"198.51.100.{n}", "10.1.0.3") for n in range(1, 20)]
    found = learn(cluster(), *flows, most_blocks=2)
    assert comments(found, "shop/learned-api")["ingress[0]"] == [
        "from 15 addresses in 198.51.100.0/28, which holds 1 more: 80/tcp (http), 15 connections",
        "from 4 addresses in 198.51.100.16/30, all of it: 80/tcp (http), 4 connections",
    ]


def test_hints_for_the_reviewer() -> None:
    found = learn(
        cluster(),
        flow("10.1.0.3", "169.254.169.254"),
        flow("10.1.0.3", "10.2.0.4", 53, UDP),
        *(flow("203.0.113.5", "10.1.0.3", number) for number in range(40000, 40040, 2)),
        *(flow(address, "10.1.0.3") for address in ("1.2.3.4", "99.2.3.4", "201.2.3.4")),
        most_blocks=1,
    )
    said = comments(found, "shop/learned-api")
    lines = "\n".join(line for lines in said.values() for line in lines)
    assert "169.254.169.254 is where clouds hand out credentials" in lines
    assert "DNS: 53/tcp was not seen" in lines
    assert "20 ports were seen" in lines
    assert "is so wide that everybody may be meant: cidr 0.0.0.0/0" in lines


def test_workloads_that_share_labels_are_told_of() -> None:
    twins = [
        of("Deployment/a", "shop/a", "10.1.0.11", node="n1", app="x"),
        of("Deployment/b", "shop/b", "10.1.0.12", node="n1", app="x"),
    ]
    found = learn(build_snapshot(twins, SPACES, (), NODES), flow("10.1.0.11", "8.8.8.8"))
    assert "shop/deployment/a + deployment/b" in comments(found, "shop/learned-a")["head"][0]
    assert "do not tell these workloads apart" in comments(found, "shop/learned-a")["head"][1]
