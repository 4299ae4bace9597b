"""The sets of one family that rules name, with members that follow the cluster.

A set of pods takes over what :class:`~podwall.cluster.state.ClusterState` says of the peers that it
watches. A set of named ports looks again at the addresses and pods that changed. A set of blocks
never changes. Each set knows what it gained and lost since the kernel was last told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from podwall.cluster.dirty import Dirty
from podwall.cluster.state import ClusterState
from podwall.model.net import Address, Family
from podwall.model.policy import Direction, PodPeer
from podwall.policy.resolve import holds, named_ports
from podwall.ruleset.ir import AddressPort, IPSet, Member, SetRole
from podwall.ruleset.live.members import Members
from podwall.ruleset.live.peers import PeerAddresses
from podwall.ruleset.profile import PeerSet


class LiveSet:
    """A set, its members, and how many profiles of each direction name it.

    ``in_force`` are the directions whose rules in the kernel name it: none of a new set.
    """

    __slots__ = ("_ipset", "gained", "in_force", "lost", "members", "ports", "spec", "users")

    def __init__(self, spec: PeerSet) -> None:
        self.spec = spec
        self.members = Members(spec.ipset.members)
        self.users: Counter[Direction] = Counter()
        self.in_force: frozenset[Direction] = frozenset()
        self.gained: set[Member] = set()
        self.lost: set[Member] = set()
        self.ports: dict[Address, frozenset[AddressPort]] = {}
        self._ipset = spec.ipset

    @property
    def name(self) -> str:
        """The name of the set."""
        return self.spec.ipset.name

    @property
    def head(self) -> IPSet:
        """The set without its members."""
        return self.spec.ipset

    @property
    def directions(self) -> frozenset[Direction]:
        """The directions whose profiles name it now."""
        return frozenset(each for each, count in self.users.items() if count > 0)

    @property
    def size_in_kernel(self) -> int:
        """How many members the kernel has, as far as it was told."""
        return len(self.members) - len(self.gained) + len(self.lost)

    def fill(self, members: Iterable[Member]) -> None:
        """Give a new set its first members."""
        self.members = Members(members)

    def put(self, member: Member, present: bool) -> bool:
        """Make ``member`` one or none of the members; says whether that changes anything."""
        if not self.members.put(member, present):
            return False
        undone, done = (self.lost, self.gained) if present else (self.gained, self.lost)
        if member in undone:
            undone.discard(member)
        else:
            done.add(member)
        return True

    def ipset(self) -> IPSet:
        """The set with its members, as they are now."""
        members = self.members.frozen()
        if self._ipset.members is not members:
            self._ipset = msgspec.structs.replace(self.spec.ipset, members=members)
        return self._ipset

    def settle(self) -> None:
        """Take the kernel for told."""
        self.gained, self.lost = set(), set()
        self.in_force = self.directions


class LiveSets:
    """All sets of one family that some profile names.

    Attributes:
        fresh: those that the kernel does not have yet.
        gone: those that it has and that nothing names any more.
        touched: those that the kernel has and whose members or users changed.
    """

    def __init__(self, family: Family, state: ClusterState, peers: PeerAddresses) -> None:
        self._family = family
        self._state = state
        self._peers = peers
        self._by_name: dict[str, LiveSet] = {}
        self._by_peer: dict[PodPeer, set[LiveSet]] = {}
        self._named_by_peer: dict[PodPeer, set[LiveSet]] = {}
        self._named_for_many: set[LiveSet] = set()
        self.fresh: dict[str, LiveSet] = {}
        self.gone: dict[str, LiveSet] = {}
        self.touched: dict[str, LiveSet] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def member_count(self) -> int:
        """The members of all sets together."""
        return sum(len(live.members) for live in self._by_name.values())

    def acquire(self, spec: PeerSet, direction: Direction) -> LiveSet:
        """The set that ``spec`` describes, for one more profile of ``direction``."""
        found = self._by_name.get(spec.ipset.name)
        if found is None:
            found = self._make(spec)
            self._by_name[found.name] = self.fresh[found.name] = found
        elif found.name not in self.fresh:
            self.touched[found.name] = found
        found.users[direction] += 1
        return found

    def release(self, live: LiveSet, direction: Direction) -> bool:
        """One profile less names the set; without any it goes, and the answer is true."""
        live.users[direction] -= 1
        if live.directions:
            if live.name not in self.fresh:
                self.touched[live.name] = live
            return False
        del self._by_name[live.name]
        self.touched.pop(live.name, None)
        self._unwatch(live)
        if self.fresh.pop(live.name, None) is None:
            self.gone[live.name] = live
        return True

    def follow(self, dirty: Dirty) -> None:
        """Take over what changed in the cluster."""
        for peer, delta in dirty.members.items():
            for live in self._by_peer.get(peer, ()):
                self._join(live, delta.added)
                self._leave(live, delta.removed)
        if self._named_by_peer or self._named_for_many:
            self._follow_named_ports(dirty)

    def close(self) -> None:
        """Stop to follow the cluster."""
        for live in self._by_name.values():
            self._unwatch(live)
        self._by_name = {}

    def settle(self) -> None:
        """Take the kernel for told of everything."""
        for live in (*self.fresh.values(), *self.touched.values()):
            live.settle()
        self.fresh, self.gone, self.touched = {}, {}, {}

    def _join(self, live: LiveSet, addresses: Iterable[Address]) -> None:
        for address in addresses:
            if address.family is self._family:
                self._put(live, address, present=True)

    def _leave(self, live: LiveSet, addresses: Iterable[Address]) -> None:
        peers = live.spec.peers.pods
        for address in addresses:
            # What left one peer may be in another one of the same set.
            if address.family is self._family and (
                len(peers) == 1 or self._state.peers_of(address).isdisjoint(peers)
            ):
                self._put(live, address, present=False)

    def _put(self, live: LiveSet, member: Member, present: bool) -> None:
        if live.put(member, present) and live.name not in self.fresh:
            self.touched[live.name] = live

    def _follow_named_ports(self, dirty: Dirty) -> None:
        """Look again at each address that changed hands, whose pod changed, or that joined or left.

        An address that passes from pod to pod is in no delta if the same peers mean both.
        """
        concerned: dict[Address, set[LiveSet]] = {}
        for peer, delta in dirty.members.items():
            for live in self._named_by_peer.get(peer, ()):
                for address in (*delta.added, *delta.removed):
                    concerned.setdefault(address, set()).add(live)
        owned = (address for key in dirty.pods for address in self._state.owned(key))
        for address in {*dirty.addresses, *owned}:
            sets = concerned.setdefault(address, set())
            sets |= self._named_for_many
            for peer in self._state.peers_of(address):
                sets |= self._named_by_peer.get(peer, set())
        for address, sets in concerned.items():
            if address.family is self._family:
                for live in sets:
                    self._put_ports(live, address, self._ports_at(live, address))

    def _put_ports(self, live: LiveSet, address: Address, now: frozenset[AddressPort]) -> None:
        before = live.ports.pop(address, _NO_PORTS)
        if now:
            live.ports[address] = now
        for member in before - now:
            self._put(live, member, present=False)
        for member in now - before:
            self._put(live, member, present=True)

    def _ports_at(self, live: LiveSet, address: Address) -> frozenset[AddressPort]:
        """The members of a set of named ports that are about ``address`` (S37)."""
        owner = self._state.owner(address)
        pod = None if owner is None else self._state.pod(owner)
        if pod is None or not self._means(live, address):
            return _NO_PORTS
        return frozenset(
            AddressPort(address, protocol, number)
            for protocol, number in named_ports(pod, live.spec.names)
        )

    def _means(self, live: LiveSet, address: Address) -> bool:
        """Whether a set of named ports is about the pod at ``address``; blocks mean pods (S30)."""
        peers = live.spec.peers
        return (
            peers.everyone
            or any(holds(block, address) for block in peers.blocks)
            or not self._state.peers_of(address).isdisjoint(peers.pods)
        )

    def _make(self, spec: PeerSet) -> LiveSet:
        live = LiveSet(spec)
        for peer in spec.peers.pods:
            self._state.watch(peer)
        match spec.ipset.role:
            case SetRole.PEERS:
                for peer in spec.peers.pods:
                    self._by_peer.setdefault(peer, set()).add(live)
                live.fill(self._peers.union(spec.peers.pods, self._family))
            case SetRole.NAMED_PORTS:
                for peer in spec.peers.pods:
                    self._named_by_peer.setdefault(peer, set()).add(live)
                if spec.peers.everyone or spec.peers.blocks:
                    self._named_for_many.add(live)
                live.ports = {
                    address: ports
                    for address in self._candidates(spec)
                    if (ports := self._ports_at(live, address))
                }
                live.fill(port for ports in live.ports.values() for port in ports)
            case SetRole.BLOCKS | SetRole.CUT | SetRole.LOGGED:
                pass
        return live

    def _candidates(self, spec: PeerSet) -> Iterator[Address]:
        """The addresses that a set of named ports can be about."""
        if not (spec.peers.everyone or spec.peers.blocks):
            yield from self._peers.union(spec.peers.pods, self._family)
            return
        for pod in self._state.pods():
            for address in pod.addresses:
                if address.family is self._family:
                    yield address

    def _unwatch(self, live: LiveSet) -> None:
        for peer in live.spec.peers.pods:
            self._state.unwatch(peer)
            for index in (self._by_peer, self._named_by_peer):
                sets = index.get(peer)
                if sets is not None:
                    sets.discard(live)
                    if not sets:
                        del index[peer]
        self._named_for_many.discard(live)


_NO_PORTS: frozenset[AddressPort] = frozenset()
