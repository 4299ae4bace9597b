"""An agent's life while packets flow: starts, restarts, ``kill -9``, another mode, relabels."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import re
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podwall.cluster.snapshot import build_snapshot
from podwall.dataplane.command import check
from podwall.dataplane.iptables.mode import Mode
from podwall.lab import client
from podwall.lab.client import Lab
from podwall.lab.engine import open_engine
from podwall.lab.topology import Listen, Shape
from podwall.lab.traffic import stream_between
from podwall.manifest import load
from podwall.model.net import Family
from tests.builders import TCP, UDP
from tests.e2e.agent_talk import PATIENCE, running_agent
from tests.e2e.seamless import Drizzle, address_of, by_change, node_prefix, node_runner, open_socket
from tests.e2e.test_seamless_kills import ALLOWED, DENIED, cluster, pod

pytestmark = pytest.mark.kernel

NODE = "node-1"
PORTS = itertools.count(7100)
STREAMS = (("far", Listen(TCP, 6379), Family.V4), ("far", Listen(UDP, 53), Family.V6))
"""Established connections to db, which every state of the cluster allows."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("lab")
    file = directory / "cluster.json"
    items = [_listening(each) for each in cluster("left")]
    file.write_text(json.dumps({"kind": "List", "items": items}))
    found = load([str(file)])
    assert not found.diagnostics
    snapshot = build_snapshot(found.pods, found.namespaces, (), found.nodes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(directory))
        with client.start(snapshot, Shape(families=tuple(Family)), open_engine()) as started:
            yield started


def _listening(item: dict[str, Any]) -> dict[str, Any]:
    """The pod that is asked has ports that the lab listens on."""
    if item["kind"] != "Pod":
        return item
    ports = [{"containerPort": 6379}, {"containerPort": 53, "protocol": "UDP"}]
    return {**item, "spec": {**item["spec"], "containers": [{"name": "main", "ports": ports}]}}


@pytest.fixture(params=Mode, ids=lambda mode: mode.value)
def mode(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Mode]:
    yield request.param
    _clean(lab)


def _clean(lab: Lab) -> None:
    runner = node_runner(lab, NODE)
    for mode, stem in itertools.product(Mode, ("iptables", "ip6tables")):
        for words in (["-F"], ["-X"]):
            runner.run([f"{stem}-{mode.value}", *words])
    runner.run(["ipset", "destroy"])
    runner.run(["conntrack", "-F"])


def saves(lab: Lab) -> tuple[str, list[int]]:
    """Everything that the node's kernel holds in both modes, and its rules' counters."""
    runner = node_runner(lab, NODE)
    commands = [
        [f"{stem}-{mode.value}-save", "-t", "filter", "-c"]
        for mode, stem in itertools.product(Mode, ("iptables", "ip6tables"))
    ]
    texts = [check(words, runner.run(words)) for words in (["ipset", "save"], *commands)]
    lines = [line for text in texts for line in text.splitlines()]
    rules = [line for line in lines if not line.startswith("#")]
    counters = [int(each) for line in rules for each in re.findall(r"^\[(\d+):", line)]
    return "\n".join(re.sub(r"\[\d+:\d+\]", "", line) for line in rules), counters


