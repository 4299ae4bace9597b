"""One podwall at a time on a host: two that enforce different states would undo each other.

The lock is handed down to the programs that are started under it. A podwall that is killed leaves
such a program behind: an ``iptables-restore -w`` may wait for the xtables lock for seconds, and
commit then. Whoever takes this lock before it looks at the kernel comes after all of that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from podwall.dataplane.command import handed_down
from podwall.errors import KernelError

LOCK_FILE = Path("/run/podwall.lock")
_PAUSE = 0.1


@contextmanager
def host_lock(
    seconds: float, path: Path = LOCK_FILE, pause: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Hold the host's lock: until the context ends, or this process and the programs it started.

    Raises:
        KernelError: another podwall held it for longer than ``seconds``, or the file cannot be
            opened.
    """
    try:
        file = open(path, "a", opener=_open)  # noqa: SIM115 - Path.open takes no opener
    except OSError as error:
        raise KernelError(f"{path} cannot be opened: {error.strerror}") from error
    with file:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise KernelError(
                        f"another podwall is at work on this host (it holds {path}); "
                        f"waited {seconds:g} s, nothing was changed"
                    ) from None
                pause(_PAUSE)
        try:
            with handed_down(file.fileno()):
                yield
        finally:
            # A program that goes on has no say any more: it was started under a lock that is over.
            fcntl.flock(file, fcntl.LOCK_UN)


def _open(path: str, flags: int) -> int:
    """Open a file that is for its owner alone: whoever can read it can lock it, and us out."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    with contextlib.suppress(PermissionError):
        if os.fstat(descriptor).st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
    return descriptor
