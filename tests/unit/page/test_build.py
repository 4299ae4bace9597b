"""What a page holds is what the matrix and the oracle say."""

from __future__ import annotations

import msgspec
import pytest

from podwall.api import Cluster
from podwall.check.registry import check
from podwall.explain.ends import end_at
from podwall.explain.matrix import compute_matrix, parties_of
from podwall.model.net import parse_address
from podwall.model.policy import PolicyKey
from podwall.page import Content, Drawing, Subject, build
from podwall.ruleset.ir import Ruleset

SHOP = "examples/shop"


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster.load([SHOP])


def subject(cluster: Cluster, **more: object) -> Subject:
    rulesets: dict[str, Ruleset] = {}

    def ruleset_of(node: str) -> Ruleset:
        return rulesets.setdefault(node, cluster.ruleset(node))

    findings = tuple(check(cluster.snapshot, {}))
    outside = (end_at(cluster.snapshot, parse_address("203.0.113.1")),)
    plain = Subject(
        "shop", SHOP, cluster.snapshot, cluster.settings, ruleset_of, findings, outside=outside
    )
    return msgspec.structs.replace(plain, **more)


@pytest.fixture(scope="module")
def content(cluster: Cluster) -> Content:
    return build(subject(cluster))


def title(content: Content, number: int) -> str:
    party = content.parties[number]
    return party.name if party.kind in ("node", "address") else f"{party.namespace}/{party.name}"


def test_every_cell_says_what_the_matrix_says(cluster: Cluster, content: Content) -> None:
    outside = [end_at(cluster.snapshot, parse_address("203.0.113.1"))]
    parties = parties_of(cluster.snapshot, True, outside)
    wanted = {
        (cell.source, cell.target): {str(each) for each in cell.reaches}
        for cell in compute_matrix(cluster.snapshot, parties, cluster.settings).cells
    }
    found = {
        (title(content, source), title(content, target)): {
            content.reaches[each].text for each in content.answers[number]
        }
        for target, row in enumerate(content.cells[0])
        for source, number in enumerate(row)
        if number >= 0
    }
    assert found == wanted


def test_each_explanation_says_what_the_oracle_says(cluster: Cluster, content: Content) -> None:
    for each in content.explanations:
        source, target, service = (
            content.texts[number] for number in (each.source, each.target, each.service)
        )
        assert each.allowed is cluster.allowed(source, target, service)
        assert each.agrees
        assert each.allowed is all(content.parts[part].allowed for part in each.directions)


def test_every_cell_with_an_answer_has_an_explanation_of_each_answer(content: Content) -> None:
    for target, row in enumerate(content.cells[0]):
        for source, number in enumerate(row):
            if number >= 0 and content.answers[number]:
                assert content.told[f"0,{target},{source}"]


def test_parties_stand_by_namespace_then_nodes_then_what_is_outside(content: Content) -> None:
    namespaces = list(dict.fromkeys(party.namespace for party in content.parties))
    assert namespaces == ["data", "platform", "shop", "nodes", "outside"]


def test_policies_name_the_parties_that_they_select_and_what_check_found(
    cluster: Cluster, content: Content
) -> None:
    cards = {(each.namespace, each.name): each for each in content.policies}
    cache = cards["data", "cache"]
    assert [content.parties[each].name for each in cache.selects] == ["statefulset/cache"]
    assert cache.pods == 2
    assert cards["data", "default-deny"].rules == ()
    assert sum(len(each.findings) for each in content.policies) == len(
        list(check(cluster.snapshot, {}))
    )


def test_a_small_budget_leaves_explanations_and_pictures_out_and_says_so(cluster: Cluster) -> None:
    def draw(key: PolicyKey) -> list[Drawing]:
        return [Drawing("policy", str(key), "", "x" * 100)]

    content = build(
        subject(cluster, draw=lambda key: iter(draw(key))), explanations=5, picture_bytes=250
    )
    assert len(content.explanations) <= 7
    assert sum(1 for each in content.policies if each.pictures) == 2
    assert len(content.left_out) == 2


def test_building_twice_gives_the_same(cluster: Cluster, content: Content) -> None:
    assert build(subject(cluster)) == content
