"""Bundles say of every pair what its shift says, and of no other pair anything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podwall.explain.reach import EVERYTHING, NOTHING
from podwall.model.net import Family
from podwall.whatif.bundles import bundled
from podwall.whatif.outcome import Shift, Turn
from tests.builders import flow

_NAMES = st.sampled_from(["a/x", "a/y", "b/x", "b/y", "node/n", "8.8.8.8"])


def _shift(source: str, target: str, some: bool = False) -> Shift:
    return Shift(
        turn=Turn.OPENS,
        source=source,
        target=target,
        families=(Family.V4,),
        what=NOTHING if some else EVERYTHING,
        pairs=1,
        of=1,
        example=flow("10.0.0.1", "10.0.0.2"),
        example_source=source,
        example_target=target,
        causes=(),
    )


@given(st.dictionaries(st.tuples(_NAMES, _NAMES), st.booleans()))
def test_every_shift_is_in_one_bundle_and_nothing_else_is(pairs: dict) -> None:
    said: dict[tuple[str, str], bool] = {}
    for bundle in bundled([_shift(*each, some) for each, some in pairs.items()]):
        assert bundle.sources
        assert bundle.targets
        for source in bundle.sources:
            for target in bundle.targets:
                if source == target and source in bundle.not_itself:
                    continue
                assert (source, target) not in said
                said[source, target] = bundle.what == NOTHING
    assert said == pairs


def test_a_namespace_that_is_closed_is_one_line() -> None:
    names = [f"a/{number}" for number in range(9)]
    shifts = [_shift(one, other) for one in names for other in names if one != other]
    (bundle,) = bundled(shifts)
    assert bundle.sources == bundle.targets == bundle.not_itself == tuple(names)
