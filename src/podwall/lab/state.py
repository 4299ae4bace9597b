"""Where labs that stay up are noted: one private directory per user, one in it per lab.

A lab's directory holds its control socket, its log and ``state.json`` with the ids of its
processes; if it has an API server, also its kubeconfig and the logs of its agents. The note is not
the truth, the processes are: whatever names processes that are gone is swept away by the next
command. Process ids count in one process namespace only. A note from another one (a container that
shares the directory, or a command that runs inside a lab) is left alone while its lab's socket
answers, and its lab is not ours to find.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from podwall.errors import InputError, LabError
from podwall.lab import isolation
from podwall.lab.isolation import Isolated

DEFAULT_NAME = "default"

KUBECONFIG = "kubeconfig"
"""The file in a lab's directory with which clients find its API server, if it has one."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?\Z")
_STATE = "state.json"
_SOCKET = "control"
_LOG = "log"
_LOCK = ".lock"


class Note(msgspec.Struct, frozen=True):
    """A lab that is up: its name, its processes, and the process namespace that numbers these."""

    name: str
    world: Isolated
    among: int = msgspec.field(default_factory=isolation.process_namespace)


def base_directory() -> Path:
    """The directory of this user's labs, made if need be.

    Raises:
        LabError: something else has its name, or it belongs to somebody else.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and os.path.isdir(runtime) and os.access(runtime, os.W_OK):
        base = Path(runtime, "podwall-lab")
    else:
        base = Path(tempfile.gettempdir(), f"podwall-lab-{os.geteuid()}")
    with contextlib.suppress(FileExistsError):
        base.mkdir(mode=0o700)
    # Others may write to /tmp: what stands there under our name need not be ours.
    status = base.lstat()
    private = stat.S_ISDIR(status.st_mode) and status.st_mode & 0o077 == 0
    if not private or status.st_uid != os.geteuid():
        raise LabError(f"{base} is not a private directory of this user: remove it")
    return base


@contextlib.contextmanager
def locked() -> Iterator[Path]:
    """Be the only one to change the notes; stale ones are swept first."""
    base = base_directory()
    with open(base / _LOCK, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _sweep(base)
        yield base


def check_name(name: str) -> str:
    """``name``, if a lab can be called so.

    Raises:
        InputError: it cannot.
    """
    if not _NAME.match(name):
        raise InputError(f"--name {name!r}: 1 to 40 lower-case letters, digits and inner dashes")
    return name


def reserve(base: Path, name: str) -> tuple[Path, socket.socket]:
    """Make the directory of a new lab, and the socket that it will listen on.

    Raises:
        LabError: a lab of that name is up.
    """
    directory = base / check_name(name)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError as error:
        note = _read_note(directory)
        hint = "'podwall lab down' ends it"
        if note is not None and not _ours(note):
            hint = "it was started outside of this container or lab; choose another --name"
        raise LabError(f"a lab named {name!r} is up: {hint}") from error
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short_path(directory) as path:
        listener.bind(path)
    listener.listen()
    return directory, listener


def log_path(directory: Path) -> Path:
    """Where the lab writes what it has to complain about."""
    return directory / _LOG


def kubeconfig_path(name: str) -> Path:
    """Where the kubeconfig of a lab with an API server is."""
    return base_directory() / name / KUBECONFIG


def write_note(directory: Path, note: Note) -> None:
    """Note that a lab is up."""
    draft = directory / f"{_STATE}.new"
    draft.write_bytes(msgspec.json.encode(note))
    draft.rename(directory / _STATE)


def notes() -> list[Note]:
    """All labs of this user that are up, by name; not those of other process namespaces."""
    with locked() as base:
        found = (_read_note(entry) for entry in sorted(base.iterdir()) if entry.is_dir())
        return [each for each in found if each is not None and _ours(each)]


def find(name: str) -> Note:
    """The lab of a name.

    Raises:
        LabError: none is up under it; the message lists those that are.
        InputError: no lab can be called so.
    """
    check_name(name)
    standing = notes()
    for note in standing:
        if note.name == name:
            return note
    others = ", ".join(note.name for note in standing)
    hint = f"; up are: {others}" if others else ": 'podwall lab up FILES' starts one"
    raise LabError(f"no lab named {name!r} is up{hint}")


def connect(name: str) -> socket.socket:
    """A connection to the control socket of a lab.

    Raises:
        LabError: it does not answer.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short_path(base_directory() / name) as path:
            connection.connect(path)
    except OSError as error:
        connection.close()
        raise LabError(f"the lab {name!r} does not answer: {error.strerror}") from error
    return connection


def forget(name: str) -> None:
    """Remove what is noted of a lab."""
    shutil.rmtree(base_directory() / name, ignore_errors=True)


def _sweep(base: Path) -> None:
    """Remove directories whose lab is gone; none can be in the making, for we hold the lock."""
    for entry in base.iterdir():
        if entry.is_dir():
            note = _read_note(entry)
            if note is None or not _stands(note, entry):
                shutil.rmtree(entry, ignore_errors=True)


def _ours(note: Note) -> bool:
    """Whether the note's process ids are ids here."""
    return note.among == isolation.process_namespace()


def _stands(note: Note, directory: Path) -> bool:
    if _ours(note):
        return isolation.alive(note.world)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked, _short_path(directory) as path:
        asked.setblocking(False)  # a lab that is too busy to be asked stands
        try:
            asked.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _read_note(directory: Path) -> Note | None:
    try:
        return msgspec.json.decode((directory / _STATE).read_bytes(), type=Note)
    except (OSError, msgspec.DecodeError):
        return None


@contextlib.contextmanager
def _short_path(directory: Path) -> Iterator[str]:
    """The socket's path in under 108 bytes, however deep the directory lies."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{_SOCKET}"
    finally:
        os.close(descriptor)
