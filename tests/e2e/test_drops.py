"""podwall drops on real packets: exactly what was denied is printed, from wherever it is told."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from podwall.cluster.snapshot import Snapshot
from podwall.dataplane.iptables.mode import Mode
from podwall.lab import client, state
from podwall.lab.engine import kernel_engine
from podwall.lab.matrix import Cell, Matrix
from podwall.lab.topology import Cni, Listen, Selection, Shape
from podwall.model.flow import Flow
from podwall.model.net import Family, Protocol, parse_address
from podwall.model.policy import Mode as PolicyMode
from podwall.model.policy import Policy
from podwall.model.settings import DenyAction, Settings
from podwall.policy.evaluate import evaluate
from tests.builders import TCP, policy
from tests.e2e.agent_site import NODE as AGENT_NODE
from tests.e2e.agent_site import until
from tests.e2e.doc_blocks import ROOT
from tests.e2e.kernel import private_kernel
from tests.e2e.test_agent_denied import world
from tests.e2e.test_cli_kernel import NODE, Host, manifests
from tests.e2e.test_lab import DB, DUAL, EXAMPLE, FRIEND, FRONTEND, OTHER, cluster, explain

pytestmark = pytest.mark.kernel

PATIENCE = 30.0
QUIET = 0.6
"""Seconds without a line after which no more will come: the kernel gathers for a tenth."""

LOGGING = Settings(log_denied=True)
MODES = pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
Told: TypeAlias = tuple[str, str, str]
"""Source and destination address, and the service."""


class Drops:
    """podwall drops at work; its output is read unbuffered, so that nothing hides in a buffer."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._read = b""
        self.said = self._until_following()

    def _until_following(self) -> str:
        assert self._process.stderr is not None
        said = ""
        while "Ctrl-C ends it" not in said:
            line = self._process.stderr.readline().decode()
            assert line, f"podwall drops has ended: {said}"
            said += line
        return said

    def lines(self, number: int) -> list[str]:
        """So many lines, and those that come after them without a pause."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + PATIENCE
        while True:
            patience = QUIET if self._read.count(b"\n") >= number else PATIENCE
            if not select.select([descriptor], [], [], patience)[0]:
                break
            data = os.read(descriptor, 1 << 16)
            assert data, "podwall drops has ended"
            self._read += data
            assert time.monotonic() < deadline, self._read
        return self._rest(b"")

    def interrupt(self) -> tuple[int, list[str], str]:
        """Ctrl-C: status, and the rest of both outputs."""
        self._process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> tuple[int, list[str], str]:
        """Its end: status, and the rest of both outputs."""
        out, err = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, self._rest(out), err.decode()

    def _rest(self, more: bytes) -> list[str]:
        read, self._read = self._read + more, b""
        return read.decode().splitlines()


@contextlib.contextmanager
def drops(*words: str, prefix: Sequence[str] = ()) -> Iterator[Drops]:
    """``podwall drops`` once it follows."""
    argv = (*prefix, sys.executable, "-m", "podwall", "drops", *words)
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        try:
            yield Drops(process)
        finally:
            process.kill()


def as_json(lines: Sequence[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def told(found: Sequence[dict[str, Any]], kind: str = "deny") -> list[Told]:
    return sorted(
        (each["src"], each["dst"], each["service"]) for each in found if each["kind"] == kind
    )


def probed(matrix: Matrix, which: Callable[[Cell], bool]) -> list[Told]:
    """The probes of a matrix, by address."""
    parties = matrix.parties

    def address(index: int, family: int) -> str:
        [found] = [
            each for each in parties[index].addresses if parse_address(each).family == family
        ]
        return found

    return sorted(
        (address(cell.src, cell.family), address(cell.dst, cell.family), _service(cell))
        for cell in matrix.cells
        if which(cell)
    )


def _service(cell: Cell) -> str:
    return "icmpv6" if cell.protocol is Protocol.ICMPV6 else cell.service


@pytest.fixture(autouse=True)
def _own_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield
    for note in state.notes():
        client.take_down(note.name)


@contextlib.contextmanager
def lab(
    snapshot: Snapshot,
    settings: Settings = LOGGING,
    mode: Mode | None = None,
    cni: Cni = Cni.ROUTED,
    families: tuple[Family, ...] = DUAL,
) -> Iterator[client.Lab]:
    shape = Shape(families=families, cni=cni)
    with client.up("one", snapshot, shape, kernel_engine(settings, mode)) as built:
        yield built


@pytest.mark.parametrize("cni", Cni)
@MODES
def test_every_probe_that_was_denied_is_printed_once_and_nothing_else(mode: Mode, cni: Cni) -> None:
    snapshot = cluster(DB, FRONTEND, OTHER, FRIEND, policies=(EXAMPLE,), families=DUAL)
    deny = DenyAction.REJECT if cni is Cni.BRIDGE else DenyAction.DROP
    settings = msgspec.structs.replace(LOGGING, deny=deny)
    with lab(snapshot, settings, mode, cni) as built, drops("--lab", "one", "-o", "jsonl") as seen:
        matrix = built.probe()
        denied = probed(matrix, lambda cell: not cell.happened)
        found = as_json(seen.lines(len(denied)))
        status, rest, said = seen.interrupt()
    assert matrix.agrees, explain(matrix)
    assert len(denied) > 50
    assert told(found) == denied
    assert not any(each["stale"] for each in found)
    for each in found:
        subject = each["source"] if each["direction"] == "egress" else each["target"]
        assert (each["subject"], each["isolated_by"]) == (subject, ["default/test-network-policy"])
    assert (status, rest) == (130, [])
    assert said.splitlines()[0] == f"{len(denied)} denials:"


def audited(each: Policy) -> Policy:
    return msgspec.structs.replace(each, mode=PolicyMode.AUDIT)


@MODES
def test_s51_what_audited_policies_would_deny_is_printed_and_nothing_is_denied_by_them(
    mode: Mode,
) -> None:
    quiet = policy("default/quiet", {"role": "frontend"}, egress=[])
    snapshot = cluster(
        *(DB, FRONTEND, OTHER, FRIEND), policies=(audited(EXAMPLE), quiet), families=DUAL
    )
    with (
        lab(snapshot, Settings(), mode) as built,
        drops("--lab", "one", "-o", "jsonl") as seen,
    ):
        assert "only what audited policies would deny is logged" in seen.said
        matrix = built.probe()
        assert matrix.agrees, explain(matrix)
        judged = {each: _judge(snapshot, each) for each in probed(matrix, lambda _cell: True)}
        wanted = sorted(each for each, would_deny in judged.items() if would_deny)
        found = as_json(seen.lines(len(wanted)))
    assert len(wanted) > 30
    assert told(found, "audit") == wanted
    assert told(found) == []
    assert {each["isolated_by"][0] for each in found} == {"default/test-network-policy"}


def _judge(snapshot: Snapshot, probe: Told) -> bool:
    """Whether audited policies object to a probe that gets as far as them."""
    src, dst, service = probe
    port_text, _, name = service.rpartition("/")
    number = int(port_text) if port_text else None
    flow = Flow(parse_address(src), parse_address(dst), Protocol[name.upper()], number)
    decision = evaluate(snapshot, flow)
    return decision.egress.would_deny or (decision.egress.allowed and decision.ingress.would_deny)


def test_names_follow_the_changes_of_a_lab_and_filters_choose() -> None:
    before = cluster(DB, FRONTEND, OTHER, families=(Family.V4,))
    closed = policy("default/closed", {"role": "db"}, ingress=[])
    after = cluster(DB, FRONTEND, OTHER, policies=(closed,), families=(Family.V4,))
    selection = Selection(
        frozenset(["default/frontend", "default/other"]),
        frozenset(["default/db"]),
        frozenset([Listen(TCP, 6379), Listen(TCP, 80)]),
    )
    words = ("--from", "default/frontend", "--port", "6379", "--direction", "ingress")
    with (
        lab(before, families=(Family.V4,)) as built,
        drops("--lab", "one", *words) as seen,
    ):
        built.apply(after, probe=False)
        built.probe(selection)
        [line] = seen.lines(1)
    assert line.split("  ", 2)[2] == (
        "default/frontend → default/db 6379/tcp denied: ingress of default/db is isolated by "
        "default/closed; no rule allows any ingress"
    )


def test_a_lab_that_does_not_log_is_an_error_that_says_what_to_do() -> None:
    with lab(cluster(DB, OTHER), Settings(), families=(Family.V4,)):
        done = podwall("drops", "--lab", "one")
    assert done.returncode == 3
    assert "'podwall lab up FILES --log-denied' starts one that does" in done.stderr


def test_a_second_reader_of_a_lab_is_told_that_there_is_one() -> None:
    with (
        lab(cluster(DB, OTHER), families=(Family.V4,)),
        drops("--lab", "one"),
    ):
        done = podwall("drops", "--lab", "one")
    assert done.returncode == 3
    assert "has a reader already" in done.stderr


def podwall(*words: str) -> subprocess.CompletedProcess[str]:
    argv = (sys.executable, "-m", "podwall", *words)
    return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)


AWAY = (
    "sysctl -qw net.ipv4.ip_forward=1",
    "ip netns add away",
    "ip link add veth0 type veth peer name eth0 netns away",
    "ip address add 192.0.2.1/24 dev veth0",
    "ip link set veth0 up",
    "ip -n away address add 192.0.2.9/24 dev eth0",
    "ip -n away link set eth0 up",
    "ip -n away route add default via 192.0.2.1",
    "ip link add pods type veth peer name nowhere",
    "ip link set pods up",
    "ip link set nowhere up",
    "ip route add 10.1.1.0/24 dev pods",
)
"""Somebody who reaches the host's pods by way of the host, and a link to these."""

