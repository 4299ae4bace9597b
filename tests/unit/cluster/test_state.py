from __future__ import annotations

import weakref

import msgspec
import pytest

from podwall.cluster.dirty import Dirty, MemberDelta
from podwall.cluster.events import Applied, Deleted, Kind, NamespaceKey, NodeKey, Replaced
from podwall.cluster.snapshot import build_snapshot
from podwall.cluster.state import ClusterState
from podwall.model.objects import Namespace, Phase, Pod
from podwall.model.policy import PodPeer, Policy
from tests.builders import addr, namespace, node, pod, pod_key, pods, policy

WEB = pod("dev/web", "10.0.0.2", app="web")
WEB_PEER = pods({"app": "web"}, namespaces="dev")
TEAM_PEER = pods(namespaces={"team": "a"})


def state_of(*things: Pod | Namespace | Policy, watching: tuple[PodPeer, ...] = ()) -> ClusterState:
    state = ClusterState()
    for peer in watching:
        state.watch(peer)
    state.apply_all(map(Applied, things))
    return state


def delta(added: tuple[str, ...] = (), removed: tuple[str, ...] = ()) -> MemberDelta:
    return MemberDelta(frozenset(map(addr, added)), frozenset(map(addr, removed)))


def test_a_new_object_is_dirty_once_and_its_repetition_is_not() -> None:
    state = ClusterState()
    assert state.apply(Applied(policy("dev/p", ingress=[]))).policies == {policy("dev/p").key}
    assert state.apply(Applied(node("n1", "192.168.0.1"))).nodes == {"n1"}
    assert state.apply(Applied(namespace("dev"))).namespaces == {"dev"}
    assert state.apply(Applied(WEB)).pods == {WEB.key}
    for thing in (policy("dev/p", ingress=[]), node("n1", "192.168.0.1"), namespace("dev"), WEB):
        assert not state.apply(Applied(thing))


def test_each_kind_of_object_can_be_deleted() -> None:
    state = ClusterState()
    things = (policy("dev/p", ingress=[]), node("n1"), namespace("dev"), WEB)
    state.apply_all(Applied(each) for each in things)
    assert state.apply(Deleted(policy("dev/p").key)).policies
    assert state.apply(Deleted(NodeKey("n1"))).nodes == {"n1"}
    assert state.apply(Deleted(NamespaceKey("dev"))).namespaces == {"dev"}
    assert state.apply(Deleted(WEB.key)).addresses == {addr("10.0.0.2")}
    assert state.snapshot() == build_snapshot()


def test_a_node_and_a_namespace_of_one_name_do_not_touch_each_other() -> None:
    state = ClusterState()
    state.apply_all((Applied(node("same")), Applied(namespace("same"))))
    assert state.apply(Deleted(NodeKey("same"))) == Dirty(nodes=frozenset({"same"}))
    assert list(state.snapshot().namespaces) == ["same"]


def test_s22_a_late_delete_of_the_old_pod_leaves_the_new_one_of_its_name() -> None:
    old = msgspec.structs.replace(WEB, uid="old")
    new = msgspec.structs.replace(WEB, uid="new")
    state = state_of(old, new, watching=(WEB_PEER,))
    assert state.apply(Deleted(WEB.key, "old")) == Dirty()
    assert state.members(WEB_PEER) == {addr("10.0.0.2")}
    assert state.apply(Deleted(WEB.key, "new")).members == {WEB_PEER: delta(removed=("10.0.0.2",))}


def test_s22_a_late_delete_of_the_old_owner_leaves_the_address_with_the_new_one() -> None:
    old = pod("dev/old", "10.0.0.2", created="2024-01-01T00:00:00Z", app="web")
    new = pod("dev/new", "10.0.0.2", created="2024-01-02T00:00:00Z", app="db")
    state = state_of(old, new, watching=(WEB_PEER,))
    assert state.members(WEB_PEER) == frozenset()
    dirty = state.apply(Deleted(old.key, old.uid))
    assert dirty == Dirty(pods=frozenset({old.key}))
    assert state.snapshot().owners == {addr("10.0.0.2"): new.key}