@contextlib.contextmanager
def xtables_lock(lab: Lab) -> Iterator[None]:
    """Hold the lock of legacy iptables, as a program does that is at work."""
    words = ["flock", "/run/xtables.lock", "sh", "-c", "echo locked; read line"]
    holder = subprocess.Popen(
        [*node_prefix(lab, NODE), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == "locked\n"
        yield
        holder.stdin.close()


def until_it_runs(lab: Lab, program: str) -> None:
    """Wait until a program runs in the lab."""
    deadline = time.monotonic() + PATIENCE
    while node_runner(lab, NODE).run(["pgrep", "-f", f"^{program}"]).status:
        assert time.monotonic() < deadline, f"{program} was never started"
        time.sleep(0.01)


@contextlib.contextmanager
def unbroken_streams(lab: Lab) -> Iterator[None]:
    """Connections that must not notice anything."""
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(stream_between(lab, src, "db", listen, family))
            for src, listen, family in STREAMS
        ]
        yield
        found = [each.stop() for each in streams]
    for (src, listen, family), stats in zip(STREAMS, found, strict=True):
        assert stats.connected, f"{src} {listen} IPv{family}: {stats}"
        assert not stats.reset, f"{src} {listen} IPv{family}: {stats}"


def assert_unharmed(drizzle: Drizzle, times: list[tuple[float, str]]) -> None:
    for lane, arrivals in drizzle.stop().items():
        wrong = arrivals.lost if lane in ALLOWED else arrivals.stray
        assert not by_change(wrong, times), lane


def test_a_restart_is_not_noticed_and_changes_not_even_a_counter(
    lab: Lab, mode: Mode, tmp_path: Path
) -> None:
    with running_agent(lab, NODE, mode.value, tmp_path / "lock") as agent:
        agent.tell(cluster("left"))
        agent.hear_apply("sync")
        agent.end()
    with Drizzle(lab, *ALLOWED, *DENIED) as drizzle:
        drizzle.more(20)
    before, counters = saves(lab)
    assert any(counters)
    with running_agent(lab, NODE, mode.value, tmp_path / "lock") as agent:
        agent.tell(cluster("left"))
        assert agent.hear_apply("sync")["steps"] == 0
        agent.end()
    after, grown = saves(lab)
    assert after == before
    assert all(new >= old for new, old in zip(grown, counters, strict=True))
    with unbroken_streams(lab), Drizzle(lab, *ALLOWED, *DENIED) as drizzle:
        drizzle.more(20)
        begun = drizzle.now()
        for _ in range(2):
            with running_agent(lab, NODE, mode.value, tmp_path / "lock") as agent:
                agent.tell(cluster("left"))
                assert agent.hear_apply("sync")["steps"] == 0
                agent.kill()
        drizzle.more(20)
        assert_unharmed(drizzle, [(0.0, "before"), (begun, "restarts")])


def test_kill_9_at_any_instant_breaks_no_connection_and_opens_nothing(
    lab: Lab, mode: Mode, tmp_path: Path
) -> None:
    chance = random.Random(mode.value)
    lock = tmp_path / "lock"
    with running_agent(lab, NODE, mode.value, lock) as agent:
        agent.tell(cluster("left"))
        agent.hear_apply("sync")
        agent.end()
    times: list[tuple[float, str]] = [(0.0, "before")]
    sides = itertools.cycle(["right", "left"])
    with unbroken_streams(lab), Drizzle(lab, *ALLOWED, *DENIED) as drizzle:
        side = "left"
        for number in range(8):
            with running_agent(lab, NODE, mode.value, lock) as agent:
                agent.tell(cluster(side))
                agent.hear_apply("sync")
                side = next(sides)
                times.append((drizzle.now(), f"to the {side}, killed ({number})"))
                agent.tell(cluster(side))
                drizzle.more(chance.randrange(1, 80))
                agent.kill()
        times.append((drizzle.now(), "the last agent"))
        with running_agent(lab, NODE, mode.value, lock) as agent:
            agent.tell(cluster(side))
            agent.hear_apply("sync")
            drizzle.more(20)
            agent.end()
        assert_unharmed(drizzle, times)
    with running_agent(lab, NODE, mode.value, lock) as agent:
        agent.tell(cluster(side))
        assert agent.hear_apply("sync")["steps"] == 0


def test_a_batch_that_outlives_its_agent_is_not_committed_over_what_the_next_one_wrote(
    lab: Lab, tmp_path: Path
) -> None:
    """In legacy mode a batch waits for the xtables lock, also when nobody waits for it any more."""
    lock, legacy = tmp_path / "lock", Mode.LEGACY.value
    try:
        with contextlib.ExitStack() as stack:
            agent = stack.enter_context(running_agent(lab, NODE, legacy, lock))
            agent.tell(cluster("left"))
            agent.hear_apply("sync")
            with xtables_lock(lab):
                agent.tell([each for each in cluster("left") if each["kind"] != "NetworkPolicy"])
                until_it_runs(lab, "iptables-legacy-restore")
                agent.kill()
                heir = stack.enter_context(running_agent(lab, NODE, legacy, lock))
                heir.tell(cluster("left"))
                assert heir.is_silent(1.5), "it did not wait for the batch that was left behind"
            assert heir.hear_apply("sync")["steps"] > 0
            heir.end()
        with running_agent(lab, NODE, legacy, lock) as agent:
            agent.tell(cluster("left"))
            assert agent.hear_apply("sync")["steps"] == 0
    finally:
        _clean(lab)


def test_a_change_of_mode_refuses_nothing_and_opens_nothing(
    lab: Lab, mode: Mode, tmp_path: Path
) -> None:
    lock = tmp_path / "lock"
    with running_agent(lab, NODE, mode.value, lock) as agent:
        agent.tell(cluster("left"))
        agent.hear_apply("sync")
        agent.end()
    times: list[tuple[float, str]] = [(0.0, "before")]
    with unbroken_streams(lab), Drizzle(lab, *ALLOWED, *DENIED) as drizzle:
        drizzle.more(20)
        for new, side in ((mode.other, "left"), (mode, "right")):
            times.append((drizzle.now(), f"to {new.value}"))
            with running_agent(lab, NODE, new.value, lock) as agent:
                agent.tell(cluster(side))
                assert agent.hear_apply("sync")["steps"] > 0
                agent.end()
            drizzle.more(20)
        assert_unharmed(drizzle, times)
    assert "PW-" in saves(lab)[0]
    found = check(
        words := [f"iptables-{mode.other.value}-save", "-t", "filter"],
        node_runner(lab, NODE).run(words),
    )
    assert "PW-" not in found


def test_s46_a_remote_relabel_cuts_the_connections_that_it_forbids_and_no_other(
    lab: Lab, mode: Mode, tmp_path: Path
) -> None:
    items = cluster("left")
    relabelled = [
        pod("far", role="stranger") if each["metadata"]["name"] == "far" else each for each in items
    ]
    with (
        running_agent(lab, NODE, mode.value, tmp_path / "lock") as agent,
        contextlib.ExitStack() as ends,
    ):
        agent.tell(items)
        agent.hear_apply("sync")
        pairs = [
            (src, family, _connected(lab, ends, src, family))
            for src, family in itertools.product(("far", "web"), Family)
        ]
        agent.tell(relabelled)
        assert agent.hear_apply("event")["reason"] == "pod default/far"
        agent.hear(lambda said: said["what"] == "cut" and said["cut"] == 2)
        for src, family, (asking, asked) in pairs:
            asking.send(b"still there?")
            if src == "web":
                assert asked.recv(100) == b"still there?"
                continue
            # The client learns of it by a reset, the server's side hears nothing more.
            ready, _, _ = select.select([asked], [], [], 0.3)
            assert not ready, f"{src} IPv{family}"
        _assert_ends_stay_cut(pairs)
        agent.tell(items)
        agent.hear_apply("event")
        again = _connected(lab, ends, "far", Family.V4)
        again[0].send(b"back")
        assert again[1].recv(100) == b"back"
        agent.end()


Pair = tuple[socket.socket, socket.socket]


def _assert_ends_stay_cut(pairs: list[tuple[str, Family, Pair]]) -> None:
    for src, _family, (asking, asked) in pairs:
        if src == "far":
            asked.send(b"mid-stream")
            ready, _, _ = select.select([asking], [], [], 0.3)
            with contextlib.suppress(ConnectionError):
                assert not ready or not asking.recv(100)


def _connected(lab: Lab, ends: contextlib.ExitStack, src: str, family: Family) -> Pair:
    """Both ends of a TCP connection to db."""
    asking = ends.enter_context(open_socket(lab, src, family, TCP))
    listening = ends.enter_context(open_socket(lab, "db", family, TCP))
    listening.bind((address_of(lab, "db", family), next(PORTS)))
    listening.listen()
    for each in (asking, listening):
        each.settimeout(PATIENCE)
    asking.connect(listening.getsockname())
    asked, _ = listening.accept()
    ends.enter_context(asked)
    asked.settimeout(PATIENCE)
    asking.send(b"hello")
    assert asked.recv(100) == b"hello"
    return asking, asked


def test_an_agent_that_cannot_begin_says_why(lab: Lab, tmp_path: Path) -> None:
    with (
        running_agent(lab, NODE, "no such mode", tmp_path / "lock") as agent,
        pytest.raises(AssertionError, match="no such mode"),
    ):
        agent.hear_apply("sync")
