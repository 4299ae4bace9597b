from __future__ import annotations

import pytest

from podwall.check import check
from podwall.check.finding import Severity
from tests.builders import UDP, Allow, all_of, allow, block, node, pod, policy, port
from tests.effort import calls_of
from tests.unit.check.helpers import cluster, found, paths, run

TEN = block("10.0.0.0/8", "10.1.0.0/16")


def test_s26_an_except_that_another_block_of_the_rule_allows_does_nothing() -> None:
    snapshot = cluster(policy("dev/p", ingress=[allow(TEN, block("10.0.0.0/9"))]))
    [(path, message)] = found("except-allowed-again", snapshot)
    assert path == "spec.ingress[0].from[0].ipBlock.except[0]"
    assert message.startswith("10.1.0.0/16 is allowed all the same, by 10.0.0.0/9:")


def test_s25_an_except_that_another_rule_allows_does_nothing() -> None:
    rules = [allow(TEN, ports=[port(80)]), allow(block("10.0.0.0/9"))]
    [(_, message)] = found("except-allowed-again", cluster(policy("dev/p", egress=rules)))
    assert "by 10.0.0.0/9 in spec.egress[1]" in message


def test_s26_blocks_that_allow_an_except_only_together_are_found() -> None:
    halves = block("10.1.0.0/17"), block("10.1.128.0/17")
    [(_, message)] = found(
        "except-allowed-again", cluster(policy("dev/p", ingress=[allow(TEN, *halves)]))
    )
    assert message.startswith("10.1.0.0/16 is allowed all the same")


def test_s26_an_except_that_is_allowed_in_part_is_good_to_know() -> None:
    snapshot = cluster(policy("dev/p", ingress=[allow(TEN, block("10.1.2.0/24"))]))
    [finding] = run("except-allowed-again", snapshot)
    assert finding.message.startswith("a part of 10.1.0.0/16 is allowed")
    assert finding.severity is Severity.INFO


def test_s25_an_except_stands_where_nothing_else_allows_it() -> None:
    other_port = [allow(TEN, ports=[port(80)]), allow(block("10.0.0.0/9"), ports=[port(81)])]
    other_protocol = [allow(TEN), allow(block("10.0.0.0/9"), ports=[all_of(UDP)])]
    same_hole = [allow(TEN, block("10.0.0.0/9", "10.1.0.0/16"))]
    beside = [allow(TEN, block("192.0.2.0/24"), block("::/0"))]
    for index, rules in enumerate((other_port, other_protocol, same_hole, beside)):
        assert not paths("except-allowed-again", cluster(policy(f"dev/p{index}", ingress=rules)))
    directions = policy("dev/p", ingress=[allow(TEN)], egress=[allow(block("10.0.0.0/9"))])
    assert not paths("except-allowed-again", cluster(directions))


def test_s25_an_except_inside_another_is_superfluous() -> None:
    nested = block("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.0.0/16")
    assert paths("except-superfluous", cluster(policy("dev/p", ingress=[allow(nested)]))) == [
        "spec.ingress[0].from[0].ipBlock.except[1]",
        "spec.ingress[0].from[0].ipBlock.except[2]",
    ]


def test_s25_excepts_beside_each_other_are_both_needed() -> None:
    beside = block("10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16")
    assert not paths("except-superfluous", cluster(policy("dev/p", ingress=[allow(beside)])))


def test_s26_a_block_inside_another_of_its_rule_adds_nothing() -> None:
    snapshot = cluster(policy("dev/p", egress=[allow(block("10.2.0.0/16"), TEN)]))
    [(path, message)] = found("block-swallowed", snapshot)
    assert path == "spec.egress[0].to[0].ipBlock"
    assert message.startswith("10.2.0.0/16 adds nothing: 10.0.0.0/8 except 10.1.0.0/16")


def test_s26_of_two_equal_blocks_the_later_adds_nothing() -> None:
    snapshot = cluster(policy("dev/p", egress=[allow(TEN, TEN)]))
    assert paths("block-swallowed", snapshot) == ["spec.egress[0].to[1].ipBlock"]


def test_s26_a_block_in_the_hole_of_another_or_of_another_rule_adds_something() -> None:
    in_hole = policy("dev/a", ingress=[allow(TEN, block("10.1.2.0/24"))])
    other_rule = policy("dev/b", ingress=[allow(TEN), allow(block("10.2.0.0/16"))])
    other_family = policy("dev/c", ingress=[allow(block("0.0.0.0/0"), block("2001:db8::/32"))])
    assert not paths("block-swallowed", cluster(in_hole, other_rule, other_family))