def test_s22_an_address_falls_back_to_the_other_claimant_when_its_owner_goes() -> None:
    old = pod("dev/old", "10.0.0.2", created="2024-01-01T00:00:00Z", app="web")
    new = pod("dev/new", "10.0.0.2", created="2024-01-02T00:00:00Z", app="db")
    state = state_of(old, new, watching=(WEB_PEER,))
    dirty = state.apply(Deleted(new.key, new.uid))
    assert dirty.addresses == {addr("10.0.0.2")}
    assert dirty.members == {WEB_PEER: delta(added=("10.0.0.2",))}


def test_s22_a_pod_that_begins_to_terminate_gives_way_to_a_rival() -> None:
    first = pod("dev/b", "10.0.0.2", app="web")
    second = pod("dev/a", "10.0.0.2", app="db")
    state = state_of(first, second, watching=(WEB_PEER,))
    assert state.members(WEB_PEER) == {addr("10.0.0.2")}
    dirty = state.apply(Applied(msgspec.structs.replace(first, terminating=True)))
    assert dirty.members == {WEB_PEER: delta(removed=("10.0.0.2",))}
    assert state.snapshot().owners == {addr("10.0.0.2"): second.key}


def test_s21_a_pod_that_ends_leaves_its_sets_and_a_terminating_one_stays() -> None:
    state = state_of(WEB, watching=(WEB_PEER,))
    assert not state.apply(Applied(msgspec.structs.replace(WEB, terminating=True))).members
    ended = msgspec.structs.replace(WEB, phase=Phase.SUCCEEDED)
    assert state.apply(Applied(ended)).members == {WEB_PEER: delta(removed=("10.0.0.2",))}
    assert WEB.key in state.snapshot().pods


def test_s23_a_host_network_pod_is_no_member_and_owns_nothing() -> None:
    state = state_of(msgspec.structs.replace(WEB, host_network=True), watching=(WEB_PEER,))
    assert state.members(WEB_PEER) == frozenset()
    assert state.snapshot().owners == {}


def test_s24_both_families_of_a_pod_are_members() -> None:
    state = state_of(pod("dev/web", "10.0.0.2", "fd00::2", app="web"), watching=(WEB_PEER,))
    assert state.members(WEB_PEER) == {addr("10.0.0.2"), addr("fd00::2")}


def test_s20_a_relabelled_pod_leaves_one_peer_and_joins_another_in_one_event() -> None:
    db_peer = pods({"app": "db"}, namespaces="dev")
    state = state_of(WEB, watching=(WEB_PEER, db_peer))
    dirty = state.apply(Applied(msgspec.structs.replace(WEB, labels={"app": "db"})))
    assert dirty.members == {
        WEB_PEER: delta(removed=("10.0.0.2",)),
        db_peer: delta(added=("10.0.0.2",)),
    }
    assert not dirty.addresses


def test_s19_a_relabelled_namespace_moves_all_its_pods() -> None:
    both = pods({"app": "web"}, namespaces={"team": "a"})
    other = pod("dev/db", "10.0.0.3", app="db")
    state = state_of(WEB, other, namespace("dev"), watching=(TEAM_PEER, both))
    joined = state.apply(Applied(namespace("dev", team="a")))
    assert joined.members == {
        TEAM_PEER: delta(added=("10.0.0.2", "10.0.0.3")),
        both: delta(added=("10.0.0.2",)),
    }
    left = state.apply(Applied(namespace("dev", team="b")))
    assert left.members == {
        TEAM_PEER: delta(removed=("10.0.0.2", "10.0.0.3")),
        both: delta(removed=("10.0.0.2",)),
    }


def test_pods_of_a_namespace_that_is_not_known_yet_join_when_it_is() -> None:
    everyone = pods(namespaces={})
    state = state_of(WEB, watching=(everyone, WEB_PEER))
    assert state.members(everyone) == frozenset()
    assert state.members(WEB_PEER) == {addr("10.0.0.2")}
    assert state.apply(Applied(namespace("dev"))).members == {everyone: delta(added=("10.0.0.2",))}


