"""A grid says of every pair what was answered, however its rows and columns are put together."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from podwall.explain.grouping import group

_NAMES = ("a", "b", "c", "d", "e")
_PAIRS = st.tuples(st.sampled_from(_NAMES), st.sampled_from(_NAMES))


@given(st.dictionaries(_PAIRS, st.sampled_from(("all", "-", "80/tcp"))))
@example({("n", "a"): "all", ("n", "b"): "all", ("a", "b"): "-", ("b", "a"): "all"})
def test_a_grid_says_of_every_pair_what_was_answered(answers: dict) -> None:
    names = list(dict.fromkeys(name for pair in answers for name in pair))
    grid = group(names, answers)
    found = {
        (source, target): text
        for (row, column), text in grid.cells.items()
        for source in grid.sources[row].members
        for target in grid.targets[column].members
        if (source, target) in answers
    }
    assert found == answers


def test_names_that_say_the_same_are_one_row_and_one_column() -> None:
    answers = {(one, other): "all" for one in "abc" for other in "abc" if one != other}
    grid = group("abc", answers)
    assert [each.members for each in grid.sources] == [("a", "b", "c")]
    assert grid.cells == {(0, 0): "all"}
