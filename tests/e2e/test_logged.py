"""Denied packets, and those that audited policies would deny, are logged by a real kernel.

Counted by the counter of the rule that logs, and read by a few lines that listen to the group, so
that what podwall itself reads with has no part in it.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.dataplane.apply import ApplyReport, enforce
from podwall.dataplane.conntrack import cut_forbidden
from podwall.dataplane.enforced import node_allows
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.saved import take_prints
from podwall.model.net import Family
from podwall.model.policy import Mode as PolicyMode
from podwall.model.policy import Policy
from podwall.model.settings import DenyAction, Settings
from podwall.ruleset.compile import compile_node
from podwall.ruleset.diff import diff
from podwall.ruleset.ir import Log, LogKind, Rule, Ruleset
from podwall.ruleset.names import log_chain
from tests.builders import UDP, allow, namespace, node, pod, pods, policy, port
from tests.e2e.kernel import Conversation, PrivateKernel, conversation, private_kernel
from tests.e2e.test_dataplane_cut import CLIENT, SERVER, TALK, WIRING
from tests.unit.dataplane.bench import Bench

pytestmark = pytest.mark.kernel

SHOUT = str(Path(__file__).with_name("shout.py"))
LISTEN = str(Path(__file__).with_name("listen_nflog.py"))
GROUP = 31
LOGGING = Settings(log_denied=True, log_group=GROUP)
GUARDED = policy(
    "dev/guarded",
    {"app": "server"},
    ingress=[
        allow(
            pods({"app": "client"}, namespaces="dev"),
            ports=[port(7000), port(7000, protocol=UDP)],
        )
    ],
)
CLOSED = policy("dev/closed", {"app": "server"}, ingress=[])


def audited(each: Policy) -> Policy:
    return msgspec.structs.replace(each, mode=PolicyMode.AUDIT)


def cluster(*policies: Policy) -> Snapshot:
    return build_snapshot(
        pods=[
            pod("dev/client", *map(str, CLIENT.values()), node="n", app="client"),
            pod("dev/server", *map(str, SERVER.values()), node="n", app="server"),
        ],
        namespaces=[namespace("dev")],
        policies=policies,
        nodes=[node("n", "10.1.0.1", "fd01::1", "10.2.0.1", "fd02::1")],
    )


class Site:
    """A node with a client and a server, programmed as podwall does it."""

    def __init__(self, kernel: PrivateKernel, mode: Mode) -> None:
        self.kernel = kernel
        self.dataplane = Bench(kernel.runner, mode).dataplane
        self.desired: Ruleset
        kernel.output("sh", "-c", WIRING)

    def enforce(self, *policies: Policy, settings: Settings = LOGGING) -> ApplyReport:
        self.desired = compile_node(cluster(*policies), "n", settings)
        return enforce(self.dataplane, self.desired)

    def logged(self, family: Family, kind: LogKind = LogKind.DENY) -> int:
        """Packets that were handed to the group so far."""
        rules = self.dataplane.counters(family)[log_chain(kind)]
        [count] = [
            each.packets
            for each in rules
            if isinstance(each.rule, Rule) and each.rule.target == Log(kind, GROUP)
        ]
        return count

    def shout(self, family: Family, *packets: str) -> list[str]:
        """Send packets from the client to the server; what became of each, as it is told there."""
        argv = (sys.executable, SHOUT, str(SERVER[family]), *packets)
        text = self.kernel.output("nsenter", "--net=/run/netns/client", "--", *argv)
        return text.split()

    def listener(self) -> Conversation:
        talk = Conversation(self.kernel.start(sys.executable, LISTEN, str(GROUP)))
        assert talk.ask("hello") == "ready"
        return talk

    def talk(self, pod_name: str, role: str) -> contextlib.AbstractContextManager[Conversation]:
        """One end of a TCP connection to port 7001 of the server."""
        argv = [sys.executable, TALK, role, "tcp", str(SERVER[Family.V4]), "7001"]
        return conversation(self.kernel, argv, pod_name)


@pytest.fixture(params=Mode, ids=lambda mode: mode.value)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with private_kernel() as kernel:
        yield Site(kernel, request.param)


@pytest.mark.parametrize("deny", DenyAction, ids=lambda deny: deny.value)
@pytest.mark.parametrize("family", Family)
def test_what_is_denied_is_logged_once_for_each_flow_and_nothing_else_is(
    site: Site, family: Family, deny: DenyAction
) -> None:
    site.enforce(GUARDED, settings=msgspec.structs.replace(LOGGING, deny=deny))
    refused = "refused" if deny is DenyAction.REJECT else "nothing"
    assert site.shout(family, "tcp:7000", "udp:7000") == ["refused", "refused"]
    assert site.logged(family) == 0, "what is allowed, and what its server refuses itself"
    assert site.shout(family, "tcp:7001", "tcp:7001", "udp:7001") == [refused] * 3
    assert site.logged(family) == 2
    # In place of a port the set keeps the type of a ping, and nothing of other protocols.
    site.shout(family, "ping", "ping", "gre", "gre")
    assert site.logged(family) == 4
    other = next(each for each in Family if each is not family)
    assert site.logged(other) == 0


def test_flows_that_were_logged_are_no_difference_and_a_second_apply_writes_nothing(
    site: Site,
) -> None:
    site.enforce(GUARDED, audited(policy("dev/quiet", {"app": "client"}, egress=[])))
    fresh = take_prints(site.dataplane.read())
    site.shout(Family.V4, *(f"cast:{number}" for number in range(8000, 8300)))
    site.shout(Family.V6, "tcp:9000")
    assert "10.1.0.2,udp:8000,10.2.0.2" in site.kernel.output("ipset", "save", "PW4-logged")
    assert "10.1.0.2,udp:8000,10.2.0.2" in site.kernel.output("ipset", "save", "PW4-audited")
    observed = site.dataplane.observe()
    assert diff(observed, site.desired).steps == ()
    assert site.dataplane.repairs == ()
    assert site.dataplane.remains() == ()
    assert enforce(site.dataplane, site.desired).steps == 0
    after = take_prints(site.dataplane.read())
    assert after.tables == fresh.tables
    assert after.sets.keys() == fresh.sets.keys()


@pytest.mark.parametrize("family", Family)
def test_s51_an_audited_policy_tells_what_it_would_deny_and_lets_it_pass(
    site: Site, family: Family
) -> None:
    site.enforce(audited(CLOSED))
    assert site.shout(family, "tcp:7001", "tcp:7001", "udp:7002") == ["refused"] * 3
    assert site.logged(family, LogKind.AUDIT) == 2
    site.enforce(audited(GUARDED))
    assert site.shout(family, "tcp:7000") == ["refused"]
    assert site.logged(family, LogKind.AUDIT) == 2


def test_s51_once_it_is_enforced_a_policy_denies_what_it_told_of_and_cuts_it(site: Site) -> None:
    site.enforce(audited(CLOSED))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(site.talk("server", "listen"))
        assert server.ask("hello") == "ready"
        client = stack.enter_context(site.talk("client", "connect"))
        client.ask("send one")
        assert server.ask("accept") == "accepted"
        assert server.ask("read") == "one"
        assert site.logged(Family.V4, LogKind.AUDIT) == 1
        site.enforce(CLOSED)
        report = cut_forbidden(
            site.dataplane,
            node_allows(site.desired, site.dataplane.own_addresses()),
            lambda _address: True,
        )
        assert report.cut == 1
        client.ask("send two")
        assert server.ask("read") != "two"
        # It was told of as audited a moment ago, and is told of as denied all the same.
        assert site.shout(Family.V4, "tcp:7001") == ["nothing"]
        assert site.logged(Family.V4) == 1
        assert "PW-audit" not in site.dataplane.observe().v4.chains
        site.enforce(audited(CLOSED))
        assert site.shout(Family.V4, "tcp:7001") != ["nothing"]


def test_the_group_is_told_the_packet_and_why(site: Site) -> None:
    site.enforce(GUARDED, audited(policy("dev/quiet", {"app": "client"}, egress=[])))
    listener = site.listener()
    try:
        site.shout(Family.V4, "udp:7000", "udp:7001")
        told = [json.loads(listener.ask("next")) for _ in range(3)]
    finally:
        listener.close()
    assert [(each["prefix"], each["port"]) for each in told] == [
        ("podwall audit", 7000),
        ("podwall audit", 7001),
        ("podwall deny", 7001),
    ]
    assert {(each["src"], each["dst"]) for each in told} == {("10.1.0.2", "10.2.0.2")}