SEND = """
import socket
for port in (6379, 99):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"hello", ("10.1.1.10", port))
"""


@MODES
def test_a_host_without_an_agent_reads_its_own_log_and_names_by_the_manifests(mode: Mode) -> None:
    with private_kernel() as kernel:
        host = Host(kernel, mode)
        for line in AWAY:
            kernel.output(*line.split())
        asked = ("drops", manifests("example"), "--node-name", NODE)
        host.apply("example")
        refused = host.podwall(*asked)
        assert refused.status == 3
        assert "this host's kernel logs nothing: 'podwall apply FILES --log-denied'" in (
            refused.stderr
        )
        host.apply("example", "--log-denied", "--log-group", "12")
        words = (*asked[1:], "--mode", mode.value, "-n", "2", "-o", "jsonl")
        with drops(*words, prefix=kernel.prefix) as seen:
            again = host.podwall(*asked)
            assert again.status == 3
            assert "NFLOG group 12 has a reader already" in again.stderr
            kernel.output("ip", "netns", "exec", "away", sys.executable, "-c", SEND)
            status, lines, said = seen.wait()
    assert status == 0, said
    found = as_json(lines)
    assert told(found) == [
        ("192.0.2.9", "10.1.1.10", "6379/udp"),
        ("192.0.2.9", "10.1.1.10", "99/udp"),
    ]
    assert {each["node"] for each in found} == {NODE}
    assert {each["target"] for each in found} == {"default/db-0"}
    assert said.splitlines() == [
        "2 denials:",
        *(f"  1× 192.0.2.9 → default/db-0 {port}/udp" for port in (6379, 99)),
    ]


