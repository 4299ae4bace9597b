"""Somebody answers on every port: TCP, UDP and SCTP servers in all namespaces, in one process.

A socket stays in the network namespace in which it was made, so one process hops through the
namespaces, opens the sockets and then serves all of them from one epoll loop. A TCP connection is
greeted with :func:`greeting` and then echoes what it is sent, so that long-lived streams can be
watched; a UDP datagram comes back with the greeting before it; an SCTP INIT gets its INIT-ACK.
ICMP is answered by the kernel.

The process takes commands (:class:`Command`, JSON lines) from a socket and ends with it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import resource
import select
import socket
from collections.abc import Callable, Iterable

import msgspec

from podwall.lab import netns
from podwall.lab.packets import INIT, build_init_ack, parse_sctp, without_ip_header
from podwall.lab.topology import Endpoint, Listen
from podwall.model.net import Family, Protocol

_BACKLOG = 4096
_BATCH = 64
_CHUNK = 65536
_SOCKET_FAMILY = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}


class Door(msgspec.Struct, frozen=True, order=True):
    """One port on one address of one namespace; ``name`` is who answers there."""

    netns: str
    address: str
    listen: Listen
    name: str


class Command(msgspec.Struct, frozen=True):
    """Close some doors, then open others."""

    close: tuple[Door, ...] = ()
    open: tuple[Door, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """The command was carried out, or this is why it was not."""

    error: str = ""


def doors_of(endpoints: Iterable[Endpoint]) -> frozenset[Door]:
    """The doors of all endpoints; where two share one (hostNetwork), the node answers."""
    doors: dict[tuple[str, str, Listen], Door] = {}
    for endpoint in endpoints:
        for address in endpoint.addresses:
            for listen in endpoint.ports:
                door = Door(endpoint.netns, str(address), listen, endpoint.name)
                doors[door.netns, door.address, listen] = door
    return frozenset(doors.values())


def greeting(name: str, address: str, listen: Listen) -> bytes:
    """What a listener says first, one line: ``default/db-0 10.244.0.5 6379/tcp``."""
    return f"{name} {address} {listen}\n".encode()


def socket_family(family: Family) -> socket.AddressFamily:
    """The socket module's word for an address family."""
    return _SOCKET_FAMILY[family]


def family_of(address: str) -> Family:
    """The family of an address text."""
    return Family(ipaddress.ip_address(address).version)


def serve(control: socket.socket) -> int:
    """Carry out commands and answer everybody until ``control`` is closed."""
    raise_file_limit()
    return _Server(control).run()


