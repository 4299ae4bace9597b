"""The pod ranges of this node are closed to unknown addresses, with or without its object (S48)."""

from __future__ import annotations

from pathlib import Path

from podwall.agent.reconcile.inbox import Arrival
from podwall.agent.watch.ownranges import OwnRanges
from podwall.cluster.events import Applied, Deleted, Event, Kind, NodeKey, ObjectKey, Remaining
from podwall.model.decode import Problem
from podwall.model.net import parse_cidr
from podwall.model.objects import Node
from tests.builders import node
from tests.unit.agent.reconcile.rig import Rig, listing
from tests.unit.dataplane.scenario import cluster

KEY = NodeKey("n1")
RANGES, OTHERS = (parse_cidr("10.1.0.0/24"),), (parse_cidr("10.2.0.0/24"),)
TOLD = Applied(Node("n1", pod_cidrs=RANGES))
GONE = Deleted(KEY)


class Feed:
    """Writes down what it is given."""

    def __init__(self) -> None:
        self.taken: list[Event] = []

    def take(self, event: Event, received: float) -> None:
        assert received == 1.0
        self.taken.append(event)

    def complain(self, key: ObjectKey, problems: tuple[Problem, ...]) -> None:
        assert (key, problems) == (KEY, ())


def passed(*given: Event, configured: bool = False) -> list[Event]:
    feed = Feed()
    own = OwnRanges(feed, "n1", RANGES if configured else ())
    own.complain(KEY, ())
    for each in given:
        own.take(each, 1.0)
    return feed.taken


def test_ranges_that_are_configured_take_the_place_of_the_nodes_own() -> None:
    mine, other = Applied(Node("n1", pod_cidrs=OTHERS)), Applied(Node("n2"))
    assert passed(mine, other, configured=True) == [TOLD, other]


def test_ranges_that_are_configured_need_no_object() -> None:
    lists = [Remaining(Kind.NODE), Remaining(Kind.NODE)]
    whole = Remaining(Kind.NODE, frozenset({KEY}))
    assert passed(*lists, configured=True) == [TOLD, whole, whole]
    assert passed(GONE, configured=True) == [TOLD]


def test_a_node_that_is_registered_anew_keeps_its_ranges_until_it_is_given_others() -> None:
    bare, anew = Applied(Node("n1")), Applied(Node("n1", pod_cidrs=OTHERS))
    assert passed(TOLD, GONE, bare, anew) == [TOLD, TOLD, anew]


def test_a_list_without_the_node_takes_no_ranges_away() -> None:
    whole = Remaining(Kind.NODE, frozenset({KEY}))
    assert passed(TOLD, Remaining(Kind.NODE)) == [TOLD, whole]
    assert passed(TOLD, whole) == [TOLD, whole]


def test_a_node_without_ranges_comes_and_goes_as_it_is_told() -> None:
    given = [Applied(Node("n1")), GONE, Remaining(Kind.NODE), Remaining(Kind.POD)]
    assert passed(*given) == given
    others = [Deleted(NodeKey("n2")), Applied(Node("n2", pod_cidrs=RANGES)), Remaining(Kind.NODE)]
    assert passed(*others) == others


def test_s48_an_unknown_address_stays_closed_while_the_node_has_no_object(tmp_path: Path) -> None:
    rig = Rig(tmp_path)

    class Taking:
        def take(self, event: Event, received: float) -> None:
            rig.keeper.take([Arrival(event, received)])

        def complain(self, key: ObjectKey, problems: tuple[Problem, ...]) -> None:
            raise AssertionError

    own = OwnRanges(Taking(), rig.node, ())
    for each in (*listing(cluster()), Deleted(NodeKey(rig.node))):
        own.take(each, 0.0)
    assert rig.holds(cluster())
    own.take(Applied(node(rig.node, "172.16.0.1")), 0.0)
    assert rig.holds(cluster())
