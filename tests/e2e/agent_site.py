"""A node with a real agent: an API server, a private kernel, and podwall's own commands."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from podwall.agent.control.client import ask
from podwall.agent.control.words import AskStatus
from podwall.agent.status import AgentStatus
from podwall.errors import AgentError
from tests.e2e.kernel import PrivateKernel, private_kernel

PATIENCE = 30.0
NODE = "worker-1"
MERGE = "application/merge-patch+json"
PODS = "/api/v1/namespaces/default/pods"
EVENTS = "/api/v1/namespaces/default/events"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
Json = dict[str, Any]


def node() -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE},
        "spec": {"podCIDRs": ["10.244.1.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
    }


def pod(name: str, address: str, on: str = NODE, **labels: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"nodeName": on, "containers": [{"name": "main", "image": "none"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address}]},
    }


def policy(name: str, **spec: Any) -> Json:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


OBJECTS = (
    node(),
    pod("db", "10.244.1.2", app="db"),
    pod("web", "10.244.1.3", app="web"),
    pod("far", "10.244.2.4", on="worker-2", app="far"),
    policy(
        "db",
        podSelector={"matchLabels": {"app": "db"}},
        ingress=[
            {
                "from": [{"podSelector": {"matchLabels": {"app": "web"}}}],
                "ports": [{"port": 6379}],
            }
        ],
    ),
)


class Done(subprocess.CompletedProcess[str]):
    """A command that ended."""


class ApiServer:
    """The API server, in a process of its own."""

    def __init__(self, url: str, kubeconfig: Path) -> None:
        self.url = url
        self.kubeconfig = kubeconfig

    def ask(self, method: str, path: str, body: object = None, kind: str = MERGE) -> Json:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": kind},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            answer: Json = json.load(response)
        return answer

    def store(self, *things: Json) -> None:
        """Put objects in, unchecked."""
        for each in things:
            self.ask("POST", "/faults/store", each, "application/json")

    def events(self) -> list[Json]:
        """The Kubernetes Events."""
        items: list[Json] = self.ask("GET", EVENTS)["items"]
        return items


@contextlib.contextmanager
def api_server(directory: Path, *things: Json) -> Iterator[ApiServer]:
    """A server with objects in it."""
    kubeconfig = directory / "kubeconfig"
    argv = (sys.executable, "-m", "podwall.lab.apiserver", "--kubeconfig", str(kubeconfig))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            server = ApiServer(process.stdout.readline().strip(), kubeconfig)
            server.store(*things)
            yield server
        finally:
            process.kill()


class Site:
    """An agent at work, and what a user has at hand."""

    def __init__(self, directory: Path, server: ApiServer, kernel: PrivateKernel) -> None:
        self.directory = directory
        self.server = server
        self.kernel = kernel
        self.state_dir = directory / "state"
        self.log_file = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def agent_words(self, *more: str) -> list[str]:
        return [
            *(sys.executable, "-m", "podwall", "agent", "--node-name", NODE),
            *("--kubeconfig", str(self.server.kubeconfig), "--state-dir", str(self.state_dir)),
            *("--command-prefix", " ".join(self.kernel.prefix), "--listen", "127.0.0.1:0"),
            *("--log-format", "json", *more),
        ]

    def launch(self, *more: str) -> None:
        """Start the agent."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(self.agent_words(*more), stderr=log)

    def start(self, *more: str) -> None:
        """Start the agent and wait until it is ready."""
        self.launch(*more)
        until(lambda: self.status().get("ready", False), self.log)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the agent; its exit status."""
        assert self.process is not None
        self.process.send_signal(how)
        status = self.process.wait(PATIENCE)
        self.process = None
        return status

    def podwall(self, *words: str) -> Done:
        """Run a command."""
        env = {**os.environ, "PODWALL_STATE_DIR": str(self.state_dir)}
        return run(sys.executable, "-m", "podwall", *words, env=env)

    def json(self, *words: str, status: int = 0) -> Any:
        """What a command says with ``-o json``."""
        done = self.podwall(*words, "-o", "json")
        assert done.returncode == status, done.stderr
        return json.loads(done.stdout)

    def inside(self, *words: str) -> Done:
        """Run a command of podwall as the root of the private kernel."""
        done = self.kernel.run(
            sys.executable, "-m", "podwall", *words, "--state-dir", str(self.state_dir)
        )
        return Done((), done.status, done.stdout, done.stderr)

    def status(self) -> Json:
        """The agent's status; nothing if it does not answer."""
        try:
            found = ask(str(self.state_dir), AskStatus(), AgentStatus)
        except AgentError:
            return {}
        plain: Json = msgspec.to_builtins(found)
        return plain

    def get(self, path: str) -> tuple[int, str]:
        """Ask the agent over HTTP."""
        url = f"http://{self.status()['listening'][0]}{path}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def log(self) -> list[Json]:
        """The log lines so far."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    def messages(self) -> list[str]:
        """The messages of the log so far."""
        return [each["message"] for each in self.log()]

    def ours(self) -> list[str]:
        """What the kernel holds of podwall."""
        texts = [
            self.kernel.output("ipset", "save"),
            *(
                self.kernel.output(f"{stem}-{mode}-save")
                for stem in ("iptables", "ip6tables")
                for mode in ("nft", "legacy")
            ),
        ]
        return [line for text in texts for line in text.splitlines() if "PW" in line]


@contextlib.contextmanager
def site(directory: Path, *options: str) -> Iterator[Site]:
    """A site whose agent is ready; it ends with the context."""
    with (
        api_server(directory, *OBJECTS) as server,
        private_kernel() as kernel,
        stopping(Site(directory, server, kernel)) as found,
    ):
        found.start(*options)
        yield found


@contextlib.contextmanager
def stopping(found: Site) -> Iterator[Site]:
    try:
        yield found
    finally:
        if found.process is not None:
            found.process.kill()
            found.process.wait()


def run(*words: str, env: dict[str, str] | None = None) -> Done:
    done = subprocess.run(
        words, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return Done((), done.returncode, done.stdout, done.stderr)


def until(true: Callable[[], object], why: Callable[[], object] = lambda: "") -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"this never came true: {why()}"
        time.sleep(0.05)
