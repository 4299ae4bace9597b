"""Which pods a list of selector peers means, looked up by label instead of by trying every pod.

A node needs the members of a few hundred selectors over all pods of the cluster; trying each pod
for each selector costs seconds at 10,000 pods. The index gives each selector its shortest list of
candidates: the pods that carry one of the values that some ``In`` requirement names, else those of
the namespaces that match.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from podwall.cluster.snapshot import Snapshot
from podwall.model.net import Address
from podwall.model.objects import Pod
from podwall.model.policy import PodPeer
from podwall.model.selector import Operator, Selector


class PodIndex:
    """The pods of one snapshot that can be a peer, by namespace and by label.

    Pods without an address of their own are left out: hostNetwork pods, terminated ones, and those
    whose address another pod took over (S21, S22, S23).
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._by_namespace: dict[str, list[Pod]] = {}
        self._by_label: dict[tuple[str, str], list[Pod]] = {}
        self._namespaces: dict[Selector, frozenset[str]] = {}
        owners = snapshot.owners.values()
        for key in dict.fromkeys(owners):
            pod = snapshot.pods[key]
            self._by_namespace.setdefault(key.namespace, []).append(pod)
            for label in pod.labels.items():
                self._by_label.setdefault(label, []).append(pod)

    def addresses(self, peers: Iterable[PodPeer]) -> frozenset[Address]:
        """The addresses of the pods that any of ``peers`` selects."""
        return frozenset(
            address
            for peer in peers
            for pod in self._candidates(peer)
            if self._is(pod, peer)
            for address in self._snapshot.owned_addresses(pod)
        )

    def _is(self, pod: Pod, peer: PodPeer) -> bool:
        return pod.key.namespace in self._namespaces_of(peer) and peer.pods.matches(pod.labels)

    def _namespaces_of(self, peer: PodPeer) -> frozenset[str]:
        if isinstance(peer.namespaces, str):
            return frozenset((peer.namespaces,))
        names = self._namespaces.get(peer.namespaces)
        if names is None:
            # A namespace that is not in the snapshot has unknown labels, so no selector matches it:
            # NotIn and DoesNotExist would otherwise let its pods in.
            names = frozenset(
                each.name
                for each in self._snapshot.namespaces.values()
                if peer.namespaces.matches(each.labels)
            )
            self._namespaces[peer.namespaces] = names
        return names

    def _candidates(self, peer: PodPeer) -> Sequence[Pod]:
        namespaces = self._namespaces_of(peer)
        in_namespaces = sum(len(self._by_namespace.get(name, ())) for name in namespaces)
        best: list[list[Pod]] | None = None
        smallest = in_namespaces
        for requirement in peer.pods.requirements:
            if requirement.operator is not Operator.IN:
                continue
            lists = [
                self._by_label.get((requirement.key, value), []) for value in requirement.values
            ]
            size = sum(map(len, lists))
            if size <= smallest:
                best, smallest = lists, size
        if best is None:
            best = [self._by_namespace.get(name, []) for name in namespaces]
        return [pod for each in best for pod in each]
