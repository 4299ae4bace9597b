from __future__ import annotations

from tests.builders import Allow, allow, block, pods, policy, port
from tests.unit.check.helpers import cluster, codes, found, paths

WEB = pods({"app": "web"}, namespaces="dev")
EVERYONE = pods(namespaces={})


def test_s3_a_rule_that_another_swallows_is_superfluous() -> None:
    rules = [allow(WEB, ports=[port(80)]), allow(EVERYONE, ports=[port(1, 1024)])]
    [(path, message)] = found("rule-swallowed", cluster(policy("dev/p", ingress=rules)))
    assert path == "spec.ingress[0]"
    assert message.startswith("adds nothing to spec.ingress[1]")


def test_s3_of_two_equal_rules_the_later_is_superfluous() -> None:
    rules = [allow(WEB, ports=[port(80)]), allow(WEB, ports=[port(80)])]
    [(path, message)] = found("rule-swallowed", cluster(policy("dev/p", egress=rules)))
    assert path == "spec.egress[1]"
    assert message.startswith("the same as spec.egress[0]")


def test_s7_rules_of_different_directions_never_swallow_each_other() -> None:
    both = policy("dev/p", ingress=[allow(WEB)], egress=[allow()])
    assert not paths("rule-swallowed", cluster(both))


def test_rules_that_differ_in_peers_or_ports_are_both_needed() -> None:
    rules = [
        allow(WEB, ports=[port(80)]),
        allow(WEB, ports=[port(81)]),
        allow(pods({"app": "db"}, namespaces="dev"), ports=[port(80)]),
        allow(block("10.0.0.0/8"), ports=[port(80)]),
    ]
    assert not paths("rule-swallowed", cluster(policy("dev/p", ingress=rules)))


def test_s3_a_policy_with_the_content_of_another_is_a_duplicate_and_nothing_else() -> None:
    first = policy("dev/a", {"app": "x"}, ingress=[allow(WEB)])
    second = policy("dev/b", {"app": "x"}, ingress=[allow(WEB)])
    [(path, message)] = found("duplicate-policy", cluster(first, second))
    assert path == "spec"
    assert "policy a;" in message
    assert codes(cluster(first, second)) == {"duplicate-policy"}


def test_policies_of_two_namespaces_or_with_two_subjects_are_no_duplicates() -> None:
    other_namespace = policy("prod/a", ingress=[])
    other_subject = policy("dev/b", {"app": "x"}, ingress=[])
    other_direction = policy("dev/c", egress=[])
    snapshot = cluster(policy("dev/a", ingress=[]), other_namespace, other_subject, other_direction)
    assert not paths("duplicate-policy", snapshot)


def test_s3_a_policy_whose_pods_another_opens_further_changes_nothing() -> None:
    narrow = policy("dev/narrow", {"app": "x", "tier": "y"}, ingress=[allow(WEB, ports=[port(80)])])
    wide = policy("dev/wide", {"app": "x"}, ingress=[allow(WEB)], egress=[])
    [(path, message)] = found("policy-swallowed", cluster(narrow, wide))
    assert path == "spec"
    assert message.startswith("policy wide selects these pods and others")


def test_s3_of_two_policies_that_say_the_same_in_other_words_the_later_is_named() -> None:
    one_rule = policy("dev/a", ingress=[allow(WEB, ports=[port(80), port(81)])])
    two_rules = policy("dev/b", ingress=[allow(WEB, ports=[port(80, 81)])])
    [(_, message)] = found("policy-swallowed", cluster(one_rule, two_rules))
    assert message.startswith("policy a selects the same pods")


def test_s1_a_policy_that_isolates_a_direction_more_is_needed() -> None:
    both = policy("dev/a", ingress=[allow(WEB)], egress=[])
    wide = policy("dev/b", ingress=[allow()])
    assert not paths("policy-swallowed", cluster(both, wide))


def test_a_policy_for_other_pods_swallows_nothing() -> None:
    narrow = policy("dev/a", {"app": "x"}, ingress=[allow(WEB)])
    other = policy("dev/b", {"app": "y"}, ingress=[allow()])
    elsewhere = policy("prod/c", ingress=[allow()])
    assert not paths("policy-swallowed", cluster(narrow, other, elsewhere))


def test_s4_a_default_that_closes_is_never_called_superfluous() -> None:
    default = policy("dev/default", ingress=[])
    assert codes(cluster(default, policy("dev/open", ingress=[allow(WEB)]))) == set()


def test_s10_a_rule_that_lost_its_peers_is_not_called_superfluous() -> None:
    broken = policy("dev/p", ingress=[allow(WEB), Allow(peers=(), ports=(port(80),))])
    assert not paths("rule-swallowed", cluster(broken))
