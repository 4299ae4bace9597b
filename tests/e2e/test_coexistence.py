"""Other firewalls before and after ours: their rules stay, their verdicts count, and ours too."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence

import pytest

from podwall.cluster.placement import place
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.dataplane.apply import enforce
from podwall.dataplane.command import Runner, check
from podwall.dataplane.iptables.mode import Mode, Programs
from podwall.dataplane.kernel import open_kernel
from podwall.lab import client
from podwall.lab.client import Lab
from podwall.lab.engine import kernel_engine, open_engine
from podwall.lab.topology import Shape
from podwall.model.net import Family, Protocol
from podwall.model.policy import Policy
from podwall.ruleset.compile import compile_node
from podwall.ruleset.diff import cleanup
from tests.builders import TCP, UDP, allow, block, namespace, pod, pods, policy, port
from tests.e2e.kernel import private_kernel
from tests.e2e.seamless import address_of, hears, node_prefix, node_runner, open_socket, patient
from tests.unit.dataplane.scenario import cluster

pytestmark = pytest.mark.kernel

DB, WEB, FAR = "default/db", "default/web", "default/far"
SERVICE = {Family.V4: "10.96.0.10", Family.V6: "fd00:96::10"}
SERVICES = {Family.V4: "10.96.0.0/16", Family.V6: "fd00:96::/112"}
PATIENT, QUIET = 10.0, 0.3

FILTER = """\
:DOCKER-USER - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:cali-FORWARD - [0:0]
[3:180] -A INPUT -j KUBE-FIREWALL
[5:300] -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[0:0] -A FORWARD -j DOCKER-USER
[7:420] -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[1:60] -A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
[0:0] -A FORWARD -j cali-FORWARD
[2:120] -A OUTPUT -j KUBE-FIREWALL
[9:540] -A DOCKER-USER -p udp -m udp --dport 7009 -j DROP
[4:240] -A DOCKER-USER -j RETURN
[0:0] -A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP
[6:360] -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
[0:0] -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[8:480] -A cali-FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j ACCEPT
"""
NAT = """\
:KUBE-SERVICES - [0:0]
[3:180] -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
[2:120] -A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE
"""
MANGLE = ":KUBE-IPTABLES-HINT - [0:0]\n"
THEIRS = {"filter": FILTER, "nat": NAT, "mangle": MANGLE}


class Tools:
    """Another program on a host: it writes and reads with the same tools."""

    def __init__(self, runner: Runner, mode: Mode) -> None:
        self._runner = runner
        self._programs = Programs(mode, mode.value)

    def restore(self, family: Family, table: str, *lines: str, flush: bool = False) -> None:
        text = "\n".join([f"*{table}", *lines, "COMMIT", ""])
        argv = [self._programs.restore(family), "--counters"]
        argv += [] if flush else ["--noflush"]
        check(argv, self._runner.run(argv, input=text))

    def take_over(self) -> None:
        """Everything on the host is theirs."""
        for family in Family:
            for table, text in THEIRS.items():
                self.restore(family, table, text.rstrip("\n"), flush=True)

    def saved(self, family: Family) -> list[str]:
        """All tables with their counters; what tells the time of day is left out."""
        argv = [self._programs.save(family), "--counters"]
        texts = [check(argv, self._runner.run([*argv, "-t", each])) for each in THEIRS]
        lines = "".join(texts).splitlines()
        return [line for line in lines if not line.startswith("#")]

    def theirs(self) -> list[list[str]]:
        """What is left of the tables without ours."""
        return [[each for each in self.saved(family) if "PW" not in each] for family in Family]

    def first(self, family: Family) -> list[str]:
        """Where the first rule of each built-in chain that has one of ours leads."""
        found: dict[str, str] = {}
        for line in self.saved(family):
            rule = re.match(r"\[\d+:\d+\] -A (INPUT|FORWARD|OUTPUT) (?:.* )?-j (\S+)", line)
            if rule and rule[1] not in found:
                found[rule[1]] = rule[2]
        return sorted(found.values())


OURS = ["PW-FORWARD", "PW-INPUT", "PW-OUTPUT"]


@pytest.mark.parametrize("mode", Mode)
def test_their_rules_and_counters_stay_as_they_are_to_the_byte(mode: Mode) -> None:
    with private_kernel() as kernel:
        tools = Tools(kernel.runner, mode)
        tools.take_over()
        untouched = tools.theirs()
        assert any("[9:540]" in line for line in untouched[0])
        dataplane = open_kernel(kernel.runner, mode)
        for snapshot in (cluster(), cluster("10.0.1.20"), cluster()):
            enforce(dataplane, compile_node(snapshot, "a"))
            assert tools.theirs() == untouched
            assert [tools.first(family) for family in Family] == [OURS, OURS]
        for step in cleanup(dataplane.observe()).steps:
            dataplane.run(step)
        assert [tools.saved(family) for family in Family] == untouched


@pytest.mark.parametrize("mode", Mode)
def test_our_jump_gets_back_to_first_place_and_theirs_keep_their_order(mode: Mode) -> None:
    with private_kernel() as kernel:
        tools = Tools(kernel.runner, mode)
        tools.take_over()
        dataplane = open_kernel(kernel.runner, mode)
        desired = compile_node(cluster(), "a")
        enforce(dataplane, desired)
        for family in Family:
            lines = [f"[1:60] -I {hook} 1 -j THEIRS" for hook in ("INPUT", "FORWARD", "OUTPUT")]
            tools.restore(family, "filter", ":THEIRS - [0:0]", *lines, "[2:99] -A THEIRS -j RETURN")
        changed = tools.theirs()
        assert enforce(dataplane, desired).steps == 2
        assert [tools.first(family) for family in Family] == [OURS, OURS]
        assert tools.theirs() == changed
        assert enforce(dataplane, desired).steps == 0


# Real packets.


class Host:
    """A node of a lab, with the other programs that work on it."""

    def __init__(self, lab: Lab, mode: Mode) -> None:
        self.lab = lab
        self.tools = Tools(node_runner(lab, "node-1"), mode)
        self._engine = kernel_engine(mode=mode)
        self._prefix = node_prefix(lab, "node-1")

    def enforce(self, *policies: Policy) -> None:
        self._engine.program(snapshot(*policies), "node-1", self._prefix)

    def address(self, name: str, family: Family) -> str:
        return address_of(self.lab, name, family)

    def reaches(
        self,
        src: str,
        family: Family,
        *,
        number: int = 7000,
        target: tuple[str, int] | None = None,
        wanted: bool = True,
    ) -> bool:
        """Whether a datagram to ``target``, or to the port itself, gets to that port of ``db``."""
        with (
            patient(self.socket(DB, family, UDP), PATIENT if wanted else QUIET) as server,
            self.socket(src, family, UDP) as asking,
        ):
            server.bind((self.address(DB, family), number))
            asking.sendto(b"hello", target or server.getsockname()[:2])
            return hears(server, b"hello")

    def socket(self, name: str, family: Family, protocol: Protocol) -> socket.socket:
        return open_socket(self.lab, name, family, protocol)


def snapshot(*policies: Policy) -> Snapshot:
    members = [
        pod(DB, node="node-1", role="db"),
        pod(WEB, node="node-1", role="web"),
        pod(FAR, node="node-2", role="far"),
    ]
    placed, nodes = place(members, node_names=["node-1", "node-2"], families=tuple(Family))
    return build_snapshot(placed, [namespace("default")], policies, nodes)


def db_lets_in(*peers: str, ports: Sequence[tuple[int, int]] = ((7000, 7009),)) -> Policy:
    chosen = [port(first, last, each) for first, last in ports for each in (TCP, UDP)]
    sources = [pods({"role": each}, namespaces="default") for each in peers]
    return policy(DB, {"role": "db"}, ingress=[allow(*sources, ports=chosen)] if peers else [])


@pytest.fixture(scope="module", params=Mode, ids=lambda mode: mode.value)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        with client.start(snapshot(), Shape(families=tuple(Family)), open_engine()) as lab:
            yield Host(lab, request.param)


@pytest.fixture
def host(shared: Host) -> Host:
    """The node as others left it: their rules, none of ours."""
    shared.tools.take_over()
    return shared


@pytest.mark.parametrize("family", Family)
def test_s49_their_drop_applies_to_what_we_allow(host: Host, family: Family) -> None:
    host.enforce(db_lets_in("web"))
    assert host.reaches(WEB, family, number=7000)
    assert not host.reaches(WEB, family, number=7009, wanted=False)


@pytest.mark.parametrize("family", Family)
def test_our_deny_applies_though_they_accept_before_and_after(host: Host, family: Family) -> None:
    accept = "-I FORWARD 1 -j ACCEPT"
    host.tools.restore(family, "filter", f"[0:0] {accept}")
    assert host.reaches(FAR, family)
    host.enforce(db_lets_in("web"))
    assert host.reaches(WEB, family)
    assert not host.reaches(FAR, family, wanted=False)
    # Who goes first later on is heard first, until we look again.
    host.tools.restore(family, "filter", f"[0:0] {accept}")
    assert host.reaches(FAR, family)
    host.enforce(db_lets_in("web"))
    assert not host.reaches(FAR, family, wanted=False)
    assert host.reaches(WEB, family)


@pytest.mark.parametrize("family", Family)
def test_s46_a_connection_that_they_accept_as_established_is_cut(
    host: Host, family: Family
) -> None:
    host.enforce(db_lets_in("web", "far"))
    with host.socket(DB, family, UDP) as server, host.socket(FAR, family, UDP) as asking:
        server.bind((host.address(DB, family), 7001))
        asking.connect(server.getsockname())
        asking.send(b"one")
        words, peer = patient(server, PATIENT).recvfrom(100)
        assert words == b"one"
        server.sendto(b"two", peer)
        assert hears(patient(asking, PATIENT), b"two")
        host.enforce(db_lets_in("web"))
        server.sendto(b"three", peer)
        asking.send(b"four")
        assert not hears(patient(asking, QUIET), b"three")
        assert not hears(patient(server, QUIET), b"four")


def expose(host: Host, family: Family) -> tuple[str, int]:
    """A service address whose port 80 is port 7000 of ``db``, hairpins sent back by the node."""
    own, node = host.address(DB, family), host.address("node-1", family)
    target = f"[{own}]:7000" if family is Family.V6 else f"{own}:7000"
    to_service = f"-A KUBE-SERVICES -d {SERVICE[family]}"
    host.tools.restore(
        family,
        "nat",
        *(
            f"[0:0] {to_service} -p {each} -m {each} --dport 80 -j DNAT --to-destination {target}"
            for each in ("tcp", "udp")
        ),
        f"[0:0] -A POSTROUTING -s {own} -d {own} -j SNAT --to-source {node}",
    )
    return SERVICE[family], 80


@pytest.mark.parametrize("family", Family)
def test_s31_a_service_is_judged_by_its_backend(host: Host, family: Family) -> None:
    service = expose(host, family)
    to_db = allow(pods({"role": "db"}, namespaces="default"), ports=[port(7000, protocol=UDP)])
    web = policy(WEB, {"role": "web"}, egress=[to_db])
    host.enforce(db_lets_in("web"), web)
    assert host.reaches(WEB, family, target=service)
    assert not host.reaches(FAR, family, target=service, wanted=False)
    to_service = allow(block(SERVICES[family]), ports=[port(80, protocol=UDP)])
    host.enforce(db_lets_in("web"), policy(WEB, {"role": "web"}, egress=[to_service]))
    assert not host.reaches(WEB, family, target=service, wanted=False)


@pytest.mark.parametrize("family", Family)
def test_s44_a_pod_reaches_itself_through_its_own_service_though_it_is_isolated(
    host: Host, family: Family
) -> None:
    service = expose(host, family)
    shut = policy("default/shut", ingress=[], egress=[])
    host.enforce(shut)
    assert not host.reaches(WEB, family, target=service, wanted=False)
    with host.socket(DB, family, TCP) as server, host.socket(DB, family, TCP) as asking:
        server.bind((host.address(DB, family), 7000))
        server.listen()
        patient(asking, PATIENT).connect(service)
        asking.send(b"to myself")
        accepted, peer = patient(server, PATIENT).accept()
        with accepted:
            assert peer[0] == host.address("node-1", family), "the node sent it back"
            assert hears(patient(accepted, PATIENT), b"to myself")
            accepted.send(b"from myself")
            assert hears(asking, b"from myself")
