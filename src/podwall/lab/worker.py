"""Run a function in a forked process, hear how far it is, and get its text back.

Probing needs a process with one thread of its own: it hops through network namespaces, and it shall
not keep the holder from working out meanwhile what the answers should be. The child dies with its
parent, and its answers come over a pipe, one line each: a number is progress, ``=`` the result,
``!`` an error.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable

from podwall.errors import LabError, PodwallError
from podwall.lab import libc

_REPORT_EVERY = 0.1

Report = Callable[[int], None]


class Worker:
    """A forked child that works; :meth:`poll` until it says it is done, then take ``result``."""

    def __init__(self, work: Callable[[Report], str]) -> None:
        self.progress = 0
        self.result: str | None = None
        self._buffer = b""
        self._pipe, writer = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._pipe)
            _work(work, writer, parent)
        os.close(writer)

    def poll(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for news; whether the work is done.

        Raises:
            LabError: the work failed.
        """
        ready, _, _ = select.select([self._pipe], [], [], timeout)
        if not ready:
            return False
        data = os.read(self._pipe, 1 << 16)
        if not data:
            self.stop()
            raise LabError("a process of the lab ended in the middle of its work")
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            self._take(line.decode())
        return self.result is not None

    def stop(self) -> None:
        """End the child, whatever it is doing."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self._pipe)
            self.pid = 0

    def _take(self, line: str) -> None:
        if line.startswith("="):
            self.result = line[1:]
            self.stop()
        elif line.startswith("!"):
            self.stop()
            raise LabError(line[1:])
        else:
            self.progress = int(line)


def _work(work: Callable[[Report], str], writer: int, parent: int) -> None:
    """The child's life; never returns."""
    last = 0.0

    def report(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_EVERY:
            last = now
            os.write(writer, f"{done}\n".encode())

    status = 1
    try:
        libc.die_with_parent(signal.SIGKILL)
        if os.getppid() == parent:
            _write_all(writer, f"={work(report)}\n".encode())
            status = 0
    except PodwallError as error:
        _write_all(writer, f"!{_one_line(str(error))}\n".encode())
    except BaseException as error:
        _write_all(writer, f"!{type(error).__name__}: {_one_line(str(error))}\n".encode())
    finally:
        os._exit(status)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _one_line(text: str) -> str:
    return " ".join(text.split())
