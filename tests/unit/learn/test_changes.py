"""What closes and opens between workloads."""

from __future__ import annotations

import msgspec

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.learn.changes import compare, enforced, whole_pairs
from podwall.model.policy import Mode, Policy
from tests.builders import allow, namespace, node, pod, policy, port

PODS = [
    pod("shop/web", "10.1.0.2", "fd00::2", app="web"),
    pod("shop/db", "10.1.0.3", "fd00::3", app="db"),
]


def cluster(*policies: Policy) -> Snapshot:
    return build_snapshot(PODS, [namespace("shop")], policies, [node("n1", "192.168.0.1")])


def test_a_port_that_stays_open_is_not_among_what_closes() -> None:
    before = cluster()
    after = cluster(policy("shop/db", {"app": "db"}, ingress=[allow(ports=[port(80)])]))
    found = compare(before, after)
    assert [(each.source, each.target) for each in found.closes] == [
        ("shop/web", "shop/db"),
        ("node/n1", "shop/db"),
    ]
    assert str(found.closes[0].reach) == "1-79,81-65535/tcp, udp, sctp, icmp"
    assert (whole_pairs(found.closes), found.opens, found.pairs) == (0, (), 6)


def test_what_closes_backwards_is_what_opens() -> None:
    open_, closed = cluster(), cluster(policy("shop/db", {"app": "db"}, ingress=[]))
    found, backwards = compare(open_, closed), compare(closed, open_)
    assert found.closes == backwards.opens
    assert whole_pairs(found.closes) == len(found.closes) == 2


def test_s51_audited_policies_can_be_looked_at_as_enforced_ones() -> None:
    audited = msgspec.structs.replace(policy("shop/db", {"app": "db"}, ingress=[]), mode=Mode.AUDIT)
    before = cluster(audited)
    assert compare(cluster(), before).closes == ()
    assert compare(before, enforced(before)).closes != ()
