"""Spans of numbers against plain sets of numbers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from podwall.model.spans import Span, contains, intersects, merged, without

span = st.tuples(st.integers(0, 20), st.integers(0, 6)).map(
    lambda each: (each[0], each[0] + each[1])
)
spans = st.lists(span, max_size=6)


def numbers(some: Iterable[Span]) -> set[int]:
    return {number for first, last in some for number in range(first, last + 1)}


def test_spans_that_touch_become_one() -> None:
    assert merged([(5, 9), (0, 2), (3, 3)]) == ((0, 3), (5, 9))


def test_holes_split_a_span_and_may_reach_beyond_it() -> None:
    assert without([(0, 9)], [(2, 3), (5, 5), (9, 20)]) == ((0, 1), (4, 4), (6, 8))


def test_what_is_left_keeps_the_order_of_the_spans_and_loses_empty_ones() -> None:
    assert without([(8, 9), (0, 3), (7, 6)], [(2, 2)]) == ((8, 9), (0, 1), (3, 3))


@given(spans)
def test_merging_keeps_the_numbers_and_leaves_a_gap_between_spans(some: list[Span]) -> None:
    union = merged(some)
    assert numbers(union) == numbers(some)
    assert all(left[1] + 1 < right[0] for left, right in pairwise(union))


@given(spans, spans)
def test_without_is_the_difference(some: list[Span], holes: list[Span]) -> None:
    assert numbers(without(some, merged(holes))) == numbers(some) - numbers(holes)


@given(spans, spans)
def test_contains_and_intersects_are_those_of_sets(some: list[Span], others: list[Span]) -> None:
    wide = merged(some)
    assert contains(wide, merged(others)) == (numbers(others) <= numbers(some))
    assert intersects(wide, others) == bool(numbers(some) & numbers(others))
