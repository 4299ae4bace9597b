from __future__ import annotations

import pytest

from podwall.cluster.membership import Membership, MembershipChange
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
