"""The lab on the real kernel: who reaches whom, and that nothing stays behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from podwall.cluster.placement import place
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.dataplane.command import SystemRunner, check
from podwall.dataplane.iptables.mode import Mode
from podwall.errors import InputError, LabError
from podwall.lab import client, commands, isolation, libc, state
from podwall.lab.commands import Output
from podwall.lab.engine import Engine, kernel_engine, open_engine
from podwall.lab.isolation import Isolated
from podwall.lab.matrix import Matrix
from podwall.lab.topology import OUTSIDE, Cni, Listen, Outcome, Selection, Shape
from podwall.lab.traffic import stream_between
from podwall.manifest import Manifests
from podwall.model.net import Family
from podwall.model.objects import Pod
from podwall.model.policy import Policy
from podwall.model.settings import Settings
from tests.builders import TCP, UDP, allow, block, namespace, pod, pods, policy, port

pytestmark = pytest.mark.kernel

V4, V6 = Family.V4, Family.V6
DUAL = (V4, V6)
PORTS = ("80/tcp", "53/udp", "9/sctp")
DB = pod("default/db", ports=["6379/tcp"], role="db")
FRONTEND = pod("default/frontend", ports=PORTS, role="frontend")
OTHER = pod("default/other", ports=PORTS)
FRIEND = pod("friends/friend", ports=PORTS)
AGENT = pod("default/agent", ports=["9100/tcp"], host_network=True)
EXAMPLE = policy(
    "default/test-network-policy",
    {"role": "db"},
    ingress=[
        allow(
            block("172.17.0.0/16", "172.17.1.0/24"),
            pods(namespaces={"project": "myproject"}),
            pods({"role": "frontend"}, namespaces="default"),
            ports=[port(6379)],
        )
    ],
    egress=[allow(block("10.0.0.0/24"), ports=[port(5978)])],
)


def cluster(
    *members: Pod, policies: tuple[Policy, ...] = (), families: tuple[Family, ...] = (V4,)
) -> Snapshot:
    """A placed cluster on two nodes."""
    placed, nodes = place(members, node_names=["node-1", "node-2"], families=families)
    spaces = [namespace("default"), namespace("friends", project="myproject")]
    return build_snapshot(placed, spaces, policies, nodes)


def reached(matrix: Matrix) -> set[tuple[str, str, str]]:
    """Source, destination and service of what got through."""
    return {
        (matrix.key(cell)[0], matrix.key(cell)[1], cell.service)
        for cell in matrix.cells
        if cell.happened
    }


def explain(matrix: Matrix) -> str:
    """What went wrong, for the message of an assertion."""
    return "\n".join(f"{matrix.key(cell)}: {cell}" for cell in matrix.differences[:20])


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield
    # Labs that stay up outlive a test that fails.
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for note in state.notes():
        client.take_down(note.name)


@pytest.fixture(scope="module")
def shared() -> Iterator[client.Lab]:
    """A lab without policies for tests that leave it as it is."""
    snapshot = cluster(DB, FRONTEND, OTHER, families=DUAL)
    with client.start(snapshot, Shape(families=DUAL), open_engine()) as lab:
        yield lab


@pytest.mark.parametrize("cni", list(Cni))
@pytest.mark.parametrize("families", [(V4,), (V6,), DUAL])
def test_without_policies_everybody_reaches_everybody(cni: Cni, families: tuple[Family, ...]):
    snapshot = cluster(DB, FRONTEND, OTHER, AGENT, families=families)
    with client.start(snapshot, Shape(families=families, cni=cni), open_engine()) as lab:
        matrix = lab.probe()
    assert matrix.agrees, explain(matrix)
    services = {"80/tcp", "53/udp", "9/sctp", "6379/tcp", "9100/tcp", "icmp"}
    assert {cell.service for cell in matrix.cells} == services
    assert {cell.family for cell in matrix.cells} == {each.value for each in families}
    assert {cell.outcome for cell in matrix.cells} == {Outcome.ANSWERED}


@pytest.mark.parametrize("cni", list(Cni))
@pytest.mark.parametrize("mode", list(Mode))
def test_the_example_policy_is_enforced_in_every_cell(cni: Cni, mode: Mode):
    snapshot = cluster(DB, FRONTEND, OTHER, FRIEND, AGENT, policies=(EXAMPLE,), families=DUAL)
    shape = Shape(families=DUAL, cni=cni)
    with client.start(snapshot, shape, kernel_engine(mode=mode)) as lab:
        matrix = lab.probe()
    assert matrix.agrees, explain(matrix)
    through = reached(matrix)
    redis = {src for src, dst, service in through if (dst, service) == ("default/db", "6379/tcp")}
    assert {"default/frontend", "friends/friend", "172.17.0.1"} <= redis
    assert not {"default/other", "172.17.1.1", "172.18.0.1"} & redis
    assert ("default/db", "10.0.0.1", "5978/tcp") in through
    assert ("default/db", "10.0.1.1", "5978/tcp") not in through


@pytest.mark.parametrize("cni", list(Cni))
def test_a_rule_that_should_not_be_there_shows_as_differences(cni: Cni):
    def drop_udp(_snapshot: Snapshot, _node: str, prefix: tuple[str, ...]) -> None:
        argv = ["iptables", "-w", "-I", "FORWARD", "-p", "udp", "-j", "DROP"]
        check(argv, SystemRunner(prefix).run(argv))

    engine = Engine(program=drop_udp, allows=lambda *_: True)
    with client.start(cluster(FRONTEND, OTHER), Shape(cni=cni), engine) as lab:
        matrix = lab.probe()
    dropped = {(matrix.key(cell)[0], matrix.key(cell)[1]) for cell in matrix.differences}
    assert {cell.service for cell in matrix.differences} == {"53/udp"}
    assert {cell.outcome for cell in matrix.differences} == {Outcome.SILENT}
    assert ("default/frontend", "default/other") in dropped
    assert ("default/frontend", "default/frontend") not in dropped


def test_a_missing_rule_shows_as_differences():
    engine = Engine(program=lambda *_: None, allows=lambda _snapshot, flow: flow.protocol != UDP)
    with client.start(cluster(FRONTEND, OTHER), Shape(), engine) as lab:
        matrix = lab.probe()
    assert {cell.service for cell in matrix.differences} == {"53/udp"}
    assert all(cell.happened for cell in matrix.differences)


def test_a_rejected_connection_is_told_from_a_silent_one():
    def reject_tcp(_snapshot: Snapshot, _node: str, prefix: tuple[str, ...]) -> None:
        argv = ["iptables", "-w", "-I", "FORWARD", "-p", "tcp", "-j", "REJECT"]
        check(argv, SystemRunner(prefix).run(argv))

    engine = Engine(program=reject_tcp, allows=lambda *_: False)
    selection = Selection(frozenset(["default/frontend"]), frozenset(["default/other"]))
    with client.start(cluster(FRONTEND, OTHER), Shape(), engine) as lab:
        matrix = lab.probe(selection)
    outcomes = {cell.service: cell.outcome for cell in matrix.cells}
    assert outcomes["80/tcp"] is Outcome.REFUSED
    assert outcomes["53/udp"] is Outcome.ANSWERED


def test_the_first_packet_between_any_two_pods_arrives():
    # Whoever was never talked to has to be found first, by ARP or neighbour discovery.
    selection = Selection(frozenset(["default/frontend"]), frozenset(["default/other"]))
    unexpected = Engine(program=lambda *_: None, allows=lambda *_: False)
    for cni in Cni:
        shape = Shape(families=DUAL, cni=cni)
        with client.start(cluster(FRONTEND, OTHER, families=DUAL), shape, unexpected) as lab:
            matrix = lab.probe(selection)
        assert {cell.outcome for cell in matrix.cells} == {Outcome.ANSWERED}


def test_an_answer_from_the_wrong_one_is_seen():
    def redirect(_snapshot: Snapshot, _node: str, prefix: tuple[str, ...]) -> None:
        to = ["-j", "DNAT", "--to-destination", "203.0.113.1:53"]
        argv = ["iptables", "-w", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", *to]
        check(argv, SystemRunner(prefix).run(argv))

    engine = Engine(program=redirect, allows=lambda *_: True)
    ports = (Listen(TCP, 53),)
    selection = Selection(
        frozenset(["default/frontend"]), frozenset(["default/other"]), frozenset([Listen(TCP, 80)])
    )
    with client.start(cluster(FRONTEND, OTHER), Shape(ports=ports), engine) as lab:
        matrix = lab.probe(selection)
    assert [cell.outcome for cell in matrix.cells] == [Outcome.MISDIRECTED]
    assert not matrix.agrees


def test_probes_can_be_repeated_and_narrowed(shared: client.Lab):
    first, second = shared.probe(), shared.probe()
    assert first == second
    selection = Selection(
        frozenset(["node/node-1"]), frozenset(["default/db"]), frozenset([Listen(TCP, 6379)])
    )
    narrow = shared.probe(selection)
    assert [narrow.key(cell) for cell in narrow.cells] == [
        ("node/node-1", "default/db", family, "6379/tcp") for family in (4, 6)
    ]
    pings = shared.probe(Selection(ports=frozenset(), icmp=True))
    assert {cell.service for cell in pings.cells} == {"icmp"}


def test_progress_ends_with_all_of_it(shared: client.Lab):
    told: list[tuple[int, int, str]] = []
    matrix = shared.probe(progress=lambda done, total, label: told.append((done, total, label)))
    assert told[-1] == (len(matrix.cells), len(matrix.cells), "probing")


def test_a_program_runs_where_it_should_and_its_status_is_passed_on(
    shared: client.Lab, capfd: pytest.CaptureFixture[str]
):
    env = dict(os.environ)
    show = ["ip", "-o", "address", "show"]
    assert shared.execute("default/db", [*show, "eth0"], env) == 0
    address = shared.place("db").party.addresses[0]
    assert f"{address}/32" in capfd.readouterr().out
    assert shared.execute("node-1", [*show, "uplink"], env) == 0
    assert shared.place("node-1").party.addresses[0] in capfd.readouterr().out
    assert shared.execute("outside", [*show, "lo"], env) == 0
    assert "203.0.113.1/32" in capfd.readouterr().out
    assert shared.execute("db", ["sh", "-c", "exit 7"], env) == 7
    assert shared.execute("db", ["sh", "-c", "kill -TERM $$"], env) == 128 + signal.SIGTERM
    assert shared.execute("db", ["no-such-program"], env) == 127
    assert shared.execute("db", ["/etc/passwd"], env) == 126


def test_a_program_sees_only_the_lab(shared: client.Lab, capfd: pytest.CaptureFixture[str]):
    shared.execute("db", ["ls", "/run"], dict(os.environ))
    assert capfd.readouterr().out.split() == ["lock", "netns"]
    shared.execute("db", ["sh", "-c", "echo $PODWALL_LAB $$; cat /proc/1/cgroup"], dict(os.environ))
    assert isolation.alive(shared.world)


def test_an_unknown_endpoint_is_an_error_that_lists_the_known(shared: client.Lab):
    with pytest.raises(InputError, match=r"the lab has no 'nobody'; it has default/db"):
        shared.execute("nobody", ["true"], {})


@pytest.mark.parametrize("family", DUAL)
@pytest.mark.parametrize("listen", [Listen(TCP, 80), Listen(UDP, 53)])
def test_a_stream_loses_nothing_while_nothing_happens(
    shared: client.Lab, listen: Listen, family: Family
):
    with stream_between(shared, "db", "frontend", listen, family) as stream:
        early = stream.stats()
        end = stream.stop()
    assert early.connected
    assert end.sent >= early.sent
    assert (end.lost, end.reset, end.retransmitted) == (0, "", 0)


@pytest.mark.parametrize("listen", [Listen(TCP, 80), Listen(UDP, 53)])
def test_a_stream_that_is_dropped_shows_it(listen: Listen):
    drop = ["iptables", "-w", "-I", "FORWARD", "-j", "DROP"]
    with (
        client.start(cluster(FRONTEND, OTHER), Shape(), open_engine()) as lab,
        stream_between(lab, "other", "frontend", listen, V4) as stream,
    ):
        assert stream.stats().connected
        for node in ("node-1", "node-2"):
            assert lab.execute(node, drop, dict(os.environ)) == 0
        while stream.stats().lost < 5:
            select.select([], [], [], 0.01)
        end = stream.stop()
    assert end.lost >= 5
    assert not end.reset


def test_a_stream_to_nobody_is_not_connected(shared: client.Lab):
    with stream_between(shared, "other", "db", Listen(TCP, 81), V4) as stream:
        assert not stream.stats().connected
        assert stream.stats().reset


def test_applying_builds_what_is_new_and_leaves_the_rest_alone():
    engine = kernel_engine()
    with client.start(cluster(DB, OTHER), Shape(), engine) as lab:
        old = lab.snapshot()
        before = lab.place("default/db").party.addresses
        manifests = Manifests(
            pods=(DB, FRONTEND),
            namespaces=(namespace("default"),),
            policies=(EXAMPLE,),
        )
        snapshot = commands.next_snapshot(manifests, old, (V4,))
        with stream_between(lab, "node-1", "db", Listen(TCP, 6379), V4) as stream:
            applied = lab.apply(snapshot)
            assert stream.stats().connected
        places = {each.party.name: each.party for each in lab.status().places}
        assert lab.snapshot() == snapshot
    assert applied.matrix is not None
    assert applied.matrix.agrees, explain(applied.matrix)
    assert places["default/db"].addresses == before
    assert "default/frontend" in places
    assert "default/other" not in places
    assert ("default/frontend", "default/db", "6379/tcp") in reached(applied.matrix)
    gone = {(change.src, change.dst, change.service) for change in applied.changes}
    assert ("default/db", "203.0.113.1", "5978/tcp") not in gone
    assert ("default/db", "203.0.113.1", "icmp") in gone
    assert not any(change.after for change in applied.changes)


def test_applying_a_pod_with_another_address_moves_it():
    moved = pod("default/other", "10.244.9.9", ports=PORTS, node="node-1")
    with client.start(cluster(FRONTEND, OTHER), Shape(), open_engine()) as lab:
        manifests = Manifests(pods=(FRONTEND, moved), namespaces=(namespace("default"),))
        applied = lab.apply(commands.next_snapshot(manifests, lab.snapshot(), (V4,)))
        assert lab.place("other").party.addresses == ("10.244.9.9",)
    assert applied.matrix is not None
    assert applied.matrix.agrees, explain(applied.matrix)


def test_a_change_that_failed_can_be_made_again():
    with client.start(cluster(DB), Shape(), open_engine()) as lab:
        later = cluster(DB, FRONTEND, OTHER)
        # Somebody else has the name of what is to be built last.
        in_the_way = ["ip", "netns", "add", "default.other"]
        assert lab.execute(OUTSIDE, in_the_way, dict(os.environ)) == 0
        with pytest.raises(LabError, match="File exists"):
            lab.apply(later, probe=False)
        lab.apply(later, probe=False)
        matrix = lab.probe()
    assert matrix.agrees, explain(matrix)
    assert ("default/other", "default/frontend", "80/tcp") in reached(matrix)


def test_the_nodes_of_a_lab_cannot_change():
    with client.start(cluster(OTHER), Shape(), open_engine()) as lab:
        placed, nodes = place([OTHER], node_names=["another"])
        with pytest.raises(LabError, match="the nodes of a lab cannot change"):
            lab.apply(build_snapshot(placed, nodes=nodes))
        assert lab.probe().agrees


# What stays behind: nothing.


def processes_of(world: Isolated) -> set[int]:
    """Every process in the world's process namespace, seen from here."""
    wanted = os.stat(f"/proc/{world.holder}/ns/pid").st_ino
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and os.stat(entry / "ns/pid").st_ino == wanted:
                found.add(int(entry.name))
    return found


