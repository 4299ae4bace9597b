"""From real traffic to policies, and back to real packets: what was seen is all that is open."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from podwall.api import Cluster
from podwall.cli.main import main
from podwall.cluster.placement import place
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.dataplane.conntrack import SEEN
from podwall.lab import client, state
from podwall.lab.engine import kernel_engine
from podwall.lab.topology import Shape
from podwall.learn.observed import collect
from podwall.learn.proposal import propose
from podwall.learn.reading import read_list
from podwall.manifest import load
from podwall.model.net import Family
from podwall.model.policy import Mode
from tests.builders import namespace, pod

pytestmark = pytest.mark.kernel

PORTS = ("80/tcp", "81/tcp", "53/udp")
MEMBERS = (
    pod("shop/web-0", ports=PORTS, app="web"),
    pod("shop/web-1", ports=PORTS, app="web"),
    pod("shop/cart-0", ports=PORTS, app="cart"),
    pod("data/db-0", ports=PORTS, app="db"),
    pod("data/dns-0", ports=PORTS, app="dns"),
)

ASK = """
import socket, sys
for each in sys.argv[1:]:
    address, port, kind = each.rsplit("/", 2)
    if kind == "tcp":
        socket.create_connection((address, int(port)), 30).close()
    else:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            udp.settimeout(30)
            udp.sendto(b"podwall", (address, int(port)))
            udp.recv(100)
"""
TRAFFIC = {
    "shop/web-0": ("shop/cart-0/80/tcp", "data/dns-0/53/udp"),
    "shop/web-1": ("data/dns-0/53/udp",),
    "shop/cart-0": ("data/db-0/81/tcp", "data/db-0/80/tcp"),
    "outside": ("shop/web-1/80/tcp",),
}
OPEN = {
    *((web, "shop/cart-0", "80/tcp") for web in ("shop/web-0", "shop/web-1")),
    *((web, "data/dns-0", "53/udp") for web in ("shop/web-0", "shop/web-1")),
    *(("shop/cart-0", "data/db-0", service) for service in ("80/tcp", "81/tcp")),
}


def cluster(families: tuple[Family, ...]) -> Snapshot:
    placed, nodes = place(MEMBERS, node_names=["node-1", "node-2"], families=families)
    return build_snapshot(placed, [namespace("shop"), namespace("data")], (), nodes)


@pytest.fixture
def lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[client.Lab]:
    """A lab that is up, without policies, in which there was some traffic."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    families: tuple[Family, ...] = request.param
    try:
        with client.up(
            "learnt", cluster(families), Shape(families=families), kernel_engine()
        ) as up:
            for source, targets in TRAFFIC.items():
                talk(up, source, targets)
            yield up
    finally:
        for note in state.notes():
            client.take_down(note.name)


def talk(lab: client.Lab, source: str, targets: tuple[str, ...]) -> None:
    addresses = {place.party.name: place.party.addresses for place in lab.status().places}
    words = []
    for each in targets:
        namespace_name, name, port, kind = each.split("/")
        words += [f"{address}/{port}/{kind}" for address in addresses[f"{namespace_name}/{name}"]]
    assert lab.execute(source, [sys.executable, "-c", ASK, *words], {}) == 0


@pytest.mark.parametrize("lab", [(Family.V4,), tuple(Family)], indirect=True)
def test_what_was_learned_keeps_just_what_was_seen_open(
    lab: client.Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["learn", "--lab", "learnt"]) == 0
    text, said = capsys.readouterr()
    assert "4 policies with 7 rules" in said
    proposed = load(["-"], stdin=io.BytesIO(text.encode()))
    assert not proposed.diagnostics

    before = lab.snapshot()
    after = build_snapshot(
        before.pods.values(), before.namespaces.values(), proposed.policies, before.nodes.values()
    )
    lab.apply(after, probe=False)
    matrix = lab.probe()

    assert matrix.agrees
    pods = {str(each.key) for each in MEMBERS}
    keys = [matrix.key(cell) for cell in matrix.cells if cell.happened]
    through = {(source, target, service) for source, target, _, service in keys}
    between = {each for each in through if each[0] != each[1] and {each[0], each[1]} <= pods}
    assert between == OPEN


@pytest.mark.parametrize("lab", [(Family.V4,)], indirect=True)
def test_audited_first_a_proposal_denies_nothing_and_is_safe_until_something_new_is_seen(
    lab: client.Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["learn", "--lab", "learnt", "--audit"]) == 0
    proposed = load(["-"], stdin=io.BytesIO(capsys.readouterr().out.encode()))
    assert {each.mode for each in proposed.policies} == {Mode.AUDIT}
    before = lab.snapshot()
    lab.apply(
        build_snapshot(
            before.pods.values(),
            before.namespaces.values(),
            proposed.policies,
            before.nodes.values(),
        ),
        probe=False,
    )
    assert main(["audit", "--lab", "learnt"]) == 0
    assert "not safe" not in capsys.readouterr().out

    talk(lab, "shop/web-1", ("data/db-0/81/tcp",))  # It still can: nothing is enforced.
    assert main(["audit", "--lab", "learnt", "-n", "data"]) == 1
    said = capsys.readouterr().out
    assert "data/learned-db-0: not safe" in said
    assert "shop/pod/web-1 → data/pod/db-0 81/tcp, ingress, 1 time" in said
    assert "data/learned-dns-0: safe" in said


@pytest.mark.parametrize("lab", [(Family.V4,)], indirect=True)
def test_a_second_look_at_what_is_enforced_proposes_nothing_more(lab: client.Lab) -> None:
    seen = collect(
        each
        for node in lab.status().nodes
        for each in read_list(lab.output_of(f"node/{node}", SEEN))
    )
    snapshot = lab.snapshot()
    first = propose(snapshot, seen)
    assert propose(first.after, seen).policies == ()
    assert [each.policy.key.name for each in first.policies] == [
        *("learned-db-0", "learned-dns-0", "learned-cart-0", "learned-web-0")
    ]
    assert Cluster(first.after).allowed("shop/web-0", "shop/cart-0", "80/tcp")
