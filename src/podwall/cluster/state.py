"""The cluster, kept up to date event by event.

:class:`ClusterState` takes events in any order, twice or late, and answers each with what it
changed: which objects, which addresses changed hands, and which addresses joined or left the
selector peers that somebody watches. What it knows at any moment is what
:func:`podwall.cluster.snapshot.build_snapshot` makes of the final objects. An event costs as much
as the change is large, however large the cluster is; only taking a snapshot goes over all objects
of the kinds that changed since the last one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Generic, TypeVar, assert_never

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
from podwall.cluster.membership import Membership
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
        self._owners: Mapping[Address, PodKey] | None = None
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

    def snapshot(self) -> Snapshot:
        """The cluster as it is now, frozen; later events leave it as it is."""
        pods = self._pods.sorted()
        if self._owners is None:
            self._owners = self._addresses.owners(pods.values())
        return Snapshot(
            pods=pods,
            namespaces=self._namespaces.sorted(),
            policies=self._policies.sorted(),
            nodes=self._nodes.sorted(),
            owners=self._owners,
        )

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
        if not self._pods.put(key, new):
            return
        changes.pods.add(key)
        touched = {*claimed_addresses(old), *claimed_addresses(new)}
        before = {address: self._peers_of(address) for address in touched}
        moved = self._addresses.update(old, new)
        # A pod without addresses of its own is nobody's peer (S21, S23).
        labels = None if new is None or not claimed_addresses(new) else new.labels
        self._membership.put_pod(key, labels)
        for address in touched:
            after = self._peers_of(address)
            changes.member(before[address] - after, address, joined=False)
            changes.member(after - before[address], address, joined=True)
        changes.addresses |= moved
        # Also the order in which owners are listed follows the pods, so any pod's change counts.
        self._owners = None

    def _put_namespace(self, name: str, new: Namespace | None, changes: Changes) -> None:
        if not self._namespaces.put(name, new):
            return
        changes.namespaces.add(name)
        for change in self._membership.put_namespace(name, None if new is None else new.labels):
            for address in self._owned(change.pod):
                changes.member((change.peer,), address, change.joined)

    def _peers_of(self, address: Address) -> frozenset[PodPeer]:
        owner = self._addresses.owner(address)
        return frozenset() if owner is None else self._membership.peers_of(owner)

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


_K = TypeVar("_K", PodKey, PolicyKey, str)
_V = TypeVar("_V")


class _Store(Generic[_K, _V]):
    """Objects by key, with a sorted copy that is made when somebody asks for it."""

    def __init__(self) -> None:
        self._objects: dict[_K, _V] = {}
        self._sorted: Mapping[_K, _V] | None = None

    def __iter__(self) -> Iterator[_K]:
        return iter(self._objects)

    def get(self, key: _K) -> _V | None:
        return self._objects.get(key)

    def put(self, key: _K, new: _V | None) -> bool:
        """Store ``new``, or with ``None`` remove what is there; says whether it changed."""
        if self._objects.get(key) == new:
            return False
        if new is None:
            del self._objects[key]
        else:
            self._objects[key] = new
        self._sorted = None
        return True

    def sorted(self) -> Mapping[_K, _V]:
        if self._sorted is None:
            # Sorting what is nearly sorted is linear, so the store keeps the order it once reached.
            self._objects = {key: self._objects[key] for key in sorted(self._objects)}
            self._sorted = dict(self._objects)
        return self._sorted
