"""Long-lived streams: does allowed traffic flow on, packet by packet, while rules change.

A :class:`Stream` is a process in the namespace of its source that sends numbered messages to a
listener of the lab, some hundred a second, and counts what comes back. UDP shows every lost
datagram; for TCP the kernel's count of retransmissions does, and a stream that was cut says so.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from types import TracebackType

import msgspec

from podwall.errors import InputError, LabError
from podwall.lab import enter, isolation, libc
from podwall.lab.client import Lab
from podwall.lab.listeners import family_of, socket_family
from podwall.lab.matrix import Party
from podwall.lab.topology import Listen
from podwall.model.net import Family, Protocol

INTERVAL = 0.005
"""Seconds between two messages."""

_CONNECT_TIMEOUT = 5.0
_LAST_ANSWERS = 2.0
_MESSAGE = struct.Struct("!Q")
_TCP_INFO_SIZE = 104
_TOTAL_RETRANSMISSIONS = struct.Struct("=I")
_STATS = b"s"
_STOP = b"q"


class Stats(msgspec.Struct, frozen=True):
    """What a stream saw until now.

    ``connected`` is whether anything ever came back; ``reset`` is the error that ended it, if one
    did; ``longest_gap`` is the longest time, in seconds, without an answer since the first.
    """

    connected: bool = False
    sent: int = 0
    received: int = 0
    retransmitted: int = 0
    reset: str = ""
    longest_gap: float = 0.0

    @property
    def lost(self) -> int:
        """Messages without an answer; before :meth:`Stream.stop` some are still on their way."""
        return self.sent - self.received


class Stream:
    """Traffic from one namespace to one listener; a context manager that stops it at the end.

    Args:
        enter_source: moves a fresh process into the source's network namespace.
        address: where the listener is.
        listen: a TCP or UDP port of it.
    """

    def __init__(self, enter_source: Callable[[], None], address: str, listen: Listen) -> None:
        if listen.protocol not in (Protocol.TCP, Protocol.UDP):
            raise InputError(f"a stream is TCP or UDP, not {listen}")
        self._enter_source = enter_source
        self._address = address
        self._listen = listen
        self._child = 0
        self._control: socket.socket | None = None

    def start(self) -> Stats:
        """Begin to send; returns once the first answer came, or none within 5 s.

        Raises:
            LabError: the source cannot be entered.
        """
        ours, theirs = socket.socketpair()
        isolation.flush_all()
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            ours.close()
            self._live(theirs, parent)
        theirs.close()
        self._control = ours
        return self._receive()

    def stats(self) -> Stats:
        """What the stream saw until now."""
        return self._ask(_STATS)

    def stop(self) -> Stats:
        """Stop sending, wait for the last answers, and tell all of it."""
        try:
            return self._ask(_STOP)
        finally:
            self._end()

    def __enter__(self) -> Stream:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _ask(self, word: bytes) -> Stats:
        if self._control is None:
            raise LabError("the stream does not run")
        with contextlib.suppress(BrokenPipeError):
            self._control.sendall(word)
        return self._receive()

    def _receive(self) -> Stats:
        data = b"" if self._control is None else self._control.recv(4096)
        if not data:
            self._end()
            raise LabError("the stream's process ended")
        return msgspec.json.decode(data, type=Stats)

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._child = 0

    def _live(self, control: socket.socket, parent: int) -> None:
        """The child's life; never returns."""
        status = 1
        try:
            libc.die_with_parent(signal.SIGKILL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if os.getppid() == parent:
                self._enter_source()
                _Sender(self._address, self._listen, control).run()
                status = 0
        finally:
            os._exit(status)


def stream_between(lab: Lab, src: str, dst: str, listen: Listen, family: Family) -> Stream:
    """A stream between two endpoints of a lab, by name; start it, or use it in a ``with``.

    Raises:
        InputError: there is no such endpoint, or the listener's has no address of the family.
    """
    source, target = lab.place(src), lab.place(dst)
    world = lab.world
    return Stream(lambda: enter.enter(world, source.netns), _address(target.party, family), listen)


def _address(party: Party, family: Family) -> str:
    for address in party.addresses:
        if family_of(address) is family:
            return address
    raise InputError(f"{party.name} has no IPv{family} address")


class _Sender:
    """The loop in the child: send, count, answer the parent's questions."""

    def __init__(self, address: str, listen: Listen, control: socket.socket) -> None:
        self._control = control
        self._tcp = listen.protocol is Protocol.TCP
        kind = socket.SOCK_STREAM if self._tcp else socket.SOCK_DGRAM
        self._socket = socket.socket(socket_family(family_of(address)), kind)
        self._socket.settimeout(_CONNECT_TIMEOUT)
        self._target = (address, listen.port)
        self._sent = 0
        self._received = 0
        self._reset = ""
        self._last = 0.0
        self._last_sent = 0.0
        self._gap = 0.0
        self._buffer = b""
        self._greeted = False
        self._echoed = 0

    def run(self) -> None:
        self._connect()
        self._say()
        stopping = 0.0
        due = time.monotonic()
        while True:
            now = time.monotonic()
            if stopping and (self._reset or self._received >= self._sent or now > stopping):
                self._say()
                return
            if not stopping and not self._reset and now >= due:
                due = max(due + INTERVAL, now)
                self._send()
            word = self._wait(max(0.0, min(due - now, INTERVAL)))
            if word == _STATS:
                self._say()
            elif word == _STOP:
                stopping = time.monotonic() + _LAST_ANSWERS

    def _connect(self) -> None:
        """Send a first message and wait for its answer."""
        try:
            self._socket.connect(self._target)
            self._send()
            deadline = time.monotonic() + _CONNECT_TIMEOUT
            while not self._received and not self._reset and time.monotonic() < deadline:
                self._wait(0.1)
        except OSError as error:
            self._note_reset(error)
        self._socket.setblocking(False)

    def _send(self) -> None:
        try:
            self._socket.send(_MESSAGE.pack(self._sent))
            self._sent += 1
            self._last_sent = time.monotonic()
        except BlockingIOError:
            pass
        except OSError as error:
            self._note_reset(error)

    def _wait(self, timeout: float) -> bytes:
        """Wait for answers or for the parent; returns what the parent said."""
        watched = [self._control] if self._reset else [self._control, self._socket]
        ready, _, _ = select.select(watched, [], [], timeout)
        if self._socket in ready:
            self._read()
        if self._control not in ready:
            return b""
        word = self._control.recv(1)
        if not word:
            os._exit(0)
        return word

    def _read(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._note_reset(error)
            return
        if not data:
            self._note_reset(ConnectionResetError(0, "closed by the other side"))
            return
        answers = self._count_echoes(data)
        if answers:
            now = time.monotonic()
            if self._received:
                self._gap = max(self._gap, now - self._last)
            self._last = now
            self._received += answers

    def _count_echoes(self, data: bytes) -> int:
        """How many more messages came back; the listener's greeting, one line, is none."""
        if not self._tcp:
            return 1
        if not self._greeted:
            self._buffer += data
            _, newline, data = self._buffer.partition(b"\n")
            self._greeted = bool(newline)
        self._echoed += len(data)
        return self._echoed // _MESSAGE.size - self._received

    def _note_reset(self, error: OSError) -> None:
        self._reset = self._reset or error.strerror or type(error).__name__

    def _say(self) -> None:
        gap = self._gap
        if self._received and self._received < self._sent:
            gap = max(gap, self._last_sent - self._last)
        stats = Stats(
            connected=self._received > 0,
            sent=self._sent,
            received=self._received,
            retransmitted=self._retransmitted(),
            reset=self._reset,
            longest_gap=gap,
        )
        self._control.sendall(msgspec.json.encode(stats))

    def _retransmitted(self) -> int:
        if not self._tcp:
            return 0
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        size = _TOTAL_RETRANSMISSIONS.size
        count: int = _TOTAL_RETRANSMISSIONS.unpack(info[_TCP_INFO_SIZE - size :])[0]
        return count
