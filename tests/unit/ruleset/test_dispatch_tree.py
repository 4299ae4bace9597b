"""The tree of dispatch chains when it is written again and again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podwall.model.net import Address, Cidr, Family
from podwall.model.policy import Direction
from podwall.ruleset.dispatch import Dispatch, DispatchEntry, Subtree, lower
from podwall.ruleset.ir import Chain, Goto, MatchAddress
from tests.builders import addr, net

BASE = addr("10.1.0.0").value


def dispatch(values: dict[int, str | None], guarded: tuple[Cidr, ...]) -> Dispatch:
    entries = [DispatchEntry(Address(Family.V4, BASE + each), to) for each, to in values.items()]
    return Dispatch(Direction.INGRESS, Family.V4, tuple(entries), guarded)


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, 400), st.sampled_from((None, "PW-i-a", "PW-i-b"))),
            st.sampled_from(((), (net("10.1.0.0/24"),), (net("10.1.0.0/16"), net("10.1.1.0/24")))),
        ),
        min_size=2,
        max_size=4,
    )
)
def test_a_tree_that_reuses_its_parts_is_the_one_that_is_written_anew(
    versions: list[tuple[dict[int, str | None], tuple[Cidr, ...]]],
) -> None:
    made: dict[str, Subtree] = {}
    values: dict[int, str | None] = {}
    for changes, guarded in versions:
        values |= changes
        wanted = dispatch(values, guarded)
        assert lower(wanted, made) == lower(wanted)


def test_only_the_chains_on_the_way_to_an_entry_that_changed_are_written_anew() -> None:
    made: dict[str, Subtree] = {}
    values: dict[int, str | None] = dict.fromkeys(range(200), "PW-i-a")
    guarded = (net("10.1.0.0/24"),)
    before = {chain.name: chain for chain in lower(dispatch(values, guarded), made)}
    after = lower(dispatch(values | {33: "PW-i-b"}, guarded), made)
    anew = [chain.name for chain in after if chain is not before[chain.name]]
    assert anew == ["PW-in-10.1.0.0-24", "PW-in-10.1.0.32-28"]


def test_s48_what_lies_in_a_guarded_range_is_led_there_also_if_ranges_overlap() -> None:
    guarded = (net("10.1.0.0/16"), net("10.1.0.0/24"))
    [root, *_] = lower(dispatch({3: "PW-i-a", 300: "PW-i-b"}, guarded))
    assert branches(root) == ["10.1.0.0/16", "10.1.0.0/24"]


def branches(chain: Chain) -> list[str]:
    """The blocks that a chain tells apart."""
    return [
        str(match.cidr)
        for rule in chain.rules
        if isinstance(rule.target, Goto)
        for match in rule.matches
        if isinstance(match, MatchAddress)
    ]
