"""The commands while packets flow: the first apply, a restart, and ``kill -9`` after every step."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from podwall.cluster.snapshot import build_snapshot
from podwall.dataplane.command import command_environment
from podwall.dataplane.iptables.mode import Mode
from podwall.lab import client
from podwall.lab.client import Lab
from podwall.lab.engine import open_engine
from podwall.lab.topology import Shape
from podwall.manifest import load
from podwall.model.net import Family
from tests.builders import TCP, UDP
from tests.e2e.seamless import Drizzle, Lane, by_change, node_prefix

pytestmark = pytest.mark.kernel

V4, V6 = Family.V4, Family.V6
NUMBERS = {"db": (1, 2), "web": (1, 3), "turn": (1, 4), "far": (2, 2), "stranger": (2, 3)}
KILLED = -9


def meta(kind: str, name: str, labels: Mapping[str, str] = {}) -> dict[str, Any]:
    versions = {"NetworkPolicy": "networking.k8s.io/v1"}
    scope = {} if kind in ("Node", "Namespace") else {"namespace": "default"}
    return {
        "apiVersion": versions.get(kind, "v1"),
        "kind": kind,
        "metadata": {"name": name, "labels": labels, **scope},
    }


def pod(name: str, **labels: str) -> dict[str, Any]:
    node, host = NUMBERS[name]
    addresses = [{"ip": f"10.244.{node}.{host}"}, {"ip": f"fd00:{node}::{host}"}]
    status = {"phase": "Running", "podIPs": addresses}
    return {**meta("Pod", name, labels), "spec": {"nodeName": f"node-{node}"}, "status": status}


def node(number: int) -> dict[str, Any]:
    ends = (f"192.168.0.{number}", f"fd00:ff::{number}")
    cidrs = [f"10.244.{number}.0/24", f"fd00:{number}::/64"]
    status = {"addresses": [{"type": "InternalIP", "address": each} for each in ends]}
    return {**meta("Node", f"node-{number}"), "spec": {"podCIDRs": cidrs}, "status": status}


def policy(name: str, subject: Mapping[str, str], **rules: list[Any]) -> dict[str, Any]:
    types = [direction.capitalize() for direction in rules]
    spec = {"podSelector": {"matchLabels": subject}, "policyTypes": types, **rules}
    return {**meta("NetworkPolicy", name), "spec": spec}


def by_label(**labels: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": labels}}


def cluster(side: str) -> list[dict[str, Any]]:
    """The same cluster in two states; between them changes whatever can.

    ``stranger`` and ``turn`` reach ``db`` in neither: the stranger has the label that the other
    state asks for, and ``turn`` is refused by ``db`` in one state and isolated in the other.
    """
    other = {"left": "right", "right": "left"}[side]
    return [
        {**meta("Namespace", "default"), "metadata": {"name": "default"}},
        node(1),
        node(2),
        pod("db", role="db", side=side),
        pod("web", role="web", side=side),
        pod("far", role="far", side=side),
        pod("stranger", asked=other),
        pod("turn", side=side, turn=side),
        policy(
            "db",
            {"role": "db"},
            ingress=[
                {"from": [by_label(role="web"), by_label(role="far")]},
                {"from": [by_label(asked=side)], "ports": [{"protocol": "UDP", "port": 7000}]},
                {"from": [by_label(turn="right")], "ports": [{"protocol": "UDP", "port": 7002}]},
            ],
        ),
        policy("turn", {"turn": "right"}, egress=[{"to": [by_label(role="nobody")]}]),
        policy(
            "web",
            {"role": "web", "side": side},
            ingress=[{"from": [by_label(asked="left")]}, {"from": [by_label(asked="right")]}],
            egress=[{"to": [by_label(role="db", side=side)]}],
        ),
        policy(f"only-{side}", {"role": "db", "side": side}, ingress=[], egress=[]),
    ]


ALLOWED = (
    Lane("far", "db", V4, UDP, 7000),
    Lane("web", "db", V6, TCP, 7001),
)
DENIED = (
    Lane("stranger", "db", V4, UDP, 7000),
    Lane("stranger", "db", V6, UDP, 7000),
    Lane("turn", "db", V4, UDP, 7002),
    Lane("turn", "db", V6, UDP, 7002),
)


class Host:
    """One node of a lab that nobody programs but the commands that a test runs on it."""

    def __init__(self, lab: Lab, mode: Mode, directory: Path) -> None:
        self.lab = lab
        self._directory = directory
        self._prefix = node_prefix(lab, "node-1")
        self._mode = mode
        for side in ("left", "right"):
            self.file(side).write_text(json.dumps({"kind": "List", "items": cluster(side)}))

    def file(self, side: str) -> Path:
        return self._directory / f"{side}.json"

    def apply(self, side: str, path: str = "", seconds: float = 60) -> tuple[int, str]:
        """Run ``podwall apply`` to its end, whatever that is: it is killed when its time is up."""
        words = ["apply", str(self.file(side)), "--node-name", "node-1", "--mode", self._mode.value]
        limit = ("timeout", "--signal=KILL", f"{seconds:.3f}")
        environment = command_environment(os.environ)
        environment["PATH"] = os.pathsep.join(filter(None, (path, environment["PATH"])))
        done = subprocess.run(
            [*self._prefix, *limit, sys.executable, "-m", "podwall", *words],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode in (0, KILLED), done.stderr
        return done.returncode, done.stdout

    def enforce(self, side: str) -> str:
        """Run ``podwall apply``, which has to succeed."""
        status, out = self.apply(side)
        assert status == 0
        return out

    def killer(self, writes: int) -> str:
        """A search path on which podwall is killed right after so many writes to the kernel."""
        directory = self._directory / f"killer-{writes}"
        directory.mkdir(exist_ok=True)
        count = directory / "count"
        count.write_text(str(writes))
        for program in (
            "ipset",
            f"iptables-{self._mode.value}-restore",
            f"ip6tables-{self._mode.value}-restore",
        ):
            file = directory / program
            file.write_text(
                f'#!/bin/sh\nPATH=${{PATH#*:}}\n{program} "$@"\nstatus=$?\n'
                '[ "$1" = save ] && exit $status\n'
                f"left=$(($(cat {count}) - 1)); echo $left > {count}\n"
                "[ $left = 0 ] && kill -9 $PPID\nexit $status\n"
            )
            file.chmod(0o755)
        return str(directory)


@pytest.fixture(params=Mode, ids=lambda mode: mode.value)
def host(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Host]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    file = tmp_path / "cluster.json"
    file.write_text(json.dumps({"kind": "List", "items": cluster("left")}))
    found = load([str(file)])
    assert not found.diagnostics
    snapshot = build_snapshot(found.pods, found.namespaces, (), found.nodes)
    with client.start(snapshot, Shape(families=tuple(Family)), open_engine()) as lab:
        yield Host(lab, request.param, tmp_path)


def test_the_first_apply_closes_for_good_what_was_open_and_nothing_else(host: Host) -> None:
    with Drizzle(host.lab, *ALLOWED, *DENIED) as drizzle:
        drizzle.more(50)
        begun = drizzle.now()
        host.enforce("left")
        ended = drizzle.now()
        drizzle.more(50)
        host.enforce("left")
        drizzle.more(50)
        seen = drizzle.stop()
    for lane in ALLOWED:
        assert not seen[lane].lost, lane
    for lane in DENIED:
        arrivals = seen[lane]
        assert arrivals.arrived == arrivals.last_arrived + 1 == arrivals.first_lost, lane
        assert begun < arrivals.lost[0][1] < ended, lane


def test_a_restart_is_not_noticed_and_writes_nothing(host: Host) -> None:
    host.enforce("left")
    with Drizzle(host.lab, *ALLOWED, *DENIED) as drizzle:
        for _ in range(3):
            assert host.enforce("left").startswith("nothing to change")
        seen = drizzle.stop()
    for lane, arrivals in seen.items():
        assert not (arrivals.lost if lane in ALLOWED else arrivals.stray), lane


def test_kill_9_after_any_write_refuses_nothing_and_opens_nothing(host: Host) -> None:
    host.enforce("left")
    times: list[tuple[float, str]] = []
    with Drizzle(host.lab, *ALLOWED, *DENIED) as drizzle:
        sides = itertools.cycle(["right", "left"])
        for writes, side in zip(itertools.count(1), sides, strict=False):
            times.append((drizzle.now(), f"to the {side}, killed after {writes} writes"))
            status, _ = host.apply(side, host.killer(writes))
            drizzle.more(20)
            times.append((drizzle.now(), f"to the {side}, resumed"))
            host.enforce(side)
            if status != KILLED:
                break
        assert writes > 4
        seen = drizzle.stop()
    for lane, arrivals in seen.items():
        assert not by_change(arrivals.lost if lane in ALLOWED else arrivals.stray, times), lane


def test_kill_9_at_any_time_refuses_nothing_and_opens_nothing(host: Host) -> None:
    chance = random.Random(9)
    host.enforce("left")
    with Drizzle(host.lab, *ALLOWED, *DENIED) as drizzle:
        for side in itertools.islice(itertools.cycle(["right", "left"]), 6):
            host.apply(side, seconds=chance.uniform(0.1, 0.5))
        host.enforce("left")
        assert host.enforce("left").startswith("nothing to change")
        seen = drizzle.stop()
    for lane, arrivals in seen.items():
        assert not (arrivals.lost if lane in ALLOWED else arrivals.stray), lane
