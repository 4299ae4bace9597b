"""What users call the endpoints of a lab."""

from __future__ import annotations

import pytest

from podwall.errors import InputError
from podwall.lab.matrix import Party
from podwall.lab.naming import join_names, parse_listen, select_parties
from podwall.lab.topology import Kind, Listen
from tests.builders import SCTP, TCP, UDP


def party(name: str, kind: Kind = Kind.POD, workload: str = "") -> Party:
    return Party(name, kind, (), workload=workload)


PARTIES = [
    party("default/web-0", workload="Deployment/web"),
    party("default/web-1", workload="Deployment/web"),
    party("dev/web-0", workload="Deployment/web"),
    party("dev/db", workload="StatefulSet/db"),
    party("node/n1", Kind.NODE),
    party("203.0.113.1", Kind.OUTSIDE),
]


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("dev/db", {"dev/db"}),
        ("web-0", {"default/web-0"}),
        ("n1", {"node/n1"}),
        ("203.0.113.1", {"203.0.113.1"}),
        ("web", {"default/web-0", "default/web-1"}),
        ("Deployment/web", {"default/web-0", "default/web-1"}),
        ("dev/web", {"dev/web-0"}),
        ("dev/*", {"dev/web-0", "dev/db"}),
    ],
)
def test_a_word_means_a_name_a_workload_or_a_pattern(word: str, names: set[str]):
    assert select_parties(PARTIES, [word]) == names


def test_no_words_mean_everybody_and_several_their_union():
    assert select_parties(PARTIES, []) is None
    assert select_parties(PARTIES, ["web-0", "n1"]) == {"default/web-0", "node/n1"}


def test_a_word_that_means_nobody_is_an_error():
    with pytest.raises(InputError, match="'nobody' is nobody in this lab"):
        select_parties(PARTIES, ["web-0", "nobody"])


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("6379", Listen(TCP, 6379)),
        ("80/tcp", Listen(TCP, 80)),
        ("53/UDP", Listen(UDP, 53)),
        ("9/sctp", Listen(SCTP, 9)),
    ],
)
def test_a_port_is_a_number_and_a_protocol(text: str, listen: Listen):
    assert parse_listen(text) == listen


@pytest.mark.parametrize(
    "text", ["", "http", "0", "65536", "80/icmp", "80/tcp/x", "-1", "٣", "8 0"]
)
def test_anything_else_is_no_port(text: str):
    with pytest.raises(InputError, match="is not a port"):
        parse_listen(text)


def test_names_that_differ_at_the_end_share_their_beginning():
    names = ["default/web-0", "default/web-1", "dev/db", "203.0.113.1"]
    assert join_names(names) == "default/web-{0,1}, dev/db, 203.0.113.1"
