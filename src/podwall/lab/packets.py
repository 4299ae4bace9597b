"""SCTP and ICMP packets by hand; pure.

Many kernels are built without SCTP, so the lab speaks as much of it as connection tracking needs to
see a connection begin: INIT and its answer INIT-ACK (RFC 9260, sections 3.3.2 and 3.3.3), with the
right checksum, for a packet with a wrong one counts as invalid. ICMP echo requests are asked from
raw sockets and answered by the kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

from podwall.model.net import Family

_CRC32C = 0x82F63B78
"""The Castagnoli polynomial, bits reversed."""

INIT = 1
INIT_ACK = 2

_COMMON = struct.Struct("!HHI")
_CHECKSUM = struct.Struct("<I")
_INIT = struct.Struct("!BBHIIHHI")
_STATE_COOKIE = struct.pack("!HH4s", 7, 8, b"wall")
_WINDOW = 65535
_STREAMS = 1
_HEADER = 12
_ECHO = struct.Struct("!BBHHH")
_ECHO_REQUEST = {Family.V4: 8, Family.V6: 128}
ECHO_REPLY = {Family.V4: 0, Family.V6: 129}


def _crc_table() -> Sequence[int]:
    table = []
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = crc >> 1 ^ (_CRC32C if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The checksum of SCTP (RFC 9260, appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class SctpPacket(msgspec.Struct, frozen=True):
    """What the lab reads of an SCTP packet: ports, verification tag, and its first chunk.

    ``init_tag`` is the sender's own tag in an INIT or INIT-ACK, and 0 in all others.
    """

    src_port: int
    dst_port: int
    tag: int
    chunk: int
    init_tag: int


def build_init(src_port: int, dst_port: int, init_tag: int) -> bytes:
    """A packet that opens an association; ``init_tag`` is not 0 and comes back in the answer."""
    chunk = _INIT.pack(INIT, 0, _INIT.size, init_tag, _WINDOW, _STREAMS, _STREAMS, init_tag)
    return _with_checksum(src_port, dst_port, 0, chunk)


def build_init_ack(request: SctpPacket, init_tag: int) -> bytes:
    """The answer to an INIT: it carries the asker's tag, and a cookie as it has to."""
    length = _INIT.size + len(_STATE_COOKIE)
    chunk = _INIT.pack(INIT_ACK, 0, length, init_tag, _WINDOW, _STREAMS, _STREAMS, init_tag)
    return _with_checksum(
        request.dst_port, request.src_port, request.init_tag, chunk + _STATE_COOKIE
    )


def parse_sctp(data: bytes) -> SctpPacket | None:
    """Read an SCTP packet without its IP header; None if it is none or its checksum is wrong."""
    if len(data) < _HEADER + 4:
        return None
    src_port, dst_port, tag = _COMMON.unpack_from(data)
    (checksum,) = _CHECKSUM.unpack_from(data, _COMMON.size)
    if checksum != crc32c(data[: _COMMON.size] + bytes(4) + data[_HEADER:]):
        return None
    chunk = data[_HEADER]
    init_tag = 0
    if chunk in (INIT, INIT_ACK):
        if len(data) < _HEADER + _INIT.size:
            return None
        init_tag = _INIT.unpack_from(data, _HEADER)[3]
    return SctpPacket(src_port, dst_port, tag, chunk, init_tag)


def build_echo_request(family: Family, identifier: int, sequence: int) -> bytes:
    """An echo request; the kernel fills in ICMPv6's checksum."""
    kind = _ECHO_REQUEST[family]
    packet = _ECHO.pack(kind, 0, 0, identifier, sequence)
    if family is Family.V6:
        return packet
    return _ECHO.pack(kind, 0, internet_checksum(packet), identifier, sequence)


def parse_echo_reply(family: Family, data: bytes) -> tuple[int, int] | None:
    """Identifier and sequence number of an echo reply without its IP header; None if it is none."""
    if len(data) < _ECHO.size:
        return None
    kind, _, _, identifier, sequence = _ECHO.unpack_from(data)
    return (identifier, sequence) if kind == ECHO_REPLY[family] else None


def _with_checksum(src_port: int, dst_port: int, tag: int, chunk: bytes) -> bytes:
    ports = _COMMON.pack(src_port, dst_port, tag)
    return ports + _CHECKSUM.pack(crc32c(ports + bytes(4) + chunk)) + chunk


def internet_checksum(data: bytes) -> int:
    """The checksum of IPv4 and ICMP (RFC 1071) over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def without_ip_header(family: Family, data: bytes) -> bytes:
    """What a raw socket received, after the IP header, which IPv4 sockets deliver too."""
    if family is Family.V6 or not data:
        return data
    return data[(data[0] & 0x0F) * 4 :]
