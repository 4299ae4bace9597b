"""Counts by key: how often, when first and last, and a bound."""

from __future__ import annotations

from podwall.agent.denied.tally import Count, Tally


def shown(tally: Tally[str]) -> dict[str, tuple[int, float, float]]:
    return {key: (each.count, each.first, each.last) for key, each in tally.items()}


def test_a_key_has_its_count_and_the_first_and_the_last_time() -> None:
    tally: Tally[str] = Tally(10)
    for key, when in (("a", 5.0), ("b", 6.0), ("a", 9.0), ("a", 4.0)):
        tally.add(key, when)
    assert shown(tally) == {"a": (3, 4.0, 9.0), "b": (1, 6.0, 6.0)}


def test_of_too_many_keys_the_one_not_seen_for_the_longest_is_forgotten_and_its_count_kept() -> (
    None
):
    tally: Tally[str] = Tally(2)
    for key in ("a", "b", "b", "a", "c"):
        tally.add(key, 0.0)
    assert list(shown(tally)) == ["a", "c"]
    assert tally.forgotten == 2


def test_what_was_counted_before_is_added_to() -> None:
    tally: Tally[str] = Tally(2)
    tally.put("a", Count(7, 1.0, 2.0))
    tally.add("a", 3.0)
    assert shown(tally) == {"a": (8, 1.0, 3.0)}


def test_what_is_dropped_is_gone_with_its_count() -> None:
    tally: Tally[str] = Tally(3)
    for key in "abc":
        tally.add(key, 0.0)
    assert tally.drop(lambda key: key != "b") == 2
    assert (list(shown(tally)), tally.forgotten) == (["b"], 0)
