"""Classes: addresses that no policy can tell apart, so that one of them can answer for all.

What the oracle says of a flow depends on few things: which policies isolate its ends, which of the
peers that policies name mean them, and which numbers port names stand for at the destination. All
of that together is the class of an address. What is left are relations of the two ends: whether
they are one pod, and whether one is the other's node. So a question about a pair of classes that
are related in the same way needs to be asked once, however many pods there are.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.explain.reach import Reach, reach
from podwall.model.net import Address
from podwall.model.objects import Pod, PodKey
from podwall.model.policy import Direction, IPBlock, NamedPort, PodPeer, PolicyKey, PolicyRule
from podwall.model.settings import Settings
from podwall.policy.evaluate import (
    is_unknown_pod,
    isolating_policies,
    own_nodes,
    refuse_block,
    refuse_pod_peer,
)


class _Labelled(msgspec.Struct, frozen=True):
    """What pods of one namespace with equal labels have in common.

    ``isolated`` holds the policies of egress and of ingress, ``peers`` the indices of the pod peers
    that mean such a pod.
    """

    isolated: tuple[tuple[PolicyKey, ...], tuple[PolicyKey, ...]] = ((), ())
    peers: tuple[int, ...] = ()


class _Meaning(msgspec.Struct, frozen=True):
    """Everything by which policies could tell two addresses apart.

    ``blocks`` are the indices of the blocks that hold the address, ``ports`` the numbers that the
    port names of policies stand for there.
    """

    labelled: _Labelled
    blocks: tuple[int, ...]
    ports: tuple[int | None, ...]
    is_pod: bool
    is_unknown: bool


class AddressClass(msgspec.Struct, frozen=True):
    """Where an address belongs.

    ``number`` is equal for addresses that mean the same to every policy. ``hosts`` are the nodes
    that a pod's address is on, ``nodes`` those whose own address it is (S42).
    """

    number: int
    hosts: frozenset[str]
    nodes: frozenset[str]


class Classes:
    """The classes of the addresses of a cluster, and what one can reach of another.

    It remembers what it was asked, so it is meant to be made anew for another snapshot.
    """

    def __init__(self, snapshot: Snapshot, settings: Settings = Settings()) -> None:
        self._snapshot = snapshot
        self._settings = settings
        rules = [
            rule
            for policy in snapshot.policies.values()
            for direction in Direction
            for rule in policy.rules(direction)
        ]
        self._pod_peers, self._blocks = _peers_of(rules)
        names = (port for rule in rules for port in rule.ports if isinstance(port, NamedPort))
        self._names = tuple(dict.fromkeys(names))
        self._numbers: dict[_Meaning, int] = {}
        self._classes: dict[Address, AddressClass] = {}
        self._labelled: dict[object, _Labelled] = {}
        self._reaches: dict[object, Reach] = {}

    def reach(self, src: Address, dst: Address) -> Reach:
        """What ``src`` can reach of ``dst``, as :func:`podwall.explain.reach.reach` has it."""
        source, target = self.of(src), self.of(dst)
        question = (
            source.number,
            target.number,
            self._are_one(src, dst),
            source.hosts.isdisjoint(target.nodes),
            target.hosts.isdisjoint(source.nodes),
            src.family,
        )
        found = self._reaches.get(question)
        if found is None:
            found = reach(self._snapshot, src, dst, self._settings)
            self._reaches[question] = found
        return found

    def of(self, address: Address) -> AddressClass:
        """The class of an address."""
        found = self._classes.get(address)
        if found is None:
            nodes = self._snapshot.nodes.values()
            found = AddressClass(
                number=self._number(self._meaning(address)),
                hosts=frozenset(node.name for node in own_nodes(self._snapshot, address)),
                nodes=frozenset(node.name for node in nodes if address in node.addresses),
            )
            self._classes[address] = found
        return found

    def identity(self, address: Address) -> PodKey | Address:
        """What is one with itself: the pod that owns the address, else the address (S44)."""
        pod = self._snapshot.owner(address)
        return address if pod is None else pod.key

    def _are_one(self, src: Address, dst: Address) -> bool:
        return self.identity(src) == self.identity(dst)

    def _number(self, meaning: _Meaning) -> int:
        return self._numbers.setdefault(meaning, len(self._numbers))

    def _meaning(self, address: Address) -> _Meaning:
        pod = self._snapshot.owner(address)
        return _Meaning(
            labelled=_Labelled() if pod is None else self._of_labels(pod, address),
            blocks=tuple(
                index
                for index, block in enumerate(self._blocks)
                if refuse_block(block, address) is None
            ),
            ports=() if pod is None else tuple(_number_of(pod, name) for name in self._names),
            is_pod=pod is not None,
            is_unknown=pod is None and is_unknown_pod(self._snapshot, address),
        )

    def _of_labels(self, pod: Pod, address: Address) -> _Labelled:
        same = (pod.key.namespace, pod.host_network, frozenset(pod.labels.items()))
        found = self._labelled.get(same)
        if found is None:
            egress, ingress = (
                tuple(each.key for each in isolating_policies(self._snapshot, pod, direction))
                for direction in (Direction.EGRESS, Direction.INGRESS)
            )
            found = _Labelled(
                isolated=(egress, ingress),
                peers=tuple(
                    index
                    for index, peer in enumerate(self._pod_peers)
                    if refuse_pod_peer(self._snapshot, peer, address) is None
                ),
            )
            self._labelled[same] = found
        return found


def _peers_of(rules: Iterable[PolicyRule]) -> tuple[tuple[PodPeer, ...], tuple[IPBlock, ...]]:
    """The distinct peers of all rules, by kind."""
    peers = dict.fromkeys(peer for rule in rules for peer in rule.peers)
    return (
        tuple(each for each in peers if isinstance(each, PodPeer)),
        tuple(each for each in peers if isinstance(each, IPBlock)),
    )


def _number_of(pod: Pod, name: NamedPort) -> int | None:
    """The number behind a name on a pod: the first of that name and protocol counts (S36)."""
    for declared in pod.ports:
        if declared.name == name.name and declared.protocol is name.protocol:
            return declared.number
    return None
