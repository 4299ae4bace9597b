"""A `podwall agent` as a benchmark runs it: its log, its CPU and its memory."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from cluster_gen import NODE
from lanes import BenchError

_PORT = 9642
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Apply:
    """A line of the log: when it was heard (perf_counter), and what it says."""

    heard: float
    events: int
    slowest: float
    members: int
    reason: str


class AgentProcess:
    """The process of an agent in the network namespace of this one; `options` are its own."""

    def __init__(
        self,
        kubeconfig: Path,
        state_dir: Path,
        *options: str,
        node: str = NODE,
        port: int = _PORT,
    ) -> None:
        self._port = port
        self.began = time.perf_counter()
        self._process = subprocess.Popen(
            (
                *(sys.executable, "-m", "podwall", "agent", "--node-name", node),
                *("--kubeconfig", str(kubeconfig), "--state-dir", str(state_dir / "agent")),
                *("--listen", f"127.0.0.1:{port}", "--log-format", "json"),
                *options,
            ),
            env={k: v for k, v in os.environ.items() if not k.startswith("PODWALL_")},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said: queue.Queue[Apply] = queue.Queue()
        self._other: deque[str] = deque(maxlen=20)
        self.last = Apply(0, 0, 0, 0, "")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            heard = time.perf_counter()
            found = json.loads(line)
            if "slowest_event_seconds" not in found:
                self._other.append(found["message"])
                continue
            moved = found["members_added"] + found["members_removed"]
            slowest = found["slowest_event_seconds"]
            self._said.put(Apply(heard, found["events"], slowest, moved, found["reason"]))

    def wait_ready(self, patience: float) -> float:
        """Seconds from the start of the process until it says that it is ready."""
        while not self._is_ready():
            if self._process.poll() is not None:
                raise BenchError(f"the agent ended: {list(self._other)}")
            if time.perf_counter() - self.began > patience:
                raise BenchError(f"the agent is not ready: {list(self._other)}")
            time.sleep(0.05)
        return time.perf_counter() - self.began

    def _is_ready(self) -> bool:
        return self._get("/readyz")[0] == 200

    def events(self) -> int:
        """How many events the agent has taken in."""
        for line in self.metrics().splitlines():
            if line.startswith("podwall_events_total "):
                return int(float(line.split()[1]))
        raise BenchError("the agent does not say how many events it took in")

    def metrics(self) -> str:
        """What it tells Prometheus."""
        return self._get("/metrics")[1]

    def _get(self, path: str) -> tuple[int, str]:
        """Status and text of an answer, 0 where there is none."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, HTTPException):
            return 0, ""
        finally:
            connection.close()

    def next_apply(self, patience: float) -> Apply:
        """The next apply in the log."""
        found = self.next_apply_within(patience)
        if found is None:
            raise BenchError(f"the agent applied nothing in {patience} s: {list(self._other)}")
        return found

    def next_apply_within(self, patience: float) -> Apply | None:
        """The next apply in the log, if there is one in time."""
        try:
            self.last = self._said.get(timeout=patience)
        except queue.Empty:
            return None
        return self.last

    def applies(self) -> list[Apply]:
        """The applies that nobody asked for yet."""
        found = []
        while not self._said.empty():
            found.append(self._said.get())
        return found

    def forget(self) -> None:
        """Ask for later applies only."""
        self.applies()

    def cpu(self) -> float:
        """CPU seconds of the process and of its children that ended."""
        text = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2]
        return sum(map(int, text.split()[11:15])) / _TICKS

    def memory(self) -> dict[str, float]:
        """Memory now and at most, in MiB."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return {
            name: int(fields[field].split()[0]) / 1024
            for name, field in (("rss", "VmRSS"), ("peak", "VmHWM"))
        }

    def stop(self) -> None:
        """End it, as an upgrade does."""
        self._process.terminate()
        self._process.wait(20)
