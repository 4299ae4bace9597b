"""The cluster, kept up to date event by event.

:class:`ClusterState` takes events in any order, twice or late, and answers each with what it
changed: which objects, which addresses changed hands, and which addresses joined or left the
selector peers that somebody watches. What it knows at any moment is what
:func:`podwall.cluster.snapshot.build_snapshot` makes of the final objects. An event costs as much
as the change is large, however large the cluster is; only taking a snapshot goes over all objects
of the kinds that changed since the last one.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Generic, TypeVar, assert_never

import msgspec

from podwall.cluster.dirty import Changes, Dirty
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
from podwall.cluster.membership import Membership, Watch, peers_of
from podwall.cluster.owners import AddressBook
from podwall.cluster.snapshot import Snapshot, claimed_addresses
from podwall.model.net import Address
from podwall.model.objects import Namespace, Node, Pod, PodKey
from podwall.model.policy import PodPeer, Policy, PolicyKey


class ClusterState:
    """All objects of a cluster that matter to enforcement, and what follows from them."""

    def __init__(self) -> None:
        self._pods: _Store[PodKey, Pod] = _Store()
        self._namespaces: _Store[str, Namespace] = _Store()
        self._nodes: _Store[str, Node] = _Store()
        self._policies: _Store[PolicyKey, Policy] = _Store()
        self._addresses = AddressBook()
        self._last: weakref.ref[Snapshot] | None = None
        self._membership = Membership()

    def apply(self, event: Event) -> Dirty:
        """Take in one event; says what it changed."""
        return self.apply_all((event,))

    def apply_all(self, events: Iterable[Event]) -> Dirty:
        """Take in events in their order; says what they changed together.

        What came and went in between is not told: an address that left a peer and came back is in
        no delta.
        """
        changes = Changes()
        for event in events:
            match event:
                case Applied():
                    self._apply_object(event.object, changes)
                case Deleted():
                    self._delete(event.key, event.uid, changes)
                case Replaced():
                    self._retain(event.kind, {key_of(each) for each in event.objects}, changes)
                    for each in event.objects:
                        self._apply_object(each, changes)
                case Remaining():
                    self._retain(event.kind, event.keys, changes)
                case _:
                    assert_never(event)
        return changes.dirty()

    def watch(self, peer: PodPeer) -> None:
        """Follow ``peer`` from now on, or count one user more; see :meth:`members`."""
        self._membership.watch(peer)

    def unwatch(self, peer: PodPeer) -> None:
        """Count one user of ``peer`` less; without any it is not followed any more.

        Raises:
            KeyError: ``peer`` is not watched.
        """
        self._membership.unwatch(peer)

    def members(self, peer: PodPeer) -> frozenset[Address]:
        """The addresses that stand for pods of a watched peer.

        Raises:
            KeyError: ``peer`` is not watched.
        """
        keys = self._membership.pods(peer)
        return frozenset(address for key in keys for address in self._owned(key))

    def peers_of(self, address: Address) -> frozenset[PodPeer]:
        """The watched peers that mean the pod that ``address`` stands for."""
        return peers_of(self._watches_of(address))

    def owner(self, address: Address) -> PodKey | None:
        """The pod that ``address`` stands for, if any."""
        return self._addresses.owner(address)

    def owned(self, key: PodKey) -> tuple[Address, ...]:
        """The addresses that stand for a pod, in the pod's order; none for an unknown one."""
        return self._owned(key)

    def pod(self, key: PodKey) -> Pod | None:
        """A pod as it is now, if there is one."""
        return self._pods.get(key)

    def namespace(self, name: str) -> Namespace | None:
        """A namespace as it is now, if there is one."""
        return self._namespaces.get(name)

    def policy(self, key: PolicyKey) -> Policy | None:
        """A policy as it is now, if there is one."""
        return self._policies.get(key)

    def node(self, name: str) -> Node | None:
        """A node as it is now, if there is one."""
        return self._nodes.get(name)

    def pods(self) -> Iterator[Pod]:
        """All pods, in no particular order."""
        return self._pods.values()

    def policies(self) -> Iterator[Policy]:
        """All policies, in no particular order."""
        return self._policies.values()

    def namespaces(self) -> Iterator[Namespace]:
        """All namespaces, in no particular order."""
        return self._namespaces.values()

    def nodes(self) -> Iterator[Node]:
        """All nodes, in no particular order."""
        return self._nodes.values()

    @property
    def generation(self) -> int:
        """Grows with every change of what is known; news that change nothing leave it."""
        stores = (self._pods, self._namespaces, self._nodes, self._policies)
        return sum(each.changes for each in stores)

    def objects(self) -> Iterator[ClusterObject]:
        """Everything that is known, in no particular order."""
        yield from self._namespaces.values()
        yield from self._nodes.values()
        yield from self._policies.values()
        yield from self._pods.values()

    def counts(self) -> dict[str, int]:
        """How many objects are known, by kind."""
        return {
            Kind.POD.value: len(self._pods),
            Kind.NAMESPACE.value: len(self._namespaces),
            Kind.NODE.value: len(self._nodes),
            Kind.POLICY.value: len(self._policies),
        }

    def snapshot(self) -> Snapshot:
        """The cluster as it is now, frozen; later events leave it as it is.

        What did not change since the last snapshot is shared with it for as long as somebody holds
        that; the state itself does not, since in a large cluster a snapshot takes some ten
        megabytes.
        """
        last = None if self._last is None else self._last()
        pods = self._pods.sorted(None if last is None else last.pods)
        # Also the order of owners follows the pods, so any pod's change counts.
        unchanged = last is not None and pods is last.pods
        snapshot = Snapshot(
            pods=pods,
            namespaces=self._namespaces.sorted(None if last is None else last.namespaces),
            policies=self._policies.sorted(None if last is None else last.policies),
            nodes=self._nodes.sorted(None if last is None else last.nodes),
            owners=last.owners if last and unchanged else self._addresses.owners(pods.values()),
        )
        self._last = weakref.ref(snapshot)
        return snapshot

    def _apply_object(self, thing: ClusterObject, changes: Changes) -> None:
        match thing:
            case Pod():
                self._put_pod(thing.key, thing, changes)
            case Namespace():
                self._put_namespace(thing.name, thing, changes)
            case Node():
                if self._nodes.put(thing.name, thing):
                    changes.nodes.add(thing.name)
            case Policy():
                if self._policies.put(thing.key, thing):
                    changes.policies.add(thing.key)
            case _:
                assert_never(thing)

    def _delete(self, key: ObjectKey, uid: str, changes: Changes) -> None:
        match key:
            case PodKey():
                stored = self._pods.get(key)
                # The news of a pod's end can come after that of its successor (S22).
                if stored is not None and uid in ("", stored.uid):
                    self._put_pod(key, None, changes)
            case NamespaceKey():
                self._put_namespace(key.name, None, changes)
            case NodeKey():
                if self._nodes.put(key.name, None):
                    changes.nodes.add(key.name)
            case PolicyKey():
                if self._policies.put(key, None):
                    changes.policies.add(key)
            case _:
                assert_never(key)

    def _retain(self, kind: Kind, listed: Collection[ObjectKey], changes: Changes) -> None:
        for key in self._keys(kind):
            if key not in listed:
                self._delete(key, "", changes)

    def _keys(self, kind: Kind) -> tuple[ObjectKey, ...]:
        match kind:
            case Kind.POD:
                return tuple(self._pods)
            case Kind.NAMESPACE:
                return tuple(map(NamespaceKey, self._namespaces))
            case Kind.NODE:
                return tuple(map(NodeKey, self._nodes))
            case Kind.POLICY:
                return tuple(self._policies)
            case _:
                assert_never(kind)

    def _put_pod(self, key: PodKey, new: Pod | None, changes: Changes) -> None:
        old = self._pods.get(key)
        if old is not None and new is not None:
            new = _sharing(old, new)
            key = old.key
        if not self._pods.put(key, new):
            return
        changes.pods.add(key)
        claimed, claims = claimed_addresses(old), claimed_addresses(new)
        before = {address: self._watches_of(address) for address in (*claimed, *claims)}
        changes.addresses |= self._addresses.move(key, claimed, claims, new)
        # A pod without addresses of its own is nobody's peer (S21, S23).
        self._membership.put_pod(key, None if new is None or not claims else new.labels)
        for address, watches in before.items():
            after = self._watches_of(address)
            if after is not watches:
                changes.member(peers_of(watches - after), address, joined=False)
                changes.member(peers_of(after - watches), address, joined=True)

    def _put_namespace(self, name: str, new: Namespace | None, changes: Changes) -> None:
        if not self._namespaces.put(name, new):
            return
        changes.namespaces.add(name)
        for change in self._membership.put_namespace(name, None if new is None else new.labels):
            for address in self._owned(change.pod):
                changes.member((change.peer,), address, change.joined)

    def _watches_of(self, address: Address) -> frozenset[Watch]:
        owner = self._addresses.owner(address)
        return frozenset() if owner is None else self._membership.watches_of(owner)

    def _owned(self, key: PodKey) -> tuple[Address, ...]:
        claimed = claimed_addresses(self._pods.get(key))
        return tuple(each for each in claimed if self._addresses.owner(each) == key)