def wait_until_gone(pids: set[int]) -> None:
    """Wait, but not for ever, until none of the processes is left."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            gone, _, _ = select.select([descriptor], [], [], 20)
            os.close(descriptor)
            assert gone, f"process {pid} is still there"


def in_a_child(body: Callable[[socket.socket], None]) -> tuple[int, socket.socket]:
    """Fork a process that runs ``body`` with a connection to this one."""
    ours, theirs = socket.socketpair()
    isolation.flush_all()
    child = os.fork()
    if child == 0:
        ours.close()
        try:
            body(theirs)
        finally:
            os._exit(9)
    theirs.close()
    ours.settimeout(60)
    return child, ours


def hold_a_lab(connection: socket.socket) -> None:
    """Start a lab, say its process ids, and wait for ever."""
    with client.start(cluster(FRONTEND, OTHER), Shape(), open_engine()) as lab:
        pids = sorted(processes_of(lab.world) | {lab.world.keeper})
        connection.sendall(json.dumps(pids).encode())
        connection.recv(1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_caller_is_killed_nothing_stays(number: signal.Signals):
    child, connection = in_a_child(hold_a_lab)
    pids = set(json.loads(connection.recv(4096)))
    assert len(pids) >= 3
    os.kill(child, number)
    os.waitpid(child, 0)
    wait_until_gone(pids)
    connection.close()


def test_after_ctrl_c_in_the_middle_of_probing_nothing_stays():
    def run(connection: socket.socket) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with client.start(cluster(FRONTEND, OTHER), Shape(), open_engine()) as lab:
                pids = sorted(processes_of(lab.world) | {lab.world.keeper})
                connection.sendall(json.dumps(pids).encode())
                while True:
                    lab.probe()
        except KeyboardInterrupt:
            connection.sendall(b"interrupted")

    child, connection = in_a_child(run)
    pids = set(json.loads(connection.recv(4096)))
    os.kill(child, signal.SIGINT)
    os.waitpid(child, 0)
    assert connection.recv(100) == b"interrupted"
    wait_until_gone(pids)
    connection.close()


def test_a_lab_that_cannot_be_built_leaves_nothing():
    def fail(_snapshot: Snapshot, node: str, _prefix: tuple[str, ...]) -> None:
        raise LabError(f"no luck with {node}")

    broken = Engine(program=fail, allows=lambda *_: True)
    with pytest.raises(LabError, match="no luck with node-1"):
        client.start(cluster(OTHER), Shape(), broken)
    with pytest.raises(LabError, match="no luck with node-1"):
        client.up("broken", cluster(OTHER), Shape(), broken)
    assert state.notes() == []


def test_a_lab_stays_up_until_it_is_taken_down():
    client.up("one", cluster(OTHER), Shape(), open_engine()).close()
    lab = client.find("one")
    pids = processes_of(lab.world) | {lab.world.keeper}
    assert lab.probe().agrees
    with pytest.raises(LabError, match="a lab named 'one' is up"):
        client.up("one", cluster(OTHER), Shape(), open_engine())
    lab.down()
    wait_until_gone(pids)
    assert state.notes() == []
    with pytest.raises(LabError, match="no lab named 'one' is up"):
        client.find("one")


def test_labs_stand_side_by_side_with_the_same_addresses():
    names = ("east", "west")
    for name in names:
        client.up(name, cluster(FRONTEND, OTHER), Shape(), open_engine()).close()
    try:
        for name in names:
            lab = client.find(name)
            assert lab.probe().agrees
            lab.close()
        client.take_down("east")
        assert [note.name for note in state.notes()] == ["west"]
    finally:
        for note in state.notes():
            client.take_down(note.name)


def test_a_killed_lab_is_swept_away_by_the_next_command():
    lab = client.up("one", cluster(OTHER), Shape(), open_engine())
    pids = processes_of(lab.world)
    os.kill(lab.world.holder, signal.SIGKILL)
    wait_until_gone(pids)
    with pytest.raises(LabError, match="the lab has ended"):
        lab.probe()
    lab.close()
    assert state.notes() == []
    assert not (state.base_directory() / "one").exists()


def test_a_command_inside_a_lab_leaves_the_note_of_that_lab_alone():
    with client.up("one", cluster(OTHER), Shape(), open_engine()) as lab:
        status = [sys.executable, "-m", "podwall", "lab", "status"]
        assert lab.execute("other", status, dict(os.environ)) == 0
        assert [note.name for note in state.notes()] == ["one"]
        lab.down()


def test_a_shell_in_the_lab_ends_with_it():
    lab = client.up("one", cluster(OTHER), Shape(), open_engine())

    def sleep(connection: socket.socket) -> None:
        connection.sendall(b"x")
        os._exit(lab.execute("other", ["sleep", "1000"], dict(os.environ)))

    child, connection = in_a_child(sleep)
    connection.recv(1)
    before = processes_of(lab.world)
    while not any(b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in before):
        before = processes_of(lab.world)
    lab.down()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGKILL
    wait_until_gone(before)
    connection.close()


# Several commands at once.


def slow_engine(gate: Path) -> Engine:
    """Programming a node for a policy lasts until somebody opens ``gate`` and closes it."""
    os.mkfifo(gate)

    def program(snapshot: Snapshot, node: str, _prefix: tuple[str, ...]) -> None:
        if snapshot.policies and node == "node-1":
            gate.read_bytes()

    return Engine(program=program, allows=lambda *_: True)


def change_slowly(connection: socket.socket) -> None:
    """Apply a policy, and say how it went."""
    changed = cluster(DB, OTHER, policies=(EXAMPLE,))
    try:
        client.find("one").apply(changed, probe=False)
        connection.sendall(b"applied")
    except LabError as error:
        connection.sendall(str(error).encode())


def test_programs_in_pods_keep_no_other_command_waiting():
    client.up("one", cluster(DB, OTHER), Shape(), open_engine()).close()

    def sleep(connection: socket.socket) -> None:
        os.dup2(connection.fileno(), 1)
        os._exit(commands.execute(["sh", "-c", "echo x; exec sleep 1000"], "other", "one"))

    children = [in_a_child(sleep) for _ in range(2)]
    for _, connection in children:
        assert connection.recv(2) == b"x\n"
    said, text = output()
    assert commands.probe(said, name="one") == 0
    assert commands.status(said, "one") == 0
    assert "2 pods on 2 nodes" in text.getvalue()
    assert commands.execute(["true"], "db", "one") == 0
    assert commands.down(said, "one") == 0
    for child, connection in children:
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGKILL
        connection.close()


def test_a_connection_that_says_nothing_keeps_nobody_waiting():
    with client.up("one", cluster(DB, OTHER), Shape(), open_engine()) as first:
        second = client.find("one")
        assert first.status() == second.status()
        assert second.probe().agrees
        assert first.probe().agrees
        second.close()


def test_a_request_waits_for_that_of_another_and_says_so(tmp_path: Path):
    client.up("one", cluster(DB, OTHER), Shape(), slow_engine(tmp_path / "gate")).close()
    child, connection = in_a_child(change_slowly)
    waits = []
    gates = [os.open(tmp_path / "gate", os.O_WRONLY)]

    def busy() -> None:
        waits.append("once")
        os.close(gates.pop())

    with client.find("one", busy) as lab:
        assert lab.status().policies == ("default/test-network-policy",)
        assert connection.recv(100) == b"applied"
        assert waits == ["once"]
        assert lab.status().built
        assert waits == ["once"]
    os.waitpid(child, 0)
    connection.close()


def test_a_command_tells_that_the_lab_is_busy_and_down_ends_it_at_once(tmp_path: Path):
    client.up("one", cluster(DB, OTHER), Shape(), slow_engine(tmp_path / "gate")).close()
    changing, change = in_a_child(change_slowly)
    gate = os.open(tmp_path / "gate", os.O_WRONLY)

    def ask(connection: socket.socket) -> None:
        sys.stderr = connection.makefile("w")
        with contextlib.suppress(LabError):
            commands.status(output()[0], "one")

    asking, answer = in_a_child(ask)
    note = answer.recv(1000).decode()
    assert note.startswith("the lab one is busy with another command")
    assert "'podwall lab down --name one' ends the lab at once" in note
    pids = processes_of(state.find("one").world)
    assert commands.down(output()[0], "one") == 0
    wait_until_gone(pids)
    assert change.recv(100) == b"the lab has ended"
    for child, connection in ((changing, change), (asking, answer)):
        os.waitpid(child, 0)
        connection.close()
    os.close(gate)


# An ordinary user.


def become_nobody() -> None:
    """Drop root, as far as there is any; files of the interpreter were read before."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        libc.stay_dumpable()


