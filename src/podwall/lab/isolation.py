"""The lab's own world: user, network, mount and process namespaces around one process.

The lab never touches the machine's network. A *keeper* process is forked, moves into new
namespaces and forks the *holder*, which is process 1 of the new process namespace. When the holder
ends, for whatever reason, the kernel kills every process in that namespace and then frees its
networks, mounts and rules: cleaning up is the kernel's work, so that an error, Ctrl-C and
``kill -9`` leave nothing behind. If the lab shall not outlive its caller, the keeper asks the
kernel to be killed with it.

Root and ordinary users go the same way. Where user namespaces are switched off, root does without
one; an ordinary user gets a :class:`~podwall.errors.LabError` that says which switch it is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from podwall.errors import LabError
from podwall.lab import libc

_SWITCHES: tuple[tuple[str, Callable[[int], bool], str], ...] = (
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        lambda value: value != 0,
        "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    (
        "kernel/unprivileged_userns_clone",
        lambda value: value == 0,
        "sudo sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "user/max_user_namespaces",
        lambda value: value == 0,
        "sudo sysctl user.max_user_namespaces=10000",
    ),
)
_ISOLATED = libc.CLONE_NEWNET | libc.CLONE_NEWNS | libc.CLONE_NEWPID
_ALL_FILES = 1 << 20
_READY = "ready"
_TOLD = b"t"
_REFUSED = (errno.EPERM, errno.ENOSPC, errno.EINVAL, errno.EACCES)


class Isolated(msgspec.Struct, frozen=True):
    """A running world: its keeper and holder as process ids, and the holder's start time."""

    keeper: int
    holder: int
    started: int


def start(
    main: Callable[[], int], *, detached: bool, keep_open: Iterable[int] = (), log: str = os.devnull
) -> Isolated:
    """Run ``main`` as process 1 of new namespaces; its return value is the exit status.

    Returns once the namespaces stand. A ``detached`` world lives on after the caller, otherwise the
    kernel ends it with the caller. Of the caller's open files only ``keep_open`` stay; what the
    world writes to its standard output and error goes to the file ``log``.

    Raises:
        LabError: this machine does not let us make namespaces; the message says how to go on.
    """
    reader, writer = os.pipe()
    flush_all()
    child = os.fork()
    if child == 0:
        os.close(reader)
        if detached and os.fork() != 0:
            # The keeper becomes a child of the machine's first process, which clears it away.
            os._exit(0)
        _end(lambda: _keep(main, writer, detached, {writer, *keep_open}, log))
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        pids, _, said = stream.read().decode().partition("\n")
    if said != _READY:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    if detached or said != _READY:
        os.waitpid(child, 0)
    if said != _READY:
        raise LabError(said or "the lab's process ended before it was ready")
    keeper, holder = map(int, pids.split())
    return Isolated(keeper=keeper, holder=holder, started=start_time(holder) or 0)


def alive(world: Isolated) -> bool:
    """Whether the world still stands; its process ids may belong to others by now."""
    return start_time(world.holder) == world.started


def kill(world: Isolated) -> None:
    """End the world at once and wait until it is gone."""
    if alive(world):
        with contextlib.suppress(ProcessLookupError):
            os.kill(world.holder, signal.SIGKILL)
    wait(world, None)


def wait(world: Isolated, seconds: float | None) -> bool:
    """Wait until the world is gone, at most ``seconds``; whether it is."""
    try:
        descriptor = os.pidfd_open(world.keeper)
    except ProcessLookupError:
        return True
    try:
        gone = bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)
    if gone:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(world.keeper, 0)
    return gone


def start_time(process: int) -> int | None:
    """When a process began, in the kernel's ticks since boot; None if it is none or a dead one."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def process_namespace() -> int:
    """What tells the process namespace of this process, in which its process ids count."""
    return os.stat("/proc/self/ns/pid").st_ino


def flush_all() -> None:
    """Write out what is buffered, so that a forked child does not write it again."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def close_all_but(keep_open: Iterable[int]) -> None:
    """Close every file above standard error that is not wanted: a pipe left open blocks its end."""
    start = 3
    for descriptor in sorted(keep_open):
        os.closerange(start, descriptor)
        start = max(start, descriptor + 1)
    os.closerange(start, _ALL_FILES)


