"""Lines of connection tracking: who opened what, and to whom it really went."""

from __future__ import annotations

import pytest

from podwall.dataplane.ctnetlink import attribute, is_unreplied
from podwall.learn.observed import Observation, Sighting, collect
from podwall.learn.tracked import Unreadable, parse_listed, parse_tracked
from tests.builders import SCTP, UDP, flow, icmp

DNAT = (
    "tcp      6 431999 ESTABLISHED src=10.244.0.2 dst=10.96.0.7 sport=40112 dport=80 "
    "src=10.244.0.9 dst=10.244.0.2 sport=8080 dport=40112 [ASSURED] mark=0 use=1"
)


def test_s31_the_server_is_the_one_that_dnat_chose() -> None:
    assert parse_tracked(DNAT) == Sighting(flow("10.244.0.2", "10.244.0.9", 8080), 40112)


def test_a_masqueraded_client_counts_by_its_own_address() -> None:
    line = (
        "tcp 6 99 ESTABLISHED src=10.244.0.2 dst=203.0.113.9 sport=40112 dport=443 "
        "src=203.0.113.9 dst=192.168.88.1 sport=443 dport=61000 [ASSURED] mark=0 use=1"
    )
    assert parse_tracked(line) == Sighting(flow("10.244.0.2", "203.0.113.9", 443), 40112)


@pytest.mark.parametrize(
    "before",
    [
        "ipv4     2 ",
        "    [NEW] ",
        "[1698765432.123456]\t [UPDATE] ipv4     2 ",
        "[DESTROY] ",
    ],
)
def test_what_stands_before_the_protocol_does_not_matter(before: str) -> None:
    assert parse_tracked(before + DNAT) == parse_tracked(DNAT)


def test_counters_and_zones_in_between_do_not_matter() -> None:
    line = (
        "udp 17 29 src=fd00::1 dst=fd00::2 sport=5000 dport=53 packets=1 bytes=60 zone=3 "
        "src=fd00::2 dst=fd00::1 sport=53 dport=5000 packets=1 bytes=90 mark=0 zone=3 use=2"
    )
    assert parse_tracked(line) == Sighting(flow("fd00::1", "fd00::2", 53, UDP), 5000)


def test_entries_that_nobody_answered_say_so() -> None:
    line = (
        "sctp 132 3 CLOSED src=10.0.0.1 dst=10.0.0.2 sport=9 dport=7 [UNREPLIED] "
        "src=10.0.0.2 dst=10.0.0.1 sport=7 dport=9 mark=0 use=1"
    )
    assert parse_tracked(line) == Sighting(flow("10.0.0.1", "10.0.0.2", 7, SCTP), 9, answered=False)


def test_echo_requests_are_told_apart_by_their_identifier() -> None:
    line = (
        "icmp 1 17 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=4711 "
        "src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=4711 mark=0 use=1"
    )
    assert parse_tracked(line) == Sighting(icmp("10.0.0.1", "10.0.0.2"), 4711)


@pytest.mark.parametrize(
    "line",
    [
        "tcp 6 9 CLOSE src=10.0.0.1 dst=10.0.0.2 sport=9 dport=0 src=10.0.0.2 dst=10.0.0.1 sport=0",
        "udp 17 9 src=::ffff:1.2.3.4 dst=fd00::2 sport=9 dport=5 src=fd00::2 dst=fd00::1 sport=5",
        "udp 17 9 src=10.0.0.1 dst=fd00::2 sport=9 dport=5 src=fd00::2 dst=10.0.0.1 sport=5",
    ],
)
def test_what_no_policy_can_be_about_is_passed_over(line: str) -> None:
    assert parse_tracked(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "src=10.0.0.1 dst=10.0.0.2 sport=9 dport=5 src=10.0.0.2 dst=10.0.0.1 sport=5 dport=9",
        "tcp 6 9 src=10.0.0.1 dst=10.0.0.2 sport=9 dport=5",
        "tcp 6 9 src=10.0.0.1 sport=9 src=10.0.0.2 dst=10.0.0.1 sport=5 dport=9",
        "tcp 999 9 src=10.0.0.1 dst=10.0.0.2 sport=9 src=10.0.0.2 dst=10.0.0.1 sport=5",
    ],
)
def test_half_an_entry_is_none(line: str) -> None:
    with pytest.raises(Unreadable):
        parse_tracked(line)


def test_lines_of_the_helper_have_the_same_meaning() -> None:
    line = "4 6 10.244.0.2 10.96.0.7 40112 80 10.244.0.9 10.244.0.2 8080 40112 2/-/aa/bb"
    assert parse_listed(line) == parse_tracked(DNAT)
    assert parse_listed(f"{line} unreplied") == Sighting(
        flow("10.244.0.2", "10.244.0.9", 8080), 40112, answered=False
    )
    with pytest.raises(Unreadable):
        parse_listed("4 6 10.244.0.2")


@pytest.mark.parametrize(("status", "unreplied"), [(0x0A, False), (0x08, True), (0x188, True)])
def test_the_helper_tells_entries_that_the_kernel_saw_no_reply_of(
    status: int, unreplied: bool
) -> None:
    assert is_unreplied(attribute(3, status.to_bytes(4, "big"))) is unreplied


def test_one_connection_that_two_nodes_or_two_looks_saw_counts_once() -> None:
    seen = Sighting(flow("10.0.0.1", "10.0.0.2"), 5000, answered=False)
    other = Sighting(flow("10.0.0.1", "10.0.0.2"), 5001)
    told = Sighting(flow("10.0.0.1", "10.0.0.2"), None, 10)
    assert collect([seen, other, seen]) == (Observation(flow("10.0.0.1", "10.0.0.2"), 2),)
    assert collect([seen, told, told]) == (Observation(flow("10.0.0.1", "10.0.0.2"), 21),)
    assert not collect([seen])[0].answered
