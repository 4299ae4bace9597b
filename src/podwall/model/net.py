"""Addresses, CIDRs, port ranges and protocols as values.

Everything here is a small frozen value that compares, sorts and hashes by content. Texts are parsed
once, at the edge, and written in the canonical form that the kernel's tools print, so that what
podwall renders and what it reads back can be compared as they are.
"""

from __future__ import annotations

import enum
import functools
import ipaddress
import re
from collections.abc import Iterable

import msgspec

from podwall.errors import AddressError
from podwall.model.spans import merged


class Family(enum.IntEnum):
    """An address family; the value is the IP version."""

    V4 = 4
    V6 = 6

    @property
    def bits(self) -> int:
        """Width of an address in bits."""
        return 32 if self is Family.V4 else 128

    @property
    def ipset_name(self) -> str:
        """The word ipset(8) has for the family."""
        return "inet" if self is Family.V4 else "inet6"


class Protocol(enum.IntEnum):
    """IP protocols that podwall has a name for; the value is the protocol number.

    TCP, UDP and SCTP are what a NetworkPolicy port can name. A :class:`~podwall.model.flow.Flow`
    may carry any number; those without ports are judged by rules that name no port.
    """

    ICMP = 1
    TCP = 6
    UDP = 17
    ICMPV6 = 58
    SCTP = 132


PORT_PROTOCOLS = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)
"""The protocols that a NetworkPolicy port may name, in the order of the API documentation."""


class Address(msgspec.Struct, frozen=True, order=True, gc=False):
    """One IP address: its family and its value as an unsigned integer."""

    family: Family
    value: int

    def __str__(self) -> str:
        return _address_text(self.family, self.value)


class Cidr(msgspec.Struct, frozen=True, order=True, gc=False):
    """A block of addresses: the network's value (host bits zero) and the prefix length."""

    family: Family
    value: int
    prefix: int

    @property
    def first(self) -> int:
        """Value of the lowest address."""
        return self.value

    @property
    def last(self) -> int:
        """Value of the highest address."""
        return self.value | ((1 << (self.family.bits - self.prefix)) - 1)

    def __contains__(self, address: Address) -> bool:
        return address.family is self.family and self.first <= address.value <= self.last

    def covers(self, other: Cidr) -> bool:
        """Whether every address of ``other`` lies in this block."""
        return other.family is self.family and self.first <= other.first and other.last <= self.last

    def __str__(self) -> str:
        return f"{_address_text(self.family, self.value)}/{self.prefix}"


class PortRange(msgspec.Struct, frozen=True, order=True, gc=False):
    """Ports ``first`` to ``last``, both included, each within 1 to 65535."""

    first: int
    last: int

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __str__(self) -> str:
        """The form of iptables' multiport match: ``80`` or ``80:90``."""
        return str(self.first) if self.first == self.last else f"{self.first}:{self.last}"


@functools.lru_cache(maxsize=16384)
def _address_text(family: Family, value: int) -> str:
    if family is Family.V4:
        return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
    return str(ipaddress.IPv6Address(value))


_SLOPPY_IPV4 = re.compile(r"\d{1,20}(?:\.\d{1,20}){3}\Z", re.ASCII)
_PREFIX = re.compile(r"\d{1,3}\Z", re.ASCII)


@functools.lru_cache(maxsize=16384)
def parse_address(text: str) -> Address:
    """Read an IPv4 or IPv6 address.

    Leading zeros of IPv4 numbers are read as decimal, as the API server reads them in stored
    objects (S28). Zone suffixes and IPv4-mapped IPv6 addresses are refused: no packet carries them.

    Raises:
        AddressError: ``text`` is no address.
    """
    try:
        if _SLOPPY_IPV4.match(text):
            numbers = [int(part) for part in text.split(".")]
            if max(numbers) > 255:
                raise AddressError(f"{text!r} is not an IP address: a number is above 255")
            return Address(Family.V4, int.from_bytes(bytes(numbers), "big"))
        parsed = ipaddress.IPv6Address(text)
    except ValueError as error:
        raise AddressError(f"{text!r} is not an IP address") from error
    if parsed.scope_id is not None or parsed.ipv4_mapped is not None:
        raise AddressError(f"{text!r} has a zone or is an IPv4-mapped address; write it plainly")
    return Address(Family.V6, int(parsed))


def parse_cidr(text: str) -> Cidr:
    """Read ``address/prefix``; host bits are dropped and leading zeros ignored (S28).

    Raises:
        AddressError: ``text`` is no CIDR.
    """
    base, slash, length = text.partition("/")
    if not slash:
        raise AddressError(f"{text!r} is not a CIDR: the prefix length is missing, as in {base}/32")
    try:
        address = parse_address(base)
    except AddressError as error:
        raise AddressError(f"{text!r} is not a CIDR: {error}") from error
    bits = address.family.bits
    if not _PREFIX.match(length) or int(length) > bits:
        raise AddressError(f"{text!r} is not a CIDR: the prefix length must be 0 to {bits}")
    prefix = int(length)
    mask = ((1 << prefix) - 1) << (bits - prefix)
    return Cidr(address.family, address.value & mask, prefix)


def host_cidr(address: Address) -> Cidr:
    """The block that holds just ``address``."""
    return Cidr(address.family, address.value, address.family.bits)


def merge_ports(ranges: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """The same ports as sorted ranges that neither overlap nor touch."""
    spans = merged((each.first, each.last) for each in ranges)
    return tuple(PortRange(first, last) for first, last in spans)