def test_an_ordinary_user_needs_nobody_to_run_a_lab():
    def run(connection: socket.socket) -> None:
        become_nobody()
        os.environ["XDG_RUNTIME_DIR"] = ""
        # Cutting connections starts a new interpreter, which may be out of this user's reach.
        engine = kernel_engine(Settings(cut_connections=False))
        snapshot = cluster(DB, FRONTEND, OTHER, FRIEND, policies=(EXAMPLE,), families=DUAL)
        try:
            with client.start(snapshot, Shape(families=DUAL), engine) as lab:
                status = lab.execute("db", ["sh", "-c", "exit $(id -u)"], dict(os.environ))
                matrix = lab.probe()
                found = f"{os.geteuid() != 0} {status} {matrix.agrees} {len(matrix.cells)}"
        except BaseException as error:
            found = repr(error)
        connection.sendall(found.encode())

    child, connection = in_a_child(run)
    ordinary, status, agrees, cells = connection.recv(4096).decode().split(" ", 3)
    os.waitpid(child, 0)
    connection.close()
    assert (ordinary, status, agrees) == ("True", "0", "True")
    assert int(cells) > 50


def test_without_user_namespaces_the_error_says_how_to_go_on():
    def run(connection: socket.socket) -> None:
        # In a user namespace of our own the limit is ours to lower.
        libc.unshare(libc.CLONE_NEWUSER)
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
        try:
            client.start(cluster(OTHER), Shape(), open_engine())
        except LabError as error:
            connection.sendall(str(error).encode())

    child, connection = in_a_child(run)
    said = connection.recv(4096).decode()
    os.waitpid(child, 0)
    connection.close()
    assert "user.max_user_namespaces = 0" in said
    assert "run it as root, or allow them with" in said


