"""What a change is said to do is what it does: to real packets, and to connections that exist."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from podwall.api import Change, Cluster
from podwall.cli.cuts import cuts_in_lab
from podwall.cluster.placement import place
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.dataplane.conntrack import HELPER, parse_entries
from podwall.explain.ends import End
from podwall.lab import client, state
from podwall.lab.engine import kernel_engine
from podwall.lab.matrix import Matrix
from podwall.lab.topology import Kind, Listen, Shape
from podwall.lab.traffic import stream_between
from podwall.model.flow import Flow
from podwall.model.net import Family, Protocol, parse_address
from podwall.whatif.changes import Labelling, Overlay
from podwall.whatif.outcome import Outcome, Turn
from tests.builders import TCP, UDP, allow, block, namespace, pod, pods, policy, port

pytestmark = pytest.mark.kernel

NAME = "whatif"
DUAL = tuple(Family)
PORTS = ("80/tcp", "53/udp")
PODS = (
    pod("default/db", ports=["6379/tcp"], role="db"),
    pod("default/frontend", ports=PORTS, role="frontend"),
    pod("default/other", ports=PORTS),
    pod("friends/friend", ports=PORTS),
)
CLOSED = policy("friends/closed", ingress=[], egress=[allow(pods(namespaces={}))])
ISOLATED = policy(
    "default/db",
    {"role": "db"},
    ingress=[
        allow(
            pods({"role": "frontend"}, namespaces="default"),
            block("172.17.0.0/16", "172.17.1.0/24"),
            ports=[port(6379)],
        )
    ],
    egress=[allow(block("10.0.0.0/24"), ports=[port(6379)])],
)
CHANGE = Change(
    Overlay(policies=(ISOLATED,)),
    without=("friends/closed",),
    labels=(Labelling("default/other", (("role", "frontend"),)),),
)
STREAMS = (
    ("default/frontend", "default/db", Listen(TCP, 6379), Family.V4),
    ("default/frontend", "default/db", Listen(TCP, 6379), Family.V6),
    ("friends/friend", "default/db", Listen(TCP, 6379), Family.V4),
    ("friends/friend", "default/db", Listen(TCP, 6379), Family.V6),
    ("default/db", "default/frontend", Listen(TCP, 80), Family.V4),
    ("default/db", "default/other", Listen(UDP, 53), Family.V6),
    ("default/other", "default/frontend", Listen(TCP, 80), Family.V4),
)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[client.Lab]:
    """A lab that is up, in which little is isolated."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    placed, nodes = place(PODS, node_names=["node-1", "node-2"], families=DUAL)
    spaces = [namespace("default"), namespace("friends")]
    # The policy of the change is there for other pods, so that the lab has hosts for its blocks.
    elsewhere = policy("default/elsewhere", {"role": "nobody"}, ingress=[*_rules()])
    snapshot = build_snapshot(placed, spaces, [CLOSED, elsewhere], nodes)
    try:
        with client.up(NAME, snapshot, Shape(families=DUAL), kernel_engine()) as up:
            yield up
    finally:
        for note in state.notes():
            client.take_down(note.name)


def _rules() -> Iterator[object]:
    for rule in (*ISOLATED.ingress, *ISOLATED.egress):
        yield allow(*rule.peers, ports=rule.ports)


def test_probes_and_connections_do_what_the_comparison_says(lab: client.Lab) -> None:
    before = Cluster(lab.snapshot())
    after = before.changed(CHANGE)
    outcome = before.compare(after, others=_hosts(lab))

    with ExitStack() as streams:
        for each in STREAMS:
            assert streams.enter_context(stream_between(lab, *each)).stats().connected
        predicted = cuts_in_lab(NAME, before, after)
        there = _flows(lab)
        lab.apply(after.snapshot, probe=False)
        gone = {node: there[node] - left for node, left in _flows(lab).items()}

    assert predicted.cuts
    assert {
        (each.node, each.source_address, each.target_address, each.service)
        for each in predicted.cuts
    } == {
        (node, flow.src, flow.dst, f"{flow.port}/{Protocol(flow.protocol).name.lower()}")
        for node, flows in gone.items()
        for flow in flows
    }
    assert {(each.source, each.target) for each in predicted.cuts} == {
        ("friends/friend", "default/db"),
        ("default/db", "default/frontend"),
        ("default/db", "default/other"),
    }

    then = lab.probe()
    lab.apply(before.snapshot, probe=False)
    now = lab.probe()
    assert then.agrees
    assert now.agrees
    changed = _differences(now, then)
    assert {each[4] for each in changed} == {True, False}
    assert "172.17.1.1" in {each[0] for each in changed}
    assert changed == {each for each in _said(outcome, then) if each[:4] in _asked(now)}


def _hosts(lab: client.Lab) -> list[End]:
    """The hosts outside, by their addresses, as matrices of the lab have them."""
    parties = [each.party for each in lab.status().places]
    return [
        End(party.name, tuple(map(parse_address, party.addresses)))
        for party in parties
        if party.kind not in (Kind.POD, Kind.NODE)
    ]


def _flows(lab: client.Lab) -> dict[str, set[Flow]]:
    return {
        node: {
            each.flow
            for each in parse_entries(lab.output_of(f"node/{node}", (*HELPER, "list")), DUAL)
        }
        for node in lab.status().nodes
    }


Answers = set[tuple[str, str, int, str, bool]]


def _asked(matrix: Matrix) -> set[tuple[str, str, int, str]]:
    return {matrix.key(cell) for cell in matrix.cells}


def _differences(now: Matrix, then: Matrix) -> Answers:
    old = {now.key(cell): cell.happened for cell in now.cells}
    return {
        (*then.key(cell), cell.happened)
        for cell in then.cells
        if old.get(then.key(cell), cell.happened) is not cell.happened
    }


def _said(outcome: Outcome, matrix: Matrix) -> Answers:
    """The comparison's answers to the questions of a matrix."""
    shifts = {}
    for each in (*outcome.opens, *outcome.closes):
        for family in each.families:
            shifts.setdefault((each.source, each.target, family.value), []).append(each)
    found: Answers = set()
    for cell in matrix.cells:
        source, target, family, service = matrix.key(cell)
        for shift in shifts.get((source, target, family), ()):
            ranges = dict(shift.what.ports).get(cell.protocol, ())
            is_meant = (
                shift.what.icmp if cell.port is None else any(cell.port in each for each in ranges)
            )
            if is_meant:
                found.add((source, target, family, service, shift.turn is Turn.OPENS))
    return found


def test_a_snapshot_of_a_lab_can_be_compared_with_itself(lab: client.Lab) -> None:
    snapshot: Snapshot = lab.snapshot()
    assert Cluster(snapshot).compare(Cluster(snapshot)).nothing
