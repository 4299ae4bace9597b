"""The incremental cluster state, fed anything, is the snapshot of the final objects.

The machine plays an API server that is unreliable in every way that a watch can be: events come
twice, deletions come late and for pods that were replaced meanwhile, lists are sent again. Beside
it stands the plainest model there is, a dictionary of objects; after each step everything that the
state says must follow from the model alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from podwall.cluster.dirty import Dirty
from podwall.cluster.events import (
    Applied,
    ClusterObject,
    Deleted,
    Event,
    Kind,
    NamespaceKey,
    NodeKey,
    ObjectKey,
    Remaining,
    Replaced,
)
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.cluster.state import ClusterState, key_of
from podwall.model.net import Address
from podwall.model.objects import Namespace, Node, Pod, PodKey
from podwall.model.policy import PodPeer, Policy, PolicyKey
from tests import strategies

NAMESPACES = st.sampled_from(strategies.NAMESPACES).flatmap(strategies.namespaces)


@st.composite
def pods(draw: st.DrawFn) -> Pod:
    """Pods whose names are taken by one of two incarnations."""
    return msgspec.structs.replace(draw(strategies.pods()), uid=draw(st.sampled_from(("u1", "u2"))))


@st.composite
def objects(draw: st.DrawFn, kind: Kind | None = None) -> ClusterObject:
    """Objects of one kind, or of any."""
    wanted: Kind = draw(st.sampled_from(Kind)) if kind is None else kind
    match wanted:
        case Kind.POD:
            return draw(pods())
        case Kind.NAMESPACE:
            return draw(NAMESPACES)
        case Kind.NODE:
            return draw(st.sampled_from(strategies.NODES))
        case Kind.POLICY:
            return draw(strategies.policies())


@st.composite
def peers(draw: st.DrawFn) -> PodPeer:
    """Selector peers as policies of any namespace have them."""
    by_name = st.sampled_from(strategies.NAMESPACES)
    namespaces = draw(st.one_of(by_name, strategies.namespace_selectors()))
    return PodPeer(namespaces, draw(strategies.selectors()))


def members_from_scratch(snapshot: Snapshot, peer: PodPeer) -> frozenset[Address]:
    """The clauses S13 to S23 in one expression over a whole snapshot."""

    def is_member(pod: Pod) -> bool:
        if isinstance(peer.namespaces, str):
            inside = pod.key.namespace == peer.namespaces
        else:
            known = snapshot.namespaces.get(pod.key.namespace)
            inside = known is not None and peer.namespaces.matches(known.labels)
        return inside and peer.pods.matches(pod.labels)

    return frozenset(
        address for address, key in snapshot.owners.items() if is_member(snapshot.pods[key])
    )


class ClusterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.state = ClusterState()
        self.objects: dict[ObjectKey, ClusterObject] = {}
        self.watched: list[PodPeer] = []

    def expected(self) -> Snapshot:
        """The snapshot of the model, its objects in an order of no meaning."""
        things = list(reversed(self.objects.values()))
        return build_snapshot(
            pods=[each for each in things if isinstance(each, Pod)],
            namespaces=[each for each in things if isinstance(each, Namespace)],
            policies=[each for each in things if isinstance(each, Policy)],
            nodes=[each for each in things if isinstance(each, Node)],
        )

    def send(self, update: Callable[[], None], *events: Event) -> None:
        """Send events, update the model, and hold what is said to be dirty against it."""
        before = self.expected()
        update()
        after = self.expected()
        dirty = self.state.apply_all(events)
        assert dirty.pods == changed(before.pods, after.pods)
        assert dirty.namespaces == changed(before.namespaces, after.namespaces)
        assert dirty.policies == changed(before.policies, after.policies)
        assert dirty.nodes == changed(before.nodes, after.nodes)
        # An address may go and come back while a list is taken in, so more may be said to move.
        assert dirty.addresses >= changed(before.owners, after.owners)
        for peer in set(self.watched):
            was, now = members_from_scratch(before, peer), members_from_scratch(after, peer)
            delta = dirty.members.get(peer)
            if delta is None:
                assert was == now
            else:
                assert (delta.added, delta.removed) == (now - was, was - now)
                assert delta.added or delta.removed
        assert set(dirty.members) <= set(self.watched)

    def put(self, *things: ClusterObject) -> None:
        self.objects.update((key_of(each), each) for each in things)

    @rule(thing=objects(), twice=st.booleans())
    def an_object_is_applied(self, thing: ClusterObject, twice: bool) -> None:
        self.send(lambda: self.put(thing), *[Applied(thing)] * (1 + twice))
        assert self.state.apply(Applied(thing)) == Dirty()

    @precondition(lambda self: any(isinstance(key, PodKey) for key in self.objects))
    @rule(data=st.data(), labels=strategies.label_sets(), terminating=st.booleans())
    def a_pod_is_edited(
        self, data: st.DataObject, labels: Mapping[str, str], terminating: bool
    ) -> None:
        known = [each for each in self.objects.values() if isinstance(each, Pod)]
        pod = data.draw(st.sampled_from(known))
        edited = msgspec.structs.replace(pod, labels=labels, terminating=terminating)
        self.send(lambda: self.put(edited), Applied(edited))

    @precondition(lambda self: any(isinstance(key, PodKey) for key in self.objects))
    @rule(data=st.data(), newcomer=pods())
    def a_pod_gets_an_address_that_is_still_claimed(
        self, data: st.DataObject, newcomer: Pod
    ) -> None:
        known = [each for each in self.objects.values() if isinstance(each, Pod)]
        holder = data.draw(st.sampled_from(known))
        rival = msgspec.structs.replace(
            newcomer, addresses=holder.addresses, host_network=holder.host_network
        )
        self.send(lambda: self.put(rival), Applied(rival))
        if data.draw(st.booleans()):
            turned = msgspec.structs.replace(rival, terminating=not rival.terminating)
            self.send(lambda: self.put(turned), Applied(turned))

    @precondition(lambda self: self.objects)
    @rule(data=st.data(), name_the_uid=st.booleans(), twice=st.booleans())
    def an_object_is_deleted(self, data: st.DataObject, name_the_uid: bool, twice: bool) -> None:
        key = data.draw(st.sampled_from(list(self.objects)))
        thing = self.objects[key]
        uid = thing.uid if name_the_uid and isinstance(thing, Pod) else ""
        self.send(lambda: void(self.objects.pop(key)), *[Deleted(key, uid)] * (1 + twice))

    @rule(pod=pods())
    def a_deletion_comes_late_or_for_nothing(self, pod: Pod) -> None:
        stored = self.objects.get(pod.key)
        if isinstance(stored, Pod) and stored.uid == pod.uid:
            pod = msgspec.structs.replace(pod, uid="an older one")
        assert self.state.apply(Deleted(pod.key, pod.uid)) == Dirty()

    @rule(data=st.data(), kind=st.sampled_from(Kind))
    def a_list_is_sent(self, data: st.DataObject, kind: Kind) -> None:
        listed = st.lists(objects(kind), max_size=4, unique_by=key_of)
        things = tuple(data.draw(listed))

        def update() -> None:
            self.objects = {key: each for key, each in self.objects.items() if is_not(kind, key)}
            self.put(*things)

        self.send(update, Replaced(kind, things))
        assert self.state.apply(Replaced(kind, things[::-1])) == Dirty()

    @rule(data=st.data(), kind=st.sampled_from(Kind))
    def a_list_ends_that_came_in_pages(self, data: st.DataObject, kind: Kind) -> None:
        gone = [
            key
            for key in self.objects
            if not is_not(kind, key) and data.draw(st.booleans(), label=str(key))
        ]
        left = Remaining(kind, frozenset(self.objects) - frozenset(gone))

        def update() -> None:
            for key in gone:
                del self.objects[key]

        self.send(update, left)
        assert self.state.apply(left) == Dirty()

    @initialize(
        watched=st.lists(peers(), min_size=3, max_size=8),
        namespaces=st.tuples(*map(strategies.namespaces, strategies.NAMESPACES)),
        first=st.lists(pods(), min_size=3, max_size=6, unique_by=key_of),
    )
    def the_watch_begins(
        self, watched: list[PodPeer], namespaces: tuple[Namespace, ...], first: list[Pod]
    ) -> None:
        for peer in watched:
            self.somebody_watches_a_peer(peer)
        lists = Replaced(Kind.POD, tuple(first)), Replaced(Kind.NAMESPACE, namespaces)
        self.send(lambda: self.put(*first, *namespaces), *lists)

    @rule(peer=peers())
    def somebody_watches_a_peer(self, peer: PodPeer) -> None:
        self.watched.append(peer)
        self.state.watch(peer)

    @precondition(lambda self: self.watched)
    @rule(data=st.data())
    def somebody_watches_what_is_watched_already(self, data: st.DataObject) -> None:
        self.somebody_watches_a_peer(data.draw(st.sampled_from(self.watched)))

    @precondition(lambda self: self.watched)
    @rule(data=st.data())
    def somebody_leaves(self, data: st.DataObject) -> None:
        peer = self.watched.pop(data.draw(st.integers(0, len(self.watched) - 1)))
        self.state.unwatch(peer)

    @invariant()
    def the_snapshot_is_that_of_the_final_objects(self) -> None:
        expected, actual = self.expected(), self.state.snapshot()
        assert actual == expected
        assert list(actual.pods) == list(expected.pods)
        assert list(actual.policies) == list(expected.policies)
        assert list(actual.namespaces) == list(expected.namespaces)
        assert list(actual.owners) == list(expected.owners)

    @invariant()
    def the_members_of_every_watched_peer_are_those_from_scratch(self) -> None:
        snapshot = self.expected()
        for peer in self.watched:
            assert self.state.members(peer) == members_from_scratch(snapshot, peer)


def changed(before: object, after: object) -> set[object]:
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def is_not(kind: Kind, key: ObjectKey) -> bool:
    kinds = {
        Kind.POD: PodKey,
        Kind.NAMESPACE: NamespaceKey,
        Kind.NODE: NodeKey,
        Kind.POLICY: PolicyKey,
    }
    return not isinstance(key, kinds[kind])


def void(_: object) -> None:
    """Swallow a value where a statement is wanted."""


TestClusterState = ClusterMachine.TestCase
