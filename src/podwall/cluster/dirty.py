"""What an event changed in the cluster.

Whoever holds a ruleset looks at a :class:`Dirty` to see whether a set gains members, a pod needs
other rules, or rules have to be made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from podwall.model.net import Address
from podwall.model.objects import PodKey
from podwall.model.policy import PodPeer, PolicyKey


class MemberDelta(msgspec.Struct, frozen=True):
    """Addresses that joined and left a watched peer; no address is in both."""

    added: frozenset[Address] = frozenset()
    removed: frozenset[Address] = frozenset()


class Dirty(msgspec.Struct, frozen=True):
    """What an event changed; false if nothing.

    ``addresses`` are those that now stand for another pod than before, for one, or for none.
    ``members`` holds the watched peers that gained or lost addresses, in sorted order.
    """

    pods: frozenset[PodKey] = frozenset()
    namespaces: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    policies: frozenset[PolicyKey] = frozenset()
    addresses: frozenset[Address] = frozenset()
    members: Mapping[PodPeer, MemberDelta] = {}

    def __bool__(self) -> bool:
        # Addresses and members only ever change along with a pod or a namespace.
        return bool(self.pods or self.namespaces or self.nodes or self.policies)


class Changes:
    """A :class:`Dirty` in the making; the sets are filled by the cluster state."""

    def __init__(self) -> None:
        self.pods: set[PodKey] = set()
        self.namespaces: set[str] = set()
        self.nodes: set[str] = set()
        self.policies: set[PolicyKey] = set()
        self.addresses: set[Address] = set()
        self._members: dict[PodPeer, dict[Address, bool]] = {}

    def member(self, peers: Iterable[PodPeer], address: Address, joined: bool) -> None:
        """Note that ``address`` joined or left ``peers``; the opposite note undoes it."""
        for peer in peers:
            delta = self._members.setdefault(peer, {})
            if delta.get(address, joined) is joined:
                delta[address] = joined
            else:
                del delta[address]

    def dirty(self) -> Dirty:
        """What was noted, frozen."""
        deltas = sorted(self._members.items(), key=lambda each: each[0].sort_key)
        return Dirty(
            pods=frozenset(self.pods),
            namespaces=frozenset(self.namespaces),
            nodes=frozenset(self.nodes),
            policies=frozenset(self.policies),
            addresses=frozenset(self.addresses),
            members={
                peer: MemberDelta(
                    frozenset(address for address, joined in delta.items() if joined),
                    frozenset(address for address, joined in delta.items() if not joined),
                )
                for peer, delta in deltas
                if delta
            },
        )
