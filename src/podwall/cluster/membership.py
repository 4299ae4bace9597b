"""Which pods the watched selector peers mean, kept up to date change by change.

Peers are grouped by what they say about namespaces: the name of one, or a selector. Such a group
is a scope; it knows the namespaces that belong to it and the pod selectors that are asked there. A
pod that changes asks the scopes of its namespace which of their selectors its changed labels can
turn; a namespace that changes enters or leaves scopes and takes all its pods along (S19, S20).

A namespace that is not known is in no scope but that of its name: its labels could be anything, and
NotIn would let its pods in (:mod:`podwall.policy.evaluate` reads it alike).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from podwall.cluster.labels import LabelledObjects, Labels, SelectorTriggers
from podwall.cluster.wide import WideIndex
from podwall.model.objects import PodKey
from podwall.model.policy import PodPeer
from podwall.model.selector import Selector

MANY_NAMESPACES = 100
"""From so many namespaces on the pods of a new peer are looked up across all of them."""

MAX_COMBINATIONS = 4096
"""So many different sets of peers that mean a pod are remembered, to be shared between pods."""

_A = TypeVar("_A")
_B = TypeVar("_B")


class MembershipChange(msgspec.Struct, frozen=True, gc=False):
    """``pod`` became a member of ``peer``, or is none any more."""

    peer: PodPeer
    pod: PodKey
    joined: bool


class Watch:
    """A watched peer: how many users it has, and its pods."""

    __slots__ = ("peer", "pods", "scope", "users")

    def __init__(self, peer: PodPeer, scope: _Scope) -> None:
        self.peer = peer
        self.scope = scope
        self.users = 0
        self.pods: set[PodKey] = set()


_NO_WATCHES: frozenset[Watch] = frozenset()


class _Scope:
    """The peers that say the same about namespaces, and the namespaces that they mean."""

    __slots__ = ("namespaces", "term", "triggers", "watches")

    def __init__(self, term: Selector | str) -> None:
        self.term = term
        self.namespaces: set[str] = set()
        self.watches: set[Watch] = set()
        self.triggers: SelectorTriggers[Watch] = SelectorTriggers()


class Membership:
    """Pods and namespaces by label on one side, watched peers on the other."""

    def __init__(self) -> None:
        self._pods: dict[str, LabelledObjects[PodKey]] = {}
        self._wide = WideIndex(self._pods)
        self._namespaces: LabelledObjects[str] = LabelledObjects()
        self._watches: dict[PodPeer, Watch] = {}
        self._scopes: dict[Selector | str, _Scope] = {}
        self._scope_triggers: SelectorTriggers[_Scope] = SelectorTriggers()
        self._scopes_of: dict[str, set[_Scope]] = {}
        self._watches_of: dict[PodKey, frozenset[Watch]] = {}
        # Most pods are meant by the same peers as their neighbours, so these sets are shared.
        self._combinations: dict[frozenset[Watch], frozenset[Watch]] = {}

    def watch(self, peer: PodPeer) -> None:
        """Begin to follow ``peer``, or count one user more."""
        watch = self._watches.get(peer)
        if watch is None:
            watch = self._open(peer)
        watch.users += 1

    def unwatch(self, peer: PodPeer) -> None:
        """Count one user less; the last one's leaving ends it.

        Raises:
            KeyError: ``peer`` is not watched.
        """
        watch = self._watches[peer]
        watch.users -= 1
        if watch.users == 0:
            self._close(watch)

    def pods(self, peer: PodPeer) -> frozenset[PodKey]:
        """The pods that a watched peer means.

        Raises:
            KeyError: ``peer`` is not watched.
        """
        return frozenset(self._watches[peer].pods)

    def peers_of(self, pod: PodKey) -> frozenset[PodPeer]:
        """The watched peers that mean ``pod``."""
        return peers_of(self.watches_of(pod))

    def watches_of(self, pod: PodKey) -> frozenset[Watch]:
        """The same as watches, which are cheap to tell apart; the same set until it changes."""
        return self._watches_of.get(pod, _NO_WATCHES)

    def put_pod(self, key: PodKey, labels: Labels | None) -> None:
        """Learn the labels of a pod, or with ``None`` that it can be nobody's peer (any more)."""
        pods = self._pods.setdefault(key.namespace, LabelledObjects())
        old = pods.labels(key)
        pods.put(key, labels)
        self._wide.move(key, old, labels)
        for scope in self._scopes_of.get(key.namespace, ()):
            for watch in scope.triggers.affected(old, labels):
                if labels is not None and watch.peer.pods.matches(labels):
                    self._join(watch, key)
                else:
                    self._leave(watch, key)
        if not pods:
            del self._pods[key.namespace]

    def put_namespace(self, name: str, labels: Labels | None) -> tuple[MembershipChange, ...]:
        """Learn the labels of a namespace, or with ``None`` that they are unknown (any more)."""
        old = self._namespaces.labels(name)
        self._namespaces.put(name, labels)
        changes: list[MembershipChange] = []
        for scope in self._scope_triggers.affected(old, labels):
            inside = isinstance(scope.term, Selector) and (
                labels is not None and scope.term.matches(labels)
            )
            if inside and name not in scope.namespaces:
                changes.extend(self._enter(scope, name))
            elif not inside and name in scope.namespaces:
                changes.extend(self._exit(scope, name))
        return tuple(changes)

    def _open(self, peer: PodPeer) -> Watch:
        scope = self._scopes.get(peer.namespaces) or self._open_scope(peer.namespaces)
        watch = Watch(peer, scope)
        self._watches[peer] = watch
        scope.watches.add(watch)
        scope.triggers.add(peer.pods, watch)
        for key in self._find(scope, peer.pods):
            self._join(watch, key)
        return watch

    def _find(self, scope: _Scope, wanted: Selector) -> list[PodKey]:
        """The pods that ``wanted`` matches in the namespaces of ``scope``."""
        if len(scope.namespaces) >= MANY_NAMESPACES:
            candidates = self._wide.candidates(wanted, len(scope.namespaces))
            if candidates is not None:
                inside = [key for key in candidates if key.namespace in scope.namespaces]
                return [key for key in inside if wanted.matches(self._labels(key))]
        return [
            key
            for name in scope.namespaces
            if name in self._pods
            for key in self._pods[name].find(wanted)
        ]

    def _labels(self, key: PodKey) -> Labels:
        return self._pods[key.namespace].labels(key) or {}

    def _close(self, watch: Watch) -> None:
        for key in list(watch.pods):
            self._leave(watch, key)
        self._combinations.clear()
        del self._watches[watch.peer]
        scope = watch.scope
        scope.watches.discard(watch)
        scope.triggers.discard(watch.peer.pods, watch)
        if not scope.watches:
            self._close_scope(scope)

    def _open_scope(self, term: Selector | str) -> _Scope:
        scope = _Scope(term)
        self._scopes[term] = scope
        if isinstance(term, str):
            names = [term]
        else:
            names = self._namespaces.find(term)
            self._scope_triggers.add(term, scope)
        scope.namespaces.update(names)
        for name in names:
            self._scopes_of.setdefault(name, set()).add(scope)
        return scope

    def _close_scope(self, scope: _Scope) -> None:
        del self._scopes[scope.term]
        if isinstance(scope.term, Selector):
            self._scope_triggers.discard(scope.term, scope)
        for name in list(scope.namespaces):
            self._forget_scope(scope, name)

    def _enter(self, scope: _Scope, name: str) -> Iterator[MembershipChange]:
        scope.namespaces.add(name)
        self._scopes_of.setdefault(name, set()).add(scope)
        pods = self._pods.get(name, LabelledObjects())
        for key in pods:
            labels = pods.labels(key)
            for watch in scope.triggers.affected(None, labels):
                if labels is not None and watch.peer.pods.matches(labels):
                    self._join(watch, key)
                    yield MembershipChange(watch.peer, key, joined=True)

    def _exit(self, scope: _Scope, name: str) -> Iterator[MembershipChange]:
        self._forget_scope(scope, name)
        for key in self._pods.get(name, ()):
            for watch in self._watches_of.get(key, _NO_WATCHES) & scope.watches:
                self._leave(watch, key)
                yield MembershipChange(watch.peer, key, joined=False)

    def _forget_scope(self, scope: _Scope, name: str) -> None:
        scope.namespaces.discard(name)
        _drop(self._scopes_of, name, scope)

    def _join(self, watch: Watch, key: PodKey) -> None:
        if key not in watch.pods:
            watch.pods.add(key)
            self._watches_of[key] = self._shared(self._watches_of.get(key, _NO_WATCHES) | {watch})

    def _leave(self, watch: Watch, key: PodKey) -> None:
        if key not in watch.pods:
            return
        watch.pods.discard(key)
        left = self._watches_of[key] - {watch}
        if left:
            self._watches_of[key] = self._shared(left)
        else:
            del self._watches_of[key]

    def _shared(self, watches: frozenset[Watch]) -> frozenset[Watch]:
        if len(self._combinations) >= MAX_COMBINATIONS:
            # Those in use stay shared by whoever has them.
            self._combinations.clear()
        return self._combinations.setdefault(watches, watches)


def peers_of(watches: Iterable[Watch]) -> frozenset[PodPeer]:
    """The peers that are watched by them."""
    return frozenset(watch.peer for watch in watches)


def _drop(sets: dict[_A, set[_B]], key: _A, item: _B) -> None:
    """Take ``item`` out of the set at ``key``, and an empty set out of ``sets``."""
    items = sets.get(key)
    if items is not None:
        items.discard(item)
        if not items:
            del sets[key]
