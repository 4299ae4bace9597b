"""Blocks for addresses outside."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from podwall.learn.blocks import Block, Kept, cover
from podwall.model.net import Address, Family
from tests.builders import addr, net

CLIENTS = ("198.51.100.1", "198.51.100.7", "203.0.113.1", "203.0.113.2", "203.0.113.3")


def texts(blocks: Iterable[Block]) -> list[str]:
    return [
        " ".join([str(each.cidr), *(f"-{hole}" for hole in each.holes), f"+{each.others}"])
        for each in blocks
    ]


def test_few_addresses_are_a_block_each() -> None:
    found = cover(map(addr, CLIENTS), 5, Kept([]))
    assert texts(found) == [f"{each}/32 +0" for each in CLIENTS]


def test_more_become_the_smallest_blocks_that_hold_them() -> None:
    found = cover(map(addr, CLIENTS), 2, Kept([]))
    assert texts(found) == ["198.51.100.0/29 +6", "203.0.113.0/30 +1"]
    assert found[1].seen == tuple(map(addr, CLIENTS[2:]))


def test_families_are_counted_apart() -> None:
    found = cover(map(addr, (*CLIENTS[:2], "2001:db8::1", "2001:db8::2")), 1, Kept([]))
    assert texts(found) == ["198.51.100.0/29 +6", "2001:db8::/126 +2"]


def test_s30_pods_and_nodes_in_a_wider_block_are_holes_of_it() -> None:
    kept = Kept(map(net, ("10.1.0.0/24", "10.1.1.0/24", "10.0.0.9/32", "192.168.0.0/16")))
    found = cover(map(addr, ("10.0.0.1", "10.2.0.1")), 1, kept)
    assert texts(found) == [f"10.0.0.0/14 -10.0.0.9/32 -10.1.0.0/23 +{2**18 - 515}"]


def test_a_block_that_would_have_too_many_holes_is_not_made() -> None:
    kept = Kept(net(f"10.0.{each}.1/32") for each in range(0, 255, 2))
    found = cover(map(addr, ("10.0.0.0", "10.0.255.0", "10.0.255.4")), 1, kept)
    assert texts(found) == ["10.0.0.0/32 +0", "10.0.255.0/29 +6"]


ADDRESSES = st.builds(Address, st.just(Family.V4), st.integers(0, 255).map(lambda low: low * 3))


@given(st.sets(ADDRESSES, max_size=40), st.integers(1, 8), st.sets(ADDRESSES, max_size=4))
def test_blocks_hold_every_address_once_and_nothing_that_is_kept_out(
    addresses: set[Address], limit: int, kept: set[Address]
) -> None:
    seen = addresses - kept
    blocks = cover(seen, limit, Kept(net(f"{each}/32") for each in kept))
    assert len(blocks) <= max(limit, 0)
    for address in seen | kept:
        holders = [each for each in blocks if held(each, address)]
        assert len(holders) == (address in seen)
        assert all(address in each.seen for each in holders)


def held(block: Block, address: Address) -> bool:
    return address in block.cidr and not any(address in hole for hole in block.holes)
