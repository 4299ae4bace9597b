"""Logged packets, from bytes to values: what is there is understood, what is not raises nothing."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwall.dataplane.nflog.parse import (
    PACKET_MESSAGE,
    LoggedPacket,
    parse_packets,
    sequence_numbers,
)
from podwall.dataplane.nflog.reader import NflogReader
from podwall.model.net import parse_address
from podwall.ruleset.ir import LogKind

V4 = ("10.1.0.5", "10.2.0.7")
V6 = ("fd01::5", "fd02::7")
TIMESTAMP, INDEV, OUTDEV, PAYLOAD, PREFIX, SEQUENCE = 3, 4, 5, 9, 10, 12


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def datagram(payload: bytes, prefix: str = "podwall deny", more: bytes = b"") -> bytes:
    body = b"\0" * 4 + more + attribute(PREFIX, prefix.encode() + b"\0")
    body += attribute(PAYLOAD, payload)
    return struct.pack("=IHHII", 16 + len(body), PACKET_MESSAGE, 0, 0, 0) + body


def ipv4(protocol: int, rest: bytes, *, options: bytes = b"", offset: int = 0) -> bytes:
    size = 20 + len(options)
    head = bytes([0x40 | size // 4, 0]) + struct.pack("!HHHBBH", 1400, 1, offset, 64, protocol, 0)
    return head + b"".join(map(socket.inet_aton, V4)) + options + rest


def ipv6(protocol: int, rest: bytes) -> bytes:
    head = b"\x60\0\0\0" + struct.pack("!HBB", 100, protocol, 64)
    return head + b"".join(socket.inet_pton(socket.AF_INET6, each) for each in V6) + rest


def ports(source: int, target: int) -> bytes:
    return struct.pack("!HH", source, target) + b"\0" * 16


def only(data: bytes) -> LoggedPacket:
    [packet] = parse_packets(data)
    return packet


@pytest.mark.parametrize("protocol", [6, 17, 132])
def test_tcp_udp_and_sctp_have_their_ports(protocol: int) -> None:
    packet = only(datagram(ipv4(protocol, ports(40000, 6379))))
    assert (str(packet.src), str(packet.dst)) == V4
    assert (packet.protocol, packet.sport, packet.dport) == (protocol, 40000, 6379)
    assert packet.length == 1400
    assert packet.kind is LogKind.DENY


def test_options_of_the_header_stand_between_addresses_and_ports() -> None:
    assert only(datagram(ipv4(6, ports(1, 80), options=b"\x01" * 8))).dport == 80


def test_a_later_fragment_has_no_ports() -> None:
    packet = only(datagram(ipv4(17, ports(1, 53), offset=185)))
    assert (packet.sport, packet.dport) == (None, None)


def test_the_first_fragment_has() -> None:
    assert only(datagram(ipv4(17, ports(1, 53), offset=0x2000))).dport == 53


def test_pings_have_a_type_and_no_ports() -> None:
    packet = only(datagram(ipv4(1, b"\x08\0\0\0")))
    assert (packet.icmp_type, packet.dport) == (8, None)


def test_ipv6_ports_stand_after_all_extension_headers() -> None:
    hops = bytes([60, 0]) + b"\0" * 6
    options = bytes([44, 1]) + b"\0" * 14
    fragment = bytes([51, 0, 0, 1]) + b"\0" * 4
    authentication = bytes([6, 4]) + b"\0" * 22
    packet = only(datagram(ipv6(0, hops + options + fragment + authentication + ports(7, 443))))
    assert (str(packet.src), str(packet.dst)) == V6
    assert (packet.protocol, packet.sport, packet.dport) == (6, 7, 443)
    assert packet.length == 140


def test_a_later_ipv6_fragment_has_a_protocol_and_no_ports() -> None:
    packet = only(datagram(ipv6(44, bytes([17, 0, 1, 0]) + b"\0" * 4 + ports(1, 53))))
    assert (packet.protocol, packet.dport) == (17, None)


def test_where_it_came_in_and_when_are_told() -> None:
    more = attribute(TIMESTAMP, struct.pack("!QQ", 1700000000, 250000))
    more += attribute(INDEV, struct.pack("!I", 3)) + attribute(OUTDEV, struct.pack("!I", 9))
    more += attribute(SEQUENCE, struct.pack("!I", 77))
    packet = only(datagram(ipv4(6, ports(1, 2)), "podwall audit", more))
    assert packet.when == 1700000000.25
    assert (packet.indev, packet.outdev, packet.sequence) == (3, 9, 77)
    assert packet.kind is LogKind.AUDIT


def test_what_other_programs_log_to_the_group_is_left_out() -> None:
    data = datagram(ipv4(6, ports(1, 2)), "fw: ") + datagram(ipv4(6, ports(1, 3)))
    assert [each.dport for each in parse_packets(data)] == [3]


def test_a_packet_that_was_cut_short_keeps_what_is_left_of_it() -> None:
    whole = ipv4(6, ports(1, 80))
    assert only(datagram(whole[:24])).dport == 80
    assert only(datagram(whole[:22])).dport is None
    assert parse_packets(datagram(whole[:19])) == ()


def test_the_destination_is_what_ipv4_says_it_is() -> None:
    assert only(datagram(ipv4(47, b""))).dst == parse_address(V4[1])


def test_packets_of_others_are_numbered_along_and_only_a_gap_is_lost() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with theirs, NflogReader(1, connect=lambda _group: ours) as reader:
        for number, prefix in (
            (2**32 - 2, "podwall deny"),
            (2**32 - 1, "fw: "),
            (0, "podwall deny"),
            (5, "podwall audit"),
            (6, "fw: "),
        ):
            more = attribute(SEQUENCE, struct.pack("!I", number))
            theirs.send(datagram(ipv4(6, ports(1, 2)), prefix, more))
        assert len(reader.read()) == 3
        assert reader.lost == 4


@given(st.binary(max_size=200))
def test_no_bytes_of_a_datagram_raise(data: bytes) -> None:
    parse_packets(data)
    sequence_numbers(data)


@given(st.binary(max_size=160))
def test_no_bytes_of_a_packet_raise(payload: bytes) -> None:
    parse_packets(datagram(payload))


@given(st.sampled_from([ipv4(6, ports(1, 2)), ipv6(0, b"\x3c\xff" * 40)]), st.data())
def test_no_byte_that_was_changed_raises(packet: bytes, data: st.DataObject) -> None:
    whole = bytearray(datagram(packet))
    for _ in range(3):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    parse_packets(bytes(whole))
