"""What opens or closes alike, put together, so that a large change stays readable."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from podwall.explain.grouping import group
from podwall.explain.reach import Reach
from podwall.model.net import Family
from podwall.whatif.outcome import Cause, Shift


class Bundle(msgspec.Struct, frozen=True):
    """What is the same from each of ``sources`` to each of ``targets``.

    Those of ``not_itself`` are in both, and nothing changes from them to themselves. ``pairs`` of
    ``of`` pairs of pods, nodes and addresses are meant; ``example`` is one shift.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    families: tuple[Family, ...]
    what: Reach
    causes: tuple[Cause, ...]
    pairs: int
    of: int
    example: Shift
    not_itself: tuple[str, ...]


def bundled(shifts: Sequence[Shift]) -> tuple[Bundle, ...]:
    """Every shift once, those that say the same together, in the order of the targets."""
    alike: dict[object, list[Shift]] = {}
    for each in shifts:
        same = (each.families, each.what, each.causes, each.pairs == each.of)
        alike.setdefault(same, []).append(each)
    return tuple(bundle for lot in alike.values() for bundle in _rectangles(lot))


def _rectangles(shifts: Sequence[Shift]) -> list[Bundle]:
    """All pairs as few lists of sources times lists of targets."""
    found = {(each.source, each.target): each for each in shifts}
    names = list(dict.fromkeys(name for pair in found for name in pair))
    # A single pod is never asked about itself, so what it says there contradicts nobody.
    answers = {
        (source, target): "x" if (source, target) in found else ""
        for source in names
        for target in names
        if source != target or (source, target) in found
    }
    grid = group(names, answers)
    by_targets: dict[int, list[str]] = {}
    for (row, column), answer in grid.cells.items():
        if answer:
            by_targets.setdefault(column, []).extend(grid.sources[row].members)
    bundles = []
    for column, rows in sorted(by_targets.items()):
        columns = grid.targets[column].members
        # Who only has itself in common with the others is not one of them.
        sources = tuple(s for s in rows if any((s, t) in found for t in columns))
        targets = tuple(t for t in columns if any((s, t) in found for s in sources))
        mine = [found[each] for s in sources for t in targets if (each := (s, t)) in found]
        first = mine[0]
        bundles.append(
            Bundle(
                sources,
                targets,
                first.families,
                first.what,
                first.causes,
                sum(each.pairs for each in mine),
                sum(each.of for each in mine),
                first,
                tuple(s for s in sources if s in targets and (s, s) not in found),
            )
        )
    return bundles
