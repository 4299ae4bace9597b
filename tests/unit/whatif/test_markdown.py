"""A review comment says what matters, stays within its bounds, and shows names only as text."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from podwall.explain.reach import EVERYTHING
from podwall.model.net import Family
from podwall.model.policy import Direction
from podwall.whatif.markdown import MOST_CHARACTERS, code, render_markdown
from podwall.whatif.outcome import Cause, Outcome, Shift, Turn
from tests.builders import flow, pod_key

_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)", re.DOTALL)


def _shift(turn: Turn, source: str, target: str, why: str = "because") -> Shift:
    return Shift(
        turn=turn,
        source=source,
        target=target,
        families=(Family.V4,),
        what=EVERYTHING,
        pairs=1,
        of=1,
        example=flow("10.0.0.1", "10.0.0.2"),
        example_source=source,
        example_target=target,
        causes=(Cause(Direction.INGRESS, why),),
    )


def _large(count: int) -> Outcome:
    closes = tuple(
        _shift(Turn.CLOSES, f"ns/deployment/{'x' * 50}{n}", f"to/{n}", f"reason {n}")
        for n in range(count)
    )
    return Outcome(closes=closes, unchanged=1, pairs=count + 1)


def test_nothing_is_said_in_one_line() -> None:
    text = render_markdown(Outcome(unchanged=6, pairs=6))
    assert "neither opens nor closes" in text
    assert "6 pairs of workloads, nodes and hosts" in text
    assert "|" not in text


def test_what_opens_comes_before_what_closes() -> None:
    outcome = Outcome(
        opens=(_shift(Turn.OPENS, "a/x", "a/y"),),
        closes=(_shift(Turn.CLOSES, "a/y", "a/x"),),
        unchanged=0,
        pairs=2,
    )
    text = render_markdown(outcome)
    assert text.index("#### Opens (1)") < text.index("#### Closes (1)")
    assert "| `a/x` | `a/y` | `all` | `ingress: because` |" in text


def test_many_rows_are_folded() -> None:
    text = render_markdown(_large(30))
    assert text.count("<details>") == text.count("</details>") == 1
    assert "5 more rows" in text
    assert len(re.findall(r"^\| `", text, re.MULTILINE)) == 30


def test_a_change_of_everything_still_fits_and_says_what_is_left_out() -> None:
    text = render_markdown(_large(3000))
    assert len(text) <= MOST_CHARACTERS
    assert text.count("<details>") == text.count("</details>") == 1
    rows = len(re.findall(r"^\| `", text, re.MULTILINE))
    assert f"\n{3000 - rows} more rows had no room" in text
    assert rows > 200


def test_pods_that_come_and_go_are_told_apart_from_the_rest() -> None:
    outcome = Outcome(
        comes=(pod_key("a/new"),),
        arrivals=(_shift(Turn.OPENS, "a/new", "a/x"),),
        goes=(pod_key("a/old"),),
        unchanged=3,
        pairs=4,
    )
    text = render_markdown(outcome)
    assert "#### Comes with the change (1)\n\n`a/new`" in text
    assert "#### Goes with the change (1)\n\n`a/old`" in text
    assert "They can do what the other pods of their workloads can." in text


@given(st.text(max_size=400))
def test_a_name_is_one_code_span_of_one_line_that_ends_no_cell(name: str) -> None:
    text = code(name)
    assert len(text) < 1000
    assert not set(text) & set("|\\\r\n\t\x00\u202e\u2028")
    match = _SPAN.fullmatch(text)
    assert match is not None


@given(st.text(max_size=60), st.text(max_size=60))
def test_nothing_of_a_name_is_outside_of_code_spans(source: str, target: str) -> None:
    outcome = Outcome(opens=(_shift(Turn.OPENS, source, target, source),), pairs=1)
    plain = render_markdown(Outcome(opens=(_shift(Turn.OPENS, "s", "t", "s"),), pairs=1))
    assert _SPAN.sub("", render_markdown(outcome)) == _SPAN.sub("", plain)
