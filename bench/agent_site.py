"""One cluster with one agent: an API server, a kernel and a `podwall agent`, in private namespaces.

    agent_site.py SHAPE-AS-JSON

Told what to do by lines of JSON, it answers each with one: `{"do": "relabel", "count": 50}`. All of
it lives in namespaces of this process, and ends with it. Writes go through the API as `kubectl`
makes them. An effect on a set is seen by asking the kernel, other ones by the agent's log, each by
the clock of this process.
"""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from agent_cluster import APPS, CROWD, AgentShape
from agent_process import AgentProcess
from cluster_gen import NODE
from kernel_set import KernelSets
from lanes import BenchError, enter_private_namespaces, run

PATIENCE = 120.0
"""Seconds after which what is waited for does not come any more."""

PACE = 0.15
"""Seconds between changes that are timed one by one: nothing waits for the one before."""

POLL = 0.0005

OTHER_NODES = 12
"""The pods of so many other nodes are relabelled."""


class Api:
    """Writes to the API server over one connection, and measures what a watch of it costs."""

    def __init__(self, url: str) -> None:
        self._host = url.removeprefix("http://")
        self._connection = HTTPConnection(self._host)
        self._connection.connect()

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """One request; answers other than 2xx are errors."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, {"Content-Type": kind})
        response = self._connection.getresponse()
        answer = response.read()
        if response.status // 100 != 2:
            raise BenchError(f"{method} {path}: {response.status} {answer[:300]!r}")
        found: dict[str, Any] = json.loads(answer)
        return found

    def label(self, path: str, **labels: str | None) -> None:
        """Set labels, or with `None` take them away."""
        self.call("PATCH", path, {"metadata": {"labels": labels}})

    def items(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """A list, page by page."""
        words, token = "".join(f"&{key}={value}" for key, value in query.items()), ""
        while True:
            page = self.call("GET", f"{path}?limit=1000{words}{token}")
            yield from page["items"]
            if not (rest := page["metadata"].get("continue")):
                return
            token = f"&continue={rest}"

    @contextmanager
    def watching(self, path: str) -> Iterator[Callable[[int], int]]:
        """A watch; what is handed out gives the bytes that so many lines take on the wire."""
        version = self.call("GET", f"{path}?limit=1")["metadata"]["resourceVersion"]
        host, _, port = self._host.partition(":")
        with closing(HTTPConnection(host, int(port), timeout=PATIENCE)) as watch:
            query = f"watch=1&allowWatchBookmarks=true&resourceVersion={version}"
            watch.request("GET", f"{path}?{query}", headers={"Accept": "application/json"})
            assert watch.sock is not None
            socket = watch.sock
            received = socket.recv(65536)
            assert received.startswith(b"HTTP/1.1 200"), received
            rest = received.partition(b"\r\n\r\n")[2]

            def read(lines: int) -> int:
                found = rest
                # Chunks end in a line end too, so lines are told by what they begin with.
                while found.count(b'{"type":"MODIFIED"') < lines or found[-3:] != b"\n\r\n":
                    found += socket.recv(1 << 20)
                return len(found)

            yield read


def pod_path(pod: dict[str, Any]) -> str:
    """Where a pod is."""
    meta = pod["metadata"]
    return f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"


def policies_path(namespace: str) -> str:
    """Where the policies of a namespace are."""
    return f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"


class Site:
    """Does what it is told; each public method is a command and gives what JSON can say."""

    def __init__(self, shape: AgentShape, directory: Path) -> None:
        self._shape = shape
        self._directory = directory
        self._kubeconfig = directory / "kubeconfig"
        self._server = subprocess.Popen(
            (
                sys.executable,
                str(Path(__file__).with_name("agent_server.py")),
                json.dumps({name: getattr(shape, name) for name in shape.__slots__}),
                str(self._kubeconfig),
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._filled = self._answer()
        self._api = Api(self._filled["url"])
        self._chance = random.Random(1)
        self._sets = KernelSets().__enter__()
        self._local = list(self._pods_of(NODE))
        others = range(1, min(shape.nodes, OTHER_NODES + 1))
        self._remote = [pod for each in others for pod in self._pods_of(f"node-{each}")]
        self._chance.shuffle(self._remote)
        self._agent: AgentProcess | None = None
        self._set = ""

    def _pods_of(self, node: str) -> Iterator[dict[str, Any]]:
        for each in self._api.items("/api/v1/pods", fieldSelector=f"spec.nodeName={node}"):
            if each["metadata"]["namespace"] != CROWD:
                yield each

    def _answer(self) -> dict[str, Any]:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            raise BenchError("the API server ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def _tell_server(self, **words: object) -> dict[str, Any]:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(words) + "\n")
        self._server.stdin.flush()
        return self._answer()

    @property
    def _running(self) -> AgentProcess:
        if self._agent is None:
            raise BenchError("the agent does not run")
        return self._agent

    # Commands.

    def start(self) -> dict[str, Any]:
        """Start the agent; seconds from its process to a kernel that holds everything."""
        before = _loopback_bytes()
        self._agent = AgentProcess(self._kubeconfig, self._directory)
        seconds = self._agent.wait_ready(PATIENCE)
        received = _loopback_bytes() - before
        return {
            "seconds": seconds,
            "cpu": self._agent.cpu(),
            "bytes": received,
            "filled": self._filled["seconds"],
            **self._agent.memory(),
        }

    def stop(self) -> dict[str, Any]:
        """End the agent; the kernel stays as it is."""
        self._running.stop()
        self._agent = None
        return {}

    def prepare(self) -> dict[str, Any]:
        """A policy of one local pod that lets pods with the label `bench` in, and its set."""
        subject = self._local[0]
        spec = self._policy_for(subject, {"bench": "yes"})
        namespace = subject["metadata"]["namespace"]
        self._apply(lambda: self._create_policy(namespace, "bench", spec))
        first = self._remote[0]
        self._apply(lambda: self._api.label(pod_path(first), bench="yes"))
        self._set = _set_with_only(first["status"]["podIP"])
        self._api.label(pod_path(first), bench=None)
        self._wait_for(first["status"]["podIP"], present=False)
        return {"set": self._set, "rules": _count(("iptables-save",), "-A")}

    def _policy_for(self, subject: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
        peer = {"namespaceSelector": {}, "podSelector": {"matchLabels": labels}}
        return {
            "podSelector": {"matchLabels": {"app": subject["metadata"]["labels"]["app"]}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [peer], "ports": [{"protocol": "TCP", "port": 8080}]}],
        }

    def _create_policy(self, namespace: str, name: str, spec: dict[str, Any]) -> None:
        policy = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name},
            "spec": spec,
        }
        self._api.call("POST", policies_path(namespace), policy)

    def relabel(self, count: int) -> dict[str, Any]:
        """Remote pods enter and leave a set of this node: seconds from the write to the kernel."""
        outside, inside = [], []
        for index in range(count // 2):
            pod = self._remote[index % len(self._remote)]
            for value in ("yes", None):
                time.sleep(PACE * self._chance.uniform(0.8, 1.2))
                self._running.forget()
                began = time.perf_counter()
                self._api.label(pod_path(pod), bench=value)
                self._wait_for(pod["status"]["podIP"], present=value is not None)
                outside.append(time.perf_counter() - began)
                inside.append(self._running.next_apply(PATIENCE).slowest)
        return {"effect": outside, "agent": inside}

    def policies(self, count: int) -> dict[str, Any]:
        """Policies of local pods come and go: new rules, new chains, new sets."""
        found = []
        for index in range(count // 2):
            subject = self._local[1 + index % (len(self._local) - 1)]
            namespace, name = subject["metadata"]["namespace"], f"bench-{index}"
            spec = self._policy_for(subject, {"app": f"app-{index % APPS}", "bench": "yes"})
            time.sleep(PACE)
            found.append(self._apply(partial(self._create_policy, namespace, name, spec)))
            time.sleep(PACE)
            found.append(self._apply(partial(self._delete_policy, namespace, name)))
        return _timings(found)

    def locals(self, count: int) -> dict[str, Any]:
        """Pods of this node come and go, each selected by a policy."""
        found = []
        for index in range(count // 2):
            copy = _renamed(
                self._local[0], f"bench-{index}", f"10.66.{index // 200}.{index % 200 + 1}"
            )
            time.sleep(PACE)
            found.append(self._apply(partial(self._create_pod, copy)))
            time.sleep(PACE)
            path = f"{pod_path(copy)}?gracePeriodSeconds=0"
            found.append(self._apply(partial(self._api.call, "DELETE", path)))
        return _timings(found)

    def _create_pod(self, pod: dict[str, Any]) -> None:
        path = pod_path(pod)
        self._api.call("POST", path.rpartition("/")[0], pod)
        self._api.call("PATCH", f"{path}/status", {"status": pod["status"]})

    def idle(self, seconds: float) -> dict[str, Any]:
        """CPU of the agent while nothing happens, in cores."""
        began, before = time.monotonic(), self._running.cpu()
        time.sleep(seconds)
        return {"cpu": (self._running.cpu() - before) / (time.monotonic() - began)}

    def nobody(self, count: int) -> dict[str, Any]:
        """Remote relabels that concern nobody here: CPU seconds of the agent and its children."""
        agent = self._running
        known = agent.events()
        began, before = time.monotonic(), agent.cpu()
        for index in range(count):
            pod = self._remote[index % len(self._remote)]
            # Never twice the same, which would be no event.
            self._api.label(pod_path(pod), note=f"{began:.0f}-{index}")
        # Each question takes the agent some milliseconds, which are on the events' bill.
        while agent.events() < known + count:
            time.sleep(0.1)
        # What was taken in last is worked out, if not told to anybody.
        time.sleep(0.1)
        return {"cpu": agent.cpu() - before, "seconds": time.monotonic() - began}

    def crowd(self) -> dict[str, Any]:
        """A namespace with many pods enters a set and leaves it by one relabel."""
        subject = self._local[0]
        peer = {"namespaceSelector": {"matchLabels": {"crowd": "in"}}}
        spec = self._policy_for(subject, {}) | {
            "ingress": [{"from": [peer], "ports": [{"protocol": "TCP", "port": 8081}]}]
        }
        namespace = subject["metadata"]["namespace"]
        self._apply(lambda: self._create_policy(namespace, "bench-crowd", spec))
        path = f"/api/v1/namespaces/{CROWD}"
        joined = self._apply(lambda: self._api.label(path, crowd="in"))
        members = self._running.last.members
        time.sleep(2)
        left = self._apply(lambda: self._api.label(path, crowd=None))
        time.sleep(1)
        self._apply(lambda: self._delete_policy(namespace, "bench-crowd"))
        return {"members": members, "joined": joined[0], "left": left[0]}

    def _delete_policy(self, namespace: str, name: str) -> None:
        self._api.call("DELETE", f"{policies_path(namespace)}/{name}")

    def wide(self, peers: int) -> dict[str, Any]:
        """A policy that selects about so many pods of all namespaces comes and goes."""
        subject = self._local[0]
        share = min(1.0, peers / (self._shape.pods - self._shape.crowd))
        apps = [f"app-{index}" for index in range(max(1, round(APPS * share)))]
        selector = {"matchExpressions": [{"key": "app", "operator": "In", "values": apps}]}
        peer = {"namespaceSelector": {}, "podSelector": selector}
        spec = self._policy_for(subject, {}) | {
            "ingress": [{"from": [peer], "ports": [{"protocol": "TCP", "port": 8082}]}]
        }
        namespace = subject["metadata"]["namespace"]
        came = self._apply(lambda: self._create_policy(namespace, "bench-wide", spec))
        members = self._running.last.members
        time.sleep(1)
        gone = self._apply(lambda: self._delete_policy(namespace, "bench-wide"))
        return {"members": members, "came": came[0], "gone": gone[0]}

    def churn(self, rate: int, seconds: float) -> dict[str, Any]:
        """Many changes a second: what becomes of latency, and whether anything is lost."""
        agent = self._running
        agent.forget()
        before, began = agent.cpu(), time.monotonic()
        done = self._tell_server(do="churn", rate=rate, seconds=seconds)
        flips = self._flip(self._remote[0])
        cpu, elapsed = agent.cpu() - before, time.monotonic() - began
        time.sleep(2)
        applies = agent.applies()
        return {
            "changes": done["changes"],
            "seconds": done["seconds"],
            "caught_up": flips,
            "cpu": cpu / elapsed,
            "applies": len(applies),
            "events": sum(each.events for each in applies),
            "slowest": [each.slowest for each in applies if each.events],
            **agent.memory(),
        }

    def memory(self) -> dict[str, Any]:
        """Memory of the agent's process in MiB."""
        return self._running.memory()

    def verify(self) -> dict[str, Any]:
        """Hold the kernel to what the API server has, without the agent: differences."""
        path = self._directory / "cluster.json"
        self._tell_server(do="dump", path=str(path))
        command = (sys.executable, "-m", "podwall", "diff", "--node-name", NODE, str(path))
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        path.unlink()
        if found.returncode not in (0, 1):
            raise BenchError(f"podwall diff failed: {found.stderr.strip()}")
        return {"same": found.returncode == 0, "text": found.stdout[:2000]}

    def wire(self, count: int) -> dict[str, Any]:
        """Bytes that one event takes on the wire, HTTP's chunks included, by kind."""
        paths = {
            "pod": "/api/v1/pods",
            "namespace": "/api/v1/namespaces",
            "policy": "/apis/networking.k8s.io/v1/networkpolicies",
        }
        found = {}
        for name, path in paths.items():
            with self._api.watching(path) as read:
                self._tell_server(do="touch", resource=name, count=count)
                found[name] = read(count) / count
        return found

    # What the commands have in common.

    def _flip(self, pod: dict[str, Any]) -> float:
        """A pod enters the bench's set and leaves it: seconds until the first was seen."""
        began = time.perf_counter()
        self._api.label(pod_path(pod), bench="yes")
        self._wait_for(pod["status"]["podIP"], present=True)
        seconds = time.perf_counter() - began
        self._api.label(pod_path(pod), bench=None)
        self._wait_for(pod["status"]["podIP"], present=False)
        return seconds

    def _wait_for(self, address: str, *, present: bool) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._sets.has(self._set, address) is not present:
            if time.monotonic() > deadline:
                raise BenchError(f"{address} in {self._set}: not {present} in {PATIENCE} s")
            time.sleep(POLL)

    def _apply(self, write: Callable[[], object]) -> tuple[float, float]:
        """Seconds from a write to the agent's word that it is enforced, and by the agent's clock.

        Of a write in several parts the last apply counts.
        """
        agent = self._running
        agent.forget()
        began = time.perf_counter()
        write()
        agent.next_apply(PATIENCE)
        while (more := agent.next_apply_within(0.1)) is not None:
            del more
        return agent.last.heard - began, agent.last.slowest


