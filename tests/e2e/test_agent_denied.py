"""A real agent tells denied packets by name, and what audited policies would deny."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from podwall.agent.control.answers import AuditReport, DropPairs
from podwall.agent.control.client import ask, ask_drops
from podwall.agent.control.words import AskAudit, AskPairs
from podwall.dataplane.iptables.mode import Mode
from tests.e2e.agent_site import MERGE, NODE, POLICIES, Json, Site, pod, policy, site, until
from tests.e2e.kernel import conversation

pytestmark = pytest.mark.kernel

AUDITED = policy("careful", podSelector={"matchLabels": {"app": "web"}}, policyTypes=["Ingress"])
AUDITED["metadata"]["annotations"] = {"podwall.dev/mode": "audit"}
SIX = (
    pod("db6", "fd00:1::2", app="db"),
    pod("web6", "fd00:1::3", app="web"),
)
SEND = """
import socket, sys
for each in sys.argv[1:]:
    host, port = each.rsplit("|", 1)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.sendto(b"hello", (host, int(port)))
"""
GROUP = "9357"
READERS = "/proc/net/netfilter/nfnetlink_log"


class World(Site):
    """A site of which two pods can send packets that the node forwards, or drops."""

    def wire(self) -> None:
        for words in (
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
            "ip netns add web",
            "ip link add veth-web type veth peer name eth0 netns web",
            "ip address add 169.254.1.1/32 dev veth-web",
            "ip -6 address add fe80::1/64 dev veth-web nodad",
            "ip link set veth-web up",
            "ip -n web address add 10.244.1.3/32 dev eth0",
            "ip -n web address add fd00:1::3/128 dev eth0 nodad",
            "ip -n web link set eth0 up",
            "ip -n web route add 169.254.1.1 dev eth0",
            "ip -n web route add default via 169.254.1.1",
            "ip -n web -6 route add default via fe80::1 dev eth0",
            "ip route add 10.244.1.3 dev veth-web",
            "ip -6 route add fd00:1::3 dev veth-web",
            "ip link add rest type veth peer name nowhere",
            "ip link set rest up",
            "ip link set nowhere up",
            "ip route add 10.244.0.0/16 dev rest",
            "ip -6 route add fd00:1::/64 dev rest",
        ):
            self.kernel.output(*words.split())

    def send(self, *ends: str, netns: str = "web") -> None:
        """One datagram to each ``address|port``."""
        inside = ("ip", "netns", "exec", netns) if netns else ()
        self.kernel.output(*inside, sys.executable, "-c", SEND, *ends)

    def drops(self, **asked: Any) -> list[Json]:
        """What the agent keeps."""
        with ask_drops(str(self.state_dir), **asked) as (_, lines):
            return [msgspec.json.decode(each.denial) for each in lines]

    def audit(self) -> AuditReport:
        return ask(str(self.state_dir), AskAudit(), AuditReport)

    def reads(self) -> bool:
        """Whether the agent reads the log."""
        return bool(self.status()["denied"]["reading"])


@contextmanager
def world(directory: Path, *options: str) -> Iterator[World]:
    with site(directory, *options) as found:
        own = World(found.directory, found.server, found.kernel)
        own.process = found.process
        try:
            own.wire()
            yield own
        finally:
            found.process = own.process


@pytest.mark.parametrize("mode", Mode, ids=lambda each: each.value)
def test_denied_packets_arrive_by_name_in_both_families(tmp_path: Path, mode: Mode) -> None:
    with world(tmp_path, "--log-denied", "--denied-events", "--mode", mode.value) as own:
        own.server.store(*SIX)
        until(own.reads, own.messages)
        until(lambda: own.status()["enforced"]["pods"] == 4, own.messages)
        with ask_drops(str(own.state_dir), follow=True) as (head, lines):
            assert head.status.reading
            own.send("10.244.1.2|9", "fd00:1::2|9", "10.244.2.4|9", "10.244.1.77|9")
            seen = {found["target"]: found for found in _take(lines, 3)}
        _check_names(seen)
        assert [each["target"] for each in own.drops()] == list(seen)
        assert own.drops(since=seen["default/db"]["time"] + 3600) == []
        pairs = ask(str(own.state_dir), AskPairs(), DropPairs)
        assert {each.target: each.count for each in pairs.pairs} == dict.fromkeys(seen, 1)
        metrics = own.get("/metrics")[1]
        assert 'podwall_denied_flows_total{direction="ingress",namespace="default"} 2.0' in metrics
        assert 'podwall_denied_flows_total{direction="ingress",namespace=""} 1.0' in metrics
        assert re.search(r"denied +logged, 3 flows$", own.podwall("status").stdout, re.M)
        assert own.json("diff")["steps"] == []
        _check_events(own)
        _check_what_is_over(own)


def _check_names(seen: dict[str, Json]) -> None:
    assert seen.keys() == {"default/db", "default/db6", "10.244.1.77"}
    db = seen["default/db"]
    assert (db["source"], db["service"], db["kind"]) == ("default/web", "9/udp", "deny")
    assert (db["direction"], db["subject"]) == ("ingress", "default/db")
    assert db["isolated_by"] == ["default/db"]
    assert "6379/tcp" in db["reason"]
    assert not db["stale"]
    assert seen["default/db6"]["source"] == "default/web6"
    assert "no known pod has it (S48)" in seen["10.244.1.77"]["reason"]


def _check_events(own: World) -> None:
    """One for each pair, on the policy."""
    own.send("10.244.1.2|10")
    until(lambda: len(own.drops()) == 4, own.messages)
    until(lambda: len(own.server.events()) == 2, own.messages)
    found = {each["message"].partition(" → ")[0]: each for each in own.server.events()}
    event = found[f"node {NODE}: default/web"]
    assert (event["type"], event["reason"]) == ("Normal", "Denied")
    assert event["involvedObject"]["name"] == "db"


def _check_what_is_over(own: World) -> None:
    """What was denied while the agent was away is told, also if the policies would allow it now."""
    # The kernel keeps the rules and the packet; the policy goes meanwhile.
    assert own.process is not None
    own.process.send_signal(signal.SIGSTOP)
    own.server.ask("DELETE", f"{POLICIES}/db")
    own.send("10.244.1.2|11")
    own.process.send_signal(signal.SIGCONT)
    until(lambda: len(own.drops()) == 5, own.messages)
    until(lambda: own.status()["enforced"]["policies"] == 0, own.messages)
    assert own.drops()[-1]["service"] == "11/udp"


def _take(lines: Iterator[Any], number: int) -> list[Json]:
    return [msgspec.json.decode(next(lines).denial) for _ in range(number)]


def test_logging_is_turned_on_and_off_without_a_gap_and_waits_for_its_group(
    tmp_path: Path,
) -> None:
    with world(tmp_path) as own:
        assert "not logged (log-denied is off)" in own.podwall("status").stdout
        assert not own.status()["denied"]["wanted"]
        assert own.kernel.output("cat", READERS) == ""
        assert not any("NFLOG" in line for line in own.ours())

        own.stop()
        with somebody_reads(own):
            own.start("--log-denied")
            _check_few_changes(own)
            assert any("NFLOG" in line for line in own.ours())
            until(lambda: own.status()["denied"]["error"], own.messages)
            done = own.podwall("status")
            assert done.returncode == 0
            assert "NOT READ: NFLOG group 9357 has a reader already" in done.stdout
            assert "podwall_denied_log_failing 1.0" in own.get("/metrics")[1]
            assert sum("denied packets are not read" in each for each in own.messages()) == 1
        until(own.reads, own.messages)
        own.send("10.244.1.2|9")
        until(own.drops, own.messages)

        own.stop()
        own.start()
        _check_few_changes(own)
        assert not any("NFLOG" in line for line in own.ours())


@contextmanager
def somebody_reads(own: World) -> Iterator[None]:
    listener = str(Path(__file__).parent / "listen_nflog.py")
    with conversation(own.kernel, (sys.executable, listener, GROUP)) as other:
        assert other.ask("hello") == "ready"
        yield


def _check_few_changes(own: World) -> None:
    """Chains of policies stay as they are: only that what is denied is told, or not."""
    line = [each for each in own.log() if each.get("cause") == "sync"][-1]
    assert line["rules_added"] + line["rules_removed"] <= 20
    assert line["members_added"] + line["members_removed"] == 0
    assert own.json("diff")["steps"] == []


def test_what_an_audited_policy_would_deny_is_counted_and_survives_a_restart(
    tmp_path: Path,
) -> None:
    with world(tmp_path) as own:
        own.server.store(AUDITED)
        until(own.reads, own.messages)
        far_to_web(own, "9", "10")
        until(lambda: len(own.drops()) == 2, own.messages)
        assert {each["kind"] for each in own.drops()} == {"audit"}
        assert "podwall_audited_policies 1.0" in own.get("/metrics")[1]
        (careful,) = own.audit().policies
        assert (careful.policy, careful.pods) == ("default/careful", ("default/web",))
        assert careful.packets == 2
        assert {each.service for each in careful.flows} == {"9/udp", "10/udp"}
        assert {each.source for each in careful.flows} == {"default/far"}

        own.stop()
        own.start()
        (again,) = own.audit().policies
        assert (again.flows, again.since) == (careful.flows, careful.since)

        # Another text of the policy, another count.
        change = {"spec": {"ingress": [{"ports": [{"port": 9, "protocol": "UDP"}]}]}}
        own.server.ask("PATCH", f"{POLICIES}/careful", change, MERGE)
        until(lambda: own.audit().policies[0].flows == (), own.messages)

        own.stop()
        assert (own.state_dir / "audit.json").exists()
        assert own.inside("cleanup").returncode == 0
        assert not own.state_dir.exists()


def far_to_web(own: World, *ports: str) -> None:
    """Datagrams from ``far``, which comes in by a link of its own."""
    for words in (
        "ip netns add far",
        "ip link add veth-far type veth peer name eth0 netns far",
        "ip address add 169.254.1.2/32 dev veth-far",
        "ip link set veth-far up",
        "ip -n far address add 10.244.2.4/32 dev eth0",
        "ip -n far link set eth0 up",
        "ip -n far route add 169.254.1.2 dev eth0",
        "ip -n far route add default via 169.254.1.2",
        "ip route add 10.244.2.4 dev veth-far",
    ):
        own.kernel.output(*words.split())
    own.send(*(f"10.244.1.3|{port}" for port in ports), netns="far")