def key_of(thing: ClusterObject) -> ObjectKey:
    """The key by which a :class:`Deleted` names an object."""
    match thing:
        case Pod() | Policy():
            return thing.key
        case Namespace():
            return NamespaceKey(thing.name)
        case Node():
            return NodeKey(thing.name)
        case _:
            assert_never(thing)


def _sharing(old: Pod, new: Pod) -> Pod:
    """``new`` with the parts that are as they were before, so that they are held once.

    The indexes hold parts of the first version that they saw; what a stream of updates leaves
    behind must not be larger than what a list does.
    """
    return msgspec.structs.replace(
        new,
        key=old.key,
        uid=old.uid if new.uid == old.uid else new.uid,
        labels=old.labels if new.labels == old.labels else new.labels,
        addresses=old.addresses if new.addresses == old.addresses else new.addresses,
        workload=old.workload if new.workload == old.workload else new.workload,
        created=old.created if new.created == old.created else new.created,
    )


_K = TypeVar("_K", PodKey, PolicyKey, str)
_V = TypeVar("_V")


class _Store(Generic[_K, _V]):
    """Objects by key, with sorted copies for those who ask; ``changes`` counts what changed."""

    def __init__(self) -> None:
        self.changes = 0
        self._objects: dict[_K, _V] = {}
        self._changed = True

    def __iter__(self) -> Iterator[_K]:
        return iter(self._objects)

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: _K) -> _V | None:
        return self._objects.get(key)

    def values(self) -> Iterator[_V]:
        return iter(self._objects.values())

    def put(self, key: _K, new: _V | None) -> bool:
        """Store ``new``, or with ``None`` remove what is there; says whether it changed."""
        if self._objects.get(key) == new:
            return False
        if new is None:
            del self._objects[key]
        else:
            self._objects[key] = new
        self._changed = True
        self.changes += 1
        return True

    def sorted(self, last: Mapping[_K, _V] | None) -> Mapping[_K, _V]:
        """All objects, sorted; ``last``, the copy that was asked for last, if it still is right."""
        if last is not None and not self._changed:
            return last
        # Sorting what is nearly sorted is linear, so the store keeps the order it once reached.
        self._objects = {key: self._objects[key] for key in sorted(self._objects)}
        self._changed = False
        return dict(self._objects)
