"""Covering is one-sided: a "yes" must hold in every cluster, so it is held against trying all."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from podwall.check.cover import implies, namespaces_imply, peers_cover, ports_cover
from podwall.model.net import PORT_PROTOCOLS
from podwall.model.policy import (
    AllPortsOf,
    AnyPeer,
    AnyPort,
    IPBlock,
    NamedPort,
    NumberedPorts,
    Peer,
    PodPeer,
    Port,
)
from podwall.model.selector import EVERYTHING, Operator, Selector, selector
from tests import strategies
from tests.builders import all_of, block, labels, named, need, pods, port

LABELLINGS = [
    {key: value for key, value in zip(("app", "tier"), values, strict=True) if value is not None}
    for values in itertools.product(("x", "y", "", None), repeat=2)
]
"""Every labelling that the strategies' selectors can tell apart."""


@given(strategies.selectors(), strategies.selectors())
def test_what_implies_another_selector_matches_nothing_beyond_it(
    narrow: Selector, wide: Selector
) -> None:
    if implies(narrow, wide):
        assert all(wide.matches(each) for each in LABELLINGS if narrow.matches(each))


@given(strategies.selectors())
def test_a_selector_implies_itself_and_everything(each: Selector) -> None:
    assert implies(each, each)
    assert implies(each, EVERYTHING)


def test_s17_requirements_that_follow_from_others_are_seen() -> None:
    x = selector({"app": "x"})
    assert implies(x, labels(None, need("app", Operator.EXISTS)))
    assert implies(x, labels(None, need("app", Operator.IN, "x", "y")))
    assert implies(x, labels(None, need("app", Operator.NOT_IN, "y")))
    assert implies(
        labels(None, need("app", Operator.DOES_NOT_EXIST)),
        labels(None, need("app", Operator.NOT_IN, "y")),
    )
    assert not implies(labels(None, need("app", Operator.NOT_IN, "y")), x)
    assert not implies(labels(None, need("app", Operator.EXISTS)), x)


def means(peer: Peer, address: object) -> bool:
    assert isinstance(peer, IPBlock)
    return address in peer.cidr and not any(address in each for each in peer.excepts)  # type: ignore[operator]


@given(strategies.blocks(), st.lists(strategies.blocks(), max_size=3))
def test_s26_a_covered_block_has_no_address_beyond_the_union(
    narrow: IPBlock, wide: list[IPBlock]
) -> None:
    if peers_cover(tuple(wide), (narrow,)):
        for address in strategies.UNIVERSE:
            if means(narrow, address):
                assert any(means(each, address) for each in wide)


@given(strategies.ports(), st.lists(strategies.ports(), max_size=3))
def test_a_covered_port_has_no_packet_beyond_the_others(narrow: Port, wide: list[Port]) -> None:
    if ports_cover(tuple(wide), (narrow,)) and not isinstance(narrow, NamedPort):
        for protocol, number in itertools.product((*PORT_PROTOCOLS, None), range(70, 90)):
            if matches(narrow, protocol, number):
                assert any(matches(each, protocol, number) for each in wide)


def matches(port: Port, protocol: object, number: int) -> bool:
    match port:
        case AnyPort():
            return True
        case AllPortsOf():
            return protocol is port.protocol
        case NumberedPorts():
            return protocol is port.protocol and number in port.ports
        case NamedPort():
            return False


def test_a_named_port_is_covered_by_itself_and_by_its_whole_protocol_only() -> None:
    assert ports_cover((named("web"),), (named("web"),))
    assert ports_cover((all_of(named("web").protocol),), (named("web"),))
    assert not ports_cover((port(1, 65535),), (named("web"),))
    assert not ports_cover((named("dns"),), (named("web"),))


def test_s26_neighbouring_blocks_and_ports_cover_what_spans_them() -> None:
    assert peers_cover((block("10.0.0.0/9"), block("10.128.0.0/9")), (block("10.0.0.0/8"),))
    assert ports_cover((port(80, 85), port(86, 90)), (port(80, 90),))
    assert not ports_cover((port(80, 85), port(87, 90)), (port(80, 90),))


def test_any_peer_covers_everything_and_is_covered_by_nothing_else() -> None:
    anybody, everyone = AnyPeer(), pods(namespaces={})
    assert peers_cover((anybody,), (everyone, block("0.0.0.0/0"), anybody))
    assert not peers_cover((everyone, block("0.0.0.0/0"), block("::/0")), (anybody,))


def test_every_peer_and_port_has_to_be_covered() -> None:
    ten, web = block("10.0.0.0/8"), pods({"app": "web"}, namespaces="dev")
    assert peers_cover((ten, web), (web, ten))
    assert not peers_cover((ten,), (ten, web))
    assert not peers_cover((ten,), (ten, block("fd00::/64")))
    assert not ports_cover((port(80), named("web")), (port(80), port(81)))
    assert not ports_cover((port(80),), (port(80), AnyPort()))


def test_s14_everything_in_all_namespaces_covers_pods_but_no_block() -> None:
    everyone = pods(namespaces={})
    assert peers_cover((everyone,), (pods({"app": "web"}, namespaces="dev"),))
    assert not peers_cover((everyone,), (block("10.0.0.0/8"),))
    assert not peers_cover((block("0.0.0.0/0"), block("::/0")), (everyone,))


def test_s18_a_namespace_by_name_is_not_surely_one_by_label() -> None:
    by_label = selector({"kubernetes.io/metadata.name": "dev"})
    assert not namespaces_imply("dev", by_label)
    assert not namespaces_imply(by_label, "dev")
    assert namespaces_imply("dev", "dev")
    assert not namespaces_imply("dev", "prod")
    assert not peers_cover((PodPeer("prod", EVERYTHING),), (PodPeer("dev", EVERYTHING),))
