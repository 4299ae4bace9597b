"""Unions of blocks as hash:net members: S25 to S29."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwall.model.net import Address, Cidr, Family
from podwall.model.policy import IPBlock
from podwall.ruleset.blocks import block_members, union_ranges
from podwall.ruleset.ir import IPSet, Net, SetRole, SetType
from podwall.ruleset.simulate import net_matches
from tests.builders import addr, block, net
from tests.effort import calls_of


def members(*blocks: IPBlock, family: Family = Family.V4) -> list[str]:
    return [
        f"{each.cidr} nomatch" if each.nomatch else str(each.cidr)
        for each in sorted(block_members(family, blocks))
    ]


def test_a_block_with_a_hole_is_a_prefix_and_a_nomatch_entry() -> None:
    assert members(block("172.17.0.0/16", "172.17.1.0/24")) == [
        "172.17.0.0/16",
        "172.17.1.0/24 nomatch",
    ]


def test_s26_a_hole_that_another_block_covers_is_no_hole() -> None:
    union = (block("10.0.0.0/8", "10.1.0.0/16"), block("10.0.0.0/9"))
    assert members(*union) == ["10.0.0.0/8"]


def test_s26_what_remains_of_a_hole_stays_a_hole() -> None:
    union = (block("10.0.0.0/8", "10.1.0.0/16"), block("10.1.128.0/17"))
    assert members(*union) == ["10.0.0.0/8", "10.1.0.0/17 nomatch"]


def test_s26_equal_prefixes_with_different_holes_leave_only_the_common_hole() -> None:
    union = (block("10.0.0.0/8", "10.1.0.0/16"), block("10.0.0.0/8", "10.1.2.0/24"))
    assert members(*union) == ["10.0.0.0/8", "10.1.2.0/24 nomatch"]


def test_s27_everything_is_two_halves_in_both_families() -> None:
    assert members(block("0.0.0.0/0")) == ["0.0.0.0/1", "128.0.0.0/1"]
    assert members(block("::/0"), family=Family.V6) == ["::/1", "8000::/1"]


def test_s29_a_block_of_one_family_has_no_members_in_the_other() -> None:
    assert members(block("10.0.0.0/8"), family=Family.V6) == []
    assert members(block("::/0"), family=Family.V4) == []


def test_holes_that_leave_nothing_leave_no_members() -> None:
    assert members(block("10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9")) == []


def test_neighbours_become_one_prefix() -> None:
    assert members(block("10.0.0.0/25"), block("10.0.0.128/25")) == ["10.0.0.0/24"]


SMALL = st.integers(24, 32).flatmap(
    lambda prefix: st.integers(0, 255).map(
        lambda host: net(f"10.0.0.{host >> (32 - prefix) << (32 - prefix)}/{prefix}")
    )
)


@st.composite
def small_blocks(draw: st.DrawFn) -> IPBlock:
    """A block inside 10.0.0.0/24 with holes inside it."""
    cidr: Cidr = draw(SMALL)
    holes = draw(st.lists(SMALL, max_size=3))
    return IPBlock(cidr, tuple(each for each in holes if cidr.covers(each) and each != cidr))


@given(st.lists(small_blocks(), min_size=1, max_size=4))
def test_the_members_match_exactly_the_union_and_never_more_than_the_blocks_wrote(
    blocks: list[IPBlock],
) -> None:
    built = block_members(Family.V4, blocks)
    ipset = IPSet("PW4-b-x", SetType.HASH_NET, Family.V4, SetRole.BLOCKS, built)
    base = addr("10.0.0.0").value
    for value in range(base - 1, base + 257):
        address = Address(Family.V4, value)
        in_union = any(
            address in each.cidr and not any(address in hole for hole in each.excepts)
            for each in blocks
        )
        assert net_matches(ipset, address) == in_union
    written = sum(1 + len(each.excepts) for each in blocks)
    assert len(built) <= 2 * written


def test_ranges_are_merged_and_sorted() -> None:
    assert union_ranges(Family.V4, [block("10.0.0.2/32"), block("10.0.0.0/31")]) == (
        (addr("10.0.0.0").value, addr("10.0.0.2").value),
    )
    assert Net(net("10.0.0.0/31")) in block_members(Family.V4, [block("10.0.0.0/31")])


@pytest.mark.parametrize("family", list(Family))
def test_a_hole_costs_as_much_beside_many_others_as_beside_a_few(family: Family) -> None:
    host = (Cidr(family, 1 << family.bits - 8, 8), family.bits)

    def work(number: int) -> int:
        step = (1 << family.bits - 8) // number
        holes = (Cidr(family, host[0].value + each * step + 2, host[1]) for each in range(number))
        union = [IPBlock(host[0], tuple(holes))]
        return calls_of(lambda: block_members(family, union))

    assert work(1024) < 5 * work(256)
    assert work(256) < 256 * 40
