"""Connections are cut on a real kernel, with real packets between two pods of a node."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from podwall.dataplane.conntrack import HELPER, CutReport, cut_forbidden
from podwall.dataplane.iptables.mode import Mode
from podwall.model.flow import Flow
from podwall.model.net import Address, Family, Protocol, host_cidr
from podwall.ruleset.ir import (
    Chain,
    ChainRole,
    Drop,
    End,
    Hook,
    IPSet,
    MatchAddress,
    MatchSelf,
    MatchState,
    Return,
    Rule,
    SetRole,
    SetType,
)
from podwall.ruleset.names import cut_set
from podwall.ruleset.plan import ChainStep, SetStep
from podwall.ruleset.roots import cut_rules
from tests.builders import addr
from tests.e2e.kernel import Conversation, PrivateKernel, conversation, private_kernel
from tests.unit.dataplane.bench import Bench

pytestmark = pytest.mark.kernel

V4, V6 = Family.V4, Family.V6
TALK = str(Path(__file__).with_name("talk.py"))
CLIENT = {V4: addr("10.1.0.2"), V6: addr("fd01::2")}
SERVER = {V4: addr("10.2.0.2"), V6: addr("fd02::2")}

WIRING = """
set -e
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
no_dad="echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad"
sh -c "$no_dad"
number=0
for pod in client server; do
    number=$((number + 1))
    ip netns add $pod
    nsenter --net=/run/netns/$pod sh -c "$no_dad"
    ip link add $pod type veth peer name eth0 netns $pod
    ip addr add 10.$number.0.1/24 dev $pod
    ip addr add fd0$number::1/64 dev $pod nodad
    ip link set $pod up
    ip -n $pod link set lo up
    ip -n $pod addr add 10.$number.0.2/24 dev eth0
    ip -n $pod addr add fd0$number::2/64 dev eth0 nodad
    ip -n $pod link set eth0 up
    ip -n $pod route add default via 10.$number.0.1
    ip -n $pod -6 route add default via fd0$number::1
