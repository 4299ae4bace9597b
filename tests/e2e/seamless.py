"""Packets for tests of a lab: sockets in its namespaces, its nodes' tools, and a drizzle.

A socket stays in the namespace in which it was made, so a short-lived child goes into the lab,
makes it, and hands it to the test. A :class:`Drizzle` sends a packet that opens a connection on
each of its lanes every millisecond and notes which arrive: what is refused or let through by
mistake shows even if it lasts for a few milliseconds only.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import time
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple

import msgspec

from podwall.dataplane.command import SystemRunner, check
from podwall.lab import enter, isolation, libc
from podwall.lab.client import Lab
from podwall.lab.listeners import family_of, socket_family
from podwall.model.net import Family, Protocol

INTERVAL = 0.001
_SOURCE_PORTS = range(20000, 20512)
_MAGIC = 0x70647731
_BURST = 0.02
_LAST_ARRIVALS = 0.3
_RECEIVE_BUFFER = 1 << 22
_KIND = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}


def node_prefix(lab: Lab, node: str) -> tuple[str, ...]:
    """Words before a command that run it on a node of the lab, or in a pod."""
    holder = lab.world.holder
    same_user = os.stat(f"/proc/{holder}/ns/user").st_ino == os.stat("/proc/self/ns/user").st_ino
    user = () if same_user else ("--user", "--preserve-credentials")
    # The process namespace as well: without it /proc, which is the lab's, has no place for us.
    outer = ("nsenter", f"--target={holder}", *user, "--mount", "--pid", "--")
    return (*outer, "nsenter", f"--net=/run/netns/{lab.place(node).netns}", "--")


def node_runner(lab: Lab, node: str) -> SystemRunner:
    """Runs programs on a node of the lab, or in a pod."""
    return SystemRunner(node_prefix(lab, node))


def address_of(lab: Lab, name: str, family: Family) -> str:
    """The address of an endpoint."""
    return next(each for each in lab.place(name).party.addresses if family_of(each) is family)


def open_socket(lab: Lab, name: str, family: Family, protocol: Protocol) -> socket.socket:
    """A TCP or UDP socket of an endpoint, with a second's patience."""
    made = _make(lab, name, socket_family(family), _KIND[protocol], 0)
    made.settimeout(1)
    return made


def _make(lab: Lab, name: str, family: int, kind: int, protocol: int) -> socket.socket:
    netns = lab.place(name).netns
    ours, theirs = socket.socketpair()
    isolation.flush_all()
    child = os.fork()
    if child == 0:
        try:
            enter.enter(lab.world, netns)
            made = socket.socket(family, kind, protocol)
            socket.send_fds(theirs, [b"."], [made.fileno()])
        finally:
            os._exit(0)
    with ours:
        theirs.close()
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    os.waitpid(child, 0)
    return socket.socket(fileno=descriptors[0])


def patient(end: socket.socket, seconds: float = 1) -> socket.socket:
    """The same socket, with this much patience."""
    end.settimeout(seconds)
    return end


def hears(end: socket.socket, words: bytes) -> bool:
    """Whether ``words`` arrive; anything older is skipped, and an end or an error is a no."""
    try:
        while data := end.recv(1000):
            if data.endswith(words):
                return True
    except OSError:
        pass
    return False


def retransmissions(end: socket.socket) -> int:
    """How many segments of a TCP connection had to be sent again, the first included."""
    info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    count: int = struct.unpack_from("=I", info, 100)[0]
    return count


def buffer_overflows(lab: Lab, *names: str) -> int:
    """Datagrams that reached these endpoints while nobody read: a busy machine, not a firewall."""
    count = 0
    for name in names:
        runner = node_runner(lab, name)
        files = ["cat", "/proc/net/snmp", "/proc/net/snmp6"]
        lines = check(files, runner.run(files)).splitlines()
        heads, values = (line.split() for line in lines if line.startswith("Udp:"))
        count += int(values[heads.index("RcvbufErrors")])
        count += sum(int(line.split()[1]) for line in lines if line.startswith("Udp6RcvbufErrors"))
    return count


class Lane(NamedTuple):
    """Who opens connections to whom."""

    src: str
    dst: str
    family: Family
    protocol: Protocol
    port: int

    def __str__(self) -> str:
        protocol = self.protocol.name.lower()
        return f"{self.src} to {self.dst} {self.port}/{protocol} IPv{self.family}"


class Arrivals(msgspec.Struct, frozen=True):
    """What became of the packets of a lane, each known by its number.

    ``lost`` are the first hundred that did not arrive, with the time of sending (monotonic);
    ``stray`` likewise the first hundred that did.
    """

    sent: int
    arrived: int
    first_lost: int
    last_arrived: int
    lost: tuple[tuple[int, float], ...]
    stray: tuple[tuple[int, float], ...]


