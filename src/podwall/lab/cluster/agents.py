"""The agents of a lab's nodes: one process each, started again when it ends.

Each agent has a ``/run`` of its own, as on a node of its own, in which it finds its node's network
namespace: the locks and sockets of one node's programs are not another's. It lives in the network
of the leader, where the API server is, and reaches its node's kernel through that namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence

from podwall.dataplane.command import command_environment
from podwall.lab import isolation, libc, netns
from podwall.lab.cluster.config import AgentState
from podwall.lab.cluster.places import run_directory
from podwall.lab.topology import node_netns

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_LONG_ENOUGH = 10.0
_ANSWER_WITHIN = 2.0


class Agent:
    """One node's agent; :meth:`run` keeps it running until it is cancelled."""

    def __init__(
        self, node: str, kubeconfig: bytes, options: Sequence[str], open_log: Callable[[str], int]
    ) -> None:
        self.node = node
        self.pid = 0
        self.restarts = 0
        self._port = 0
        self._kubeconfig = kubeconfig
        self._options = options
        self._open_log = open_log

    async def run(self) -> None:
        """Start the agent, wait for its end, and so on; one that ends at once is left alone."""
        self._prepare()
        clock, pause = asyncio.get_running_loop().time, _FIRST_PAUSE
        while True:
            started = clock()
            self.pid = self._start()
            status = await _end_of(self.pid)
            self.pid = 0
            log.warning("the agent of %s ended with status %d", self.node, status)
            pause = _FIRST_PAUSE if clock() - started > _LONG_ENOUGH else pause
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            self.restarts += 1

    async def state(self) -> AgentState:
        """Whether it runs and is ready, by its own account."""
        if not self.pid:
            why = "it ended, and is about to be started again"
        else:
            try:
                async with asyncio.timeout(_ANSWER_WITHIN):
                    why = await self._why_not_ready()
            except (OSError, TimeoutError, ValueError):
                why = "it does not answer yet"
        return AgentState(self.node, self.pid, self.restarts, not why, why)

    async def _why_not_ready(self) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(b"GET /readyz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            answer = (await reader.read(1 << 16)).decode(errors="replace")
        finally:
            writer.close()
        head, _, body = answer.partition("\r\n\r\n")
        code = head.split(" ", 2)[1] if head.count(" ") > 1 else ""
        if code == "200":
            return ""
        # The first line only says that it is not ready.
        reasons = [line for line in body.splitlines()[1:] if line]
        return "; ".join(reasons) or f"it answers with status {code or 'unknown'}"

    def _prepare(self) -> None:
        run, name = run_directory(self.node), node_netns(self.node)
        (run / "netns").mkdir(parents=True, exist_ok=True)
        place = run / "netns" / name
        place.touch(exist_ok=True)
        libc.mount(netns.path(name), str(place), "", libc.MS_BIND)
        config = run / "kubeconfig"
        config.touch(mode=0o600, exist_ok=True)
        config.write_bytes(self._kubeconfig)

    def _argv(self) -> list[str]:
        return [
            *(sys.executable, "-P", "-m", "podwall", "agent"),
            *("--node-name", self.node),
            *("--kubeconfig", "/run/kubeconfig"),
            *("--netns", netns.path(node_netns(self.node))),
            *("--state-dir", "/run/podwall"),
            *("--listen", f"127.0.0.1:{self._port}"),
            *self._options,
        ]

    def _start(self) -> int:
        self._port = _free_port()
        sink = self._open_log(f"agent-{self.node}.log")
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            _become(self._argv(), str(run_directory(self.node)), sink, parent)
        os.close(sink)
        return child


def _become(argv: Sequence[str], run: str, sink: int, parent: int) -> None:
    """The child's way to its program; never returns."""
    try:
        libc.die_with_parent(signal.SIGKILL)
        if os.getppid() == parent:
            os.setsid()
            libc.unshare(libc.CLONE_NEWNS)
            libc.mount(run, "/run", "", libc.MS_BIND | libc.MS_REC)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            isolation.close_all_but(())
            os.execvpe(argv[0], list(argv), _environment(os.environ))  # noqa: S606 - no shell is wanted
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(2, f"{argv[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """Without what would configure this agent instead of its options, and without proxies."""
    kept = {
        name: value
        for name, value in env.items()
        if not name.startswith(("PODWALL_", "KUBE")) and not name.lower().endswith("_proxy")
    }
    return command_environment(kept)


async def _end_of(pid: int) -> int:
    """Wait for a child; its exit status, or minus the signal that ended it."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