def raise_file_limit() -> int:
    """Allow this process as many open files as the system lets it; returns the number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class _Server:
    """The loop: file descriptors and what to do when one is ready."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._lines = control.makefile("rb")
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._doors: dict[Door, socket.socket] = {}
        self._connections: dict[int, _Connection] = {}

    def run(self) -> int:
        self._poll.register(self._control.fileno(), select.EPOLLIN)
        while True:
            for descriptor, events in self._poll.poll():
                if descriptor == self._control.fileno():
                    if not self._take_command():
                        return 0
                elif descriptor in self._connections:
                    self._continue(self._connections[descriptor], events)
                elif descriptor in self._handlers:
                    self._handlers[descriptor](events)

    def _take_command(self) -> bool:
        line = self._lines.readline()
        if not line:
            return False
        answer = Answer()
        try:
            self._carry_out(msgspec.json.decode(line, type=Command))
        except Exception as error:
            answer = Answer(str(error) or type(error).__name__)
        self._control.sendall(msgspec.json.encode(answer) + b"\n")
        return True

    def _carry_out(self, command: Command) -> None:
        for door in command.close:
            listener = self._doors.pop(door, None)
            if listener is not None:
                self._handlers.pop(listener.fileno(), None)
                listener.close()
        # After a command that failed half-way some of the next one's doors are open already.
        for door in sorted(set(command.open) - self._doors.keys()):
            with netns.inside(door.netns):
                listener = _open(door)
            self._doors[door] = listener
            self._handlers[listener.fileno()] = self._handler(door, listener)
            self._poll.register(listener.fileno(), select.EPOLLIN)

    def _handler(self, door: Door, listener: socket.socket) -> Callable[[int], None]:
        hello = greeting(door.name, door.address, door.listen)
        match door.listen.protocol:
            case Protocol.TCP:
                return lambda _: self._accept(listener, hello)
            case Protocol.UDP:
                return lambda _: _answer_datagrams(listener, hello)
            case _:
                return lambda _: _answer_inits(listener, door)

    def _accept(self, listener: socket.socket, hello: bytes) -> None:
        for _ in range(_BATCH):
            try:
                stream, _peer = listener.accept()
            except OSError:
                return
            stream.setblocking(False)
            connection = _Connection(stream, hello)
            self._connections[stream.fileno()] = connection
            self._poll.register(stream.fileno(), select.EPOLLIN)
            self._continue(connection, select.EPOLLOUT)

    def _continue(self, connection: _Connection, events: int) -> None:
        """Echo: read only what could be written back, so that memory stays bounded."""
        descriptor = connection.stream.fileno()
        try:
            if not connection.unsent and events & ~select.EPOLLOUT:
                data = connection.stream.recv(_CHUNK)
                if not data:
                    raise ConnectionResetError
                connection.unsent = data
            if connection.unsent:
                sent = connection.stream.send(connection.unsent)
                connection.unsent = connection.unsent[sent:]
        except BlockingIOError:
            pass
        except OSError:
            del self._connections[descriptor]
            connection.stream.close()
            return
        wanted = select.EPOLLOUT if connection.unsent else select.EPOLLIN
        if wanted != connection.wanted:
            connection.wanted = wanted
            self._poll.modify(descriptor, wanted)


class _Connection:
    """An accepted TCP connection and what it has still to be sent."""

    __slots__ = ("stream", "unsent", "wanted")

    def __init__(self, stream: socket.socket, unsent: bytes) -> None:
        self.stream = stream
        self.unsent = unsent
        self.wanted: int = select.EPOLLIN


def _open(door: Door) -> socket.socket:
    """The listening socket of a door; the process is in the door's namespace."""
    family = family_of(door.address)
    protocol = door.listen.protocol
    # Raw sockets have no port: the number has to be 0 there, and all SCTP packets arrive.
    port = 0 if protocol is Protocol.SCTP else door.listen.port
    listener = _make_socket(family, protocol)
    try:
        listener.setblocking(False)
        if family is Family.V6 and protocol is not Protocol.SCTP:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol is Protocol.TCP:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((door.address, port))
        if protocol is Protocol.TCP:
            listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        where = f"{door.name}: cannot listen on {door.address} {door.listen}"
        raise OSError(error.errno, f"{where}: {error.strerror}") from error
    return listener


def _make_socket(family: Family, protocol: Protocol) -> socket.socket:
    kind = socket_family(family)
    match protocol:
        case Protocol.TCP:
            return socket.socket(kind, socket.SOCK_STREAM)
        case Protocol.UDP:
            return socket.socket(kind, socket.SOCK_DGRAM)
        case _:
            return socket.socket(kind, socket.SOCK_RAW, protocol)


def _answer_datagrams(listener: socket.socket, hello: bytes) -> None:
    for _ in range(_BATCH):
        try:
            data, peer = listener.recvfrom(_CHUNK)
        except OSError:
            return
        # A refused answer is the asker's finding, not ours.
        with contextlib.suppress(OSError):
            listener.sendto(hello + data, peer)


def _answer_inits(listener: socket.socket, door: Door) -> None:
    family = family_of(door.address)
    for _ in range(_BATCH):
        try:
            data, peer = listener.recvfrom(_CHUNK)
        except OSError:
            return
        packet = parse_sctp(without_ip_header(family, data))
        if packet is None or packet.chunk != INIT or packet.dst_port != door.listen.port:
            continue
        answer = build_init_ack(packet, init_tag=packet.init_tag ^ 0xFFFFFFFF or 1)
        with contextlib.suppress(OSError):
            listener.sendto(answer, (peer[0], 0))
