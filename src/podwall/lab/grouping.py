"""Make a large matrix small without leaving anything out; pure.

Sources that get the same answers everywhere are one column, destinations that answer everybody
alike one row, whatever they are called. What a pod says to itself is not compared, for otherwise no
two pods were alike. A lab of a hundred pods of five kinds so fits a screen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from podwall.lab.matrix import Cell, Matrix
from podwall.lab.topology import Kind
from podwall.model.net import PORT_PROTOCOLS, Protocol

ALLOWED = "✓"
DENIED = "·"
DIFFERENT = "✗"
ONLY = {4: "4", 6: "6"}
"""Marks of a cell; the last for what gets through in one family only."""

Answers: TypeAlias = dict[tuple[int, str], str]
"""The mark by destination (or group of sources) and service."""


class Group(msgspec.Struct, frozen=True):
    """Parties, by index, that are alike; they are of one kind."""

    members: tuple[int, ...]
    answers: Mapping[tuple[int, str], str]


class Grid(msgspec.Struct, frozen=True):
    """The grouped matrix: ``answers`` of destinations are by index of the source group."""

    sources: tuple[Group, ...]
    targets: tuple[Group, ...]

    def rows(self, target: int) -> list[tuple[tuple[str, ...], dict[int, str]]]:
        """What was asked of a group of destinations, with the mark for each group of sources.

        Services with the same marks are one row; TCP ports come first, ICMP last.
        """
        by_service: dict[str, dict[int, str]] = {}
        for (source, service), mark in self.targets[target].answers.items():
            by_service.setdefault(service, {})[source] = mark
        rows: list[tuple[tuple[str, ...], dict[int, str]]] = []
        for service in sorted(by_service, key=_service_order):
            marks = by_service[service]
            for index, (services, others) in enumerate(rows):
                if others == marks:
                    rows[index] = ((*services, service), others)
                    break
            else:
                rows.append(((service,), marks))
        return rows


def group(matrix: Matrix) -> Grid:
    """Group the sources of a matrix, then its destinations."""
    by_source: dict[int, Answers] = {}
    for (src, dst, service), mark in _marks(matrix).items():
        by_source.setdefault(src, {})[dst, service] = mark
    sources = _alike(matrix, by_source, lambda party: party)
    home = {party: number for number, each in enumerate(sources) for party in each.members}

    by_target: dict[int, Answers] = {}
    for number, each in enumerate(sources):
        for (dst, service), mark in each.answers.items():
            by_target.setdefault(dst, {})[number, service] = mark
    targets = _alike(matrix, by_target, lambda party: home.get(party, -1), same_services=True)
    return Grid(sources, targets)


def mark_of(cells: Sequence[Cell]) -> str:
    """The mark of one question in all families that it was asked in."""
    if any(cell.differs for cell in cells):
        return DIFFERENT
    through = [cell.family for cell in cells if cell.happened]
    if len(through) == len(cells):
        return ALLOWED
    return ONLY[through[0]] if through else DENIED


def _marks(matrix: Matrix) -> dict[tuple[int, int, str], str]:
    """The mark of every question but those that somebody asks itself, unless they went wrong."""
    cells: dict[tuple[int, int, str], list[Cell]] = {}
    for cell in matrix.cells:
        if cell.src != cell.dst or cell.differs:
            cells.setdefault((cell.src, cell.dst, cell.service), []).append(cell)
    return {key: mark_of(each) for key, each in cells.items()}


def _alike(
    matrix: Matrix,
    answers: Mapping[int, Answers],
    own: Callable[[int], int],
    *,
    same_services: bool = False,
) -> tuple[Group, ...]:
    """Put parties of one kind together whose answers agree wherever both have one.

    ``own`` tells under which number the answers that a party gives itself would stand: only these
    may be missing. Hosts outside stay alone, for each was chosen as an example of something else.
    """
    found: list[tuple[Kind, list[int], Answers]] = []
    for party, mine in sorted(answers.items()):
        kind = matrix.parties[party].kind
        fitting = [
            (members, theirs)
            for other_kind, members, theirs in found
            if kind is other_kind is not Kind.OUTSIDE
            and (not same_services or _services(mine) == _services(theirs))
            and _agree(mine, theirs, {own(each) for each in (party, *members)})
        ]
        if not fitting:
            found.append((kind, [party], dict(mine)))
            continue
        # Where the missing answers leave a choice, with the many rather than with the odd one.
        members, theirs = max(fitting, key=lambda each: len(each[0]))
        members.append(party)
        for key, mark in mine.items():
            theirs.setdefault(key, mark)
    return tuple(Group(tuple(members), theirs) for _, members, theirs in found)


def _agree(mine: Answers, theirs: Answers, themselves: set[int]) -> bool:
    if any(theirs.get(key, mark) != mark for key, mark in mine.items()):
        return False
    return all(other in themselves for (other, _) in mine.keys() ^ theirs.keys())


def _services(answers: Answers) -> set[str]:
    return {service for _, service in answers}


def _service_order(service: str) -> tuple[int, int]:
    port, _, protocol = service.partition("/")
    if not protocol:
        return len(PORT_PROTOCOLS), 0
    return PORT_PROTOCOLS.index(Protocol[protocol.upper()]), int(port)
