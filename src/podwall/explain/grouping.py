"""Rows and columns that say the same, put together, so that a large matrix stays readable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

Answers = Mapping[tuple[str, str], str]
"""What is written at (source, target); pairs that were not asked are missing."""


class Group(msgspec.Struct, frozen=True):
    """Names that stand in one row or column."""

    members: tuple[str, ...]


class Grid(msgspec.Struct, frozen=True):
    """A matrix in groups; ``cells`` has an entry for each pair of group indexes that was asked."""

    sources: tuple[Group, ...]
    targets: tuple[Group, ...]
    cells: Mapping[tuple[int, int], str]


def group(names: Sequence[str], answers: Answers) -> Grid:
    """Group sources and targets whose answers agree wherever both were asked."""
    sources = _merge(names, names, lambda source, target: answers.get((source, target)))
    targets = _merge(names, names, lambda target, source: answers.get((source, target)))
    cells: dict[tuple[int, int], str] = {}
    for row, source_group in enumerate(sources):
        for column, target_group in enumerate(targets):
            for source in source_group.members:
                for target in target_group.members:
                    if (source, target) in answers:
                        cells.setdefault((row, column), answers[source, target])
    return Grid(sources, targets, cells)


def _merge(
    names: Sequence[str], others: Sequence[str], answer: Callable[[str, str], str | None]
) -> tuple[Group, ...]:
    """Put each name into the first group that it does not contradict."""
    groups: list[tuple[list[str], dict[str, str]]] = []
    for name in names:
        row = {other: text for other in others if (text := answer(name, other)) is not None}
        if not row:
            continue
        for members, known in groups:
            shared = row.keys() & known.keys()
            # Groups without a single question in common would merge whatever they say.
            if shared and all(row[other] == known[other] for other in shared):
                members.append(name)
                known.update(row)
                break
        else:
            groups.append(([name], row))
    return tuple(Group(tuple(members)) for members, _ in groups)
