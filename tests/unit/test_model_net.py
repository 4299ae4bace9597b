"""Addresses, blocks, ports: how texts are read, written and compared."""

from __future__ import annotations

import ipaddress
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from podwall.errors import AddressError, InputError
from podwall.model.net import (
    Address,
    Cidr,
    Family,
    PortRange,
    host_cidr,
    merge_ports,
    parse_address,
    parse_cidr,
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("010.001.000.009", "10.1.0.9"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("::", "::"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("fe80::1", "fe80::1"),
        ("::1.2.3.4", "::102:304"),
    ],
)
def test_s28_an_address_is_read_leniently_and_written_canonically(
    text: str, canonical: str
) -> None:
    assert str(parse_address(text)) == canonical


def test_s28_leading_zeros_are_decimal_never_octal() -> None:
    assert parse_address("010.0.0.0") == parse_address("10.0.0.0")
    assert parse_address("0000000010.0.0.1") == parse_address("10.0.0.1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 10.0.0.1",
        "10.0.0.1\n",
        "10.0.0",
        "10.0.0.0.1",
        "10.0.0.256",
        "10.0.0.-1",
        "10.0.0.0x1",
        "1e1.0.0.1",
        "١٠.٠.٠.١",
        "localhost",
        "web.example",
        "10.0.0.1/32",
        "fe80::1%eth0",
        "::ffff:10.0.0.1",
        "::ffff:a00:1",
        "2001:db8::g",
        "2001:db8:::1",
        "[::1]",
        "10.0.0.1 add evil",
    ],
)
def test_what_is_no_plain_address_is_refused_as_input_error(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)
    assert isinstance(caught.value, InputError)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.5/8", "10.0.0.0/8"),
        ("010.000.000.000/08", "10.0.0.0/8"),
        ("255.255.255.255/0", "0.0.0.0/0"),
        ("10.1.2.3/32", "10.1.2.3/32"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("ffff::/0", "::/0"),
        ("::1/128", "::1/128"),
    ],
)
def test_s28_a_block_loses_host_bits_and_leading_zeros(text: str, canonical: str) -> None:
    assert str(parse_cidr(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/8/8",
        "10.0.0.0/8 ",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/٨",
        "::/129",
        "::/1000",
        "::ffff:10.0.0.0/104",
        "/8",
        "",
        "ten/8",
    ],
)
def test_what_is_no_block_is_refused(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_cidr(text)
    assert repr(text) in str(caught.value)


def test_a_block_without_prefix_tells_what_to_write() -> None:
    with pytest.raises(AddressError, match=r"as in 10\.0\.0\.1/32"):
        parse_cidr("10.0.0.1")


def test_a_block_holds_its_first_and_last_address_and_no_neighbour() -> None:
    block = parse_cidr("10.0.1.0/24")
    assert parse_address("10.0.1.0") in block
    assert parse_address("10.0.1.255") in block
    assert parse_address("10.0.0.255") not in block
    assert parse_address("10.0.2.0") not in block


def test_s29_a_block_holds_no_address_of_the_other_family() -> None:
    assert parse_address("::") not in parse_cidr("0.0.0.0/0")
    assert parse_address("0.0.0.0") not in parse_cidr("::/0")
    assert not parse_cidr("0.0.0.0/0").covers(parse_cidr("::/128"))


def test_a_block_covers_itself_and_what_is_inside() -> None:
    block = parse_cidr("10.0.0.0/8")
    assert block.covers(block)
    assert block.covers(parse_cidr("10.255.0.0/16"))
    assert not parse_cidr("10.255.0.0/16").covers(block)
    assert not block.covers(parse_cidr("11.0.0.0/16"))


def test_the_block_of_one_address_holds_just_it() -> None:
    for text in ("10.0.0.1", "2001:db8::1"):
        block = host_cidr(parse_address(text))
        assert block.first == block.last == parse_address(text).value


@given(st.ip_addresses())
def test_every_address_survives_being_written_and_read(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assume(getattr(address, "ipv4_mapped", None) is None)
    value = Address(Family(address.version), int(address))
    assert str(value) == str(address)
    assert parse_address(str(value)) == value


@given(st.ip_addresses(), st.integers(0, 128))
def test_blocks_agree_with_the_standard_library(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: int
) -> None:
    assume(getattr(address, "ipv4_mapped", None) is None and prefix <= address.max_prefixlen)
    theirs = ipaddress.ip_network((address, prefix), strict=False)
    ours = parse_cidr(f"{address}/{prefix}")
    assert str(ours) == str(theirs)
    assert (ours.first, ours.last) == (
        int(theirs.network_address),
        int(theirs.broadcast_address),
    )


def test_values_sort_by_family_then_number() -> None:
    texts = ["2001:db8::1", "10.0.0.10", "::1", "10.0.0.9"]
    assert [str(each) for each in sorted(map(parse_address, texts))] == [
        "10.0.0.9",
        "10.0.0.10",
        "::1",
        "2001:db8::1",
    ]
    assert sorted(map(parse_cidr, ["10.0.0.0/9", "10.0.0.0/8"])) == [
        Cidr(Family.V4, 10 << 24, 8),
        Cidr(Family.V4, 10 << 24, 9),
    ]


def test_s40_a_port_range_includes_both_ends() -> None:
    ports = PortRange(80, 82)
    assert [number in ports for number in (79, 80, 81, 82, 83)] == [False, True, True, True, False]


def test_a_port_range_is_written_as_multiport_takes_it() -> None:
    assert str(PortRange(80, 80)) == "80"
    assert str(PortRange(80, 90)) == "80:90"


def test_ports_that_touch_or_overlap_become_one_range() -> None:
    given_ranges = [PortRange(85, 90), PortRange(80, 80), PortRange(81, 86), PortRange(100, 100)]
    assert merge_ports(given_ranges) == (PortRange(80, 90), PortRange(100, 100))


def test_a_range_inside_another_does_not_shorten_it() -> None:
    assert merge_ports([PortRange(1, 65535), PortRange(80, 80)]) == (PortRange(1, 65535),)


_RANGES = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(
    lambda ends: PortRange(min(ends), max(ends))
)


@given(st.lists(_RANGES))
def test_merged_ports_are_the_same_ports_in_the_fewest_ranges(ranges: list[PortRange]) -> None:
    merged = merge_ports(ranges)
    for number in range(1, 42):
        assert any(number in each for each in merged) == any(number in each for each in ranges)
    for left, right in pairwise(merged):
        assert left.last + 1 < right.first