def _timings(found: list[tuple[float, float]]) -> dict[str, Any]:
    return {"effect": [each for each, _ in found], "agent": [each for _, each in found]}


def _renamed(pod: dict[str, Any], name: str, address: str) -> dict[str, Any]:
    kept = ("namespace", "labels", "ownerReferences")
    meta = {key: pod["metadata"][key] for key in kept if key in pod["metadata"]}
    status = {**pod["status"], "podIP": address, "podIPs": [{"ip": address}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**meta, "name": name},
        "spec": pod["spec"],
        "status": status,
    }


def _set_with_only(address: str) -> str:
    found = re.findall(r"^add (\S+) (\S+)$", run("ipset", "save"), re.MULTILINE)
    members: dict[str, list[str]] = {}
    for name, member in found:
        members.setdefault(name, []).append(member)
    return next(name for name, each in members.items() if each == [address])


def _count(command: tuple[str, ...], prefix: str) -> int:
    return sum(line.startswith(prefix) for line in run(*command).splitlines())


def _loopback_bytes() -> int:
    # Not /sys, which shows the network namespace that it was mounted in.
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.strip().startswith("lo:"))


def main() -> None:
    """Do what standard input says until it ends."""
    enter_private_namespaces()
    # Ctrl-C is for whoever gives the orders; this ends when they end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    shape = AgentShape(**json.loads(sys.argv[1]))
    with tempfile.TemporaryDirectory() as directory:
        site = Site(shape, Path(directory))
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                answer = getattr(site, asked.pop("do"))(**asked)
            except BenchError as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
