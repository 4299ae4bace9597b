"""A kernel of one's own for a test: private user, network, mount and process namespaces.

The test itself stays where it is; its commands enter the namespaces. These live as long as one
process, the holder, which reads from a pipe that only the test's process can write to: however that
process ends, even by ``kill -9``, the pipe closes, the holder ends, and the kernel removes every
process, rule, set and interface inside. ``/run`` is a fresh tmpfs, so that lock files and named
namespaces are private as well. Works for root and for ordinary users.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from podwall.dataplane.command import Completed, SystemRunner, check, command_environment

_HOLDER = """
mount -t tmpfs tmpfs /run && ip link set lo up || exit 1
read pid rest < /proc/self/stat
echo "$pid"
exec cat > /dev/null
"""


class PrivateKernel:
    """The namespaces of a running holder; ``pid`` is its process id out here."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.runner = SystemRunner(self.prefix)

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words before a command that run it inside."""
        return self._enter()

    def _enter(self, *more: str) -> tuple[str, ...]:
        spaces = ("--user", "--preserve-credentials", "--net", "--mount", *more)
        return ("nsenter", f"--target={self.pid}", *spaces, "--")

    def with_environment(self, env: Mapping[str, str]) -> SystemRunner:
        """A runner with other environment variables, such as another search path."""
        return SystemRunner(self.prefix, env)

    def run(self, *argv: str, text: str | None = None) -> Completed:
        """Run a command inside; any exit status is an answer."""
        return self.runner.run(argv, input=text, timeout=30)

    def output(self, *argv: str, text: str | None = None) -> str:
        """Run a command inside that must succeed; what it printed."""
        return check(argv, self.run(*argv, text=text))

    def start(self, *argv: str, netns: str | None = None) -> subprocess.Popen[str]:
        """Start a program that goes on, with pipes; it cannot outlive the holder."""
        inner = ("nsenter", f"--net=/run/netns/{netns}", "--") if netns else ()
        return subprocess.Popen(
            (*self._enter("--pid"), *inner, *argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=command_environment(os.environ),
        )


@contextlib.contextmanager
def private_kernel() -> Iterator[PrivateKernel]:
    """A private kernel, gone when the context ends."""
    flags = ("--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child")
    holder = subprocess.Popen(
        ("unshare", *flags, "sh", "-c", _HOLDER),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=command_environment(os.environ),
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        pid = holder.stdout.readline().strip()
        assert pid, "this system gives no private namespaces (unshare failed)"
        yield PrivateKernel(int(pid))
    finally:
        holder.stdin.close()
        holder.stdout.close()
        holder.wait(timeout=10)


class Conversation:
    """A program in a private kernel that answers each line with one line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, line: str) -> str:
        """Send a line, wait for the answer; what the program said on its way out, if it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        return answer.strip() if answer else f"ended: {self._process.stderr.read()}"

    def close(self) -> None:
        """End the program and its pipes."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def conversation(
    kernel: PrivateKernel, argv: Sequence[str], netns: str | None = None
) -> Iterator[Conversation]:
    """Start a program to talk with; it ends with the context."""
    talk = Conversation(kernel.start(*argv, netns=netns))
    try:
        yield talk
    finally:
        talk.close()