def test_the_agent_of_a_host_is_asked_if_there_is_one_and_tells_the_past_as_well(
    tmp_path: Path,
) -> None:
    with world(tmp_path, "--log-denied") as own:
        until(own.reads, own.messages)
        assert own.podwall("drops").stderr.splitlines() == ["nothing was denied"]
        place = ("--state-dir", str(own.state_dir))
        with drops(*place, "--follow", "-o", "jsonl") as seen:
            assert f"following node {AGENT_NODE}" in seen.said
            own.send("10.244.1.2|9", "10.244.1.2|10", "10.244.1.77|9")
            [first, *_] = found = as_json(seen.lines(3))
            status, rest, said = seen.interrupt()
        assert (status, rest) == (130, [])
        assert "1× default/web → default/db 9/udp" in said
        assert (first["target"], first["node"]) == ("default/db", AGENT_NODE)
        assert own.json("drops")["denials"] == found
        assert own.json("drops", "--to", "default/db", "-n", "1")["denials"] == [found[1]]
        assert own.json("drops", "--to", "10.244.1.64/26")["denials"] == [found[2]]
        counted = own.json("drops", "--count", "--by", "pod", "--port", "9")["pairs"]
        assert {(each["target"], each["count"]) for each in counted} == {
            ("default/db", 1),
            ("10.244.1.77", 1),
        }
        table = own.podwall("drops", "--count", "--namespace", "default").stdout.splitlines()
        assert table[0].split() == ["count", "last", "source", "target", "service", "direction"]
        assert [line.split()[0] for line in table[1:]] == ["1"] * 3
        wrong = own.podwall("drops", "--to", "default/dd")
        assert wrong.returncode == 2
        assert "did you mean default/db or" in wrong.stderr


def test_an_agent_that_does_not_log_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with world(tmp_path) as own:
        for more in ((), ("--follow",)):
            refused = own.podwall("drops", *more)
            assert refused.returncode == 3
            assert "not log what is denied: turn it on with log-denied: true" in refused.stderr
    done = podwall("drops", "--state-dir", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "no agent runs on this host: name the manifests" in done.stderr


def test_the_agents_of_a_lab_are_asked_each_for_its_node() -> None:
    shop = str(ROOT / "examples" / "shop")
    up = podwall("lab", "up", shop, "--agents", "--nodes", "2", "--name", "one", "--log-denied")
    assert up.returncode == 0, up.stderr
    with drops("--lab", "one", "--follow", "-o", "jsonl") as seen:
        probe = podwall("lab", "probe", "--name", "one", "--to", "shop/*", "--port", "8080/tcp")
        assert probe.returncode == 0, probe.stdout
        summary = re.search(r"(\d+) did not; all as expected", probe.stdout)
        assert summary is not None
        number = int(summary[1])
        found = as_json(seen.lines(number))
    assert len(found) == number > 20
    assert len(set(told(found))) == number
    assert {each["node"] for each in found} == {"node-1", "node-2"}
    kept = podwall("drops", "--lab", "one", "-o", "json", "--to", "shop/deployment/storefront")
    assert told(json.loads(kept.stdout)["denials"]) == told(found)
