"""Connections by their ends: the helper leaves out the others, and never one too many."""

from __future__ import annotations

import socket
import struct

import pytest

from podwall.dataplane import ctnetlink
from podwall.dataplane.ctnetlink import attribute, packed

NESTED = 0x8000


def entry(src: str, dst: str, reply_src: str, reply_dst: str) -> bytes:
    """A message of the kernel about a tracked connection, as far as it is looked at."""
    family = socket.AF_INET6 if ":" in src else socket.AF_INET
    kinds = (3, 4) if family == socket.AF_INET6 else (1, 2)

    def ends(kind: int, first: str, second: str) -> bytes:
        pair = zip(kinds, (first, second), strict=True)
        addresses = b"".join(attribute(each, socket.inet_pton(family, at)) for each, at in pair)
        ports = attribute(1, b"\x06") + attribute(2, b"\x9c\x40") + attribute(3, b"\x00\x50")
        return attribute(kind | NESTED, attribute(1 | NESTED, addresses) + attribute(2, ports))

    head = struct.pack("=BBH", family, 0, 0)
    return head + ends(1, src, dst) + ends(2, reply_src, reply_dst)


V4 = entry("10.0.0.1", "10.96.0.10", "10.0.1.5", "10.0.0.1")
V6 = entry("fd00::1", "fd00::2", "fd00::2", "fd00::1")
MANY = [f"192.0.2.{number}" for number in range(1, 100)]


@pytest.mark.parametrize("others", [[], MANY], ids=["few", "many"])
@pytest.mark.parametrize(
    ("message", "address"),
    [(V4, "10.0.0.1"), (V4, "10.0.1.5"), (V4, "10.96.0.10"), (V6, "fd00::1"), (V6, "fd00::2")],
)
def test_an_entry_is_found_by_any_of_its_ends(
    message: bytes, address: str, others: list[str]
) -> None:
    assert ctnetlink._concerns(message, packed([*others, address]))


@pytest.mark.parametrize("others", [["192.0.2.1"], MANY], ids=["few", "many"])
@pytest.mark.parametrize("message", [V4, V6])
def test_an_entry_with_other_ends_is_left_out(message: bytes, others: list[str]) -> None:
    assert not ctnetlink._concerns(message, packed([*others, "10.0.0.2", "fd00::3"]))


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(OSError, match="illegal IP address"):
        packed(["10.0.0.1", "example.org"])