def test_a_pod_that_moves_to_another_address_moves_in_every_peer() -> None:
    state = state_of(WEB, watching=(WEB_PEER,))
    moved = pod("dev/web", "10.0.0.9", app="web")
    dirty = state.apply(Applied(moved))
    assert dirty.members == {WEB_PEER: delta(added=("10.0.0.9",), removed=("10.0.0.2",))}
    assert dirty.addresses == {addr("10.0.0.2"), addr("10.0.0.9")}


def test_what_comes_and_goes_within_one_batch_is_in_no_delta() -> None:
    state = state_of(WEB, watching=(WEB_PEER,))
    dirty = state.apply_all((Deleted(WEB.key), Applied(WEB)))
    assert dirty.pods == {WEB.key}
    assert dirty.members == {}


def test_a_list_replaces_what_was_known_of_its_kind_and_nothing_else() -> None:
    state = state_of(WEB, namespace("dev"), policy("dev/p", ingress=[]), watching=(WEB_PEER,))
    other = pod("dev/other", "10.0.0.3", app="web")
    dirty = state.apply(Replaced(Kind.POD, (other,)))
    assert dirty.pods == {WEB.key, other.key}
    assert dirty.members == {WEB_PEER: delta(added=("10.0.0.3",), removed=("10.0.0.2",))}
    snapshot = state.snapshot()
    assert list(snapshot.pods) == [other.key]
    assert snapshot.namespaces
    assert snapshot.policies


def test_an_empty_list_empties_its_kind() -> None:
    state = state_of(WEB, namespace("dev"), policy("dev/p", ingress=[]))
    for kind in Kind:
        state.apply(Replaced(kind))
    assert state.snapshot() == build_snapshot()


def test_of_listed_objects_with_equal_keys_the_last_counts() -> None:
    later = msgspec.structs.replace(WEB, labels={"app": "db"})
    state = ClusterState()
    state.apply(Replaced(Kind.POD, (WEB, later)))
    assert state.snapshot().pods == {WEB.key: later}


def test_a_peer_is_followed_until_its_last_user_leaves() -> None:
    state = state_of(WEB)
    state.watch(WEB_PEER)
    assert state.members(WEB_PEER) == {addr("10.0.0.2")}
    state.watch(WEB_PEER)
    state.unwatch(WEB_PEER)
    assert state.apply(Deleted(WEB.key)).members == {WEB_PEER: delta(removed=("10.0.0.2",))}
    state.unwatch(WEB_PEER)
    assert state.apply(Applied(WEB)).members == {}
    with pytest.raises(KeyError):
        state.members(WEB_PEER)


def test_a_snapshot_is_not_touched_by_later_events() -> None:
    state = state_of(WEB)
    before = state.snapshot()
    state.apply(Applied(pod("dev/a", "10.0.0.7")))
    state.apply(Deleted(WEB.key))
    assert before == build_snapshot(pods=[WEB])
    assert list(state.snapshot().pods) == [pod_key("dev/a")]


def test_an_unchanged_kind_is_not_sorted_again() -> None:
    state = state_of(WEB, namespace("dev"))
    before = state.snapshot()
    state.apply(Applied(namespace("prod")))
    after = state.snapshot()
    assert after.pods is before.pods
    assert after.owners is before.owners
    assert after.namespaces is not before.namespaces


def test_an_update_keeps_what_it_leaves_as_it_was() -> None:
    first = msgspec.structs.replace(WEB, uid="u", created="2024-01-01T00:00:00Z")
    state = state_of(first)
    again = msgspec.json.decode(msgspec.json.encode(first), type=Pod)
    state.apply(Applied(msgspec.structs.replace(again, terminating=True)))
    (kept,) = state.snapshot().pods.values()
    assert kept.terminating
    assert kept.key is first.key
    assert kept.labels is first.labels
    assert kept.addresses is first.addresses


def test_a_snapshot_that_nobody_holds_is_not_kept() -> None:
    state = state_of(WEB)
    held = weakref.ref(state.snapshot())
    assert held() is None
    assert state.snapshot() == build_snapshot(pods=[WEB])
