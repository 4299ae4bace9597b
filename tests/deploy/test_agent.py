"""The agent as the DaemonSet runs it: in its image, with its capabilities, with its rights."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from podwall.dataplane.iptables.mode import Mode
from tests.deploy.image import ACCOUNT, STATE, Image
from tests.deploy.rendered import BASE
from tests.e2e.kernel import Conversation, PrivateKernel, conversation, private_kernel

pytestmark = pytest.mark.kernel

# An Event on a policy that was in error before all was known may wait for the next look, a minute.
PATIENCE = 90
SERVER = Path(__file__).with_name("server.py")
OBJECTS: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node-1"},
        "spec": {"podCIDRs": ["10.244.1.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
    },
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}},
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "db", "labels": {"app": "db"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "none"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.244.1.7"}]},
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "wrong"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "db"}},
            "ingress": [{"ports": [{"port": 80, "endPort": 79}]}],
        },
    },
]


class Deployed(NamedTuple):
    """An agent that is at work, and what it works with."""

    kernel: PrivateKernel
    image: Image
    server: Conversation
    port: str

    def status(self) -> dict[str, Any]:
        """What ``podwall status`` says, as ``kubectl exec`` would run it; nothing before it can."""
        done = self.image.podwall("status", "-o", "json")
        return json.loads(done.stdout) if done.stdout else {"why_not": done.stderr}

    def asked(self) -> list[dict[str, Any]]:
        """Every request of agents so far."""
        return json.loads(self.server.ask("asked"))

    def wrote(self, verb: str) -> bool:
        """Whether an agent wrote an Event so."""
        return any((each["resource"], each["verb"]) == ("events", verb) for each in self.asked())


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Deployed]:
    """An API server with a node, a pod and a policy in error; no agent yet."""
    objects = tmp_path / "objects.json"
    objects.write_text(json.dumps(OBJECTS), encoding="utf-8")
    with private_kernel() as kernel:
        image = Image(kernel)
        argv = (sys.executable, str(SERVER), ACCOUNT, str(objects))
        with conversation(kernel, argv) as server:
            yield Deployed(kernel, image, server, server.ask("where are you?"))


@contextlib.contextmanager
def agent(cluster: Deployed, mode: Mode) -> Iterator[None]:
    """An agent that is ready; it ends with the context, and well."""
    server = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": cluster.port}
    container = _container()
    env = {each["name"]: each.get("value", "node-1") for each in container["env"]}
    process = cluster.image.start(
        *container["args"], env={**env, **server, "PODWALL_MODE": mode.value}
    )
    try:
        _until(cluster, "the agent is ready", lambda: cluster.status().get("ready"))
        yield
    finally:
        if process.poll() is None:
            _end(cluster.kernel)
        _, log = process.communicate(timeout=PATIENCE)
        print(log)
    assert process.returncode == 0, log
    assert "the rules stay in force" in log


def _container() -> dict[str, Any]:
    """The agent's container in the DaemonSet."""
    text = (BASE / "daemonset.yaml").read_text(encoding="utf-8")
    [container] = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]
    return container


def _end(kernel: PrivateKernel) -> None:
    """End the agent as kubelet does; its process id counts in the kernel's own process space."""
    pid = kernel.output("cat", f"{STATE}/agent.lock").strip()
    kernel.start("kill", "-TERM", pid).communicate(timeout=PATIENCE)


def _until(cluster: Deployed, what: str, holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"not in {PATIENCE} s: {what}; {cluster.status()}"
        time.sleep(0.1)


@pytest.mark.parametrize("mode", Mode)
def test_the_agent_works_with_what_the_daemonset_gives_it(mode: Mode, cluster: Deployed) -> None:
    save, change = f"iptables-{mode.value}-save", f"iptables-{mode.value}"
    with agent(cluster, mode):
        assert cluster.status()["kernel"]["mode"] == mode.value
        assert "10.244.1.7/32" in cluster.kernel.output(save)
        assert [_get(cluster, path) for path in ("livez", "readyz")] == [
            "200 alive\n",
            "200 ready\n",
        ]
        # What somebody else changes is repaired, with these capabilities too.
        cluster.kernel.output(change, "-F", "PW-INPUT")
        _until(
            cluster, "the flush is repaired", lambda: cluster.status()["kernel"]["drift_repairs"]
        )
        assert "-A PW-INPUT" in cluster.kernel.output(save)
    assert "10.244.1.7/32" in cluster.kernel.output(save)
    assert cluster.image.podwall("cleanup").status == 0
    assert "PW-" not in cluster.kernel.output(save)


def _get(cluster: Deployed, path: str) -> str:
    """Ask as a probe does; status and body."""
    program = (
        "import sys, urllib.request as r\n"
        "with r.urlopen(sys.argv[1]) as answer:\n"
        "    print(answer.status, answer.read().decode(), end='')"
    )
    url = f"http://127.0.0.1:9642/{path}"
    return cluster.image.run(sys.executable, "-I", "-c", program, url).stdout


def test_the_agent_needs_its_role_and_the_role_holds_nothing_else(cluster: Deployed) -> None:
    with agent(cluster, Mode.NFT):
        _until(cluster, "an Event was written", lambda: cluster.wrote("create"))
    # A server without WatchList is asked for lists, and the next agent finds its Event there.
    cluster.server.ask("forget")
    with agent(cluster, Mode.NFT):
        _until(cluster, "the Event was renewed", lambda: cluster.wrote("patch"))
    asked = cluster.asked()
    [role] = [
        each
        for each in yaml.safe_load_all((BASE / "rbac.yaml").read_text(encoding="utf-8"))
        if each["kind"] == "ClusterRole"
    ]
    allowed = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert {(each["group"], each["resource"], each["verb"]) for each in asked} == allowed
    assert all(rule.keys() == {"apiGroups", "resources", "verbs"} for rule in role["rules"])
    own = {each["query"].get("fieldSelector") for each in asked if each["resource"] == "nodes"}
    assert own == {"metadata.name=node-1"}
