"""One agent on a node: a lock in the state directory, held for as long as the agent lives.

The lock goes with the process, however that ends. Its file stays, so that whoever opened it before
and whoever opens it later always mean the same file; only ``podwall cleanup`` removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from podwall.agent.control.words import SOCKET_NAME
from podwall.errors import AgentError, InputError

LOCK_NAME = "agent.lock"

KERNEL_LOCK_NAME = "kernel.lock"
"""Held for each write by an agent that programs another network namespace than the host's."""

LEDGER_NAME = "audit.json"
"""What audited policies would have denied, see :mod:`podwall.agent.denied.auditing`."""

_ATTEMPTS = 20
_PAUSE = 0.05


def make_state_dir(path: Path) -> None:
    """Make the state directory, for this user alone.

    Raises:
        InputError: it cannot be made, or others could put a socket of theirs in it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        raise InputError(f"state-dir {path}: {error.strerror}") from error
    if status.st_uid not in (0, os.geteuid()):
        raise InputError(f"state-dir {path}: it belongs to user {status.st_uid}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(
            f"state-dir {path}: others can write to it ({stat.filemode(status.st_mode)}); "
            f"try chmod go-w {path}"
        )


@contextmanager
def agent_lock(directory: Path, pause: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Hold the lock of ``directory``; a second's patience lets an agent that ends get out.

    Raises:
        AgentError: an agent holds it.
        InputError: the lock file cannot be opened.
    """
    path = directory / LOCK_NAME
    descriptor = _open(path)
    try:
        attempts = 1
        while not (_take(descriptor) and _is_at(descriptor, path)):
            if attempts == _ATTEMPTS:
                raise AgentError(
                    f"another agent runs on this node, and a node has one: process "
                    f"{_holder(descriptor)} holds {path}"
                )
            attempts += 1
            pause(_PAUSE)
            # A cleanup may have removed the file between opening and locking it.
            os.close(descriptor)
            descriptor = _open(path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def running_agent(directory: Path) -> str | None:
    """The process id of the agent that holds the lock of ``directory``, if one does."""
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return None if _take(descriptor, fcntl.LOCK_SH) else _holder(descriptor)
    finally:
        os.close(descriptor)


def remove_state(directory: Path) -> None:
    """Remove what an agent left in its state directory, and the directory if nothing else is there.

    Only for when no agent runs.
    """
    for name in (LOCK_NAME, KERNEL_LOCK_NAME, SOCKET_NAME, LEDGER_NAME, f"{LEDGER_NAME}.new"):
        with contextlib.suppress(OSError):
            (directory / name).unlink()
    with contextlib.suppress(OSError):
        directory.rmdir()


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}") from error


def _take(descriptor: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return text if text.isdecimal() else "unknown"
