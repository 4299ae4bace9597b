"""The cluster as the checks ask about it: who is selected, who is meant, what exists at all.

Every question is answered through an index and remembered, so that a check can ask it for every
peer of every policy. A pod counts here from its creation on, whether it has an address yet or not:
a manifest gives it none. Terminated pods count nowhere (S21); pods with hostNetwork are kept apart,
since no selector means them (S23).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar, cast

from podwall.cluster.labels import LabelledObjects
from podwall.cluster.snapshot import Snapshot, claimed_addresses
from podwall.model.net import Address, Cidr, Family
from podwall.model.objects import NAME_LABEL, Pod
from podwall.model.policy import PodPeer, Policy, PolicyKey
from podwall.model.selector import Requirement, Selector
from podwall.model.spans import Span

_K = TypeVar("_K")
_V = TypeVar("_V")

DNS_NAMES = frozenset({"dns", "dns-tcp", "domain"})
"""What cluster DNS deployments call their container ports."""


class World:
    """A snapshot with indexes. ``remarks`` are the decoder's warnings, by policy."""

    def __init__(
        self, snapshot: Snapshot, remarks: Mapping[PolicyKey, Sequence[str]] | None = None
    ) -> None:
        self.snapshot = snapshot
        self.remarks = remarks or {}
        live = [each for each in snapshot.pods.values() if not each.phase.terminated]
        self.pods = PodsByLabel(each for each in live if not each.host_network)
        self.host_pods = PodsByLabel(each for each in live if each.host_network)
        self.namespaces: LabelledObjects[str] = LabelledObjects()
        for each in snapshot.namespaces.values():
            self.namespaces.put(each.name, each.labels)
        self.namespace_words = vocabulary(each.labels for each in snapshot.namespaces.values())
        self._policies: dict[str, list[Policy]] = {}
        for policy in snapshot.policies.values():
            self._policies.setdefault(policy.key.namespace, []).append(policy)
        self._by_first_requirement: dict[tuple[str, Requirement | None], list[Policy]] = {}
        for policy in snapshot.policies.values():
            first = next(iter(policy.subject.requirements), None)
            group = self._by_first_requirement.setdefault((policy.key.namespace, first), [])
            group.append(policy)
        self._answers: dict[tuple[object, object], object] = {}
        self.dns_ports = frozenset(
            port.number for pod in live for port in pod.ports if port.name in DNS_NAMES
        )
        self._addresses = {
            family: sorted(
                {
                    address.value
                    for pod in live
                    for address in claimed_addresses(pod)
                    if address.family is family
                }
            )
            for family in Family
        }

    def policies(self, namespace: str) -> Sequence[Policy]:
        """The policies of a namespace, sorted by name."""
        return self._policies.get(namespace, ())

    def policies_for_more(self, policy: Policy) -> Iterator[Policy]:
        """The other policies of the namespace that may select all that ``policy`` selects.

        A policy that selects more has fewer requirements, so its first one, if any, is among those
        of ``policy``. That misses requirements that follow from others without being equal to one,
        and spares comparing every policy with every other.
        """
        groups = self._by_first_requirement
        for first in (None, *policy.subject.requirements):
            for each in groups.get((policy.key.namespace, first), ()):
                if each.key != policy.key:
                    yield each

    def subjects(self, policy: Policy) -> tuple[Pod, ...]:
        """The pods that ``policy`` selects, sorted by key."""
        return self.members(PodPeer(policy.key.namespace, policy.subject))

    def members(self, peer: PodPeer) -> tuple[Pod, ...]:
        """The pods that ``peer`` means, sorted by key."""
        return self.remember(_members, peer)

    def namespaces_of(self, peer: PodPeer) -> frozenset[str]:
        """The namespaces that ``peer`` means; an unknown one matches no selector."""
        if isinstance(peer.namespaces, str):
            return frozenset((peer.namespaces,))
        return self.remember(_namespaces, peer.namespaces)

    def remember(self, question: Callable[[_K, World], _V], subject: _K) -> _V:
        """The answer of a pure function about this world, which is asked only once."""
        known = self._answers.get((question, subject))
        if known is None:
            known = question(subject, self)
            self._answers[question, subject] = known
        return cast("_V", known)

    def count_pod_addresses(self, family: Family, ranges: Iterable[Span]) -> int:
        """How many addresses of pods are within ``ranges``."""
        values = self._addresses[family]
        return sum(
            bisect_right(values, last) - bisect_left(values, first) for first, last in ranges
        )

    def pod_addresses_in(self, family: Family, ranges: Iterable[Span]) -> Iterator[Address]:
        """The addresses of pods within ``ranges``, in ascending order."""
        values = self._addresses[family]
        for first, last in ranges:
            for index in range(bisect_left(values, first), bisect_right(values, last)):
                yield Address(family, values[index])

    def pod_cidrs(self) -> tuple[Cidr, ...]:
        """The ranges that nodes take their pods' addresses from."""
        return tuple(cidr for node in self.snapshot.nodes.values() for cidr in node.pod_cidrs)

    def namespace_named(self, value: str) -> bool:
        """Whether a namespace has the name ``value`` and says so in its labels (S18)."""
        labels = self.namespaces.labels(value)
        return labels is not None and labels.get(NAME_LABEL) == value


