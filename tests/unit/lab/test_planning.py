"""From manifests to what a lab is built from."""

from __future__ import annotations

import msgspec

from podwall.lab.planning import first_snapshot, next_snapshot
from podwall.manifest import Manifests
from podwall.model.net import Family
from podwall.model.objects import PodKey
from tests.builders import namespace, pod

V4 = (Family.V4,)


def manifests(*names: str) -> Manifests:
    return Manifests(pods=tuple(map(pod, names)), namespaces=(namespace("default"),))


def test_a_lab_has_as_many_nodes_as_wanted_and_all_that_are_named():
    stated = Manifests(pods=(pod("default/a", node="west"), pod("default/b", node="node-1")))
    assert list(first_snapshot(stated, 1, V4).nodes) == ["node-1", "west"]
    assert list(first_snapshot(stated, 4, V4).nodes) == ["node-1", "node-2", "node-3", "west"]
    assert list(first_snapshot(Manifests(), 2, V4).nodes) == ["node-1", "node-2"]


def test_pods_keep_their_node_and_addresses_when_others_come_and_go():
    old = first_snapshot(manifests("default/b", "default/c"), 2, V4)
    new = next_snapshot(manifests("default/a", "default/c"), old, V4)
    key = PodKey("default", "c")
    assert new.pods[key].addresses == old.pods[key].addresses
    assert new.pods[key].node == old.pods[key].node
    assert list(new.pods) == [PodKey("default", "a"), key]
    assert new.nodes == old.nodes
    assert len(new.owners) == 2


def test_an_address_that_the_manifests_state_counts_more_than_the_old_one():
    old = first_snapshot(manifests("default/a"), 1, V4)
    stated = msgspec.structs.replace(manifests(), pods=(pod("default/a", "10.9.9.9"),))
    new = next_snapshot(stated, old, V4)
    assert [str(each) for each in new.pods[PodKey("default", "a")].addresses] == ["10.9.9.9"]


def test_unchanged_manifests_give_an_equal_snapshot():
    stated = manifests("default/a", "default/b", "default/c")
    old = first_snapshot(stated, 2, (Family.V4, Family.V6))
    assert next_snapshot(stated, old, (Family.V4, Family.V6)) == old