def _keep(
    main: Callable[[], int], writer: int, detached: bool, keep_open: set[int], log: str
) -> int:
    """The keeper: make the namespaces, fork the holder, wait for it."""
    caller = os.getppid()
    # An own session: Ctrl-C reaches only the caller, who decides what it means.
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        _enter_new_namespaces()
    except LabError as error:
        os.write(writer, f"\n{error}".encode())
        return 1
    if not detached:
        libc.die_with_parent(signal.SIGKILL)
        if os.getppid() != caller:
            return 1
    life_reader, life_writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        os.close(life_writer)
        _end(lambda: _hold(main, writer, life_reader, keep_open, log))
    os.close(life_reader)
    os.write(writer, f"{os.getpid()} {holder}\n".encode())
    os.close(writer)
    os.write(life_writer, _TOLD)
    _redirect(_open_sink(os.devnull))
    close_all_but({life_writer})
    _, status = os.waitpid(holder, 0)
    return os.waitstatus_to_exitcode(status) & 0xFF


def _hold(main: Callable[[], int], writer: int, life: int, keep_open: set[int], log: str) -> int:
    """The holder: process 1 of the new world. ``life`` is a pipe that ends with the keeper."""
    libc.die_with_parent(signal.SIGKILL)
    # The caller reads the keeper's line first, so nothing may be said before it is.
    if os.read(life, 1) != _TOLD:
        return 1  # the keeper died before the kernel knew that we go with it
    try:
        # First, for it is mostly somewhere in /run, where ordinary users have their directory.
        sink = _open_sink(log)
    except OSError as error:
        os.write(writer, f"{log}: {error.strerror}".encode())
        return 1
    try:
        _prepare_mounts()
    except OSError as error:
        os.write(writer, _refusal(error).encode())
        return 1
    _redirect(sink)
    close_all_but(keep_open)
    os.write(writer, _READY.encode())
    os.close(writer)
    return main()


def _enter_new_namespaces() -> None:
    uid, gid = os.geteuid(), os.getegid()
    try:
        libc.unshare(_ISOLATED | libc.CLONE_NEWUSER)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise LabError(f"cannot make namespaces: {error.strerror}") from error
        if uid != 0:
            raise LabError(_refusal(error)) from error
        try:
            libc.unshare(_ISOLATED)
        except OSError as second:
            raise LabError(_refusal(second)) from second
        return
    try:
        libc.stay_dumpable()
        _write_proc("setgroups", "deny")
        _write_proc("uid_map", f"0 {uid} 1")
        _write_proc("gid_map", f"0 {gid} 1")
    except OSError as error:
        raise LabError(_refusal(error)) from error


def _write_proc(name: str, text: str) -> None:
    Path("/proc/self", name).write_text(text, encoding="ascii")


def _prepare_mounts() -> None:
    """A private mount table with an empty ``/run``, where ip(8) and iptables(8) keep files."""
    libc.mount("none", "/", "", libc.MS_REC | libc.MS_PRIVATE)
    libc.mount("podwall-lab", "/run", "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "mode=755")
    Path("/run/netns").mkdir()
    Path("/run/lock").mkdir()
    # In a container whose /proc is partly hidden the kernel refuses a fresh one (EPERM). The old
    # one serves as well: it only shows the machine's processes instead of the lab's.
    with contextlib.suppress(OSError):
        libc.mount("proc", "/proc", "proc", libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC)


def _refusal(error: OSError) -> str:
    """Why the kernel refuses namespaces, and what to do about it."""
    for name, forbids, remedy in _SWITCHES:
        with contextlib.suppress(OSError, ValueError):
            value = int(Path("/proc/sys", name).read_text(encoding="ascii"))
            if forbids(value):
                setting = name.replace("/", ".")
                return (
                    "the lab needs user namespaces, and this machine forbids them "
                    f"({setting} = {value}): run it as root, or allow them with '{remedy}'"
                )
    return (
        f"the kernel refuses the lab its own namespaces ({error.strerror}): run it as root, "
        "or, in a container, with the capability SYS_ADMIN and a seccomp profile that allows "
        "unshare and mount"
    )


def _open_sink(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _redirect(sink: int) -> None:
    source = os.open(os.devnull, os.O_RDONLY)
    os.dup2(source, 0)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.close(source)
    os.close(sink)


def _end(body: Callable[[], int]) -> None:
    """Run a forked child's body and end the process, without the parent's clean-up handlers."""
    status = 1
    try:
        status = body()
    except BaseException as error:
        with contextlib.suppress(Exception):
            sys.excepthook(type(error), error, error.__traceback__)
    finally:
        flush_all()
        os._exit(status)
