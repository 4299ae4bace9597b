"""Whether promises are kept: which pairs are meant, which are not, and why one is broken."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.objects import Pod
from podwall.model.settings import Settings
from podwall.promises.judging import Judge, Judgement, judge_promises
from podwall.promises.report import count_line, failure_lines, summary, to_dict
from tests.builders import allow, block, labels, namespace, node, pod, pods, policy, port
from tests.unit.promises.expectations import promises

REASON = (
    "ingress of data/db-0 is isolated by data/db, data/deny; no rule allows role=web, {address}; "
    "data/db ingress[0] wants role=api, data/db ingress[1] wants 192.0.2.0/24"
)


def of(workload: str, pod: Pod) -> Pod:
    """The pod as one of a workload."""
    return msgspec.structs.replace(pod, workload=workload)


def shop() -> Snapshot:
    """Two web pods, an API pod and a database that lets the API in on 5432, on two nodes."""
    return build_snapshot(
        [
            of("Deployment/web", pod("shop/web-0", "10.0.1.2", node="n1", role="web")),
            of("Deployment/web", pod("shop/web-1", "10.0.2.2", node="n2", role="web")),
            of("Deployment/api", pod("shop/api-0", "10.0.1.3", node="n1", role="api")),
            of("StatefulSet/db", pod("data/db-0", "10.0.2.3", node="n2", role="db")),
            of("DaemonSet/log", pod("data/log", node="n2", host_network=True)),
            pod("data/late"),
        ],
        [namespace("shop", team="shop"), namespace("data", team="data")],
        [
            policy("data/deny", ingress=[]),
            policy(
                "data/db",
                labels({"role": "db"}),
                ingress=[
                    allow(pods({"role": "api"}, namespaces={"team": "shop"}), ports=[port(5432)]),
                    allow(block("192.0.2.0/24", "192.0.2.128/25"), ports=[port(5432)]),
                ],
            ),
        ],
        [
            node("n1", "172.16.0.1", pod_cidrs=["10.0.1.0/24"]),
            node("n2", "172.16.0.2", pod_cidrs=["10.0.2.0/24"]),
        ],
    )


def judged(directory: Path, line: str, settings: Settings = Settings()) -> Judgement:
    (found,) = judge_promises(shop(), promises(directory, f"- {{{line}}}"), settings)
    return found


@pytest.mark.parametrize(
    ("line", "pairs"),
    [
        ("from: shop/api-0, to: data/db-0, port: 5432, expect: allowed", 1),
        ("from: shop/deployment/web, to: data/db-0, expect: denied", 2),
        ("from: shop/deployment/web, to: data/db-0, ports: [80, 443, icmp], expect: denied", 6),
        ("from: namespace/shop, to: namespace/shop, expect: allowed", 6),
        ("from: 192.0.2.9, to: data/db-0, port: 5432, expect: allowed", 1),
        ("from: 192.0.2.128/25, to: data/db-0, expect: denied", 1),
        ("from: node/n1, to: data/db-0, expect: denied", 1),
        ("from: node/n2, to: data/db-0, port: 5432, expect: allowed", 1),
        ("from: any, to: data/db-0, port: 22, expect: denied", 12),
        ("from: any, to: shop/api-0, expect: allowed", 12),
    ],
)
def test_a_promise_is_judged_for_every_pair_that_it_means(
    tmp_path: Path, line: str, pairs: int
) -> None:
    found = judged(tmp_path, line)
    assert (found.kept, found.pairs) == (True, pairs), list(failure_lines(found))


def test_the_pairs_that_break_a_promise_are_named_with_their_reasons(tmp_path: Path) -> None:
    found = judged(tmp_path, "from: namespace/shop, to: data/db-0, port: 5432, expect: allowed")
    assert not found.kept
    assert (found.pairs, found.broken) == (3, 2)
    assert summary(found) == "2 of 3 pairs are denied"
    assert list(failure_lines(found)) == [
        "promised: pods in namespace shop → pod data/db-0 5432/tcp is allowed",
        "but 2 of 3 pairs are denied",
        "  shop/web-0 → data/db-0 5432/tcp is denied (10.0.1.2 → 10.0.2.3)",
        f"    {REASON.format(address='10.0.1.2')}",
        "  shop/web-1 → data/db-0 5432/tcp is denied (10.0.2.2 → 10.0.2.3)",
        f"    {REASON.format(address='10.0.2.2')}",
    ]


def test_a_right_peer_on_a_wrong_port_is_the_closest_miss(tmp_path: Path) -> None:
    found = judged(tmp_path, "from: shop/api-0, to: data/db-0, port: 5433, expect: allowed")
    assert found.breaches[0].why == (
        "ingress of data/db-0 is isolated by data/db, data/deny; "
        "no rule allows 5433/tcp from shop/api-0; data/db ingress[0] allows 5432/tcp",
    )


def test_what_is_open_and_should_not_be_says_who_opens_it(tmp_path: Path) -> None:
    found = judged(tmp_path, "from: shop/api-0, to: data/db-0, expect: denied")
    (breach,) = found.breaches
    assert breach.service == "5432/tcp"
    assert breach.why == (
        "egress of shop/api-0: no policy isolates the pod in this direction (S1, S49)",
        "ingress of data/db-0 is allowed by data/db ingress[0]",
    )


def test_all_ports_are_only_open_if_every_one_is(tmp_path: Path) -> None:
    found = judged(tmp_path, "from: shop/api-0, to: data/db-0, expect: allowed")
    assert found.breaches[0].service == "1/tcp"
    assert judged(tmp_path, "from: shop/api-0, to: shop/web-0, expect: allowed").kept


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("from: shop/wep-0, to: any", "there is no pod shop/wep-0; did you mean shop/web-"),
        (
            "from: shop/deployment/wep, to: any",
            "no pod belongs to shop/deployment/wep; did you mean shop/deployment/web",
        ),
        ("from: namespace/shoop, to: any", "there is no namespace shoop; did you mean shop?"),
        ("from: node/n9, to: any", "there is no node n9; did you mean n"),
        (
            "from: {podSelector: {matchLabels: {role: cook}}}, to: any",
            "there are no pods role=cook in any namespace",
        ),
        ("from: {namespaceSelector: {matchLabels: {a: b}}}, to: any", "no namespace has a=b"),
        ("from: data/late, to: any", "pod data/late has no address (yet)"),
        ("from: shop/web-0, to: shop/web-0", "no pair of these ends is one that policies decide"),
        ('from: shop/web-0, to: "fd00::1"', "the two ends have no addresses of one family"),
    ],
)
@pytest.mark.parametrize("expect", ["allowed", "denied"])
def test_a_promise_that_means_nobody_is_broken_whatever_it_expects(
    tmp_path: Path, line: str, fault: str, expect: str
) -> None:
    found = judged(tmp_path, f"{line}, expect: {expect}")
    assert not found.kept
    assert fault in found.fault
    assert list(failure_lines(found))[1].startswith("but ")


def test_nobody_can_promise_away_a_pods_own_node_so_any_leaves_it_out(tmp_path: Path) -> None:
    assert judged(tmp_path, "from: any, to: data/db-0, port: 22, expect: denied").kept
    named = judged(tmp_path, "from: node/n2, to: data/db-0, port: 22, expect: denied")
    assert "a pod's own node always reaches it" in named.breaches[0].why[-1]


def test_an_address_of_a_pod_range_without_a_pod_is_judged_only_if_it_is_named(
    tmp_path: Path,
) -> None:
    assert judged(tmp_path, "from: 10.0.1.0/24, to: shop/web-1, expect: allowed").kept
    named = judged(tmp_path, "from: 10.0.1.200, to: shop/web-1, expect: allowed")
    assert not named.kept
    opened = Settings(close_unknown_pods=False)
    assert judged(tmp_path, "from: 10.0.1.200, to: shop/web-1, expect: allowed", opened).kept


def test_a_pod_with_host_network_is_its_node(tmp_path: Path) -> None:
    snapshot = build_snapshot(
        [
            pod("a/web", "10.0.1.2", node="n1"),
            pod("a/agent", "172.16.0.1", node="n1", host_network=True),
        ],
        [namespace("a")],
        [policy("a/deny", ingress=[])],
        [node("n1", "172.16.0.1")],
    )
    (found,) = judge_promises(
        snapshot, promises(tmp_path, "- {from: a/agent, to: a/web, expect: denied}")
    )
    (breach,) = found.breaches
    assert breach.source == "a/agent (hostNetwork, as node n1)"


def test_one_address_stands_for_each_part_of_a_block_that_policies_can_tell_apart(
    tmp_path: Path,
) -> None:
    judge = Judge(shop())
    (promise,) = promises(
        tmp_path, "- {from: 192.0.0.0/16, to: data/db-0, port: 1, expect: denied}"
    )
    asked = [str(pair.source.address) for pair in judge.pairs(promise)]
    assert asked == ["192.0.0.1", "192.0.2.1", "192.0.2.129", "192.0.3.1"]


def test_the_report_counts_promises_and_pairs(tmp_path: Path) -> None:
    found = judge_promises(
        shop(),
        promises(
            tmp_path,
            """
            - {name: one, from: shop/api-0, to: data/db-0, port: 5432, expect: allowed}
            - {name: two, from: shop/web-0, to: data/db-0, port: 5432, expect: allowed}
            """,
        ),
    )
    assert count_line(found) == "2 promises, 1 broken, 2 pairs asked"
    assert count_line(found[:1]) == "1 promise kept, 1 pair asked"
    assert summary(found[1]) == "it is denied"
    (example,) = to_dict(found[1])["examples"]  # type: ignore[misc]
    assert example["addresses"] == ["10.0.1.2", "10.0.2.3"]
    assert example["verdict"] == "denied"


def test_many_breaches_are_counted_and_the_first_are_told(tmp_path: Path) -> None:
    crowd = build_snapshot(
        [pod(f"a/p{n}", f"10.0.0.{n}") for n in range(1, 21)],
        [namespace("a")],
        [policy("a/deny", ingress=[])],
    )
    (found,) = judge_promises(
        crowd, promises(tmp_path, "- {from: namespace/a, to: namespace/a, expect: allowed}")
    )
    assert (found.pairs, found.broken, len(found.breaches)) == (380, 380, 5)
    assert list(failure_lines(found))[-1] == "  and 375 more"
