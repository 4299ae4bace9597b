from __future__ import annotations

import pytest

from podwall.cluster.membership import MANY_NAMESPACES, Membership, MembershipChange
from tests.builders import pod_key, pods

WEB = pod_key("dev/web")
OWN = pods({"app": "web"}, namespaces="dev")
TEAM = pods({"app": "web"}, namespaces={"team": "a"})


def test_s13_a_peer_by_namespace_name_needs_no_namespace_labels() -> None:
    membership = Membership()
    membership.watch(OWN)
    membership.put_pod(WEB, {"app": "web"})
    membership.put_pod(pod_key("prod/web"), {"app": "web"})
    assert membership.pods(OWN) == {WEB}


def test_a_peer_watched_late_finds_what_is_there() -> None:
    membership = Membership()
    membership.put_namespace("dev", {"team": "a"})
    membership.put_pod(WEB, {"app": "web"})
    membership.put_pod(pod_key("dev/db"), {"app": "db"})
    membership.watch(TEAM)
    assert membership.pods(TEAM) == {WEB}
    assert membership.peers_of(WEB) == {TEAM}


def test_s19_a_namespace_that_loses_its_label_takes_its_pods_along() -> None:
    membership = Membership()
    membership.watch(TEAM)
    membership.put_pod(WEB, {"app": "web"})
    joined = membership.put_namespace("dev", {"team": "a"})
    assert joined == (MembershipChange(TEAM, WEB, joined=True),)
    assert membership.put_namespace("dev", {"team": "a", "other": "x"}) == ()
    left = membership.put_namespace("dev", None)
    assert left == (MembershipChange(TEAM, WEB, joined=False),)
    assert membership.peers_of(WEB) == frozenset()


def test_a_pod_without_labels_is_unlike_a_pod_that_is_nobodys_peer() -> None:
    everyone = pods(namespaces="dev")
    membership = Membership()
    membership.watch(everyone)
    membership.put_pod(WEB, {})
    assert membership.pods(everyone) == {WEB}
    membership.put_pod(WEB, None)
    assert membership.pods(everyone) == frozenset()


def test_two_peers_over_one_namespace_selector_end_independently() -> None:
    other = pods({"app": "db"}, namespaces={"team": "a"})
    membership = Membership()
    membership.put_namespace("dev", {"team": "a"})
    membership.watch(TEAM)
    membership.watch(other)
    membership.unwatch(other)
    membership.put_pod(WEB, {"app": "web"})
    assert membership.pods(TEAM) == {WEB}
    membership.unwatch(TEAM)
    assert membership.peers_of(WEB) == frozenset()
    with pytest.raises(KeyError):
        membership.unwatch(TEAM)


def test_a_peer_can_be_watched_again_after_its_last_user_left() -> None:
    membership = Membership()
    membership.put_pod(WEB, {"app": "web"})
    membership.put_namespace("dev", {"team": "a"})
    for _ in range(2):
        membership.watch(TEAM)
        assert membership.pods(TEAM) == {WEB}
        membership.unwatch(TEAM)


def test_the_hundredth_peer_across_all_namespaces_finds_what_the_first_one_found() -> None:
    membership = Membership()
    for number in range(MANY_NAMESPACES):
        membership.put_namespace(f"ns-{number}", {"team": "a" if number % 2 else "b"})
        for app in ("web", "db"):
            membership.put_pod(pod_key(f"ns-{number}/{app}"), {"app": app})
    anywhere = [pods({"app": "web", f"key-{number}": "x"}, namespaces={}) for number in range(100)]
    for each in anywhere:
        membership.watch(each)
        assert membership.pods(each) == frozenset()
    membership.put_pod(WEB, {"app": "web", "key-7": "x"})
    membership.put_pod(pod_key("ns-1/web"), {"app": "web", "key-7": "x"})
    membership.put_pod(pod_key("ns-2/web"), None)
    assert membership.pods(anywhere[7]) == {pod_key("ns-1/web")}
    every_web = pods({"app": "web"}, namespaces={})
    membership.watch(every_web)
    assert len(membership.pods(every_web)) == MANY_NAMESPACES - 1
    team = pods({"app": "web"}, namespaces={"team": "a"})
    membership.watch(team)
    assert len(membership.pods(team)) == MANY_NAMESPACES // 2


def test_a_peer_across_more_namespaces_than_have_pods_is_answered_in_full() -> None:
    membership = Membership()
    for number in range(2 * MANY_NAMESPACES):
        membership.put_namespace(f"ns-{number}", {})
    membership.put_pod(pod_key("ns-7/web"), {"app": "web"})
    for value in ("web", "db", "web", "cache"):
        peer = pods({"app": value}, namespaces={})
        membership.watch(peer)
        assert membership.pods(peer) == ({pod_key("ns-7/web")} if value == "web" else set())
