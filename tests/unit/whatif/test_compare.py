"""Each thing of a cluster that can be another one afterwards shows in the comparison."""

from __future__ import annotations

import msgspec
import pytest

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.net import Family
from podwall.whatif.compare import compare
from podwall.whatif.outcome import Outcome
from tests.builders import allow, named, namespace, node, pod, pods, policy, port

NODE = node("n1", "192.168.0.1", pod_cidrs=["10.0.1.0/24"])
WEB = pod("a/web", "10.0.1.2", node="n1", app="web")
DB = pod("b/db", "10.0.1.3", node="n1", ports=["sql:5432/tcp"], app="db")
FROM_TEAM = policy(
    "b/db",
    {"app": "db"},
    ingress=[allow(pods({"app": "web"}, namespaces={"team": "x"}), ports=[named("sql"), port(22)])],
)


def _cluster(*members, spaces=None, policies=(FROM_TEAM,), nodes=(NODE,)) -> Snapshot:
    spaces = spaces or [namespace("a", team="x"), namespace("b")]
    return build_snapshot(members or (WEB, DB), spaces, policies, nodes)


def _said(outcome: Outcome) -> list[tuple[str, str, str, str]]:
    shifts = (*outcome.opens, *outcome.closes)
    return [(each.turn.value, each.source, each.target, str(each.what)) for each in shifts]


def test_a_namespace_with_other_labels() -> None:
    other = _cluster(spaces=[namespace("a", team="y"), namespace("b")])
    assert _said(compare(_cluster(), other)) == [("closes", "a/web", "b/db", "22,5432/tcp")]


def test_a_port_name_with_another_number() -> None:
    moved = pod("b/db", "10.0.1.3", node="n1", ports=["sql:5433/tcp"], app="db")
    assert _said(compare(_cluster(), _cluster(WEB, moved))) == [
        ("opens", "a/web", "b/db", "5433/tcp"),
        ("closes", "a/web", "b/db", "5432/tcp"),
    ]


def test_a_pod_with_another_label() -> None:
    other = pod("a/web", "10.0.1.2", node="n1", app="other")
    assert _said(compare(_cluster(), _cluster(other, DB))) == [
        ("closes", "a/web", "b/db", "22,5432/tcp")
    ]


def test_s42_a_node_with_another_address() -> None:
    second = node("n2", "192.168.0.2")
    here = _cluster(nodes=(NODE, second))
    moved = _cluster(WEB, msgspec.structs.replace(DB, node="n2"), nodes=(NODE, second))
    swapped = _cluster(
        nodes=(node("n1", "192.168.0.2", pod_cidrs=["10.0.1.0/24"]), node("n2", "192.168.0.1"))
    )
    found = compare(here, moved)
    assert [(each.source, each.target) for each in found.opens] == [("node/n2", "b/db")]
    assert [(each.source, each.target) for each in found.closes] == [("node/n1", "b/db")]
    assert compare(here, swapped).nothing


def test_a_pod_that_moves_to_another_address_is_the_same_pod() -> None:
    moved = pod("a/web", "10.0.1.77", node="n1", app="web")
    assert compare(_cluster(), _cluster(moved, DB)).nothing


def test_a_second_pod_like_the_first_is_told_but_not_as_something_that_opens() -> None:
    def web(name: str, address: str):
        return msgspec.structs.replace(
            pod(f"a/{name}", address, node="n1", app="web"), workload="Deployment/web"
        )

    one, two = web("web-1", "10.0.1.2"), web("web-2", "10.0.1.4")
    outcome = compare(_cluster(one, DB), _cluster(one, two, DB))
    assert outcome.comes == (two.key,)
    assert _said(outcome) == []
    to_db = [each for each in outcome.arrivals if each.target == "b/db"]
    assert to_db == []


def test_what_is_so_in_both_families_is_said_once() -> None:
    members = [
        pod("a/web", "10.0.1.2", "fd00::2", app="web"),
        pod("b/db", "10.0.1.3", "fd00::3", app="db"),
    ]
    closed = policy("b/closed", ingress=[])
    before, after = _cluster(*members, policies=()), _cluster(*members, policies=(closed,))
    (shift,) = compare(before, after).closes[:1]
    assert shift.families == tuple(Family)
    (cause,) = shift.causes
    assert str(cause) == "ingress: isolated now by b/closed, and no rule allows it"


@pytest.mark.parametrize("back", [False, True])
def test_the_reason_is_the_rule_that_opens_or_the_one_that_is_gone(back: bool) -> None:
    closed = policy("b/closed", ingress=[])
    ends = _cluster(policies=(closed,)), _cluster(policies=(closed, FROM_TEAM))
    outcome = compare(*(reversed(ends) if back else ends))
    (shift,) = (*outcome.opens, *outcome.closes)
    (cause,) = shift.causes
    assert str(cause.rule) == "b/db ingress[0]"
    assert cause.text == (
        "b/db ingress[0] is gone, and no rule of b/closed does"
        if back
        else "b/db ingress[0] allows it"
    )