done
"""


class Node:
    """A node with a client and a server, and rules that forbid what a test says."""

    def __init__(self, kernel: PrivateKernel, mode: Mode) -> None:
        self.kernel = kernel
        self.bench = Bench(kernel.runner, mode)
        self.dataplane = self.bench.dataplane
        kernel.output("sh", "-c", WIRING)
        self.dataplane.run(
            SetStep(
                create=tuple(
                    IPSet(
                        cut_set(family), SetType.HASH_IP_PORT_IP, family, SetRole.CUT, timeout=600
                    )
                    for family in Family
                )
            )
        )
        for family in Family:
            self.allow(family, with_hook=True)

    def allow(self, family: Family, *forbidden: Rule, with_hook: bool = False) -> None:
        established = Rule(Return(), (MatchState(("RELATED", "ESTABLISHED")),))
        chain = Chain("PW-FORWARD", ChainRole.ROOT, (established, *cut_rules(family), *forbidden))
        hook = ((Hook.FORWARD, chain.name),) if with_hook else ()
        self.dataplane.run(ChainStep(family, replace=(chain,), hook=hook))

    def forbid(self, family: Family) -> None:
        """Nothing may start from the client to the server; the other way round all may."""
        ends = ((End.SRC, CLIENT[family]), (End.DST, SERVER[family]))
        matches = tuple(MatchAddress(end, host_cidr(address)) for end, address in ends)
        self.allow(family, Rule(Drop(), matches, "dev/server ingress"))

    def cut(self, family: Family) -> CutReport:
        return cut_forbidden(
            self.dataplane,
            lambda flow: (flow.src, flow.dst) != (CLIENT[family], SERVER[family]),
            lambda address: address in (CLIENT[family], SERVER[family]),
        )

    @contextlib.contextmanager
    def connected(
        self, protocol: str, target: Address, port: int = 7000
    ) -> Iterator[tuple[Conversation, Conversation]]:
        """A client and a server in the middle of a conversation."""
        server = SERVER[target.family]
        words = [sys.executable, TALK]
        with conversation(
            self.kernel, [*words, "listen", protocol, str(server), "7000"], "server"
        ) as answering:
            assert answering.ask("hello") == "ready"
            with conversation(
                self.kernel, [*words, "connect", protocol, str(target), str(port)], "client"
            ) as asking:
                assert asking.ask("send one") == "sent"
                assert answering.ask("accept") == "accepted"
                assert answering.ask("read") == "one"
                assert answering.ask("send two") == "sent"
                assert asking.ask("read") == "two"
                yield asking, answering


@pytest.fixture(params=Mode, ids=lambda mode: mode.value)
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    with private_kernel() as kernel:
        yield Node(kernel, request.param)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_s46_a_forbidden_connection_is_cut_from_both_sides(
    node: Node, family: Family, protocol: str
) -> None:
    with node.connected(protocol, SERVER[family]) as (client, server):
        node.forbid(family)
        client.ask("send three")
        assert server.ask("read") == "three", "a connection lives until it is cut (S45)"
        report = node.cut(family)
        assert report.cut == 1
        # A server that sends first would start the connection anew, in the allowed direction.
        server.ask("send four")
        client.ask("send five")
        assert client.ask("read") not in ("four", "closed")
        assert server.ask("read") != "five"
        assert node.dataplane.connections() == []


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_without_the_cut_set_the_server_would_start_the_connection_anew(
    node: Node, protocol: str
) -> None:
    with node.connected(protocol, SERVER[V4]) as (client, server):
        node.forbid(V4)
        handles = "\n".join(each.handle for each in node.dataplane.connections())
        assert node.kernel.output(*HELPER, "delete", text=handles) == "1\n"
        server.ask("send four")
        assert client.ask("read") == "four"
        client.ask("send five")
        assert server.ask("read") == "five"


def test_s46_a_connection_that_is_still_allowed_loses_nothing(node: Node) -> None:
    with node.connected("tcp", SERVER[V6]) as (client, server):
        node.forbid(V4)
        report = node.cut(V4)
        assert (report.judged, report.cut) == (0, 0)
        client.ask("send three")
        assert server.ask("read") == "three"


def test_s31_a_connection_to_a_service_is_judged_and_cut_by_its_backend(node: Node) -> None:
    nat = (
        "*nat\n-A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 "
        "-j DNAT --to-destination 10.2.0.2:7000\nCOMMIT\n"
    )
    node.kernel.output(node.bench.programs.restore(V4), "--noflush", text=nat)
    with node.connected("tcp", addr("10.96.0.1"), 80) as (client, server):
        [connection] = node.dataplane.connections()
        assert connection.flow == Flow(CLIENT[V4], SERVER[V4], Protocol.TCP, 7000)
        node.forbid(V4)
        assert node.cut(V4).cut == 1
        server.ask("send four")
        assert client.ask("read") not in ("four", "closed")


def test_thousands_of_connections_are_cut_by_few_processes(node: Node) -> None:
    lines = [
        f"-A -s 10.1.{index // 250}.{index % 250 + 2} -d 10.2.0.2 -p tcp --sport {1000 + index} "
        "--dport 80 --state ESTABLISHED -t 1000 -u ASSURED"
        for index in range(3000)
    ]
    lines += [
        "-A -s 10.1.0.2 -d 10.2.0.2 -p gre --srckey 1 --dstkey 2 -t 1000",
        "-A -s fd01::2 -d fd02::2 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 7 -t 99",
        "-A -s fd01::2 -d fd02::2 -p sctp --sport 5 --dport 6 --state ESTABLISHED "
        "--orig-vtag 1 --reply-vtag 2 -t 1000",
    ]
    node.kernel.output("conntrack", "-R", "-", text="".join(f"{each}\n" for each in lines))
    assert len(node.dataplane.connections()) == 3003
    report = cut_forbidden(
        node.dataplane, lambda flow: flow.protocol == Protocol.ICMPV6, lambda _address: True
    )
    assert (report.judged, report.cut) == (3003, 3002)
    [left] = node.dataplane.connections()
    assert left.flow == Flow(CLIENT[V6], SERVER[V6], Protocol.ICMPV6)
    members = [line for line in node.bench.sets() if line.startswith("add PW")]
    assert len(members) == 3001


def test_an_entry_that_is_gone_already_is_no_error(node: Node) -> None:
    with node.connected("udp", SERVER[V4]):
        connections = node.dataplane.connections()
        assert node.dataplane.cut(connections) == 1
        assert node.dataplane.cut(connections) == 0


SEND = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as end:
    end.bind((sys.argv[1], 0))
    try:
        end.sendto(b"x", (sys.argv[2], 9))
        print("sent")
    except PermissionError:
        print("dropped")
"""


@pytest.mark.parametrize("family", Family)
def test_s44_the_kernel_sees_a_packet_to_its_own_source(node: Node, family: Family) -> None:
    own, near = {
        V4: ("10.1.0.1", "10.1.0.2"),
        V6: ("fd01::1", "fd01::2"),
    }[family]
    chain = Chain("PW-OUTPUT", ChainRole.ROOT, (Rule(Drop(), (MatchSelf(),)),))
    node.dataplane.run(ChainStep(family, replace=(chain,), hook=((Hook.OUTPUT, "PW-OUTPUT"),)))

    def send(src: str, dst: str) -> str:
        return node.kernel.output(sys.executable, "-c", SEND, src, dst).strip()

    assert send(own, own) == "dropped"
    assert send(own, near) == "sent"
    assert send(own, own.replace("1.0.1", "2.0.1").replace("fd01", "fd02")) == "sent"
