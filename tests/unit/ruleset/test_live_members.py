"""Members that come and go, and frozen copies of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podwall.model.net import Address, Family
from podwall.ruleset.live.members import Members

HOSTS = [Address(Family.V4, value) for value in range(200)]
SOME = st.sets(st.sampled_from(HOSTS))


@given(SOME, st.lists(st.tuples(st.sampled_from(HOSTS), st.booleans()), max_size=150))
def test_members_are_a_set_however_they_came(
    first: set[Address], changes: list[tuple[Address, bool]]
) -> None:
    members, model = Members(first), set(first)
    for member, present in changes:
        assert members.put(member, present) is ((member in model) is not present)
        (model.add if present else model.discard)(member)
        assert (member in members) is present
        assert len(members) == len(model)
    assert members.frozen() == model


def test_a_large_set_is_not_copied_for_one_member_nor_for_being_asked_again() -> None:
    members = Members(HOSTS[:150])
    before = members.frozen()
    members.put(HOSTS[160], present=True)
    members.put(HOSTS[160], present=False)
    members.put(HOSTS[3], present=False)
    members.put(HOSTS[3], present=True)
    assert members.frozen() is before
    members.put(HOSTS[160], present=True)
    assert members.frozen() is members.frozen()
    assert HOSTS[160] not in before
