"""Process 1 of a lab: builds it, then carries out requests until it is killed or left to end.

Whoever builds the lab stays connected meanwhile; if that connection breaks, the lab ends. A lab
that is up then takes any number of connections on its control socket, and carries out what comes
over them one request at a time: a connection that says nothing keeps nobody waiting, and one whose
request has its turn is told so first. A lab in the foreground has just the one connection, and ends
with it; one that is led (:mod:`podwall.lab.cluster`) ends with the connection of its leader. There
is nothing to tidy up at the end: see :mod:`podwall.lab.isolation`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import time
from typing import assert_never

import msgspec

from podwall.errors import PodwallError
from podwall.lab.matrix import Matrix, Party, changes
from podwall.lab.messages import (
    Applied,
    Apply,
    Ask,
    Build,
    Describe,
    Failure,
    Fetch,
    Place,
    Progress,
    Request,
    Result,
    Started,
    Status,
)
from podwall.lab.topology import EVERYTHING
from podwall.lab.wire import decode_snapshot, encode_snapshot
from podwall.lab.world import World

log = logging.getLogger(__name__)

_CLEAR_EVERY = 1.0
_REPORT_EVERY = 0.1
_MUCH = 1 << 20


class _CallerGone(Exception):
    """The connection that a request came over is closed."""


class Holder:
    """The loop of process 1; ``main`` is its life."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._built = False
        self._last: Matrix | None = None
        self._leader: _Caller | None = None

    def hold_foreground(self, connection: socket.socket) -> int:
        """Serve one connection; the lab ends with it."""
        _calm_signals()
        caller = _Caller(connection)
        while self._serve(caller):
            pass
        return 0

    def hold_detached(self, listener: socket.socket) -> int:
        """Serve all connections, until the one that should have built the lab breaks."""
        _calm_signals()
        callers: dict[socket.socket, _Caller] = {}
        while True:
            _clear_away_orphans()
            ready, _, _ = select.select([listener, *callers], [], [], _CLEAR_EVERY)
            for each in ready:
                if each is listener:
                    connection, _peer = listener.accept()
                    callers[connection] = _Caller(connection)
                elif not self._serve(callers[each]):
                    gone = callers.pop(each)
                    each.close()
                    if gone is self._leader or (not self._built and not callers):
                        return 1

    def _serve(self, caller: _Caller) -> bool:
        """Carry out the requests that have arrived from a caller; whether there may be more."""
        try:
            lines = caller.listen()
            for line in lines or ():
                self._answer(caller, line)
        except (OSError, _CallerGone):
            return False
        return lines is not None

    def _answer(self, caller: _Caller, line: bytes) -> None:
        caller.say(Started())
        try:
            request = msgspec.json.decode(line, type=Request)
            value = self._carry_out(request, caller)
        except (_CallerGone, OSError) as error:
            if isinstance(error, _CallerGone):
                raise
            caller.say(Failure("LabError", str(error)))
        except PodwallError as error:
            caller.say(Failure(type(error).__name__, str(error)))
        except Exception as error:
            log.exception("a request failed")
            caller.say(Failure("LabError", f"{type(error).__name__}: {error}"))
        else:
            caller.say(Result(msgspec.Raw(msgspec.json.encode(value))))

    def _carry_out(self, request: Request, caller: _Caller) -> object:
        match request:
            case Build(led=led):
                self._world.build(caller.progress)
                self._world.program(caller.progress)
                self._built = True
                self._leader = caller if led else None
                return None
            case Ask(selection=selection):
                matrix = self._world.probe(selection, caller.progress)
                if selection == EVERYTHING:
                    self._last = matrix
                return matrix
            case Apply():
                return self._apply(request, caller)
            case Describe():
                return self._describe()
            case Fetch():
                return encode_snapshot(self._world.snapshot)
            case _:
                assert_never(request)

    def _apply(self, request: Apply, caller: _Caller) -> Applied:
        snapshot = decode_snapshot(request.snapshot)
        before = self._last
        if request.probe and before is None:
            before = self._world.probe(EVERYTHING, caller.progress)
        self._last = None
        # A change that was begun is finished, also if nobody waits for it any more.
        self._world.apply(snapshot, caller.try_progress)
        if not request.probe or before is None:
            return Applied()
        self._last = self._world.probe(EVERYTHING, caller.progress)
        return Applied(self._last, changes(before, self._last))

    def _describe(self) -> Status:
        topology = self._world.topology
        return Status(
            built=self._built,
            cni=topology.cni,
            families=tuple(family.value for family in topology.families),
            nodes=tuple(node.name for node in topology.nodes),
            policies=tuple(map(str, self._world.snapshot.policies)),
            places=tuple(
                Place(Party.of(each), each.netns, each.node) for each in topology.endpoints
            ),
            led=self._leader is not None,
            settings=self._world.settings,
        )


class _Caller:
    """The other end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reported = 0.0
        self._label = ""
        self._heard = b""

    def listen(self) -> list[bytes] | None:
        """The requests that are complete with what arrives next; ``None`` at the end."""
        data = self._connection.recv(_MUCH)
        if not data:
            return None
        *lines, self._heard = (self._heard + data).split(b"\n")
        return lines

    def say(self, reply: Started | Progress | Result | Failure) -> None:
        try:
            self._connection.sendall(msgspec.json.encode(reply) + b"\n")
        except OSError as error:
            raise _CallerGone from error

    def progress(self, done: int, total: int, label: str) -> None:
        now = time.monotonic()
        if done == total or label != self._label or now - self._reported >= _REPORT_EVERY:
            self._reported, self._label = now, label
            self.say(Progress(done, total, label))

    def try_progress(self, done: int, total: int, label: str) -> None:
        with contextlib.suppress(_CallerGone):
            self.progress(done, total, label)


def _calm_signals() -> None:
    """Only the caller and ``kill -9`` end a lab: Python's own handlers would break off a change."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _clear_away_orphans() -> None:
    """Process 1 inherits what others left behind, such as the children of an ended shell."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
