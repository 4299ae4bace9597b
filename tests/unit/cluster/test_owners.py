from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podwall.cluster.owners import AddressBook
from podwall.cluster.snapshot import address_owners
from podwall.model.objects import Pod, PodKey
from tests import strategies
from tests.builders import addr, pod


@given(st.lists(strategies.pods(), max_size=12))
def test_the_book_agrees_with_ownership_from_scratch_after_every_update(pods: list[Pod]) -> None:
    book = AddressBook()
    known: dict[PodKey, Pod] = {}
    for each in pods:
        before = address_owners(known.values())
        moved = book.update(known.get(each.key), each)
        known[each.key] = each
        after = address_owners(known.values())
        assert book.owners(known.values()) == after
        assert moved == {
            address
            for address in before.keys() | after.keys()
            if before.get(address) != after.get(address)
        }
    for each in list(known.values()):
        book.update(each, None)
        del known[each.key]
        assert book.owners(known.values()) == address_owners(known.values())


def test_an_address_that_a_pod_names_twice_is_given_back_once() -> None:
    twice = pod("dev/web", "10.0.0.2", "10.0.0.2")
    book = AddressBook()
    assert book.update(None, twice) == {addr("10.0.0.2")}
    assert book.update(twice, None) == {addr("10.0.0.2")}
    assert book.owner(addr("10.0.0.2")) is None
