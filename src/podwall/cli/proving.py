"""Promises proved by real packets, in a lab that is built for it and gone afterwards.

The oracle has judged already; here every pair of a promise is probed, and what a packet does
otherwise than the oracle says is told. That would be a defect of podwall, or of this machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import msgspec

from podwall.api import Cluster
from podwall.cli import options
from podwall.cli.output import err
from podwall.cluster.snapshot import Snapshot
from podwall.explain.ends import Service
from podwall.lab import client
from podwall.lab.engine import kernel_engine
from podwall.lab.matrix import Cell, CellKey
from podwall.lab.progress import ProgressBar
from podwall.lab.topology import Listen, Selection, Shape
from podwall.model.net import Address, Protocol
from podwall.promises.judging import Judge, Pair
from podwall.promises.model import Promise
from podwall.promises.spots import Spot

TOGETHER = 20_000
"""So many probes are sent as one run, even where not every one of them was asked for."""

MOST_TOLD = 5
"""So many differences of one promise are told."""


class Proof(msgspec.Struct, frozen=True):
    """What packets did for one promise.

    ``probes`` were sent; ``contrary`` says which of them did not do what the policies say.
    ``unproved`` pairs have an end that a lab cannot have.
    """

    probes: int = 0
    contrary: tuple[str, ...] = ()
    unproved: int = 0


def prove(
    cluster: Cluster, args: argparse.Namespace, promises: Sequence[Promise]
) -> tuple[Proof, ...]:
    """Build a lab of the cluster and probe what the promises mean; a proof for each of them.

    Raises:
        LabError: no lab can be built here.
        InputError: the cluster cannot be built.
        KernelError: the kernel refuses what it shall hold.
    """
    judge = Judge(cluster.snapshot, cluster.settings)
    pairs = [tuple(judge.pairs(each)) for each in promises]
    every = [pair for each in pairs for pair in each]
    if not every:
        return tuple(Proof() for _ in promises)
    names = _Names(cluster.snapshot)
    shape = Shape(
        families=tuple(options.families_of(args)),
        hosts=names.hosts(every),
        ports=tuple(sorted(_listens(every))),
    )
    engine = kernel_engine(cluster.settings, options.mode_of(args))
    with (
        ProgressBar(err()) as progress,
        client.start(cluster.snapshot, shape, engine, progress) as lab,
    ):
        cells: dict[CellKey, Cell] = {}
        for selection in _selections(pairs, names):
            matrix = lab.probe(selection, progress)
            cells |= {matrix.key(cell): cell for cell in matrix.cells}
    return tuple(_proof(each, cells, names) for each in pairs)


class _Names:
    """What the lab calls the ends."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._nodes = {
            address: f"node/{node.name}"
            for node in snapshot.nodes.values()
            for address in node.addresses
        }

    def name(self, spot: Spot) -> str:
        if spot.pod is not None:
            return str(spot.pod)
        return self._nodes.get(spot.address, str(spot.address))

    def hosts(self, pairs: Sequence[Pair]) -> tuple[Address, ...]:
        """The addresses that hosts outside have to have."""
        addresses = {spot.address for pair in pairs for spot in (pair.source, pair.target)}
        ranges = [each for node in self._snapshot.nodes.values() for each in node.pod_cidrs]
        return tuple(
            sorted(
                each
                for each in addresses
                if self._snapshot.owner(each) is None
                and each not in self._nodes
                and not any(each in cidr for cidr in ranges)
            )
        )


def _listens(pairs: Sequence[Pair]) -> set[Listen]:
    return {listen for pair in pairs if (listen := _listen(pair.service)) is not None}


def _listen(service: Service | None) -> Listen | None:
    if service is None or service.port is None:
        return None
    return Listen(service.protocol, service.port)


def _selections(pairs: Sequence[Sequence[Pair]], names: _Names) -> Iterator[Selection]:
    """All in one run, unless that would probe much that nobody asked about."""
    every = [pair for each in pairs for pair in each]
    together = _selection(every, names)
    if _size(together) <= TOGETHER:
        yield together
        return
    for each in pairs:
        if each:
            yield _selection(each, names)


def _selection(pairs: Sequence[Pair], names: _Names) -> Selection:
    anything = any(pair.service is None for pair in pairs)
    return Selection(
        sources=frozenset(names.name(pair.source) for pair in pairs),
        targets=frozenset(names.name(pair.target) for pair in pairs),
        ports=None if anything else frozenset(_listens(pairs)),
        icmp=any(pair.service and pair.service.protocol is Protocol.ICMP for pair in pairs),
    )


def _size(selection: Selection) -> int:
    ports = 8 if selection.ports is None else len(selection.ports) + selection.icmp
    return len(selection.sources or ()) * len(selection.targets or ()) * ports


def _proof(pairs: Sequence[Pair], cells: dict[CellKey, Cell], names: _Names) -> Proof:
    by_ends: dict[tuple[str, str, int], list[CellKey]] = {}
    for key in cells:
        by_ends.setdefault(key[:3], []).append(key)
    probes = unproved = 0
    contrary: list[str] = []
    for pair in pairs:
        ends = names.name(pair.source), names.name(pair.target), pair.family.value
        found = [
            key
            for key in by_ends.get(ends, ())
            if pair.service is None or key[3] == str(pair.service)
        ]
        probes += len(found)
        unproved += not found
        contrary += [_difference(key, cells[key]) for key in found if cells[key].differs]
    more = len(contrary) - MOST_TOLD
    told = [*contrary[:MOST_TOLD], f"and {more} more"] if more > 0 else contrary
    return Proof(probes, tuple(told), unproved)


def _difference(key: CellKey, cell: Cell) -> str:
    source, target, _family, service = key
    question = f"{source} → {target} {service}"
    if cell.happened and cell.expected:
        return f"{question} was answered by somebody else"
    if cell.happened:
        return f"{question} got through, though the policies deny it"
    return f"{question} did not get through, though the policies allow it"
