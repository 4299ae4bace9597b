"""The socket on which the kernel hands over what it logs.

A group has one reader. The kernel gathers packets for a tenth of a second, or until there are some
dozens, so a flood costs few wake-ups. Where it cannot get rid of them it throws them away; the gap
in the numbers of the messages tells how many.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable
from types import TracebackType

import msgspec

from podwall.dataplane.nflog.parse import (
    ERROR_MESSAGE,
    LoggedPacket,
    messages,
    parse_packets,
    sequence_numbers,
)
from podwall.errors import KernelError

_NETLINK_NETFILTER = 12
_CONFIG_MESSAGE = 4 << 8 | 1
_REQUEST_AND_ACK = 0x1 | 0x4
_COMMAND, _MODE, _TIMEOUT, _THRESHOLD, _FLAGS = 1, 2, 4, 5, 6
_BIND, _COPY_PACKET, _NUMBERED = 1, 2, 1

COPY_BYTES = 128
"""So much of a packet is asked for: enough for the headers."""

GATHER_SECONDS, GATHER_PACKETS = 0.1, 32
"""The kernel waits so long, or for so many packets, before it hands them over."""

RECEIVE_BUFFER = 1 << 20
"""Bytes that the kernel keeps for a reader that is busy."""

MOST_AT_ONCE = 64
"""So many datagrams are taken in one reading, so that a flood cannot hold the reader."""

_DATAGRAM = 1 << 16

_FAR = 0x5000
"""From a group to one that nobody reads who reads this one."""


class NflogReader:
    """Reads one NFLOG group; a context manager.

    Args:
        group: the number of the group.
        clock: gives the time of a packet where the kernel gave none.
        connect: opens the socket; :func:`connect` does it in this process's network namespace.
    """

    def __init__(
        self,
        group: int,
        clock: Callable[[], float] = time.time,
        connect: Callable[[int], socket.socket] | None = None,
    ) -> None:
        self._group = group
        self._clock = clock
        self._connect = connect
        self._socket: socket.socket | None = None
        self._next: int | None = None
        self._lost = 0

    @property
    def lost(self) -> int:
        """Packets that were logged but thrown away before they were read."""
        return self._lost

    def open(self) -> None:
        """Begin to listen.

        Raises:
            KernelError: the group has a reader already, or this process may not be one.
        """
        self._socket = (self._connect or connect)(self._group)
        self._socket.setblocking(False)

    def close(self) -> None:
        """Listen no more; the group is free for others."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        """What is readable when there is something to read."""
        if self._socket is None:
            raise KernelError(f"NFLOG group {self._group} is not open")
        return self._socket.fileno()

    def read(self) -> tuple[LoggedPacket, ...]:
        """What there is, without waiting; of a flood a part, the next call goes on from there.

        Raises:
            KernelError: the socket failed.
        """
        found: list[LoggedPacket] = []
        for _ in range(MOST_AT_ONCE):
            datagram = self._receive()
            if datagram is None:
                break
            self._count(sequence_numbers(datagram))
            found += map(self._dated, parse_packets(datagram))
        return tuple(found)

    def _receive(self) -> bytes | None:
        if self._socket is None:
            raise KernelError(f"NFLOG group {self._group} is not open")
        while True:
            try:
                return self._socket.recv(_DATAGRAM)
            except BlockingIOError:
                return None
            except OSError as error:
                # The kernel had more than the buffer holds; the numbers tell how much was lost.
                if error.errno != errno.ENOBUFS:
                    raise KernelError(_why(self._group, error)) from error

    def _count(self, numbers: Iterable[int]) -> None:
        """A gap in the numbers of all that is logged to the group is what was lost."""
        for each in numbers:
            if self._next is not None:
                self._lost += (each - self._next) & 0xFFFFFFFF
            self._next = each + 1

    def _dated(self, packet: LoggedPacket) -> LoggedPacket:
        if packet.when:
            return packet
        return msgspec.structs.replace(packet, when=self._clock())

    def __enter__(self) -> NflogReader:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def connect(group: int) -> socket.socket:
    """A socket that the packets of ``group`` come to; takes CAP_NET_ADMIN.

    Raises:
        KernelError: the group has a reader already, or this process may not be one.
    """
    try:
        end = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
        )
        try:
            end.bind((0, 0))
            _enlarge(end)
            for each in _settings(group):
                _tell(end, each)
        except PermissionError as error:
            # The kernel has one word for both: somebody else has the group, or one may not.
            code = errno.EBUSY if _may_read(end, group) else errno.EPERM
            end.close()
            raise OSError(code, os.strerror(code)) from error
        except OSError:
            end.close()
            raise
    except OSError as error:
        raise KernelError(_why(group, error)) from error
    return end


def _tell(end: socket.socket, message: bytes) -> None:
    end.send(message)
    _check(end.recv(_DATAGRAM))


def _may_read(end: socket.socket, group: int) -> bool:
    """Whether the kernel would let this process read any group.

    Asked by a setting for a group far from ``group`` that nobody has opened, which changes nothing:
    /proc cannot tell in a network namespace whose processes are another PID namespace's.
    """
    try:
        _tell(end, _config(group ^ _FAR, _THRESHOLD, struct.pack("!I", GATHER_PACKETS)))
    except OSError as error:
        return error.errno != errno.EPERM
    return True


def _enlarge(end: socket.socket) -> None:
    force = 33  # SO_RCVBUFFORCE, which the socket module does not name
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, force, RECEIVE_BUFFER)


def _settings(group: int) -> tuple[bytes, ...]:
    """The messages that bind a group and say how packets are to come."""
    return (
        _config(group, _COMMAND, bytes([_BIND])),
        _config(group, _MODE, struct.pack("!IBB", COPY_BYTES, _COPY_PACKET, 0)),
        _config(group, _TIMEOUT, struct.pack("!I", round(GATHER_SECONDS * 100))),
        _config(group, _THRESHOLD, struct.pack("!I", GATHER_PACKETS)),
        _config(group, _FLAGS, struct.pack("!H", _NUMBERED)),
    )


def _config(group: int, kind: int, value: bytes) -> bytes:
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, group)
    body += struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)
    header = struct.pack("=IHHII", 16 + len(body), _CONFIG_MESSAGE, _REQUEST_AND_ACK, 0, 0)
    return header + body


def _check(answer: bytes) -> None:
    """Raise what the kernel has against a setting.

    Raises:
        OSError: it refused it.
    """
    for kind, body in messages(answer):
        if kind == ERROR_MESSAGE and len(body) >= 4:
            code = -int.from_bytes(body[:4], "little" if _LITTLE else "big", signed=True)
            if code:
                raise OSError(code, os.strerror(code))


_LITTLE = struct.pack("=H", 1) == b"\1\0"


def _why(group: int, error: OSError) -> str:
    match error.errno:
        case errno.EBUSY:
            return (
                f"NFLOG group {group} has a reader already: an agent, another podwall drops, or "
                "another program; a group can have one"
            )
        case errno.EPERM | errno.EACCES:
            return f"NFLOG group {group}: not permitted; it takes CAP_NET_ADMIN (run it as root)"
        case errno.EPROTONOSUPPORT | errno.EOPNOTSUPP:
            return "this kernel has no NFLOG (CONFIG_NETFILTER_NETLINK_LOG)"
        case _:
            return f"NFLOG group {group}: {error.strerror or error}"