def test_s30_a_block_that_holds_pods_is_good_to_know() -> None:
    snapshot = cluster(pod("dev/web", "10.0.0.2"), policy("dev/p", egress=[allow(TEN)]))
    [finding] = run("block-on-pods", snapshot)
    assert finding.severity is Severity.INFO
    assert "addresses of pods (10.0.0.2)" in finding.message


def test_s30_a_block_that_is_one_pod_is_a_mistake() -> None:
    one = policy("dev/p", egress=[allow(block("10.0.0.2/32"))])
    [finding] = run("block-on-pods", cluster(pod("dev/web", "10.0.0.2"), one))
    assert finding.severity is Severity.WARNING
    assert "pod dev/web now" in finding.message


def test_s30_a_block_over_a_range_for_pods_counts_before_there_are_any() -> None:
    snapshot = cluster(
        node("n1", pod_cidrs=["10.0.1.0/24"]), policy("dev/p", egress=[allow(block("10.0.0.0/8"))])
    )
    assert "10.0.1.0/24" in found("block-on-pods", snapshot)[0][1]


def test_s30_a_block_that_leaves_the_pods_out_is_about_the_outside() -> None:
    snapshot = cluster(
        node("n1", pod_cidrs=["10.0.1.0/24"]),
        pod("dev/web", "10.0.1.2", "fd00::2"),
        pod("dev/agent", "192.0.2.1", host_network=True),
        policy("dev/p", egress=[allow(block("0.0.0.0/0", "10.0.0.0/8"))]),
    )
    assert not paths("block-on-pods", snapshot)


def test_s29_a_block_of_a_family_that_no_subject_has_allows_nothing() -> None:
    six = policy("dev/p", egress=[allow(block("192.0.2.0/24"), block("2001:db8::/32"))])
    snapshot = cluster(pod("dev/web", "10.0.0.2"), pod("prod/web", "fd00::2"), six)
    [(path, message)] = found("block-family-unused", snapshot)
    assert path == "spec.egress[0].to[1].ipBlock.cidr"
    assert "no selected pod has an IPv6 address" in message


def test_s29_a_dual_stack_subject_uses_both_and_one_without_addresses_says_nothing() -> None:
    both = policy("dev/p", egress=[allow(block("192.0.2.0/24"), block("2001:db8::/32"))])
    assert not paths("block-family-unused", cluster(pod("dev/web", "10.0.0.2", "fd00::2"), both))
    assert not paths("block-family-unused", cluster(pod("dev/web"), both))


def holes(number: int, start: int = 0) -> list[str]:
    """Addresses of 10.0.0.0/8 with a gap after each."""
    values = range(2 * start, 2 * (start + number), 2)
    return [f"10.{each >> 16}.{each >> 8 & 255}.{each & 255}/32" for each in values]


def shapes(number: int) -> list[list[Allow]]:
    """Rules of one policy that are large in one way each."""
    blocks = [block(each) for each in holes(number)]
    return [
        [allow(block("10.0.0.0/8", *holes(number)))],
        [allow(block("10.0.0.0/8", *holes(number)), block("10.0.0.0/8", *holes(number, number)))],
        [allow(*blocks)],
        [allow(*blocks), allow(*blocks[1:])],
        [allow(block("10.0.0.0/8", *holes(number)), *blocks)],
        [
            allow(ports=[port(each) for each in range(1, 2 * number, 2)]),
            allow(ports=[port(each) for each in range(3, 2 * number, 2)]),
        ],
    ]


@pytest.mark.parametrize("shape", range(6))
def test_the_work_grows_in_step_with_the_size_of_one_policy(shape: int) -> None:
    small, large = (
        cluster(pod("dev/web", "10.0.0.2"), policy("dev/p", ingress=shapes(number)[shape]))
        for number in (100, 400)
    )
    assert calls_of(lambda: check(large)) < 6 * calls_of(lambda: check(small))


def test_a_message_names_a_block_of_many_excepts_by_the_first_few() -> None:
    many = block("10.0.0.0/8", *holes(1000))
    rules = [allow(many, block("10.0.0.0/16", *holes(1000)))]
    snapshot = cluster(pod("dev/web", "10.0.0.3"), policy("dev/p", ingress=rules))
    assert max(len(each.message) for each in check(snapshot)) < 300
