"""The connectivity matrix: what was expected, what happened, and where the two differ; pure.

A :class:`Matrix` names each party once and refers to it by index, so that a hundred thousand cells
stay small on their way from the lab to whoever prints them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from podwall.lab.topology import Endpoint, Kind, Outcome, Probe
from podwall.model.net import Protocol


class Party(msgspec.Struct, frozen=True):
    """One end of a probe, as reports need it; see :class:`~podwall.lab.topology.Endpoint`."""

    name: str
    kind: Kind
    addresses: tuple[str, ...]
    title: str = ""
    workload: str = ""

    @classmethod
    def of(cls, endpoint: Endpoint) -> Party:
        """The party that an endpoint is."""
        return cls(
            name=endpoint.name,
            kind=endpoint.kind,
            addresses=tuple(map(str, endpoint.addresses)),
            title=endpoint.title,
            workload=endpoint.workload,
        )


class Cell(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One probe: who (``src``, ``dst`` index parties), how, what was expected and what happened.

    ``family`` is the IP version, ``port`` is None for ICMP.
    """

    src: int
    dst: int
    family: int
    protocol: Protocol
    port: int | None
    expected: bool
    outcome: Outcome

    @property
    def happened(self) -> bool:
        """Whether the packet got there."""
        return self.outcome.reached

    @property
    def differs(self) -> bool:
        """Whether that is not what was expected; an answer from somebody else never is."""
        return self.expected != self.happened or self.outcome is Outcome.MISDIRECTED

    @property
    def service(self) -> str:
        """What was asked for: ``6379/tcp`` or ``icmp``."""
        return service_name(self.protocol, self.port)


CellKey = tuple[str, str, int, str]
"""Names of source and destination, IP version and service."""


class Change(msgspec.Struct, frozen=True):
    """A question whose answer changed between two matrices."""

    src: str
    dst: str
    family: int
    service: str
    before: bool
    after: bool


class Matrix(msgspec.Struct, frozen=True):
    """The cells of a run of probes."""

    parties: tuple[Party, ...]
    cells: tuple[Cell, ...]

    @property
    def differences(self) -> tuple[Cell, ...]:
        """The cells in which happened what was not expected."""
        return tuple(cell for cell in self.cells if cell.differs)

    @property
    def agrees(self) -> bool:
        """Whether everything happened as expected."""
        return not any(cell.differs for cell in self.cells)

    def key(self, cell: Cell) -> CellKey:
        """What a cell is about, independent of this matrix."""
        return (
            self.parties[cell.src].name,
            self.parties[cell.dst].name,
            cell.family,
            cell.service,
        )

    def to_dict(self) -> dict[str, object]:
        """The matrix as plain values, as ``-o json`` prints it."""
        return {
            "parties": [_party_dict(party) for party in self.parties],
            "cells": [self._cell_dict(cell) for cell in self.cells],
            "probes": len(self.cells),
            "differences": sum(cell.differs for cell in self.cells),
        }

    def _cell_dict(self, cell: Cell) -> dict[str, object]:
        return {
            "source": self.parties[cell.src].name,
            "destination": self.parties[cell.dst].name,
            "family": f"ipv{cell.family}",
            "protocol": cell.protocol.name.lower(),
            "port": cell.port,
            "expected": _word(cell.expected),
            "happened": _word(cell.happened),
            "outcome": cell.outcome.name.lower(),
            "differs": cell.differs,
        }


def build_matrix(
    probes: Sequence[Probe], expected: Sequence[bool], outcomes: Sequence[Outcome]
) -> Matrix:
    """Put probes, expectations and outcomes, which are in one order, together."""
    index: dict[str, int] = {}
    parties: list[Party] = []

    def number(endpoint: Endpoint) -> int:
        if endpoint.name not in index:
            index[endpoint.name] = len(parties)
            parties.append(Party.of(endpoint))
        return index[endpoint.name]

    cells = tuple(
        Cell(
            src=number(probe.src),
            dst=number(probe.dst),
            family=probe.family.value,
            protocol=probe.protocol,
            port=probe.port,
            expected=wanted,
            outcome=outcome,
        )
        for probe, wanted, outcome in zip(probes, expected, outcomes, strict=True)
    )
    return Matrix(tuple(parties), cells)


def changes(before: Matrix, after: Matrix) -> tuple[Change, ...]:
    """The questions that both matrices answer, and differently, in the order of ``after``."""
    known: Mapping[CellKey, Cell] = {before.key(cell): cell for cell in before.cells}
    return tuple(_changes(known, after))


def service_name(protocol: Protocol, port: int | None) -> str:
    """``6379/tcp``, or ``icmp`` in both families."""
    return "icmp" if port is None else f"{port}/{protocol.name.lower()}"


def _changes(known: Mapping[CellKey, Cell], after: Matrix) -> Iterable[Change]:
    for cell in after.cells:
        key = after.key(cell)
        old = known.get(key)
        if old is not None and old.happened != cell.happened:
            yield Change(*key, before=old.happened, after=cell.happened)


def _party_dict(party: Party) -> dict[str, object]:
    plain: dict[str, object] = {
        "name": party.name,
        "kind": party.kind.value,
        "addresses": list(party.addresses),
    }
    if party.title:
        plain["title"] = party.title
    if party.workload:
        plain["workload"] = party.workload
    return plain


def _word(allowed: bool) -> str:
    return "allowed" if allowed else "denied"
