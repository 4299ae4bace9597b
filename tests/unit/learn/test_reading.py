"""Files of connections, line by line."""

from __future__ import annotations

import json

import pytest

from podwall.cluster.snapshot import build_snapshot
from podwall.errors import InputError
from podwall.explain.denial import name_packet
from podwall.learn.observed import Sighting
from podwall.learn.reading import read_connections
from podwall.model.net import Protocol
from podwall.ruleset.ir import LogKind
from tests.builders import TCP, UDP, flow, icmp, namespace, node, pod

CLUSTER = build_snapshot(
    [
        pod("shop/web-0", "10.0.0.1", "fd00::1"),
        pod("data/db-0", "10.0.0.2", "fd00::2"),
        pod("data/six-0", "fd00::6"),
    ],
    [namespace("shop"), namespace("data")],
    (),
    [node("node-1", "192.168.0.1")],
)


def read(text: str) -> tuple[Sighting, ...]:
    return read_connections(text, "seen.txt", CLUSTER)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("shop/web-0 -> data/db-0 5432/tcp", Sighting(flow("10.0.0.1", "10.0.0.2", 5432, TCP))),
        (
            "shop/web-0 → data/db-0 53/udp x12",
            Sighting(flow("10.0.0.1", "10.0.0.2", 53, UDP), count=12),
        ),
        ("203.0.113.9 -> shop/web-0 80", Sighting(flow("203.0.113.9", "10.0.0.1", 80))),
        ("node/node-1 -> shop/web-0 icmp", Sighting(icmp("192.168.0.1", "10.0.0.1"))),
        (
            "shop/web-0 -> data/six-0 icmp",
            Sighting(flow("fd00::1", "fd00::6", None, Protocol.ICMPV6)),
        ),
    ],
)
def test_lines_written_by_hand_name_ends_as_everywhere(line: str, expected: Sighting) -> None:
    assert read(line) == (expected,)


def test_denials_are_read_by_their_addresses() -> None:
    denial = name_packet(CLUSTER, flow("10.0.0.1", "10.0.0.2", 5432), LogKind.DENY, 1.0)[0]
    line = json.dumps(denial.to_dict())
    assert read(line) == (Sighting(flow("10.0.0.1", "10.0.0.2", 5432)),)
    echo = name_packet(CLUSTER, icmp("fd00::1", "fd00::2"), LogKind.DENY, 1.0)[0]
    assert read(json.dumps(echo.to_dict())) == (Sighting(icmp("fd00::1", "fd00::2")),)
    odd = name_packet(CLUSTER, flow("10.0.0.1", "10.0.0.2", None, 47), LogKind.DENY, 1.0)[0]
    counted = {**odd.to_dict(), "count": 3}
    assert read(json.dumps(counted)) == (Sighting(flow("10.0.0.1", "10.0.0.2", None, 47), count=3),)


def test_empty_lines_comments_and_the_footer_of_conntrack_say_nothing() -> None:
    footer = "conntrack v1.4.7 (conntrack-tools): 0 flow entries have been shown."
    assert read(f"\n# seen at night\n   \n{footer}\n") == ()


def test_lines_that_cannot_be_read_are_named_all_at_once() -> None:
    text = "shop/web-0 -> data/db-0 80\nwhat?\nshop/web-9 -> data/db-0 80\ntcp 6 src=1 dst=2\n"
    with pytest.raises(InputError) as refused:
        read(text)
    lines = str(refused.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["seen.txt:2", "seen.txt:3", "seen.txt:4"]
    assert "did you mean shop/web-0?" in lines[1]


def test_of_many_bad_lines_the_first_few_are_named() -> None:
    with pytest.raises(InputError) as refused:
        read("what?\n" * 1000)
    assert str(refused.value).splitlines()[-1] == "and 995 lines more"


NONSENSE = (
    "{",
    "{}",
    '{"src": 1}',
    '{"src": "10.0.0.1", "dst": "fd00::1", "service": "80"}',
    '{"src": "10.0.0.1", "dst": "10.0.0.2", "service": "' + "8" * 9000 + '"}',
    '{"src": "10.0.0.1", "dst": "10.0.0.2", "service": "80", "count": true}',
    '{"src":' * 9000,
    "\x1b[31m",
    "a" * 100_000,
    "4 6 x",
)


@pytest.mark.parametrize("line", NONSENSE)
def test_nonsense_is_refused_in_few_words(line: str) -> None:
    with pytest.raises(InputError) as refused:
        read(line)
    assert len(str(refused.value)) < 400
    assert str(refused.value).isprintable()
