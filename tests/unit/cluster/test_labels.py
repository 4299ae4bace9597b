from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from podwall.cluster.labels import WORTH_INDEXING, LabelledObjects, SelectorTriggers
from podwall.model.selector import EVERYTHING, Operator, Selector, selector
from tests import strategies
from tests.builders import labels, need

LABEL_SETS = st.one_of(st.none(), strategies.label_sets())


class CountingSelectors:
    """Says which of many selectors a change of labels reaches."""

    def __init__(self, *selectors: Selector) -> None:
        self.triggers: SelectorTriggers[Selector] = SelectorTriggers()
        for each in selectors:
            self.triggers.add(each, each)


@given(st.dictionaries(st.integers(0, 5), strategies.label_sets()), strategies.selectors())
def test_find_gives_what_trying_every_object_gives(
    things: Mapping[int, Mapping[str, str]], wanted: Selector
) -> None:
    objects: LabelledObjects[int] = LabelledObjects()
    for key, each in things.items():
        objects.put(key, {"app": "before"})
        objects.put(key, each)
    assert sorted(objects.find(wanted)) == [
        key for key in sorted(things) if wanted.matches(things[key])
    ]


@given(st.lists(strategies.selectors(), max_size=6), LABEL_SETS, LABEL_SETS)
def test_every_selector_whose_answer_turns_is_affected(
    selectors: list[Selector], old: Mapping[str, str] | None, new: Mapping[str, str] | None
) -> None:
    affected = CountingSelectors(*selectors).triggers.affected(old, new)

    def answer(each: Selector, to: Mapping[str, str] | None) -> bool:
        return to is not None and each.matches(to)

    assert affected >= {each for each in selectors if answer(each, old) != answer(each, new)}
    if old == new:
        assert not affected


def test_s20_a_relabelled_pod_asks_only_the_selectors_that_name_its_old_or_new_value() -> None:
    many = [selector({"app": f"app-{number}"}) for number in range(1000)]
    other_key = selector({"tier": "x"})
    triggers = CountingSelectors(*many, other_key, EVERYTHING).triggers
    affected = triggers.affected({"app": "app-1", "tier": "x"}, {"app": "app-2", "tier": "x"})
    assert affected == {many[1], many[2]}


def test_existence_is_only_asked_when_a_key_comes_or_goes() -> None:
    exists = labels(None, need("app", Operator.EXISTS))
    triggers = CountingSelectors(exists).triggers
    assert not triggers.affected({"app": "x"}, {"app": "y"})
    assert triggers.affected({"app": "x"}, {}) == {exists}
    assert triggers.affected({}, {"app": "x"}) == {exists}


def test_s17_a_selector_of_absences_is_asked_about_every_new_object() -> None:
    lacks = labels(None, need("app", Operator.NOT_IN, "x"))
    triggers = CountingSelectors(lacks, selector({"app": "x"})).triggers
    assert triggers.affected(None, {}) == {lacks}


def test_a_discarded_selector_is_never_affected_again() -> None:
    wanted = selector({"app": "x"})
    triggers = CountingSelectors(wanted).triggers
    triggers.discard(wanted, wanted)
    assert not triggers.affected(None, {"app": "x"})


def test_a_forgotten_object_is_not_found() -> None:
    objects: LabelledObjects[str] = LabelledObjects()
    objects.put("a", {"app": "x"})
    objects.put("a", None)
    assert objects.find(EVERYTHING) == []
    assert objects.find(selector({"app": "x"})) == []
    assert objects.labels("a") is None
    assert len(objects) == 0


@given(
    st.lists(st.tuples(st.integers(0, 2 * WORTH_INDEXING), LABEL_SETS), max_size=30),
    strategies.selectors(),
)
def test_an_index_that_was_built_early_knows_all_that_came_later(
    updates: list[tuple[int, Mapping[str, str] | None]], wanted: Selector
) -> None:
    objects: LabelledObjects[int] = LabelledObjects()
    known: dict[int, Mapping[str, str] | None] = {}
    known.update((key, {"app": "x"}) for key in range(WORTH_INDEXING))
    for key, each in known.items():
        objects.put(key, each)
    objects.find(wanted)
    for key, change in updates:
        objects.put(key, change)
        known[key] = change
    assert sorted(objects.find(wanted)) == sorted(
        key for key, each in known.items() if each is not None and wanted.matches(each)
    )
