"""Asks the kernel whether a set holds an address: one netlink message, some twenty microseconds.

`ipset test` would take a process for each question, on a machine that the agent shares.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from types import TracebackType

_NETLINK_NETFILTER = 12
_IPSET = 6
_CMD_TEST = 11
_PROTOCOL = 6
_REQUEST_ACK = 0x1 | 0x4
_NESTED, _NET_ORDER = 0x8000, 0x4000
_ATTR_PROTOCOL, _ATTR_SETNAME, _ATTR_DATA = 1, 2, 7
_NOT_IN_SET, _NO_SUCH_SET = 4103, 2


class KernelSets:
    """A netlink socket in the network namespace of this process; a context manager."""

    def __enter__(self) -> KernelSets:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._socket.close()

    def has(self, name: str, address: str) -> bool:
        """Whether the set `name` is there and holds `address`."""
        found = ipaddress.ip_address(address)
        family = socket.AF_INET if found.version == 4 else socket.AF_INET6
        ip = _attribute(
            1 | _NESTED, _attribute(1 if found.version == 4 else 2, found.packed, net_order=True)
        )
        body = struct.pack("=BBH", family, 0, 0)
        body += _attribute(_ATTR_PROTOCOL, bytes((_PROTOCOL,)))
        body += _attribute(_ATTR_SETNAME, name.encode() + b"\0")
        body += _attribute(_ATTR_DATA | _NESTED, ip)
        head = struct.pack("=IHHII", 16 + len(body), _IPSET << 8 | _CMD_TEST, _REQUEST_ACK, 1, 0)
        self._socket.send(head + body)
        error: int
        (error,) = struct.unpack_from("=i", self._socket.recv(65536), 16)
        if error not in (0, -_NOT_IN_SET, -_NO_SUCH_SET):
            raise OSError(-error, os.strerror(-error), name)
        return error == 0


def _attribute(kind: int, value: bytes, *, net_order: bool = False) -> bytes:
    kind |= _NET_ORDER if net_order else 0
    padding = b"\0" * (-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + value + padding
