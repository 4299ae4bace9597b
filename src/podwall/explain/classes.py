"""Classes: addresses that no policy can tell apart, so that one of them can answer for all.

What the oracle says of a flow depends on few things: which policies isolate its ends, which of the
peers that policies name mean them, and which numbers port names stand for at the destination. All
of that together is what an address means, and its class. What is left are relations of the two
ends: whether they are one pod, and whether one is the other's node.

Each direction is judged for itself (S2), by the policies that isolate its subject and by no others.
So the oracle is asked about a direction once for each lot of isolating policies and each thing that
the other end can mean to just these, however many pods there are, and it need not be shown any
policies but these.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Sequence

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.explain.reach import Reach, both, passage
from podwall.model.net import Address, Family
from podwall.model.objects import Pod, PodKey
from podwall.model.policy import (
    Direction,
    IPBlock,
    NamedPort,
    Peer,
    PodPeer,
    PolicyKey,
    PolicyRule,
)
from podwall.model.settings import Settings
from podwall.policy.evaluate import (
    is_unknown_pod,
    isolating_policies,
    own_nodes,
    refuse_block,
    refuse_pod_peer,
)


class _Labelled(msgspec.Struct, frozen=True):
    """What pods of one namespace have in common whose labels look the same to all policies.

    ``isolated`` holds the policies of egress and of ingress, ``peers`` the pod peers that mean such
    a pod.
    """

    isolated: tuple[tuple[PolicyKey, ...], tuple[PolicyKey, ...]] = ((), ())
    peers: frozenset[Peer] = frozenset()


class _Meaning(msgspec.Struct, frozen=True):
    """Everything by which policies could tell two addresses apart.

    ``blocks`` are those that hold the address, ``ports`` the numbers that the port names of
    policies stand for there.
    """

    labelled: _Labelled
    blocks: frozenset[Peer]
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


class Judges(msgspec.Struct, frozen=True):
    """The policies that decide one direction for a subject, and what they look at.

    ``snapshot`` is the cluster without other policies, ``names`` are indices into the names of
    ports. Within one :class:`Classes` the number says it all.
    """

    number: int
    direction: Direction
    snapshot: Snapshot
    peers: frozenset[Peer]
    names: tuple[int, ...]


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
        peers = dict.fromkeys(peer for rule in rules for peer in rule.peers)
        self._pod_peers = tuple(each for each in peers if isinstance(each, PodPeer))
        self._blocks = _Blocks(each for each in peers if isinstance(each, IPBlock))
        self._names = tuple(dict.fromkeys(_names_of(rules)))
        self._label_keys = _label_keys(snapshot, self._pod_peers)
        self._nodes_at: dict[Address, set[str]] = {}
        for node in snapshot.nodes.values():
            for address in node.addresses:
                self._nodes_at.setdefault(address, set()).add(node.name)
        self._numbers: dict[_Meaning, int] = {}
        self._meanings: list[_Meaning] = []
        self._classes: dict[Address, AddressClass] = {}
        self._labelled: dict[object, _Labelled] = {}
        self._judges: dict[object, Judges] = {}
        self._deciding: dict[tuple[int, int], Snapshot] = {}
        self._peers: dict[tuple[int, int], frozenset[Peer]] = {}
        self._passages: dict[object, Reach] = {}
        self._boths: dict[tuple[int, int], Reach] = {}
        self._reaches: dict[object, Reach] = {}

    def reach(self, src: Address, dst: Address) -> Reach:
        """What ``src`` can reach of ``dst``, as :func:`podwall.explain.reach.reach` has it."""
        source, target = self.of(src), self.of(dst)
        one = self.identity(src) == self.identity(dst)
        to_own_node = bool(target.nodes) and not source.hosts.isdisjoint(target.nodes)
        from_own_node = bool(source.nodes) and not target.hosts.isdisjoint(source.nodes)
        question = (source.number, target.number, src.family, one, to_own_node, from_own_node)
        found = self._reaches.get(question)
        if found is None:
            egress = self._passage(Direction.EGRESS, src, dst, one, to_own_node)
            ingress = self._passage(Direction.INGRESS, src, dst, one, from_own_node)
            found = self._reaches[question] = self._both(egress, ingress)
        return found

    def of(self, address: Address) -> AddressClass:
        """The class of an address."""
        found = self._classes.get(address)
        if found is None:
            found = AddressClass(
                number=self._number(self._meaning(address)),
                hosts=frozenset(node.name for node in own_nodes(self._snapshot, address)),
                nodes=frozenset(self._nodes_at.get(address, ())),
            )
            self._classes[address] = found
        return found

    def identity(self, address: Address) -> PodKey | Address:
        """What is one with itself: the pod that owns the address, else the address (S44)."""
        return self._snapshot.owners.get(address, address)

    def judges(self, address: Address, direction: Direction) -> Judges:
        """The policies that decide a direction for an address."""
        return self._judges_of(self.of(address).number, direction)

    def source_looks(self, address: Address, ingress: Iterable[Judges]) -> Hashable:
        """Equal for sources that reach the same of every target that ``ingress`` decide for.

        That is but for nodes (S42), and for a target that is the same pod (S44).
        """
        number = self.of(address).number
        own = self._judges_of(number, Direction.EGRESS)
        return (own.number, *(self._peers_seen(each, number) for each in ingress))

    def target_looks(self, address: Address, egress: Iterable[Judges]) -> Hashable:
        """Equal for targets of which every source that ``egress`` decide for reaches the same.

        That is but for nodes (S42, S43), and for a source that is the same pod (S44).
        """
        number = self.of(address).number
        own = self._judges_of(number, Direction.INGRESS)
        return (
            own.number,
            self._ports_seen(own, number),
            *((self._peers_seen(each, number), self._ports_seen(each, number)) for each in egress),
        )

    def deciding(self, src: Address, dst: Address) -> Snapshot:
        """The cluster with just the policies that decide between two ends, to ask why."""
        egress = self.judges(src, Direction.EGRESS)
        ingress = self.judges(dst, Direction.INGRESS)
        found = self._deciding.get((egress.number, ingress.number))
        if found is None:
            policies = {**egress.snapshot.policies, **ingress.snapshot.policies}
            found = msgspec.structs.replace(self._snapshot, policies=policies)
            self._deciding[egress.number, ingress.number] = found
        return found

    def _passage(
        self, direction: Direction, src: Address, dst: Address, one: bool, own_node: bool
    ) -> Reach:
        """What one direction lets through."""
        subject, peer = (src, dst) if direction is Direction.EGRESS else (dst, src)
        judges = self._judges_of(self.of(subject).number, direction)
        question = (
            judges.number,
            self._peers_seen(judges, self.of(peer).number),
            self._ports_seen(judges, self.of(dst).number),
            src.family,
            one,
            own_node,
        )
        found = self._passages.get(question)
        if found is None:
            found = passage(judges.snapshot, src, dst, direction, self._settings)
            self._passages[question] = found
        return found

    def _both(self, egress: Reach, ingress: Reach) -> Reach:
        # By identity: passages are kept, and hashing one costs more than asking for it.
        found = self._boths.get((id(egress), id(ingress)))
        if found is None:
            found = self._boths[id(egress), id(ingress)] = both(egress, ingress)
        return found

    def _peers_seen(self, judges: Judges, number: int) -> frozenset[Peer]:
        """Which of the peers that some policies name mean a class."""
        found = self._peers.get((judges.number, number))
        if found is None:
            meaning = self._meanings[number]
            found = judges.peers & (meaning.labelled.peers | meaning.blocks)
            self._peers[judges.number, number] = found
        return found

    def _ports_seen(self, judges: Judges, number: int) -> tuple[int | None, ...]:
        """What the port names of some policies stand for in a class."""
        ports = self._meanings[number].ports
        return tuple(ports[index] for index in judges.names)

    def _judges_of(self, subject: int, direction: Direction) -> Judges:
        meaning = self._meanings[subject]
        keys = meaning.labelled.isolated[0 if direction is Direction.EGRESS else 1]
        kind = (direction, keys, meaning.is_pod, meaning.is_unknown)
        found = self._judges.get(kind)
        if found is None:
            policies = {key: self._snapshot.policies[key] for key in keys}
            rules = [rule for each in policies.values() for rule in each.rules(direction)]
            names = set(_names_of(rules))
            found = Judges(
                number=len(self._judges),
                direction=direction,
                snapshot=msgspec.structs.replace(self._snapshot, policies=policies),
                peers=frozenset(peer for rule in rules for peer in rule.peers),
                names=tuple(i for i, each in enumerate(self._names) if each in names),
            )
            self._judges[kind] = found
        return found

    def _number(self, meaning: _Meaning) -> int:
        found = self._numbers.setdefault(meaning, len(self._numbers))
        if found == len(self._meanings):
            self._meanings.append(meaning)
        return found

    def _meaning(self, address: Address) -> _Meaning:
        pod = self._snapshot.owner(address)
        return _Meaning(
            labelled=_Labelled() if pod is None else self._of_labels(pod, address),
            blocks=self._blocks.holding(address),
            ports=tuple(None if pod is None else _number_of(pod, name) for name in self._names),
            is_pod=pod is not None,
            is_unknown=pod is None and is_unknown_pod(self._snapshot, address),
        )

    def _of_labels(self, pod: Pod, address: Address) -> _Labelled:
        labels = frozenset(each for each in pod.labels.items() if each[0] in self._label_keys)
        same = (pod.key.namespace, labels)
        found = self._labelled.get(same)
        if found is None:
            egress, ingress = (
                tuple(each.key for each in isolating_policies(self._snapshot, pod, direction))
                for direction in (Direction.EGRESS, Direction.INGRESS)
            )
            found = _Labelled(
                isolated=(egress, ingress),
                peers=frozenset(
                    peer
                    for peer in self._pod_peers
                    if refuse_pod_peer(self._snapshot, peer, address) is None
                ),
            )
            self._labelled[same] = found
        return found


class _Blocks:
    """Which blocks hold an address; looked up once between two places where one begins or ends."""

    def __init__(self, blocks: Iterable[IPBlock]) -> None:
        self._blocks = tuple(blocks)
        cidrs = {cidr for each in self._blocks for cidr in (each.cidr, *each.excepts)}
        self._edges: dict[Family, Sequence[int]] = {
            family: sorted(
                {
                    edge
                    for cidr in cidrs
                    if cidr.family is family
                    for edge in (cidr.first, cidr.last + 1)
                }
            )
            for family in Family
        }
        self._known: dict[tuple[Family, int], frozenset[Peer]] = {}

    def holding(self, address: Address) -> frozenset[Peer]:
        stretch = bisect_right(self._edges[address.family], address.value)
        found = self._known.get((address.family, stretch))
        if found is None:
            found = frozenset(each for each in self._blocks if refuse_block(each, address) is None)
            self._known[address.family, stretch] = found
        return found


def _label_keys(snapshot: Snapshot, peers: Iterable[PodPeer]) -> frozenset[str]:
    """The labels of pods that any selector looks at."""
    selectors = [each.subject for each in snapshot.policies.values()]
    selectors += [each.pods for each in peers]
    return frozenset(each.key for selector in selectors for each in selector.requirements)


def _names_of(rules: Iterable[PolicyRule]) -> Iterable[NamedPort]:
    return (port for rule in rules for port in rule.ports if isinstance(port, NamedPort))


def _number_of(pod: Pod, name: NamedPort) -> int | None:
    """The number behind a name on a pod: the first of that name and protocol counts (S36)."""
    for declared in pod.ports:
        if declared.name == name.name and declared.protocol is name.protocol:
            return declared.number
    return None