class Drizzle:
    """Sends on all lanes until it is stopped; a context manager."""

    def __init__(self, lab: Lab, *lanes: Lane) -> None:
        self.lanes = lanes
        self._senders = [_sender(lab, lane) for lane in lanes]
        places = dict.fromkeys((lane.dst, lane.family, lane.protocol) for lane in lanes)
        self._receivers = {
            _receiver(lab, *place): (family, protocol)
            for place in places
            for _name, family, protocol in [place]
        }
        self._ends = [
            (address_of(lab, lane.src, lane.family), address_of(lab, lane.dst, lane.family))
            for lane in lanes
        ]
        self._child = 0
        self._control: socket.socket | None = None

    def __enter__(self) -> Drizzle:
        self._control, theirs = socket.socketpair()
        isolation.flush_all()
        self._child = os.fork()
        if self._child == 0:
            try:
                libc.die_with_parent(signal.SIGKILL)
                self._control.close()
                self._pour(theirs)
            finally:
                os._exit(1)
        theirs.close()
        self._control.settimeout(20)
        assert self._control.recv(1) == b"."
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._control is not None:
            self._control.close()
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        for each in (*self._senders, *self._receivers):
            each.close()

    @staticmethod
    def now() -> float:
        """The clock by which packets were sent."""
        return time.monotonic()

    def more(self, packets: int = 50) -> None:
        """Wait until so many more packets were sent on each lane."""
        assert self._control is not None
        self._control.sendall(struct.pack("=I", packets))
        assert self._control.recv(1) == b"."

    def stop(self) -> dict[Lane, Arrivals]:
        """Stop sending, wait for the last arrivals, and tell all of it."""
        assert self._control is not None
        self._control.sendall(struct.pack("=I", 0))
        with self._control.makefile("rb") as lines:
            found = msgspec.json.decode(lines.readline(), type=list[Arrivals])
        return dict(zip(self.lanes, found, strict=True))

    def _pour(self, control: socket.socket) -> None:
        """The child's life: send, note what arrives, answer the parent."""
        sent: list[float] = []
        seen = [bytearray() for _ in self.lanes]
        watched = [control, *self._receivers]
        due, goal, stopping = time.monotonic(), 1, 0.0
        while True:
            now = time.monotonic()
            if stopping and now > stopping:
                break
            if not stopping and now >= due:
                due = max(due + INTERVAL, now - _BURST)
                self._send(len(sent))
                sent.append(now)
                if goal and len(sent) >= goal:
                    goal = 0
                    control.sendall(b".")
            ready, _, _ = select.select(watched, [], [], max(0.0, min(due - now, INTERVAL)))
            for each in ready:
                if each is control:
                    words = control.recv(4)
                    if not words:
                        os._exit(0)
                    (more,) = struct.unpack("=I", words)
                    goal = len(sent) + more if more else 0
                    stopping = 0.0 if more else time.monotonic() + _LAST_ARRIVALS
                else:
                    self._read(each, seen)
        control.sendall(msgspec.json.encode([_arrivals(sent, each) for each in seen]) + b"\n")

    def _send(self, number: int) -> None:
        port = _SOURCE_PORTS[number % len(_SOURCE_PORTS)]
        for index, lane in enumerate(self.lanes):
            src, dst = self._ends[index]
            if lane.protocol is Protocol.TCP:
                sequence = index << 26 | number
                flags = 5 << 12 | 2
                head = struct.pack(
                    "!HHIIHHHH", port, lane.port, sequence, _MAGIC, flags, 1024, 0, 0
                )
                packet = _with_checksum(head, 16, lane.protocol, src, dst)
            else:
                head = struct.pack("!HHHHIII", port, lane.port, 20, 0, _MAGIC, index, number)
                packet = _with_checksum(head, 6, lane.protocol, src, dst)
            self._senders[index].send(packet)

    def _read(self, receiver: socket.socket, seen: Sequence[bytearray]) -> None:
        family, protocol = self._receivers[receiver]
        while True:
            try:
                data = receiver.recv(2000)
            except BlockingIOError:
                return
            if family is Family.V4:
                data = data[(data[0] & 15) * 4 :]
            if len(data) < 20:
                continue
            if protocol is Protocol.TCP:
                sequence, magic, flags = struct.unpack_from("!IIH", data, 4)
                index, number = sequence >> 26, sequence & 0x3FFFFFF
                known = magic == _MAGIC and flags & 0x3F == 2
            else:
                magic, index, number = struct.unpack_from("!III", data, 8)
                known = magic == _MAGIC
            if known:
                arrived = seen[index]
                arrived.extend(bytes(max(0, number + 1 - len(arrived))))
                arrived[number] = 1


def _sender(lab: Lab, lane: Lane) -> socket.socket:
    sender = _make(lab, lane.src, socket_family(lane.family), socket.SOCK_RAW, lane.protocol)
    sender.connect((address_of(lab, lane.dst, lane.family), 0))
    return sender


def _receiver(lab: Lab, name: str, family: Family, protocol: Protocol) -> socket.socket:
    receiver = _make(lab, name, socket_family(family), socket.SOCK_RAW, protocol)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    receiver.setblocking(False)
    return receiver


def _with_checksum(packet: bytes, offset: int, protocol: int, src: str, dst: str) -> bytes:
    family = socket_family(family_of(src))
    ends = socket.inet_pton(family, src) + socket.inet_pton(family, dst)
    words = ends + struct.pack("!II", len(packet), protocol) + packet
    total = sum(struct.unpack(f"!{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return packet[:offset] + struct.pack("!H", ~total & 0xFFFF or 0xFFFF) + packet[offset + 2 :]


def _arrivals(sent: Sequence[float], seen: bytearray) -> Arrivals:
    flags = seen + bytes(len(sent) - len(seen))
    lost = [(number, sent[number]) for number, flag in enumerate(flags) if not flag]
    there = [(number, sent[number]) for number, flag in enumerate(flags) if flag]
    return Arrivals(
        sent=len(sent),
        arrived=len(there),
        first_lost=lost[0][0] if lost else -1,
        last_arrived=there[-1][0] if there else -1,
        lost=tuple(lost[:100]),
        stray=tuple(there[:100]),
    )


def by_change(
    packets: Sequence[tuple[int, float]], times: Sequence[tuple[float, str]]
) -> dict[str, int]:
    """How many of these packets were sent during which change; a change lasts until the next."""
    counts: dict[str, int] = {}
    for _number, sent in packets:
        name = next(name for begun, name in reversed(times) if begun <= sent)
        counts[name] = counts.get(name, 0) + 1
    return counts
