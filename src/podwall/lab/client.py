"""A lab as its callers see it: ask it to probe, to change, to end.

A :class:`Lab` is a handle on a running holder process. One made by :func:`start` belongs to this
process and dies with it; one made by :func:`up` stays until :meth:`Lab.down`, and :func:`find`
gives a handle on it to any later process of the same user.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from podwall import errors
from podwall.cluster.snapshot import Snapshot
from podwall.dataplane.command import SystemRunner
from podwall.errors import InputError, LabError, PodwallError
from podwall.lab import enter, isolation, state
from podwall.lab.engine import Engine
from podwall.lab.holder import Holder
from podwall.lab.isolation import Isolated
from podwall.lab.matrix import Matrix
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
    Reply,
    Request,
    Result,
    Started,
    Status,
)
from podwall.lab.state import Note
from podwall.lab.topology import EVERYTHING, OUTSIDE, Selection, Shape
from podwall.lab.wire import decode_snapshot, encode_snapshot
from podwall.lab.world import Progress as Report
from podwall.lab.world import World

T = TypeVar("T")

_NOTE_AFTER = 1.0


def quiet() -> None:
    """A callback for a busy lab that tells nobody."""


def silent(_done: int, _total: int, _label: str) -> None:
    """A progress callback that tells nobody."""


class Lab:
    """A running lab. As a context manager it is taken down at the end.

    ``busy`` is called when a request has to wait for those of others; requests have no time limit.
    """

    def __init__(
        self,
        name: str,
        world: Isolated,
        connection: socket.socket,
        busy: Callable[[], None] = quiet,
    ) -> None:
        self.name = name
        self.world = world
        self._busy = busy
        self._connection = connection
        self._lines = connection.makefile("rb")

    def probe(self, selection: Selection = EVERYTHING, progress: Report = silent) -> Matrix:
        """Ask who reaches whom.

        Raises:
            LabError: the lab ended, or a question could not be asked.
        """
        return self._call(Ask(selection), Matrix, progress)

    def apply(
        self, snapshot: Snapshot, *, probe: bool = True, progress: Report = silent
    ) -> Applied:
        """Become ``snapshot``: pods come and go, policies are programmed anew.

        With ``probe`` the answer tells what changed; if the lab was never probed as a whole, it is
        probed before the change, too.

        Raises:
            LabError: the nodes differ, or the change could not be made.
        """
        return self._call(Apply(encode_snapshot(snapshot), probe), Applied, progress)

    def status(self) -> Status:
        """What stands."""
        return self._call(Describe(), Status, silent)

    def snapshot(self) -> Snapshot:
        """The cluster that the lab stands for."""
        return decode_snapshot(self._call(Fetch(), str, silent))

    def place(self, name: str) -> Place:
        """The endpoint of a name; a bare pod name means the namespace ``default``.

        Raises:
            InputError: there is none.
        """
        places = {each.party.name: each for each in self.status().places}
        for wanted in (name, f"default/{name}", f"node/{name}"):
            if wanted in places:
                return places[wanted]
        raise InputError(f"the lab has no {name!r}; it has {', '.join(places)} and {OUTSIDE}")

    def netns(self, name: str) -> str:
        """The network namespace of an endpoint, or of ``outside``.

        Raises:
            InputError: there is none of that name.
        """
        return OUTSIDE if name == OUTSIDE else self.place(name).netns

    def enter(self, name: str) -> None:
        """Move this process into the namespaces of an endpoint, or of ``outside``, for good."""
        enter.enter(self.world, self.netns(name))

    def execute(self, name: str, argv: list[str], env: Mapping[str, str]) -> int:
        """Run a program inside an endpoint, on this terminal; returns its exit status."""
        return self.execute_in(self.netns(name), argv, env)

    def execute_in(self, netns: str, argv: list[str], env: Mapping[str, str]) -> int:
        """:meth:`execute` in a network namespace of the lab; works after :meth:`close`, too."""
        return enter.execute(self.world, netns, argv, {**env, "PODWALL_LAB": self.name})

    def output_of(self, name: str, argv: Sequence[str], *, quiet: bool = False) -> str:
        """What a program prints inside an endpoint, which may be a node.

        Its errors go to this terminal, or with ``quiet`` nowhere.

        Raises:
            LabError: it ended with a status other than 0.
        """
        return enter.output_of(self.world, self.netns(name), argv, os.environ, quiet=quiet)

    def down(self) -> None:
        """End the lab at once, whatever it is doing, and wait until it is gone."""
        # It has nothing to tidy up, so there is no need to ask it and to wait for its answer.
        isolation.kill(self.world)
        self.close()
        if self.name:
            state.forget(self.name)

    def close(self) -> None:
        """Let go of the connection; a lab of :func:`up` stays."""
        self._lines.close()
        self._connection.close()

    def build(self, progress: Report, led: bool = False) -> None:
        """Build what the lab was started for; :func:`start` and :func:`up` do it."""
        self._call(Build(led), type(None), progress)

    def detach(self) -> socket.socket:
        """A second handle on the connection, for another process; it is closed with both."""
        return self._connection.dup()

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    def _call(self, request: Request, wanted: type[T], progress: Report) -> T:
        self._send(request)
        if not select.select([self._connection], [], [], _NOTE_AFTER)[0]:
            self._busy()
        while True:
            match self._receive():
                case Started():
                    pass
                case Progress(done=done, total=total, label=label):
                    progress(done, total, label)
                case Failure(error=error, text=text):
                    raise _known_error(error)(text)
                case Result(value=value):
                    return msgspec.json.decode(value, type=wanted)

    def _send(self, request: Request) -> None:
        try:
            self._connection.sendall(msgspec.json.encode(request) + b"\n")
        except OSError as error:
            raise LabError("the lab has ended") from error

    def _receive(self) -> Reply:
        try:
            line = self._lines.readline()
        except OSError as error:
            raise LabError("the lab has ended") from error
        if not line:
            raise LabError("the lab has ended")
        reply: Reply = msgspec.json.decode(line, type=Reply)
        return reply


def start(snapshot: Snapshot, shape: Shape, engine: Engine, progress: Report = silent) -> Lab:
    """Build a lab that belongs to this process: whatever ends this process ends the lab.

    Raises:
        LabError: it cannot be built here.
        InputError: the snapshot cannot be built.
    """
    holder = _holder(snapshot, shape, engine)
    ours, theirs = socket.socketpair()
    try:
        world = isolation.start(
            lambda: holder.hold_foreground(theirs), detached=False, keep_open=[theirs.fileno()]
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return _built(Lab("", world, ours), progress)


def up(
    name: str,
    snapshot: Snapshot,
    shape: Shape,
    engine: Engine,
    progress: Report = silent,
    *,
    led: bool = False,
) -> Lab:
    """Build a lab that stays up after this process.

    One that is ``led`` stays only as long as the connection of the returned handle, which another
    process may take over (:meth:`Lab.detach`).

    Raises:
        LabError: it cannot be built here, or one of that name is up.
        InputError: the snapshot cannot be built, or the name is none.
    """
    holder = _holder(snapshot, shape, engine)
    with state.locked() as base:
        directory, listener = state.reserve(base, name)
        try:
            world = isolation.start(
                lambda: holder.hold_detached(listener),
                detached=True,
                keep_open=[listener.fileno()],
                log=str(state.log_path(directory)),
            )
            state.write_note(directory, Note(name, world))
        except BaseException:
            state.forget(name)
            raise
        finally:
            listener.close()
        # Still locked, so ours is the first connection: the lab ends with it while it is built.
        connection = state.connect(name)
    return _built(Lab(name, world, connection), progress, led)


def take_down(name: str) -> None:
    """End a lab that is up, whatever it is doing.

    Raises:
        LabError: none is up under that name.
    """
    isolation.kill(state.find(name).world)
    state.forget(name)


def find(name: str, busy: Callable[[], None] = quiet) -> Lab:
    """A handle on a lab that is up; ``busy`` is called when a request of it has to wait.

    Raises:
        LabError: none is up under that name.
    """
    note = state.find(name)
    return Lab(name, note.world, state.connect(name), busy)


def _holder(snapshot: Snapshot, shape: Shape, engine: Engine) -> Holder:
    return Holder(World(snapshot, shape, engine, SystemRunner()))


def _built(lab: Lab, progress: Report, led: bool = False) -> Lab:
    try:
        lab.build(progress, led)
    except BaseException:
        lab.down()
        raise
    return lab


def _known_error(name: str) -> Callable[[str], PodwallError]:
    """The exception to raise here for one that was raised in the lab."""
    kind: Any = getattr(errors, name, LabError)
    return kind if kind in (InputError, LabError, errors.KernelError) else LabError
