"""Agents on a node of a lab, as a test starts, tells, hears and kills them."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from podwall.dataplane.command import command_environment
from podwall.lab.client import Lab
from tests.e2e import agent_program
from tests.e2e.seamless import node_prefix

PATIENCE = 30.0
"""Seconds after which what a test waits for does not come any more."""


class Agent:
    """A running agent."""

    def __init__(self, lab: Lab, node: str, mode: str, lock: Path) -> None:
        words = [sys.executable, agent_program.__file__, node, mode, str(lock)]
        self._process = subprocess.Popen(
            [*node_prefix(lab, node), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=command_environment(os.environ),
        )
        self._said: queue.Queue[str] = queue.Queue()
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for each in self._readers:
            each.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(line)
        self._said.put("")

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors += self._process.stderr

    def tell(self, objects: Sequence[dict[str, Any]]) -> None:
        """Tell what there is now."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(objects) + "\n")
        self._process.stdin.flush()

    def hear(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for something that it says; what it says before is skipped."""
        skipped = []
        while line := self._said.get(timeout=PATIENCE):
            found: dict[str, Any] = json.loads(line)
            if wanted(found):
                return found
            skipped.append(found)
        raise AssertionError(f"the agent ended after {skipped}: {''.join(self._errors)}")

    def hear_apply(self, cause: str = "event") -> dict[str, Any]:
        """Wait until it wrote something, or found on start that there is nothing to write."""
        return self.hear(lambda said: said["what"] == "applied" and said["cause"] == cause)

    def is_silent(self, seconds: float) -> bool:
        """Whether it says nothing for so long; what it says is lost."""
        try:
            self._said.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def kill(self) -> None:
        """``kill -9``; what it started goes on."""
        # What was started is the program that brought it into the namespaces of the lab.
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for pid in children.read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        self._process.wait(timeout=PATIENCE)
        self._close()

    def end(self) -> None:
        """Let it end, as a signal would; it must have had nothing to complain of."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(timeout=PATIENCE) == 0, "".join(self._errors)
        self._close()

    def _close(self) -> None:
        for each in self._readers:
            each.join(timeout=PATIENCE)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None and not stream.closed:
                stream.close()

    def dispose(self) -> None:
        """Make sure that it is gone."""
        if self._process.returncode is None:
            self.kill()


@contextmanager
def running_agent(lab: Lab, node: str, mode: str, lock: Path) -> Iterator[Agent]:
    """An agent that is gone when the context ends."""
    agent = Agent(lab, node, mode, lock)
    try:
        yield agent
    finally:
        agent.dispose()
