"""Rows and columns that say the same, put together, so that a large matrix stays readable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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
    sources = tuple(_agreeing(sources, targets, answers))
    cells: dict[tuple[int, int], str] = {}
    for row, source_group in enumerate(sources):
        for column, target_group in enumerate(targets):
            for text in _said(source_group, target_group, answers):
                cells[row, column] = text
    return Grid(sources, targets, cells)


def _agreeing(
    sources: Iterable[Group], targets: Iterable[Group], answers: Answers
) -> Iterator[Group]:
    """The sources, those apart again that say different things of one group of targets.

    Two names that are both asked about only each other agree with everybody they share, and yet one
    may reach the other and not be reached by it.
    """
    everyone = tuple(targets)
    for source in sources:
        if all(len(_said(source, target, answers)) <= 1 for target in everyone):
            yield source
        else:
            yield from (Group((member,)) for member in source.members)


def _said(source: Group, target: Group, answers: Answers) -> set[str]:
    return {
        answers[one, other]
        for one in source.members
        for other in target.members
        if (one, other) in answers
    }


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
