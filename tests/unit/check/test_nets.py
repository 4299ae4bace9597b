"""Finding networks that meet another, held against comparing each with each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podwall.check.nets import NetIndex
from podwall.model.net import Cidr, Family, host_cidr
from tests.builders import addr, net


@st.composite
def nets(draw: st.DrawFn) -> Cidr:
    """Networks of a few addresses at the ends of either family, and whole families."""
    family = draw(st.sampled_from(list(Family)))
    free = draw(st.sampled_from([0, 1, 2, 3, family.bits]))
    high = draw(st.booleans()) * ((1 << family.bits) - 8)
    value = (high + draw(st.integers(0, 7))) >> free << free
    return Cidr(family, value, family.bits - free)


@given(nets(), st.lists(nets(), max_size=12))
def test_the_index_finds_what_comparing_with_each_finds(wanted: Cidr, some: list[Cidr]) -> None:
    index = NetIndex((each, position) for position, each in enumerate(some))
    around = [position for position, each in enumerate(some) if each.covers(wanted)]
    inside = [
        position
        for position, each in enumerate(some)
        if wanted.covers(each) and position not in around
    ]
    assert sorted(index.around(wanted)) == around
    assert sorted(index.meeting(wanted)) == sorted(around + inside)


def test_values_of_one_network_are_all_found() -> None:
    ten = net("10.0.0.0/8")
    index = NetIndex([(ten, "a"), (ten, "b"), (net("11.0.0.0/8"), "c")])
    assert list(index.around(host_cidr(addr("10.1.2.3")))) == ["a", "b"]
