"""Start programs: the one place where podwall does.

Everything that touches the kernel goes through a :class:`Runner`, so that tests can put a fake
kernel in its place and the lab can send the same commands into the network namespace of a node. A
command is a list of words, never a line for a shell; what it reads comes over standard input.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import msgspec

from podwall.errors import CommandFailed, CommandTimeout, KernelError, ToolMissing

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 60.0
"""Seconds that a command may take where its caller gives no bound."""

SYSTEM_PATHS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where the tools live; ordinary users' search paths often lack these."""

PACKAGES = {
    "iptables": "iptables",
    "ip6tables": "iptables",
    "ebtables": "ebtables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "nft": "nftables",
    "ip": "iproute2",
    "bridge": "iproute2",
    "sysctl": "procps",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
}
"""The Debian package of each program, by the first part of its name."""

_handed_down: ContextVar[tuple[int, ...]] = ContextVar("handed_down", default=())

_NSENTER_MISSING = re.compile(r"failed to execute (\S+): No such file")
_IP_NETNS_MISSING = re.compile(r'exec of "([^"]+)" failed: No such file')


@contextmanager
def handed_down(descriptor: int) -> Iterator[None]:
    """Let the programs that this thread starts meanwhile hold ``descriptor`` open as well.

    A lock on an open file outlives podwall that way, until the last program that it started ended.
    """
    token = _handed_down.set((*_handed_down.get(), descriptor))
    try:
        yield
    finally:
        _handed_down.reset(token)


class Completed(msgspec.Struct, frozen=True):
    """What a program said, and the status it ended with."""

    stdout: str
    stderr: str
    status: int


class Runner(Protocol):
    """Runs programs to their end."""

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | bytes | None = None,  # noqa: A002
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Completed:
        """Run ``argv`` with ``input`` on standard input; any exit status is an answer.

        Raises:
            ToolMissing: the program is not installed.
            KernelError: it cannot be started, as on a host without processes or files to spare.
            CommandTimeout: it did not end within ``timeout`` seconds and was killed.
        """
        ...


class SystemRunner:
    """Runs programs on this system.

    Args:
        prefix: words before every command, such as ``("nsenter", "--net=/run/netns/a", "--")``.
        env: environment variables on top of this process's own; the locale is always ``C``, since
            the texts of the tools are read.
    """

    def __init__(self, prefix: Sequence[str] = (), env: Mapping[str, str] | None = None) -> None:
        self._prefix = tuple(prefix)
        self._env = command_environment({**os.environ, **(env or {})})

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | bytes | None = None,  # noqa: A002
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Completed:
        """See :meth:`Runner.run`."""
        words = (*self._prefix, *argv)
        data = input.encode() if isinstance(input, str) else input
        log.debug("run %s (%d bytes on stdin)", " ".join(words), len(data or b""))
        try:
            process = self._start(words, data)
        except FileNotFoundError as error:
            raise _missing(words[0]) from error
        except OSError as error:
            raise KernelError(f"{words[0]} cannot be started: {error.strerror}") from error
        completed = _finish(process, words, timeout)
        self._check_started(completed)
        if completed.status:
            log.debug("status %d: %s", completed.status, completed.stderr.strip())
        return completed

    def _start(self, words: Sequence[str], data: bytes | None) -> subprocess.Popen[bytes]:
        with contextlib.ExitStack() as stack:
            stdin = subprocess.DEVNULL
            if data is not None:
                stdin = _whole_input(data)
                stack.callback(os.close, stdin)
            return subprocess.Popen(  # noqa: S603
                words,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._env,
                pass_fds=_handed_down.get(),
                # An own group: a timeout ends the program with all its children, and Ctrl-C at the
                # terminal reaches podwall alone, which decides when to stop between two steps.
                process_group=0,
            )

    def _check_started(self, completed: Completed) -> None:
        """Tell "the prefix did not find the program" from a failure of the program."""
        if not self._prefix or not completed.status:
            return
        for pattern in (_NSENTER_MISSING, _IP_NETNS_MISSING):
            if found := pattern.search(completed.stderr):
                raise _missing(found[1])


def _whole_input(data: bytes) -> int:
    """A file in memory that holds ``data``.

    A pipe would be filled bit by bit. If podwall were killed meanwhile, ipset would take what there
    is of the last line for a whole one: ``10.0.0.0/1`` for ``10.0.0.0/16``.
    """
    descriptor = os.memfd_create("podwall-input")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _finish(process: subprocess.Popen[bytes], words: Sequence[str], timeout: float) -> Completed:
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        _kill(process)
        raise CommandTimeout(words, timeout) from error
    except BaseException:
        _kill(process)
        raise
    return Completed(_text(stdout), _text(stderr), process.returncode)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the program and its children at once; every step of a plan survives that."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _text(output: bytes) -> str:
    # Comments of other programs' rules need not be UTF-8.
    return output.decode("utf-8", "backslashreplace")


def _missing(program: str) -> ToolMissing:
    name = os.path.basename(program)
    return ToolMissing(name, PACKAGES.get(name.partition("-")[0], name))


def command_environment(env: Mapping[str, str]) -> dict[str, str]:
    """``env`` with the C locale and a search path that includes the system directories."""
    paths = [each for each in env.get("PATH", os.defpath).split(os.pathsep) if each]
    paths += [each for each in SYSTEM_PATHS if each not in paths]
    return {**env, "PATH": os.pathsep.join(paths), "LC_ALL": "C"}


def check(argv: Sequence[str], completed: Completed) -> str:
    """The standard output of a program that had to succeed.

    Raises:
        CommandFailed: the status is not 0.
    """
    if completed.status:
        raise CommandFailed(argv, completed.status, completed.stderr)
    return completed.stdout
