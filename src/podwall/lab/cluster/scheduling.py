"""Which node a pod goes to, and which addresses it gets there; pure but for what it remembers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from podwall.lab.cluster.things import Thing
from podwall.model.net import Address, Cidr, Family
from podwall.model.objects import Node


def choose_node(pod: Thing, nodes: Sequence[Thing], load: Mapping[str, int]) -> str:
    """The node with the fewest pods of those that the pod may run on; empty if there is none.

    A pod may run on nodes that have the labels of its ``nodeSelector`` and are not cordoned off.
    """
    wanted = pod["spec"].get("nodeSelector") or {}
    fitting = [each["metadata"]["name"] for each in nodes if _takes(each, wanted)]
    return min(fitting, key=lambda name: load.get(name, 0), default="")


def _takes(node: Thing, wanted: Mapping[str, str]) -> bool:
    labels = node["metadata"].get("labels") or {}
    cordoned = (node.get("spec") or {}).get("unschedulable")
    return not cordoned and all(labels.get(key) == value for key, value in wanted.items())


class AddressPool:
    """The pod addresses of one node: handed out in turn, so that none is used again soon."""

    def __init__(self, node: Node, families: Sequence[Family]) -> None:
        self._ranges = {
            family: [each for each in node.pod_cidrs if each.family is family]
            for family in families
        }
        self._last: dict[Family, int] = {}

    def take(self, used: Collection[Address]) -> tuple[Address, ...] | None:
        """A free address of each family, or ``None`` if one has none left."""
        found: list[Address] = []
        for family, ranges in self._ranges.items():
            address = self._next(family, ranges, used)
            if address is None:
                return None
            found.append(address)
        for address in found:
            self._last[address.family] = address.value
        return tuple(found)

    def _next(
        self, family: Family, ranges: Sequence[Cidr], used: Collection[Address]
    ) -> Address | None:
        last = self._last.get(family, -1)
        candidates = (*_after(family, ranges, last), *_upto(family, ranges, last))
        for values in candidates:
            for value in values:
                if (address := Address(family, value)) not in used:
                    return address
        return None


def _after(family: Family, ranges: Sequence[Cidr], last: int) -> Iterator[range]:
    for cidr in ranges:
        yield range(max(_first(cidr), last + 1), _end(family, cidr))


def _upto(family: Family, ranges: Sequence[Cidr], last: int) -> Iterator[range]:
    for cidr in ranges:
        yield range(_first(cidr), min(_end(family, cidr), last + 1))


def _first(cidr: Cidr) -> int:
    """Neither the network's own address nor the next one, which is the gateway's on a bridge."""
    return cidr.first + 2


def _end(family: Family, cidr: Cidr) -> int:
    """The last IPv4 address is for broadcasts."""
    return cidr.last if family is Family.V4 else cidr.last + 1