def _members(peer: PodPeer, world: World) -> tuple[Pod, ...]:
    return world.pods.find(peer.pods, world.namespaces_of(peer))


def _namespaces(wanted: Selector, world: World) -> frozenset[str]:
    return frozenset(world.namespaces.find(wanted))


class PodsByLabel:
    """Pods by label, in one namespace or in all; ``pods`` come sorted by key, and so do answers."""

    def __init__(self, pods: Iterable[Pod]) -> None:
        self._pods = tuple(pods)
        # Pods are kept by their position: small numbers hash and sort much faster than keys.
        self._everywhere: LabelledObjects[int] = LabelledObjects()
        self._by_namespace: dict[str, LabelledObjects[int]] = {}
        self._words: dict[str | None, Mapping[str, frozenset[str]]] = {}
        for position, pod in enumerate(self._pods):
            self._everywhere.put(position, pod.labels)
            of_namespace = self._by_namespace.setdefault(pod.key.namespace, LabelledObjects())
            of_namespace.put(position, pod.labels)

    def all(self) -> tuple[Pod, ...]:
        """Every pod."""
        return self._pods

    def in_namespace(self, name: str) -> int:
        """How many pods a namespace has."""
        return len(self._by_namespace.get(name, ()))

    def find(self, wanted: Selector, namespaces: frozenset[str]) -> tuple[Pod, ...]:
        """The pods of ``namespaces`` that ``wanted`` matches."""
        if len(namespaces) > len(self._by_namespace) // 2:
            return tuple(
                pod for pod in self.find_anywhere(wanted) if pod.key.namespace in namespaces
            )
        positions = (
            position
            for name in namespaces
            if name in self._by_namespace
            for position in self._by_namespace[name].find(wanted)
        )
        return tuple(self._pods[position] for position in sorted(positions))

    def find_anywhere(self, wanted: Selector) -> tuple[Pod, ...]:
        """The pods of all namespaces that ``wanted`` matches."""
        return tuple(self._pods[position] for position in sorted(self._everywhere.find(wanted)))

    def words(self, namespace: str | None = None) -> Mapping[str, frozenset[str]]:
        """The label keys in use and their values, in one namespace or in all."""
        words = self._words.get(namespace)
        if words is None:
            nothing: LabelledObjects[int] = LabelledObjects()
            positions = (
                self._everywhere
                if namespace is None
                else self._by_namespace.get(namespace, nothing)
            )
            words = vocabulary(self._pods[position].labels for position in positions)
            self._words[namespace] = words
        return words


def vocabulary(labels: Iterable[Mapping[str, str]]) -> Mapping[str, frozenset[str]]:
    """Each label key in ``labels`` with the values that it has."""
    words: dict[str, set[str]] = {}
    for each in labels:
        for key, value in each.items():
            words.setdefault(key, set()).add(value)
    return {key: frozenset(values) for key, values in words.items()}
