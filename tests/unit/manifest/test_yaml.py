"""YAML as Kubernetes reads it."""

from __future__ import annotations

import math

import pytest

from podwall.manifest.document import Document, Unreadable
from podwall.manifest.yaml_text import read_yaml


def parse(text: str) -> object:
    (document,) = read_yaml(text)
    assert isinstance(document, Document), document
    return document.data


def fault(text: str) -> Unreadable:
    (document,) = read_yaml(text)
    assert isinstance(document, Unreadable), document
    return document


@pytest.mark.parametrize("word", ["yes", "Yes", "on", "ON", "y", "Y", "true", "True"])
def test_yaml_1_1_words_for_true_are_booleans_as_in_kubernetes(word: str) -> None:
    assert parse(f"a: {word}") == {"a": True}


@pytest.mark.parametrize("word", ["no", "off", "n", "N", "FALSE"])
def test_yaml_1_1_words_for_false_are_booleans_as_in_kubernetes(word: str) -> None:
    assert parse(f"a: {word}") == {"a": False}


@pytest.mark.parametrize(
    "text", ["2024-05-01", "2024-05-01T10:00:00Z", "1:30", "190:20:30", "yEs", "=", "1.2.3", "0x"]
)
def test_dates_times_and_the_like_stay_text(text: str) -> None:
    assert parse(f"a: {text}") == {"a": text}


@pytest.mark.parametrize("text", ["", "~", "null", "NULL"])
def test_nothing_is_null(text: str) -> None:
    assert parse(f"a: {text}") == {"a": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("80", 80),
        ("-1", -1),
        ("+1", 1),
        ("0", 0),
        ("010", 8),
        ("0o10", 8),
        ("0x1F", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("08", 8.0),
        ("1e3", 1000.0),
        ("12e4", 120000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", float(2**64)),
    ],
)
def test_numbers_are_what_they_are_to_kubernetes(text: str, value: float) -> None:
    found = parse(f"a: {text}")
    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value)


def test_a_number_out_of_all_bounds_is_text() -> None:
    assert parse("a: 1e999") == {"a": "1e999"}
    assert parse(f"a: {'9' * 5000}") == {"a": "9" * 5000}


def test_special_floats_are_numbers() -> None:
    found = parse("[.nan, .inf, -.inf]")
    assert isinstance(found, list)
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf]


@pytest.mark.parametrize("text", ["'yes'", '"80"', "!!str 80", "|-\n  80"])
def test_quotes_blocks_and_tags_make_text(text: str) -> None:
    found = parse(f"a: {text}")
    assert isinstance(found, dict)
    assert isinstance(found["a"], str)


def test_keys_become_text_as_in_json() -> None:
    assert parse("{on: 1, 80: 2, 1.5: 3, 'x': 4}") == {"true": 1, "80": 2, "1.5": 3, "x": 4}


@pytest.mark.parametrize("text", ["? [a]\n: b", "? {a: b}\n: c", "~: a"])
def test_keys_that_json_cannot_have_are_errors(text: str) -> None:
    assert fault(text).expected == "expected a string"


def test_merge_keys_fill_in_what_is_not_there() -> None:
    text = "base: &base {a: 1, b: 2}\nother: &other {b: 3, c: 4}\nx: {<<: [*base, *other], a: 5}"
    found = parse(text)
    assert isinstance(found, dict)
    assert found["x"] == {"a": 5, "b": 2, "c": 4}


def test_a_quoted_merge_key_is_a_key() -> None:
    assert parse("'<<': {a: b}") == {"<<": {"a": "b"}}


def test_merging_something_else_is_an_error() -> None:
    assert fault("<<: 5").found == "<< merges something else"


def test_anchors_and_aliases_repeat_values() -> None:
    assert parse("a: &x [1, 2]\nb: *x") == {"a": [1, 2], "b": [1, 2]}


def test_an_alias_that_contains_itself_is_an_error() -> None:
    assert fault("a: &a [*a]").found == "an alias contains itself"


def test_an_alias_bomb_is_refused_before_it_goes_off() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
    )
    assert "aliases expand" in fault(bomb).found


def test_aliases_cannot_nest_deeper_than_values_may() -> None:
    tower = "a0: &a0 x\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 400))
    assert fault(tower).found == "aliases nest values too deeply"


@pytest.mark.parametrize(
    "text", ["!custom a", "!!python/object:os.system a", "!x {a: b}", "!!set {a}"]
)
def test_unknown_tags_are_errors(text: str) -> None:
    assert "is not known" in fault(text).found


def test_repeated_keys_are_listed_with_their_path() -> None:
    (document,) = read_yaml("a:\n- b: 1\n  c: 2\n  b: 3\n")
    assert isinstance(document, Document)
    assert document.data == {"a": [{"b": 3, "c": 2}]}
    assert document.repeated == (("a", 0, "b"),)
    assert document.locate(("a", 0, "b")) == 4


def test_several_documents_keep_their_lines() -> None:
    first, second = read_yaml("a: 1\n...\n---\n\nb: 2\n", 10)
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert first.locate(("a",)) == 10
    assert second.locate(("b",)) == 14


def test_the_line_of_a_merged_field_is_where_it_stands() -> None:
    (document,) = read_yaml("base: &base\n  a: 1\nx:\n  <<: *base\n")
    assert isinstance(document, Document)
    assert document.locate(("x", "a")) == 2
