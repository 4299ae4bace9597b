"""What the kernel says of a logged packet, from bytes to a value.

A datagram of nfnetlink_log holds netlink messages, a message attributes, and one of them the head
of the packet. All of it may come from a stranger, so nothing here believes a length: what is too
short or makes no sense is left out, and nothing is ever raised.

Sources: linux/netlink.h, linux/netfilter/nfnetlink_log.h; RFC 791, RFC 8200, RFC 9293, RFC 768,
RFC 9260, RFC 792 and RFC 4443 for the packets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import msgspec

from podwall.dataplane.iptables.words import LOG_PREFIX
from podwall.model.net import PORT_PROTOCOLS, Address, Family, Protocol
from podwall.ruleset.ir import LogKind

PACKET_MESSAGE = 4 << 8
"""The type of a message about a packet: subsystem NFNL_SUBSYS_ULOG, message NFULNL_MSG_PACKET."""

ERROR_MESSAGE = 2
"""NLMSG_ERROR."""

_MESSAGE = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_FAMILY_HEADER = 4
_TIMESTAMP, _INDEV, _OUTDEV, _PAYLOAD, _PREFIX, _SEQUENCE = 3, 4, 5, 9, 10, 12
_TYPE_MASK = 0x3FFF

_KINDS = {prefix.encode(): kind for kind, prefix in LOG_PREFIX.items()}
_ICMP = (Protocol.ICMP, Protocol.ICMPV6)
_FRAGMENT, _AUTHENTICATION, _ENCRYPTED = 44, 51, 50
_EXTENSIONS = (0, 43, 60, 135, 139, 140)
_MOST_EXTENSIONS = 8


class LoggedPacket(msgspec.Struct, frozen=True, kw_only=True):
    """A packet that was logged.

    Attributes:
        when: seconds since the epoch; 0 where the kernel did not say.
        kind: denied, or it would be if audited policies were enforced.
        sport, dport: ports of TCP, UDP and SCTP; ``None`` for others, and for a fragment that is
            not the first one.
        icmp_type: the type of an ICMP or ICMPv6 message.
        indev, outdev: indices of interfaces, 0 where there is none.
        length: bytes of the whole IP packet, as its header says.
        sequence: counts the messages of the group; a gap tells how many were lost.
    """

    when: float
    kind: LogKind
    src: Address
    dst: Address
    protocol: int
    sport: int | None = None
    dport: int | None = None
    icmp_type: int | None = None
    indev: int = 0
    outdev: int = 0
    length: int = 0
    sequence: int | None = None

    @property
    def family(self) -> Family:
        """The address family."""
        return self.src.family


class _Head(msgspec.Struct, frozen=True):
    """What a header says; ``rest`` is what the packet carries, ``None`` if that is elsewhere."""

    src: Address
    dst: Address
    protocol: int
    length: int
    rest: bytes | None


def parse_packets(datagram: bytes) -> tuple[LoggedPacket, ...]:
    """The packets of podwall's own rules in one datagram; anything else in it is left out."""
    return tuple(
        packet
        for kind, body in messages(datagram)
        if kind == PACKET_MESSAGE and (packet := _packet(body)) is not None
    )


def sequence_numbers(datagram: bytes) -> tuple[int, ...]:
    """The numbers of all packets in one datagram, also of those that others' rules logged."""
    return tuple(
        number
        for kind, body in messages(datagram)
        if kind == PACKET_MESSAGE
        and (number := _number(_attributes(body[_FAMILY_HEADER:]), _SEQUENCE)) is not None
    )


def messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each netlink message; ends at the first that is not whole."""
    offset = 0
    while offset + _MESSAGE.size <= len(datagram):
        length, kind, _, _, _ = _MESSAGE.unpack_from(datagram, offset)
        if length < _MESSAGE.size or offset + length > len(datagram):
            return
        yield kind, datagram[offset + _MESSAGE.size : offset + length]
        offset += length + 3 & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            break
        found[kind & _TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + 3 & ~3
    return found


def _packet(body: bytes) -> LoggedPacket | None:
    found = _attributes(body[_FAMILY_HEADER:])
    kind = _KINDS.get(found.get(_PREFIX, b"").rstrip(b"\0"))
    head = _head(found.get(_PAYLOAD, b""))
    if kind is None or head is None:
        return None
    sport, dport = _ports(head)
    return LoggedPacket(
        when=_time(found.get(_TIMESTAMP, b"")),
        kind=kind,
        src=head.src,
        dst=head.dst,
        protocol=head.protocol,
        sport=sport,
        dport=dport,
        icmp_type=head.rest[0] if head.rest and head.protocol in _ICMP else None,
        indev=_number(found, _INDEV) or 0,
        outdev=_number(found, _OUTDEV) or 0,
        length=head.length,
        sequence=_number(found, _SEQUENCE),
    )


def _time(data: bytes) -> float:
    if len(data) < 16:
        return 0.0
    seconds, micro = (int.from_bytes(each, "big") for each in (data[:8], data[8:16]))
    return seconds + micro / 1e6


def _number(found: Mapping[int, bytes], kind: int) -> int | None:
    data = found.get(kind, b"")
    return int.from_bytes(data, "big") if len(data) == 4 else None


def _head(packet: bytes) -> _Head | None:
    match packet[0] >> 4 if packet else 0:
        case 4:
            return _head4(packet)
        case 6:
            return _head6(packet)
        case _:
            return None


def _head4(packet: bytes) -> _Head | None:
    size = (packet[0] & 15) * 4
    if size < 20 or len(packet) < 20:
        return None
    length, offset = (int.from_bytes(packet[at : at + 2], "big") for at in (2, 6))
    return _Head(
        src=Address(Family.V4, int.from_bytes(packet[12:16], "big")),
        dst=Address(Family.V4, int.from_bytes(packet[16:20], "big")),
        protocol=packet[9],
        length=length,
        rest=None if offset & 0x1FFF else packet[size:],
    )


def _head6(packet: bytes) -> _Head | None:
    if len(packet) < 40:
        return None
    protocol, rest = _upper_layer(packet[6], packet[40:])
    return _Head(
        src=Address(Family.V6, int.from_bytes(packet[8:24], "big")),
        dst=Address(Family.V6, int.from_bytes(packet[24:40], "big")),
        protocol=protocol,
        length=40 + int.from_bytes(packet[4:6], "big"),
        rest=rest,
    )


def _upper_layer(protocol: int, rest: bytes) -> tuple[int, bytes | None]:
    """Step over the extension headers of IPv6, as far as they are there (RFC 8200 section 4)."""
    for _ in range(_MOST_EXTENSIONS):
        if protocol == _ENCRYPTED:
            return protocol, None
        if protocol not in (_FRAGMENT, _AUTHENTICATION, *_EXTENSIONS):
            return protocol, rest
        if len(rest) < 8:
            return protocol, None
        following = rest[0]
        if protocol == _FRAGMENT:
            if int.from_bytes(rest[2:4], "big") >> 3:
                return following, None
            rest = rest[8:]
        elif protocol == _AUTHENTICATION:
            rest = rest[(rest[1] + 2) * 4 :]
        else:
            rest = rest[(rest[1] + 1) * 8 :]
        protocol = following
    return protocol, None


def _ports(head: _Head) -> tuple[int | None, int | None]:
    if head.rest is None or len(head.rest) < 4 or head.protocol not in PORT_PROTOCOLS:
        return None, None
    sport, dport = struct.unpack_from("!HH", head.rest)
    return sport, dport
