"""Updates leave no gap and open nothing: traffic runs while the cluster changes, step by step."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from podwall.cluster.placement import place
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.dataplane.apply import enforce
from podwall.dataplane.command import SystemRunner
from podwall.dataplane.conntrack import cut_forbidden
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.kernel import KernelDataPlane, open_kernel
from podwall.lab import client
from podwall.lab.client import Lab
from podwall.lab.engine import Engine
from podwall.lab.topology import Listen, Shape
from podwall.lab.traffic import Stats, stream_between
from podwall.model.net import Family
from podwall.model.objects import Namespace, Pod
from podwall.model.policy import Policy, PolicyKey
from podwall.policy.evaluate import evaluate
from podwall.ruleset.compile import compile_node
from podwall.ruleset.plan import Step
from tests.builders import TCP, UDP, allow, block, namespace, pod, pods, policy, port
from tests.e2e.seamless import Drizzle, Lane, buffer_overflows, by_change

pytestmark = pytest.mark.kernel

V4, V6 = Family.V4, Family.V6
DUAL = (V4, V6)
STALL = 5.0
"""Seconds without an answer that no busy machine explains."""


class Killed(Exception):
    """Enforcement ended here."""


class Mortal:
    """A data path under which enforcement dies when its steps are used up."""

    def __init__(self, real: KernelDataPlane, steps: int) -> None:
        self._real = real
        self._steps = steps

    def run(self, step: Step) -> None:
        if not self._steps:
            raise Killed
        self._steps -= 1
        self._real.run(step)

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


def restless_engine(mode: Mode, chance: random.Random) -> Engine:
    """The real engine, but half of its runs are killed between two steps and begun again."""

    def program(snapshot: Snapshot, node: str, prefix: tuple[str, ...]) -> None:
        dataplane = open_kernel(SystemRunner(prefix), mode)
        desired = compile_node(snapshot, node)
        if chance.random() < 0.5:
            with contextlib.suppress(Killed):
                enforce(Mortal(dataplane, chance.randrange(4)), desired)  # type: ignore[arg-type]
        enforce(dataplane, desired)
        local = {
            address
            for each in snapshot.pods.values()
            if each.node == node
            for address in each.addresses
        }
        cut_forbidden(dataplane, lambda flow: evaluate(snapshot, flow).allowed, local.__contains__)

    return Engine(program, allows=lambda snapshot, flow: evaluate(snapshot, flow).allowed)


class Cluster:
    """A cluster that changes: ``db`` and ``web`` share a node, ``far`` and others are elsewhere."""

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}
        self.policies: dict[str, Policy] = {}
        self.namespaces: dict[str, Namespace] = {}
        self.label_namespace("default")
        self.label_namespace("friends", project="myproject")
        self.put_pod("default/db", "node-1", role="db")
        self.put_pod("default/web", "node-1", role="frontend", tier="a")
        self.put_pod("default/lonely", "node-1")
        self.put_pod("default/stranger", "node-2")
        self.put_pod("friends/far", "node-2", side="left")
        self.put_policy(self.open_db())

    def open_db(self, *more: int, excepts: tuple[str, ...] = ()) -> Policy:
        """The policy of ``db``: web by one of two rules, far by another two."""
        ports = [port(6379), port(7000, 7009), port(7000, 7009, UDP), port(53, protocol=UDP)]
        ports += map(port, more)
        return policy(
            "default/db",
            {"role": "db"},
            ingress=[
                allow(pods({"tier": "a"}, namespaces="default"), ports=ports),
                allow(pods({"tier": "b"}, namespaces="default"), ports=ports),
                allow(pods({"side": "left"}, namespaces={"project": "myproject"}), ports=ports),
                allow(pods({"side": "right"}, namespaces={"project": "yours"}), ports=ports),
                allow(pods({"side": "right"}, namespaces={"project": "myproject"}), ports=ports),
                allow(block("172.17.0.0/16", *excepts), ports=[port(6379)]),
            ],
        )

    def put_pod(self, key: str, node: str, **labels: str) -> None:
        plain = pod(key, node=node, ports=["6379/tcp", "53/udp"])
        self.pods[key] = msgspec.structs.replace(plain, labels=labels)

    def relabel(self, key: str, **labels: str) -> None:
        self.put_pod(key, self.pods[key].node, **labels)

    def label_namespace(self, name: str, **labels: str) -> None:
        self.namespaces[name] = namespace(name, **labels)

    def put_policy(self, *policies: Policy) -> None:
        for each in policies:
            self.policies[each.key.name] = each

    def swap_policy(self, gone: str, come: Policy) -> None:
        del self.policies[gone]
        self.put_policy(come)

    def snapshot(self, standing: Snapshot | None = None) -> Snapshot:
        """The cluster now; pods that stand keep their addresses."""
        known = {} if standing is None else standing.pods
        members = [
            msgspec.structs.replace(each, addresses=known[each.key].addresses)
            if each.key in known
            else each
            for each in self.pods.values()
        ]
        nodes = () if standing is None else standing.nodes.values()
        placed, placed_nodes = place(members, nodes, node_names=["node-1", "node-2"], families=DUAL)
        return build_snapshot(
            placed, self.namespaces.values(), self.policies.values(), placed_nodes
        )


Change = Callable[[Cluster], object]


def web_egress(tier: str, *more: int) -> Policy:
    """Isolates web, while it has this tier, for egress; to db it may go."""
    return policy(
        f"default/web-{tier}",
        {"tier": tier},
        egress=[
            allow(pods({"role": "db"}, namespaces="default")),
            allow(block("10.9.0.0/16"), ports=[port(80), *map(port, more)]),
        ],
    )


CHANGES: dict[str, Change] = {
    "a policy is edited": lambda it: it.put_policy(it.open_db(81)),
    "a policy isolates web for egress": lambda it: it.put_policy(web_egress("a")),
    "another will, under another label": lambda it: it.put_policy(web_egress("b")),
    "web moves to the other rule and profile": lambda it: it.relabel("default/web", tier="b"),
    "far moves to another rule": lambda it: it.relabel("friends/far", side="right"),
    "a namespace is relabelled": lambda it: it.label_namespace("friends", project="yours"),
    "a pod comes beside db": lambda it: it.put_pod("default/extra-1", "node-1", tier="a"),
    "a pod comes elsewhere": lambda it: it.put_pod("friends/extra-2", "node-2", side="right"),
    "nothing": lambda _it: None,
    "a block gets an except": lambda it: it.put_policy(it.open_db(excepts=("172.17.1.0/24",))),
    "db is selected by a second policy": lambda it: it.put_policy(
        policy("default/more", {"role": "db"}, ingress=[allow(ports=[port(9)])], egress=[allow()])
    ),
    "db is relabelled": lambda it: it.relabel("default/db", role="db", more="yes"),
    "everybody is isolated": lambda it: it.put_policy(policy("default/all", ingress=[])),
    "a pod changes its labels": lambda it: it.relabel("default/extra-1", tier="b", x="y"),
    "nothing again": lambda _it: None,
    "a pod beside db goes": lambda it: it.pods.pop("default/extra-1"),
    "a pod elsewhere goes": lambda it: it.pods.pop("friends/extra-2"),
    "the namespace is as it was": lambda it: it.label_namespace("friends", project="myproject"),
    "the second policy goes": lambda it: it.policies.pop("more"),
    "web is back": lambda it: it.relabel("default/web", tier="a", role="frontend"),
    "an unused policy goes": lambda it: it.policies.pop("web-b"),
    "many ports": lambda it: it.put_policy(it.open_db(*range(100, 140, 2))),
    "a policy goes and another takes its place": lambda it: it.swap_policy(
        "db", msgspec.structs.replace(it.open_db(), key=PolicyKey("default", "db-2"))
    ),
    "and back": lambda it: it.swap_policy("db-2", it.open_db(82)),
    "far moves back": lambda it: it.relabel("friends/far", side="left"),
    "db gets an egress policy that allows nothing": lambda it: it.put_policy(
        policy("default/shut", {"role": "db"}, egress=[])
    ),
    "web's egress is edited": lambda it: it.put_policy(web_egress("a", 81)),
    "nobody but db is isolated any more": lambda it: it.policies.pop("all"),
    "a stranger gets a label that means nothing": lambda it: it.relabel(
        "default/stranger", tier="c"
    ),
    "web's egress is free": lambda it: it.policies.pop("web-a"),
    "the policy is as it was": lambda it: it.put_policy(it.open_db()),
}

CROSSING = ("web moves to the other rule and profile", "web is back")
"""What web may send and who lets it in change together: it is closed until both are settled."""

STREAMS = (
    ("friends/far", Listen(TCP, 6379), V4),
    ("default/web", Listen(TCP, 6379), V6),
    ("default/web", Listen(UDP, 53), V4),
    ("friends/far", Listen(UDP, 53), V6),
)
FROM_WEB = Lane("default/web", "default/db", V6, TCP, 7001)
ALLOWED = (
    Lane("friends/far", "default/db", V4, UDP, 7000),
    FROM_WEB,
)
DENIED = (
    Lane("default/stranger", "default/db", V4, TCP, 7000),
    Lane("default/lonely", "default/db", V6, UDP, 7001),
)


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@contextlib.contextmanager
def running_streams(lab: Lab) -> Iterator[Callable[[], list[Stats]]]:
    """Established connections to db; what they saw is told when they are stopped."""
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(stream_between(lab, src, "default/db", listen, family))
            for src, listen, family in STREAMS
        ]
        yield lambda: [each.stop() for each in streams]


@pytest.mark.parametrize("mode", Mode)
def test_thirty_changes_lose_no_packet_refuse_no_connection_and_open_nothing(mode: Mode) -> None:
    cluster = Cluster()
    snapshot = cluster.snapshot()
    engine = restless_engine(mode, random.Random(mode.value))
    times: list[tuple[float, str]] = []
    with (
        client.start(snapshot, Shape(families=DUAL), engine) as lab,
        running_streams(lab) as stop_streams,
        Drizzle(lab, *ALLOWED, *DENIED) as drizzle,
    ):
        for name, change in CHANGES.items():
            change(cluster)
            snapshot = cluster.snapshot(snapshot)
            times.append((drizzle.now(), name))
            lab.apply(snapshot, probe=False)
            drizzle.more(20)
        seen = drizzle.stop()
        streams = stop_streams()
        unread = buffer_overflows(lab, "default/db", "default/web", "friends/far")
    for lane, arrivals in seen.items():
        wrong = by_change(arrivals.lost if lane in ALLOWED else arrivals.stray, times)
        if lane == FROM_WEB:
            wrong = {name: count for name, count in wrong.items() if name not in CROSSING}
        assert not wrong, lane
        assert arrivals.sent > 20 * len(CHANGES)
    for (src, listen, family), stats in zip(STREAMS, streams, strict=True):
        stream = f"{src} {listen} IPv{family}: {stats}"
        assert stats.connected, stream
        assert stats.lost <= unread, stream
        assert not stats.reset, stream
        assert stats.longest_gap < STALL, stream
