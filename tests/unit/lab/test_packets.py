"""SCTP and ICMP packets by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwall.lab.packets import (
    INIT,
    INIT_ACK,
    SctpPacket,
    build_echo_request,
    build_init,
    build_init_ack,
    crc32c,
    internet_checksum,
    parse_echo_reply,
    parse_sctp,
    without_ip_header,
)
from podwall.model.net import Family

PORTS = st.integers(0, 65535)
TAGS = st.integers(1, 2**32 - 1)


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_crc32c_gives_the_values_of_rfc_3720_appendix_b4(data: bytes, checksum: int):
    assert crc32c(data) == checksum


@given(PORTS, PORTS, TAGS)
def test_an_init_is_read_back_as_it_was_built(src: int, dst: int, tag: int):
    assert parse_sctp(build_init(src, dst, tag)) == SctpPacket(src, dst, 0, INIT, tag)


@given(PORTS, PORTS, TAGS, TAGS)
def test_an_answer_swaps_the_ports_and_carries_the_askers_tag(
    src: int, dst: int, theirs: int, mine: int
):
    request = parse_sctp(build_init(src, dst, theirs))
    assert request is not None
    answer = parse_sctp(build_init_ack(request, mine))
    assert answer == SctpPacket(dst, src, theirs, INIT_ACK, mine)


@given(st.integers(0, 31), st.integers(1, 255))
def test_an_init_with_one_changed_byte_is_no_packet(position: int, change: int):
    packet = bytearray(build_init(20000, 9, 77))
    packet[position] ^= change
    assert parse_sctp(bytes(packet)) is None


@given(st.binary(max_size=64))
def test_other_bytes_are_no_packet(data: bytes):
    assert parse_sctp(data) is None


def test_an_init_has_the_length_that_its_chunk_says():
    packet = build_init(20000, 9, 77)
    assert len(packet) == 12 + int.from_bytes(packet[14:16], "big")


def test_an_ipv4_echo_request_sums_to_zero():
    assert internet_checksum(build_echo_request(Family.V4, 7, 9)) == 0


@pytest.mark.parametrize(("family", "reply"), [(Family.V4, 0), (Family.V6, 129)])
def test_only_echo_replies_are_read_as_such(family: Family, reply: int):
    request = build_echo_request(family, 7, 9)
    assert parse_echo_reply(family, request) is None
    assert parse_echo_reply(family, bytes([reply]) + request[1:]) == (7, 9)
    assert parse_echo_reply(family, b"\x00") is None


def test_only_ipv4_sockets_deliver_an_ip_header():
    header = b"\x46" + bytes(23)
    assert without_ip_header(Family.V4, header + b"body") == b"body"
    assert without_ip_header(Family.V6, b"body") == b"body"
    assert without_ip_header(Family.V4, b"") == b""
