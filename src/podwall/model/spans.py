"""Arithmetic of spans: runs of whole numbers, both ends included.

Addresses and ports come as spans, and everybody needs the same of them: their union, what is left
without some, whether one lot has another. A *sorted* argument is what :func:`merged` gives, spans
in ascending order that neither overlap nor touch; lookups in it take logarithmic time, since one
policy may hold tens of thousands.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""First and last number, both included."""

_FIRST, _LAST = itemgetter(0), itemgetter(1)


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same numbers, sorted."""
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def without(spans: Iterable[Span], holes: Sequence[Span]) -> tuple[Span, ...]:
    """What is left of ``spans``, in their order, without the sorted ``holes``."""
    left: list[Span] = []
    for first, last in spans:
        start = first
        for index in range(bisect_left(holes, first, key=_LAST), len(holes)):
            hole_first, hole_last = holes[index]
            if hole_first > last:
                break
            if start < hole_first:
                left.append((start, hole_first - 1))
            start = hole_last + 1
        if start <= last:
            left.append((start, last))
    return tuple(left)


def contains(wide: Sequence[Span], narrow: Iterable[Span]) -> bool:
    """Whether sorted ``wide`` has every number of ``narrow``."""
    return all(_has(wide, span) for span in narrow)


def _has(wide: Sequence[Span], span: Span) -> bool:
    index = bisect_right(wide, span[0], key=_FIRST) - 1
    return index >= 0 and span[1] <= wide[index][1]


def intersects(some: Sequence[Span], others: Iterable[Span]) -> bool:
    """Whether sorted ``some`` has a number of ``others``."""
    return any(_touches(some, span) for span in others)


def _touches(some: Sequence[Span], span: Span) -> bool:
    index = bisect_left(some, span[0], key=_LAST)
    return index < len(some) and some[index][0] <= span[1]
