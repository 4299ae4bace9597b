"""What the pictures of translations and chains tell is what the kernel is given."""

from __future__ import annotations

import re

import pytest

from podwall.api import Cluster
from podwall.dataplane.counters import CountedRule
from podwall.dataplane.iptables.render import render_rule
from podwall.dataplane.text import render_ruleset
from podwall.draw import Picture, chains_picture, translation_picture
from podwall.draw.scene import Box, Label, Look, Wire
from podwall.model.net import Family
from podwall.model.policy import PolicyKey
from podwall.ruleset.ir import Ruleset
from tests.unit.draw.gallery import EXAMPLES, ROOT

EXAMPLE, SHOP = EXAMPLES[:2]
KEY = PolicyKey("default", "test-network-policy")


def loaded(path: object = EXAMPLE) -> tuple[Cluster, Ruleset, str]:
    cluster = Cluster.load([str(path)])
    node = next(iter(cluster.snapshot.nodes))
    return cluster, cluster.ruleset(node), node


def texts_of(picture: Picture, box: Box) -> str:
    """The lines of a box as one text."""
    items = picture.scene.items
    return " ".join(each.text for each in items if isinstance(each, Label) and each.box == box.id)


def joined(picture: Picture) -> set[tuple[str, str]]:
    """What is joined to what, by the texts of both ends."""
    boxes = {each.id: each for each in picture.scene.items if isinstance(each, Box)}
    return {
        (texts_of(picture, boxes[each.ends[0]]), texts_of(picture, boxes[each.ends[1]]))
        for each in picture.scene.items
        if isinstance(each, Wire)
    }


def test_every_rule_of_a_policy_is_drawn_with_its_exact_text() -> None:
    cluster, ruleset, node = loaded()
    lines = render_ruleset(ruleset).iptables.splitlines()
    picture = translation_picture(cluster.snapshot, ruleset, KEY, where=node)
    drawn = [
        texts_of(picture, each)
        for each in picture.scene.items
        if isinstance(each, Box) and each.look is Look.SUBJECT
    ]
    said = [re.sub(r"^rule \d+ of \S+ ", "", each) for each in drawn]
    assert set(said) <= set(lines)
    assert {each for each in lines if '--comment "default/test-network-policy' in each} <= set(said)


def test_each_part_is_joined_to_its_set_and_each_set_to_its_rule() -> None:
    cluster, ruleset, node = loaded()
    picture = translation_picture(cluster.snapshot, ruleset, KEY, where=node)
    pairs = joined(picture)

    def is_joined(one: str, other: str) -> bool:
        return any(one in source and other in target for source, target in pairs)

    assert is_joined("cidr: 172.17.0.0/16", "PW4-b-172.17.0.0-rxymkv37ust6c hash:net, 2 members")
    assert is_joined("role: frontend", "PW4-p-role-fronte-syd5g5j4kakhy hash:ip, 2 members")
    assert is_joined("project: myproject", "PW4-p-role-fronte-syd5g5j4kakhy")
    assert is_joined("port: 6379", "port numbers stand in the rules")
    assert is_joined("172.17.1.0/24 nomatch", "--match-set PW4-b-172.17.0.0-rxymkv37ust6c src")
    assert is_joined("10.244.1.3 default/db-0", "-d 10.244.1.3/32")
    assert not is_joined("cidr: 172.17.0.0/16", "PW4-p-role")


def test_named_ports_of_peers_become_a_set_of_their_own() -> None:
    cluster, ruleset, _ = loaded(SHOP)
    picture = translation_picture(cluster.snapshot, ruleset, PolicyKey("shop", "payment"))
    assert any(
        "port: amqp" in source and "hash:ip,port" in target for source, target in joined(picture)
    )


def test_a_policy_without_pods_on_the_node_says_that_there_is_no_rule() -> None:
    cluster = Cluster.load([str(EXAMPLE)], nodes=["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"])
    empty = [
        name
        for name in cluster.snapshot.nodes
        if not any(
            pod.node == name and pod.labels.get("role") == "db"
            for pod in cluster.snapshot.pods.values()
        )
    ]
    picture = translation_picture(cluster.snapshot, cluster.ruleset(empty[0]), KEY)
    said = [each.text for each in picture.scene.items if isinstance(each, Label)]
    assert "no pod of this node is isolated by it" in said
    assert "no rule here" in said


def test_an_audited_policy_leads_to_the_audit_chain() -> None:
    cluster, ruleset, _ = loaded(ROOT / "tests" / "golden" / "audit")
    key = PolicyKey("default", "default-deny")
    picture = translation_picture(cluster.snapshot, ruleset, key)
    assert any("-g PW-audit" in target for _, target in joined(picture))


def test_the_other_family_is_drawn_where_it_is_asked_for() -> None:
    cluster, ruleset, _ = loaded(ROOT / "tests" / "golden" / "dual-stack")
    key = next(iter(cluster.snapshot.policies))
    picture = translation_picture(cluster.snapshot, ruleset, key, family=Family.V6)
    assert picture.title.endswith("IPv6")
    assert any("PW6-" in target for _, target in joined(picture))


@pytest.mark.parametrize("family", Family)
def test_the_chains_are_all_there_with_their_rules_by_number(family: Family) -> None:
    _, ruleset, node = loaded()
    rules = ruleset.family(family)
    picture = chains_picture(ruleset, family=family, where=node)
    labels = [each.text for each in picture.scene.items if isinstance(each, Label)]
    assert set(rules.chains) <= set(labels)
    titles = {each.title for each in picture.scene.items if isinstance(each, Box) and each.title}
    assert titles == {
        f"-A {chain.name} {render_rule(family, rule)}"
        for chain in rules.chains.values()
        for rule in chain.rules
    }


def test_rules_are_joined_to_the_chains_that_they_lead_to() -> None:
    _, ruleset, _ = loaded()
    pairs = joined(chains_picture(ruleset))
    boxes = {(source, target.split(" ")[0]) for source, target in pairs}
    assert ("5 any packet jump PW-egress", "PW-egress") in boxes
    assert ("6 any packet goto PW-ingress", "PW-ingress") in boxes
    assert ("FORWARD", "PW-FORWARD") in boxes
    assert any(
        target == "PW-deny" and source.startswith("3 any packet") for source, target in boxes
    )


def counters(ruleset: Ruleset, packets: int) -> dict[str, list[CountedRule]]:
    return {
        name: [
            CountedRule(rule, packets * index, 1500 * packets * index)
            for index, rule in enumerate(chain.rules)
        ]
        for name, chain in ruleset.v4.chains.items()
    }


def test_counters_are_told_and_the_busiest_rule_has_the_longest_bar() -> None:
    _, ruleset, _ = loaded()
    picture = chains_picture(ruleset, counters(ruleset, 1000))
    labels = [each.text for each in picture.scene.items if isinstance(each, Label)]
    assert "no packet" in labels
    assert "1000 packets, 2 MB" in labels
    boxes = {each.id: each for each in picture.scene.items if isinstance(each, Box)}
    bars = [each for each in boxes.values() if each.look is Look.HEAT]
    shares = {each.width / (boxes[each.parent or 0].width - 8) for each in bars}
    assert max(shares) == pytest.approx(1, abs=0.01)
    assert min(shares) > 0.5


def test_counters_of_another_ruleset_are_not_told() -> None:
    _, ruleset, _ = loaded()
    other = {name: rules[:-1] for name, rules in counters(ruleset, 10).items()}
    picture = chains_picture(ruleset, other)
    assert all(each.look is not Look.HEAT for each in picture.scene.items if isinstance(each, Box))
