"""Label selectors: what they match (S17), and that equal meanings are equal values."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given

from podwall.model.selector import EVERYTHING, Operator, Requirement, Selector, selector
from tests import strategies
from tests.builders import labels, need


@pytest.mark.parametrize(
    ("requirement", "matched"),
    [
        (need("k", Operator.IN, "a"), {"a": True, "b": False, "": False, None: False}),
        (need("k", Operator.IN, "a", "b"), {"a": True, "b": True, "": False, None: False}),
        (need("k", Operator.IN, ""), {"a": False, "b": False, "": True, None: False}),
        (need("k", Operator.NOT_IN, "a"), {"a": False, "b": True, "": True, None: True}),
        (need("k", Operator.NOT_IN, "a", "b"), {"a": False, "b": False, "": True, None: True}),
        (need("k", Operator.NOT_IN, ""), {"a": True, "b": True, "": False, None: True}),
        (need("k", Operator.EXISTS), {"a": True, "b": True, "": True, None: False}),
        (need("k", Operator.DOES_NOT_EXIST), {"a": False, "b": False, "": False, None: True}),
    ],
)
def test_s17_each_operator_reads_values_empty_values_and_missing_keys(
    requirement: Requirement, matched: dict[str | None, bool]
) -> None:
    for value, expected in matched.items():
        carried = {"other": "a"} if value is None else {"other": "a", "k": value}
        assert requirement.matches(carried) == expected, value


def test_s17_match_labels_with_an_empty_value_does_not_match_a_missing_key() -> None:
    assert not labels({"k": ""}).matches({})
    assert labels({"k": ""}).matches({"k": ""})


def test_all_requirements_must_hold() -> None:
    both = labels({"a": "1"}, need("b", Operator.EXISTS))
    assert both.matches({"a": "1", "b": ""})
    assert not both.matches({"a": "1"})
    assert not both.matches({"b": ""})


def test_contradicting_requirements_match_nothing() -> None:
    impossible = labels(None, need("a", Operator.EXISTS), need("a", Operator.DOES_NOT_EXIST))
    assert not impossible.matches({})
    assert not impossible.matches({"a": "1"})


@given(strategies.label_sets())
def test_the_empty_selector_matches_everything(carried: Mapping[str, str]) -> None:
    assert EVERYTHING.matches(carried)
    assert selector() == EVERYTHING == labels({})


def test_match_labels_and_a_single_in_are_the_same_value() -> None:
    assert labels({"a": "1"}) == labels(None, need("a", Operator.IN, "1"))
    assert hash(labels({"a": "1"})) == hash(labels(None, need("a", Operator.IN, "1")))


def test_order_and_repetition_do_not_make_another_selector() -> None:
    one = labels({"a": "1"}, need("b", Operator.NOT_IN, "y", "x", "y"))
    other = labels(None, need("b", Operator.NOT_IN, "x", "y"), need("a", Operator.IN, "1", "1"))
    assert one == other


@given(strategies.selectors(), strategies.label_sets())
def test_the_normal_form_means_the_same(wanted: Selector, carried: Mapping[str, str]) -> None:
    again = selector(None, reversed(wanted.requirements))
    assert again == wanted
    assert again.matches(carried) == wanted.matches(carried)


@given(strategies.selectors(), strategies.selectors())
def test_sort_keys_tell_different_selectors_apart(one: Selector, other: Selector) -> None:
    assert (one.sort_key == other.sort_key) == (one == other)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (labels(), "(everything)"),
        (labels({"app": "web"}), "app=web"),
        (labels(None, need("app", Operator.IN, "web", "db")), "app in (db, web)"),
        (labels(None, need("app", Operator.NOT_IN, "web")), "app!=web"),
        (labels(None, need("app", Operator.NOT_IN, "web", "db")), "app notin (db, web)"),
        (labels(None, need("app", Operator.EXISTS)), "app"),
        (labels(None, need("app", Operator.DOES_NOT_EXIST)), "!app"),
        (labels({"app": "web"}, need("tier", Operator.EXISTS)), "app=web,tier"),
    ],
)
def test_a_selector_is_written_as_kubectl_takes_it(wanted: Selector, text: str) -> None:
    assert str(wanted) == text
