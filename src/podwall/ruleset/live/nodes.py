"""The addresses of the nodes: some lie in a pod range, as those of bridges and tunnels do (S48)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from podwall.cluster.state import ClusterState
from podwall.model.net import Address


class NodeAddresses:
    """The addresses of all nodes that are known: a container of addresses."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._by_node: dict[str, tuple[Address, ...]] = {}
        self._count: Counter[Address] = Counter()
        self.update({each.name for each in state.nodes()})

    def __contains__(self, address: object) -> bool:
        return address in self._count

    def __iter__(self) -> Iterator[Address]:
        return iter(self._count)

    def update(self, names: Iterable[str]) -> set[Address]:
        """Follow nodes that changed; gives the addresses that they had or have."""
        touched: set[Address] = set()
        for name in names:
            node = self._state.node(name)
            before = self._by_node.pop(name, ())
            after = () if node is None else node.addresses
            if node is not None:
                self._by_node[name] = after
            self._count.update(after)
            self._count.subtract(before)
            touched.update(before, after)
        for address in touched:
            if not self._count[address]:
                del self._count[address]
        return touched
