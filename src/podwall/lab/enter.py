"""Go into a lab that is up: join its namespaces, and run a program there.

A program that is started this way is a process of the lab, so that it ends with it. One of
:func:`execute` is in the network of a pod, a node or ``outside``; one of :func:`launch` stays in
the network of whoever starts it, where the machine's users find it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence

from podwall.dataplane.command import command_environment
from podwall.errors import LabError
from podwall.lab import isolation, libc, netns
from podwall.lab.isolation import Isolated

_NOT_EXECUTABLE = 126
_NOT_FOUND = 127
_SIGNALLED = 128

_KINDS = (
    ("user", libc.CLONE_NEWUSER),
    ("pid", libc.CLONE_NEWPID),
    ("mnt", libc.CLONE_NEWNS),
)


def enter(world: Isolated, name: str) -> None:
    """Move this process, which has one thread, into a network namespace of the lab, for good.

    Its children become processes of the lab.

    Raises:
        LabError: the lab is gone, or belongs to another user.
    """
    directory = os.getcwd()
    _join(world)
    netns.enter(name)
    with contextlib.suppress(OSError):
        os.chdir(directory)


def launch(
    world: Isolated, argv: Sequence[str], env: Mapping[str, str], keep_open: Sequence[int], log: int
) -> None:
    """Start a program that nobody waits for: a process of the lab in the network of this one.

    Of this process's open files it gets ``keep_open``, under their numbers, and ``log`` as its
    standard output and error.

    Raises:
        LabError: the lab is gone, or belongs to another user, or there is no such program.
    """
    isolation.flush_all()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os._exit(_launch_inside(world, argv, command_environment(env), keep_open, log, writer))
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        refusal = stream.read().decode(errors="replace")
    os.waitpid(child, 0)
    if refusal:
        raise LabError(refusal)


def _launch_inside(
    world: Isolated,
    argv: Sequence[str],
    env: Mapping[str, str],
    keep_open: Sequence[int],
    log: int,
    writer: int,
) -> int:
    """Join the lab and fork twice: the holder inherits the program, for its parent is in the lab.

    The program of a parent outside would go to the machine's first process, and the lab's end
    would wait for that one to clear it away.
    """
    try:
        os.setsid()
        _join(world)
        child = os.fork()
        if child != 0:
            os.waitpid(child, 0)
            return 0
        if os.fork() != 0:
            return 0
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        isolation.close_all_but({writer, *keep_open})
        for each in keep_open:
            os.set_inheritable(each, True)
        for number in (signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.chdir("/")
        os.execvpe(argv[0], list(argv), dict(env))  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(writer, f"{argv[0]}: {error.strerror}".encode())
    except LabError as error:
        os.write(writer, str(error).encode())
    return 1


def _join(world: Isolated) -> None:
    """Move this process into the lab's namespaces, but for the network's."""
    if not isolation.alive(world):
        raise LabError("the lab has ended")
    opened: list[tuple[int, int]] = []
    try:
        # All are opened first: from inside, the way to the others' files is no longer the same.
        for kind, flag in _KINDS:
            descriptor = os.open(f"/proc/{world.holder}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
            opened.append((descriptor, flag))
        for descriptor, flag in opened:
            # Root's lab may have no user namespace of its own, and one's own cannot be entered.
            if flag != libc.CLONE_NEWUSER or not _is_ours(descriptor):
                libc.setns(descriptor, flag)
    except OSError as error:
        raise LabError(f"cannot enter the lab: {error.strerror}") from error
    finally:
        for descriptor, _flag in opened:
            os.close(descriptor)


def execute(world: Isolated, name: str, argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a program in a network namespace of the lab and wait for it.

    It has this process's terminal, standard files and directory. The result is its exit status, as
    a shell would tell it: 127 if there is no such program, 128 and the number if a signal ended it.
    """
    isolation.flush_all()
    child = os.fork()
    if child == 0:
        os._exit(_enter_and_execute(world, name, argv, command_environment(env)))
    return _wait_for(child)


def output_of(
    world: Isolated, name: str, argv: Sequence[str], env: Mapping[str, str], *, quiet: bool = False
) -> str:
    """What a program prints in a network namespace of the lab.

    Its errors go to this terminal, or with ``quiet`` nowhere.

    Raises:
        LabError: it ended with a status other than 0.
    """
    isolation.flush_all()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 1)
        if quiet:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os._exit(_enter_and_execute(world, name, argv, command_environment(env)))
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        text = stream.read().decode(errors="backslashreplace")
    if status := _wait_for(child):
        raise LabError(f"{argv[0]} ended with status {status} in the lab's {name}")
    return text


def _enter_and_execute(
    world: Isolated, name: str, argv: Sequence[str], env: Mapping[str, str]
) -> int:
    try:
        libc.die_with_parent(signal.SIGKILL)
        enter(world, name)
        # Only a child becomes a process of the process namespace that was entered.
        child = os.fork()
        if child == 0:
            libc.die_with_parent(signal.SIGKILL)
            # Python ignores it, and programs inherit that: 'yes | head' would not end.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.execvpe(argv[0], list(argv), dict(env))  # noqa: S606 - no shell is wanted
    except LabError as error:
        sys.stderr.write(f"podwall: {error}\n")
    except OSError as error:
        sys.stderr.write(f"podwall: {argv[0]}: {error.strerror}\n")
        missing = error.errno == errno.ENOENT
        sys.stderr.flush()
        return _NOT_FOUND if missing else _NOT_EXECUTABLE
    else:
        return _wait_for(child)
    sys.stderr.flush()
    return 3


def _wait_for(child: int) -> int:
    """Wait for a child; signals from the terminal reach it by themselves."""
    with _ignored(signal.SIGINT), _ignored(signal.SIGQUIT):
        _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else _SIGNALLED - code


@contextlib.contextmanager
def _ignored(number: signal.Signals) -> Iterator[None]:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def _is_ours(descriptor: int) -> bool:
    theirs, ours = os.fstat(descriptor), os.stat("/proc/self/ns/user")
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)
