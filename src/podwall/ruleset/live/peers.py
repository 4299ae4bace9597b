"""The addresses of watched peers, remembered while one change is worked out.

Many sets name the same wide peers, such as a team's namespaces, and both families ask for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from podwall.cluster.state import ClusterState
from podwall.model.net import Address, Family
from podwall.model.policy import PodPeer

MOST_ADDRESSES = 300_000
"""So many addresses are remembered at most; those of the peers that came first are forgotten."""


class PeerAddresses:
    """Asks the cluster state for the members of watched peers, each once until :meth:`forget`."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._found: dict[PodPeer, Mapping[Family, frozenset[Address]]] = {}
        self._size = 0

    def union(self, peers: Iterable[PodPeer], family: Family) -> frozenset[Address]:
        """The addresses of one family of all ``peers`` together."""
        parts = [self._of(each)[family] for each in peers]
        return parts[0] if len(parts) == 1 else frozenset().union(*parts)

    def forget(self) -> None:
        """Forget everything: the cluster is about to change."""
        self._found = {}
        self._size = 0

    def _of(self, peer: PodPeer) -> Mapping[Family, frozenset[Address]]:
        found = self._found.get(peer)
        if found is None:
            members = self._state.members(peer)
            found = {
                family: frozenset(each for each in members if each.family is family)
                for family in Family
            }
            self._found[peer] = found
            self._size += len(members)
            self._make_room()
        return found

    def _make_room(self) -> None:
        while self._size > MOST_ADDRESSES and len(self._found) > 1:
            oldest = self._found.pop(next(iter(self._found)))
            self._size -= sum(map(len, oldest.values()))
