"""Gives pods from files what a scheduler and a network plugin would: a node and addresses.

Whatever the input states is kept; only what it leaves open is filled in. The result depends on
nothing but the input (pods are placed in the order of their keys, nodes in natural order), so that
rendered text can be compared and a picture looks the same tomorrow.

The defaults, each skipping what the input already uses:

=====================  ========================  ==========================
What                   IPv4                      IPv6
=====================  ========================  ==========================
pods of the n-th node  ``10.244.<n>.0/24``       ``fd00:10:244:<n>::/64``
the n-th node itself   ``192.168.88.<n>``        ``fd00:88::<n>``
=====================  ========================  ==========================
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from podwall.cluster.podnames import generated_name
from podwall.errors import InputError
from podwall.model.net import Address, Cidr, Family, parse_cidr
from podwall.model.objects import Node, Phase, Pod, PodKey

FALLBACK_NODE = "node-1"
"""The node of a cluster in which nothing names one."""

_POD_POOL = {Family.V4: parse_cidr("10.244.0.0/14"), Family.V6: parse_cidr("fd00:10:244::/48")}
_POD_PREFIX = {Family.V4: 24, Family.V6: 64}
_NODE_POOL = {Family.V4: parse_cidr("192.168.88.0/21"), Family.V6: parse_cidr("fd00:88::/112")}
_DAEMON_SET = "DaemonSet/"
_DIGITS = re.compile(r"(\d+)", re.ASCII)


def place(
    pods: Iterable[Pod],
    nodes: Iterable[Node] = (),
    *,
    node_names: Sequence[str] | None = None,
    families: Sequence[Family] = (Family.V4,),
) -> tuple[tuple[Pod, ...], tuple[Node, ...]]:
    """Place pods on nodes and give both the addresses that they lack.

    Pods without a node go to the node whose range holds their address, else around the nodes in
    turn: those of ``node_names``, or without them all that the input declares or names, or
    :data:`FALLBACK_NODE`. Pods of a DaemonSet without a node become one for each node. Pods that
    are terminated or pending get nothing: a cluster that has not given them an address means it.

    Returns:
        The pods in the order of the input, and all nodes in natural order, each with its addresses
        and pod ranges of ``families``.

    Raises:
        InputError: a default range is used up.
    """
    return _Placement(tuple(pods), tuple(nodes), node_names, tuple(families)).run()


class _Placement:
    """One run of :func:`place`."""

    def __init__(
        self,
        pods: tuple[Pod, ...],
        nodes: tuple[Node, ...],
        node_names: Sequence[str] | None,
        families: tuple[Family, ...],
    ) -> None:
        self._families = families
        named = {pod.node for pod in pods if pod.node} | {node.name for node in nodes}
        chosen = list(dict.fromkeys(node_names or ())) or sorted(named, key=_natural)
        self._targets = chosen or [FALLBACK_NODE]
        names = sorted(named.union(self._targets), key=_natural)
        declared = {node.name: node for node in nodes}
        pool = _Pool(pods, nodes)
        self._nodes = {
            name: _NodeAddresses(declared.get(name, Node(name)), families, pool) for name in names
        }
        self._pods = tuple(itertools.chain.from_iterable(map(self._expand, pods)))

    def run(self) -> tuple[tuple[Pod, ...], tuple[Node, ...]]:
        placed: dict[PodKey, Pod] = {}
        turns = itertools.cycle(self._targets)
        for pod in sorted(self._pods, key=lambda each: each.key):
            placed[pod.key] = self._with_addresses(self._with_node(pod, turns))
        pods = tuple(placed[key] for key in dict.fromkeys(pod.key for pod in self._pods))
        return pods, tuple(node.finish() for node in self._nodes.values())

    def _expand(self, pod: Pod) -> Iterator[Pod]:
        """One pod for each node if a DaemonSet runs it; the first keeps the name."""
        if not pod.workload.startswith(_DAEMON_SET) or pod.node or not _is_open(pod):
            yield pod
            return
        stem = pod.key.name.rpartition("-")[0] or pod.key.name
        for index, node in enumerate(self._targets):
            name = generated_name(f"{stem}-", f"{pod.key} on {node}") if index else pod.key.name
            key = PodKey(pod.key.namespace, name)
            yield msgspec.structs.replace(pod, key=key, node=node)

    def _with_node(self, pod: Pod, turns: Iterator[str]) -> Pod:
        if pod.node or not (pod.addresses or _is_open(pod)):
            return pod
        home = next(
            (
                name
                for address in pod.addresses
                for name, node in self._nodes.items()
                if node.holds(address)
            ),
            None,
        )
        return msgspec.structs.replace(pod, node=home or next(turns))

    def _with_addresses(self, pod: Pod) -> Pod:
        if not _is_open(pod):
            return pod
        node = self._nodes[pod.node]
        if pod.host_network:
            addresses = node.own_addresses(self._families)
        else:
            addresses = tuple(node.take(family) for family in self._families)
        return msgspec.structs.replace(pod, addresses=addresses)


def _is_open(pod: Pod) -> bool:
    """Whether the input leaves the pod's addresses to us."""
    return not pod.addresses and pod.phase is Phase.RUNNING


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts node-2 before node-10."""
    parts = _DIGITS.split(name)
    return tuple(
        (int(part), part) if part.isdecimal() and len(part) < 20 else (-1, part) for part in parts
    )


class _Pool:
    """The default ranges, and everything that the input already uses."""

    def __init__(self, pods: Iterable[Pod], nodes: Sequence[Node]) -> None:
        self.used = {address for pod in pods for address in pod.addresses}
        # A block that some pod's address lies in is that pod's node's, whoever that may be.
        self._taken = {_block_of(address) for address in self.used}
        self.used.update(address for node in nodes for address in node.addresses)
        self._ranges = [cidr for node in nodes for cidr in node.pod_cidrs]
        self._pod_blocks = {family: _blocks(family) for family in Family}
        self._node_values = {family: _node_values(family) for family in Family}

    def pod_range(self, family: Family) -> Cidr:
        """A block for pods that overlaps none that the input declares."""
        for block in self._pod_blocks[family]:
            declared = any(block.covers(each) or each.covers(block) for each in self._ranges)
            if not declared and block not in self._taken:
                return block
        raise InputError(f"too many pods: the default range {_POD_POOL[family]} is used up")

    def node_address(self, family: Family) -> Address:
        """An address for a node."""
        for address in self._node_values[family]:
            if address not in self.used:
                self.used.add(address)
                return address
        raise InputError(f"too many nodes: the default range {_NODE_POOL[family]} is used up")


def _blocks(family: Family) -> Iterator[Cidr]:
    """Blocks of the pool from the second on, so that the n-th node gets number n."""
    pool, prefix = _POD_POOL[family], _POD_PREFIX[family]
    size = 1 << (family.bits - prefix)
    for first in range(pool.first + size, pool.last + 1, size):
        yield Cidr(family, first, prefix)


def _block_of(address: Address) -> Cidr:
    """The block of the size of a node's range that ``address`` lies in."""
    prefix = _POD_PREFIX[address.family]
    size = 1 << (address.family.bits - prefix)
    return Cidr(address.family, address.value // size * size, prefix)


def _node_values(family: Family) -> Iterator[Address]:
    """Host addresses; those that end in .0 and .255 look like a network's own."""
    pool = _NODE_POOL[family]
    for value in range(pool.first + 1, pool.last):
        if family is Family.V6 or value & 255 not in (0, 255):
            yield Address(family, value)


class _NodeAddresses:
    """A node with its addresses complete, and the free addresses of its pods."""

    def __init__(self, node: Node, families: Sequence[Family], pool: _Pool) -> None:
        self._pool = pool
        missing = [each for each in families if each not in {a.family for a in node.addresses}]
        ranged = {cidr.family for cidr in node.pod_cidrs}
        self._node = msgspec.structs.replace(
            node,
            addresses=(*node.addresses, *map(pool.node_address, missing)),
            pod_cidrs=(
                *node.pod_cidrs,
                *(pool.pod_range(family) for family in families if family not in ranged),
            ),
        )
        self._free = {family: self._hosts_of(family) for family in families}

    def _hosts_of(self, family: Family) -> Iterator[Address]:
        for cidr in self._node.pod_cidrs:
            if cidr.family is family:
                yield from _hosts(cidr)

    def holds(self, address: Address) -> bool:
        return any(address in cidr for cidr in self._node.pod_cidrs)

    def own_addresses(self, families: Sequence[Family]) -> tuple[Address, ...]:
        """The first address of each family."""
        first = {address.family: address for address in reversed(self._node.addresses)}
        return tuple(first[family] for family in families)

    def take(self, family: Family) -> Address:
        """The next free address; a node that runs out gets another range."""
        while True:
            for address in self._free[family]:
                if address not in self._pool.used:
                    self._pool.used.add(address)
                    return address
            extra = self._pool.pod_range(family)
            ranges = (*self._node.pod_cidrs, extra)
            self._node = msgspec.structs.replace(self._node, pod_cidrs=ranges)
            self._free[family] = _hosts(extra)

    def finish(self) -> Node:
        return self._node


def _hosts(cidr: Cidr) -> Iterator[Address]:
    """Addresses for pods: not the network's own, the gateway's, or the last one."""
    for value in range(cidr.first + 2, cidr.last):
        yield Address(cidr.family, value)
