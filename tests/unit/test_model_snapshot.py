"""The snapshot: sorted, independent of arrival, and clear about who owns an address."""

from __future__ import annotations

from itertools import permutations

import pytest

from podwall.cluster.snapshot import build_snapshot
from podwall.model.objects import Phase
from tests.builders import addr, namespace, node, pod, pod_key, policy

OLD, NEW = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"
IP = "10.0.0.2"


def test_s24_every_address_of_a_pod_leads_to_it() -> None:
    web = pod("dev/web", IP, "fd00::2")
    snapshot = build_snapshot([web])
    assert snapshot.owner(addr(IP)) == web
    assert snapshot.owner(addr("fd00::2")) == web
    assert snapshot.owner(addr("10.0.0.3")) is None
    assert snapshot.owned_addresses(web) == web.addresses


def test_s23_host_network_pods_own_no_address() -> None:
    host = pod("dev/host", IP, host_network=True)
    snapshot = build_snapshot([host])
    assert snapshot.owner(addr(IP)) is None
    assert snapshot.pods[host.key] == host


@pytest.mark.parametrize("phase", Phase)
def test_s21_pods_own_their_address_until_they_ended(phase: Phase) -> None:
    snapshot = build_snapshot([pod("dev/web", IP, phase=phase)])
    ended = phase in (Phase.SUCCEEDED, Phase.FAILED)
    assert phase.terminated == ended
    assert (snapshot.owner(addr(IP)) is None) == ended


def test_s21_a_terminating_pod_owns_its_address_while_nobody_else_claims_it() -> None:
    leaving = pod("dev/old", IP, terminating=True)
    assert build_snapshot([leaving]).owner(addr(IP)) == leaving


def test_s22_a_terminating_pod_gives_way_even_to_an_older_one() -> None:
    leaving = pod("dev/z", IP, terminating=True, created=NEW)
    staying = pod("dev/a", IP, created=OLD)
    for order in permutations([leaving, staying]):
        assert build_snapshot(order).owner(addr(IP)) == staying


def test_s22_the_younger_of_two_pods_owns_the_address() -> None:
    older, younger = pod("dev/z", IP, created=OLD), pod("dev/a", IP, created=NEW)
    for order in permutations([older, younger]):
        assert build_snapshot(order).owner(addr(IP)) == younger


def test_s22_pods_of_one_age_are_told_apart_by_name() -> None:
    for order in permutations([pod("dev/a", IP), pod("dev/b", IP), pod("dev/c", IP)]):
        assert build_snapshot(order).owners == {addr(IP): pod_key("dev/c")}


def test_s22_an_ended_pod_never_wins_an_address() -> None:
    ended = pod("dev/z", IP, phase=Phase.SUCCEEDED, created=NEW)
    running = pod("dev/a", IP, created=OLD)
    for order in permutations([ended, running]):
        assert build_snapshot(order).owner(addr(IP)) == running


def test_s22_a_pod_keeps_the_addresses_that_nobody_took() -> None:
    old = pod("dev/old", IP, "fd00::2", created=OLD)
    snapshot = build_snapshot([old, pod("dev/new", IP, created=NEW)])
    assert snapshot.owned_addresses(old) == (addr("fd00::2"),)
    assert snapshot.owner(addr("fd00::2")) == old


def test_snapshots_of_equal_clusters_are_equal_and_ordered_alike() -> None:
    objects = [pod("dev/b", "10.0.0.3"), pod("dev/a", IP), pod("ops/a", "10.0.0.4")]
    spaces = [namespace("ops"), namespace("dev")]
    rules = [policy("ops/p", ingress=[]), policy("dev/p", ingress=[])]
    nodes = [node("n2"), node("n1")]
    forward = build_snapshot(objects, spaces, rules, nodes)
    backward = build_snapshot(objects[::-1], spaces[::-1], rules[::-1], nodes[::-1])
    assert forward == backward
    for name in ("pods", "namespaces", "policies", "nodes"):
        keys = list(getattr(forward, name))
        assert keys == list(getattr(backward, name)) == sorted(keys)


def test_of_objects_with_one_key_the_last_counts() -> None:
    snapshot = build_snapshot(
        pods=[pod("dev/web", IP), pod("dev/web", "10.0.0.3")],
        namespaces=[namespace("dev", team="a"), namespace("dev", team="b")],
        policies=[policy("dev/p", ingress=[]), policy("dev/p", egress=[])],
        nodes=[node("n1", "192.168.0.1"), node("n1", "192.168.0.2")],
    )
    assert snapshot.owner(addr(IP)) is None
    assert snapshot.namespaces["dev"].labels["team"] == "b"
    assert [each.ingress for each in snapshot.policies.values()] == [()]
    assert snapshot.nodes["n1"].addresses == (addr("192.168.0.2"),)


@pytest.mark.parametrize(
    "text", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"]
)
def test_an_address_that_no_pod_can_have_is_owned_by_nobody(text: str) -> None:
    snapshot = build_snapshot([pod("a/web", text, "10.0.0.1")])
    assert list(snapshot.owners) == [addr("10.0.0.1")]
