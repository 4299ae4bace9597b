"""Ask with real packets who reaches whom, thousands of questions at a time.

All probes run in one process and one epoll loop. TCP connects and waits for the listener's
greeting, which proves that data flows and who answered; UDP, SCTP and ICMP send a request and wait
for the answer to it. Whoever answers is reached; silence until patience ends, a reset or an ICMP
error is no. Every run has its own ``tag``, from which source ports and identifiers are made, so
that connection tracking never takes a new question for a part of an old connection.

Patience grows with the slowest answer seen, and sending slows down when answers come late: on a
busy machine a run takes longer rather than mistaking slowness for a verdict.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence

from podwall.errors import LabError
from podwall.lab import netns
from podwall.lab.listeners import raise_file_limit, socket_family
from podwall.lab.packets import (
    INIT_ACK,
    build_echo_request,
    build_init,
    parse_echo_reply,
    parse_sctp,
    without_ip_header,
)
from podwall.lab.topology import Endpoint, Kind, Outcome, Probe
from podwall.model.net import Family, Protocol

PATIENCE = 1.3
"""Seconds of silence that mean "no": longer than TCP takes to send its first packet again."""

_WINDOW = 8000
_CHUNK = 64
_SPARE_FILES = 300
_LATE = 0.2
_MAX_PATIENCE = 10.0
_SLOWEST_FACTOR = 4
_FIRST_PORT = 20000
_PORTS = 40000
_IP_BIND_ADDRESS_NO_PORT = 24
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_INDEX = struct.Struct("!I")
_UNREACHABLE = (
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EACCES,
    errno.EPERM,
    errno.EPIPE,
)
_FULL = (errno.EAGAIN, errno.ENOBUFS)


def ask(
    probes: Sequence[Probe],
    tag: int,
    *,
    patience: float = PATIENCE,
    window: int = _WINDOW,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Outcome]:
    """Ask all ``probes``; the outcomes are in their order.

    The process needs to be in the lab's world and have one thread. ``progress`` is told now and
    then how many are answered.

    Raises:
        LabError: a question could not even be asked.
    """
    return _Run(probes, tag, patience, window, progress).run()


class _Run:
    """One run: what was asked when, and what came back."""

    def __init__(
        self,
        probes: Sequence[Probe],
        tag: int,
        patience: float,
        window: int,
        progress: Callable[[int], None],
    ) -> None:
        self._probes = probes
        self._tag = tag
        self._patience = patience
        self._window = min(window, max(_CHUNK, raise_file_limit() - _SPARE_FILES))
        self._progress = progress
        self._outcomes: list[Outcome | None] = [None] * len(probes)
        self._sent_at = [0.0] * len(probes)
        self._waiting: deque[int] = deque()
        self._open = 0
        self._settled = 0
        self._latency = 0.0
        self._last_answer = 0.0
        self._poll = select.epoll()
        self._streams: dict[int, tuple[socket.socket, int]] = {}
        self._stream_of: dict[int, int] = {}
        self._shared: dict[tuple[str, Family, Protocol], _Datagrams] = {}
        self._readers: dict[int, _Datagrams] = {}

    def run(self) -> list[Outcome]:
        try:
            for index, probe in enumerate(self._probes):
                self._send(index, probe)
                if index % _CHUNK == 0:
                    self._receive(0)
                    self._hold_back()
            while self._open:
                self._receive(0.02)
        finally:
            self._close()
        return [Outcome.SILENT if each is None else each for each in self._outcomes]

    def _hold_back(self) -> None:
        """Wait while too much is under way, or while answers come late."""
        while self._open >= self._window or self._answers_are_late():
            self._receive(0.005)

    def _answers_are_late(self) -> bool:
        lately = time.monotonic() - self._last_answer < _LATE
        return self._latency > _LATE and lately and self._open > _CHUNK

    def _send(self, index: int, probe: Probe) -> None:
        self._sent_at[index] = time.monotonic()
        self._waiting.append(index)
        self._open += 1
        try:
            if probe.protocol is Protocol.TCP:
                self._connect(index, probe)
            else:
                self._request(index, probe)
        except OSError as error:
            if error.errno not in _UNREACHABLE:
                where = f"{probe.src.name} → {probe.dst.name} ({probe.flow})"
                raise LabError(f"cannot probe {where}: {error.strerror}") from error
            self._settle(index, Outcome.REFUSED)

    def _connect(self, index: int, probe: Probe) -> None:
        with netns.inside(probe.src.netns):
            stream = socket.socket(socket_family(probe.family), socket.SOCK_STREAM)
        self._streams[stream.fileno()] = stream, index
        self._stream_of[index] = stream.fileno()
        stream.setblocking(False)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        if probe.src.kind is not Kind.NODE:
            stream.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            stream.bind((str(probe.src_address), 0))
        with contextlib.suppress(BlockingIOError):
            stream.connect((str(probe.dst_address), probe.port))
        self._poll.register(stream.fileno(), select.EPOLLIN)

    def _request(self, index: int, probe: Probe) -> None:
        key = probe.src.name, probe.family, probe.protocol
        shared = self._shared.get(key)
        if shared is None:
            shared = _Datagrams(probe.src, probe.family, probe.protocol, self._tag)
            self._shared[key] = shared
            self._readers[shared.socket.fileno()] = shared
            self._poll.register(shared.socket.fileno(), select.EPOLLIN)
        packet = shared.packet(index, probe.port or 0)
        address = str(probe.dst_address), shared.port_to(probe)
        # A request that is never sent would look like a denial: wait for room in the queue.
        deadline = time.monotonic() + _MAX_PATIENCE
        while True:
            try:
                shared.socket.sendto(packet, address)
            except OSError as error:
                if error.errno not in _FULL or time.monotonic() > deadline:
                    raise
                self._receive(0.005)
            else:
                return

    def _receive(self, timeout: float) -> None:
        for descriptor, _events in self._poll.poll(timeout):
            if descriptor in self._streams:
                stream, index = self._streams[descriptor]
                self._settle(index, _read_greeting(stream, self._probes[index]))
            elif descriptor in self._readers:
                for index, outcome in self._readers[descriptor].read(self._probes):
                    self._settle(index, outcome)
        self._expire()
        self._progress(self._settled)

    def _settle(self, index: int, outcome: Outcome) -> None:
        """Note an outcome; the first one counts."""
        if self._outcomes[index] is not None:
            return
        self._outcomes[index] = outcome
        self._open -= 1
        self._settled += 1
        descriptor = self._stream_of.pop(index, None)
        if descriptor is not None:
            self._streams.pop(descriptor)[0].close()
        if outcome.reached:
            self._last_answer = time.monotonic()
            took = self._last_answer - self._sent_at[index]
            self._latency += (took - self._latency) / 16
            slowest = min(took * _SLOWEST_FACTOR, _MAX_PATIENCE)
            self._patience = max(self._patience, slowest)

    def _expire(self) -> None:
        now = time.monotonic()
        while self._waiting:
            index = self._waiting[0]
            if self._outcomes[index] is None:
                if now - self._sent_at[index] < self._patience:
                    return
                self._settle(index, Outcome.SILENT)
            self._waiting.popleft()

    def _close(self) -> None:
        for stream, _index in self._streams.values():
            stream.close()
        for shared in self._shared.values():
            shared.socket.close()
        self._poll.close()


class _Datagrams:
    """The socket from which one source asks all its questions of one protocol."""

    def __init__(self, src: Endpoint, family: Family, protocol: Protocol, tag: int) -> None:
        self._family = family
        self._protocol = protocol
        self._identifier = tag % 65535 + 1
        self._sequence: list[int] = []
        self._port = _FIRST_PORT + tag % _PORTS
        kind = socket.SOCK_DGRAM if protocol is Protocol.UDP else socket.SOCK_RAW
        number = 0 if protocol is Protocol.UDP else protocol
        with netns.inside(src.netns):
            self.socket = socket.socket(socket_family(family), kind, number)
        self.socket.setblocking(False)
        address = src.address(family)
        if protocol is Protocol.UDP:
            self._bind_free_port("" if src.kind is Kind.NODE else str(address))
        elif src.kind is not Kind.NODE:
            self.socket.bind((str(address), 0))

    def _bind_free_port(self, address: str) -> None:
        for _ in range(_CHUNK):
            with contextlib.suppress(OSError):
                self.socket.bind((address, self._port))
                return
            self._port = _FIRST_PORT + (self._port - _FIRST_PORT + 1) % _PORTS
        raise LabError(f"no free UDP port near {self._port} to probe from")

    def port_to(self, probe: Probe) -> int:
        """The port in the socket address: raw sockets take none."""
        return probe.port or 0 if self._protocol is Protocol.UDP else 0

    def packet(self, index: int, port: int) -> bytes:
        """The request that asks probe ``index``."""
        if self._protocol is Protocol.UDP:
            return _INDEX.pack(index)
        if self._protocol is Protocol.SCTP:
            return build_init(self._port, port, index + 1)
        self._sequence.append(index)
        return build_echo_request(self._family, self._identifier, len(self._sequence) & 0xFFFF)

    def read(self, probes: Sequence[Probe]) -> list[tuple[int, Outcome]]:
        """The answers that arrived."""
        answers = []
        for _ in range(_CHUNK):
            try:
                data, peer = self.socket.recvfrom(65536)
            except OSError:
                break
            index = self._index_of(data, probes)
            if index is not None and index < len(probes):
                probe = probes[index]
                right = str(probe.dst_address) == peer[0] and probe.protocol is self._protocol
                answers.append((index, Outcome.ANSWERED if right else Outcome.MISDIRECTED))
        return answers

    def _index_of(self, data: bytes, probes: Sequence[Probe]) -> int | None:
        """Which probe a datagram answers; other things arrive at raw sockets, too."""
        if self._protocol is Protocol.UDP:
            _, newline, payload = data.partition(b"\n")
            return _INDEX.unpack(payload)[0] if newline and len(payload) == _INDEX.size else None
        body = without_ip_header(self._family, data)
        if self._protocol is Protocol.SCTP:
            packet = parse_sctp(body)
            if packet is None or packet.chunk != INIT_ACK or packet.dst_port != self._port:
                return None
            index = packet.tag - 1
            known = 0 <= index < len(probes) and probes[index].port == packet.src_port
            return index if known else None
        reply = parse_echo_reply(self._family, body)
        if reply is None or reply[0] != self._identifier:
            return None
        position = reply[1] - 1
        return self._sequence[position] if 0 <= position < len(self._sequence) else None


def _read_greeting(stream: socket.socket, probe: Probe) -> Outcome:
    """What a TCP connection says once there is something to read."""
    try:
        line = stream.recv(1024)
    except OSError:
        return Outcome.REFUSED
    if not line:
        return Outcome.REFUSED
    expected = f"{probe.dst_address} {probe.port}/tcp\n".encode()
    return Outcome.ANSWERED if line.endswith(expected) else Outcome.MISDIRECTED