def test_root_does_without_a_user_namespace_where_there_is_none_to_be_had():
    def run(connection: socket.socket) -> None:
        uid, gid = os.geteuid(), os.getegid()
        libc.unshare(libc.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
        with client.start(cluster(FRONTEND, OTHER), Shape(), open_engine()) as lab:
            inside = os.stat(f"/proc/{lab.world.holder}/ns/user").st_ino
            same = inside == os.stat("/proc/self/ns/user").st_ino
            status = lab.execute("other", ["sh", "-c", "exit 7"], dict(os.environ))
            connection.sendall(f"{same} {status} {lab.probe().agrees}".encode())

    child, connection = in_a_child(run)
    said = connection.recv(4096).decode()
    os.waitpid(child, 0)
    connection.close()
    assert said == "True 7 True"


# The commands.


def output(as_json: bool = False) -> tuple[Output, io.StringIO]:
    text = io.StringIO()
    console = Console(file=text, width=120)
    return Output(console, Console(file=io.StringIO()), as_json), text


def test_run_prints_the_matrix_and_its_status_tells_whether_it_agrees():
    good, text = output()
    snapshot = cluster(DB, FRONTEND, OTHER, policies=(EXAMPLE,))
    assert commands.run(snapshot, Shape(), kernel_engine(), good) == 0
    assert "all as expected" in text.getvalue()
    assert state.notes() == []
    bad, text = output()
    wrong = Engine(program=lambda *_: None, allows=lambda *_: False)
    assert commands.run(cluster(OTHER), Shape(), wrong, bad) == 1
    assert "not as expected" in text.getvalue()


def test_run_as_json_is_one_document():
    quiet, text = output(as_json=True)
    commands.run(cluster(OTHER), Shape(), open_engine(), quiet)
    report = json.loads(text.getvalue())
    assert report["differences"] == 0
    assert report["probes"] == len(report["cells"])


def test_a_kept_lab_can_be_used_and_taken_down():
    said, text = output()
    snapshot = cluster(DB, OTHER)
    assert commands.run(snapshot, Shape(), kernel_engine(), said, keep=True, name="kept") == 0
    assert "podwall lab down --name kept" in text.getvalue()
    assert commands.execute(["true"], "default/db", "kept") == 0
    assert commands.status(said, "kept") == 0
    assert "2 pods on 2 nodes, routed, IPv4, 0 policies" in text.getvalue()
    assert commands.probe(said, sources=["other"], ports=["6379/tcp"], name="kept") == 0
    manifests = Manifests(pods=(DB, OTHER), namespaces=(namespace("default"),), policies=(EXAMPLE,))
    assert commands.apply(manifests, said, "kept") == 0
    assert "default/other → default/db 6379/tcp: now denied" in text.getvalue()
    assert commands.down(said) == 0
    assert "ended: kept" in text.getvalue()
    assert state.notes() == []


def test_up_and_status_as_json_describe_the_lab():
    said, text = output(as_json=True)
    assert commands.up(cluster(DB), Shape(), open_engine(), said, "one") == 0
    described = json.loads(text.getvalue())
    assert described["name"] == "one"
    assert "default/db" in {each["name"] for each in described["endpoints"]}
    said, text = output(as_json=True)
    commands.status(said)
    assert json.loads(text.getvalue())["labs"] == [described]
    commands.down(said, "one")
