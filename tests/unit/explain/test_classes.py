"""What must keep two addresses in different classes, one reason at a time."""

from __future__ import annotations

from podwall.cluster.snapshot import build_snapshot
from podwall.explain.classes import Classes
from podwall.explain.reach import EVERYTHING, NOTHING, both, either, minus, reach
from podwall.model.policy import Direction
from podwall.model.settings import Settings
from tests.builders import (
    addr,
    allow,
    block,
    labels,
    named,
    namespace,
    node,
    pod,
    pods,
    policy,
    port,
)

NODES = [
    node("n1", "192.168.0.1", pod_cidrs=["10.0.1.0/24"]),
    node("n2", "192.168.0.2", pod_cidrs=["10.0.2.0/24"]),
]
WEB, OTHER, DB = "10.0.1.2", "10.0.1.3", "10.0.2.2"


def _of(*policies, settings=Settings(), everyone=None):
    everyone = everyone or [
        pod("a/web", WEB, node="n1", app="web"),
        pod("a/other", OTHER, node="n1", app="web"),
        pod("a/db", DB, node="n2", app="db"),
    ]
    snapshot = build_snapshot(everyone, [namespace("a")], policies, NODES)
    return snapshot, Classes(snapshot, settings)


def _same(snapshot, classes, src, dst, settings=Settings()):
    found = classes.reach(addr(src), addr(dst))
    assert found == reach(snapshot, addr(src), addr(dst), settings)
    return found


def test_pods_that_no_policy_tells_apart_are_of_one_class_wherever_they_are():
    _, classes = _of(policy("a/p", {"app": "db"}, ingress=[allow(ports=[port(1)])]))
    web, other = classes.of(addr(WEB)), classes.of(addr(OTHER))
    assert web == other
    assert web.number != classes.of(addr(DB)).number


def test_labels_that_no_selector_asks_for_make_no_class():
    everyone = [pod("a/x", WEB, pod_index="0"), pod("a/y", OTHER, pod_index="1")]
    _, classes = _of(policy("a/p", {"app": "db"}, ingress=[]), everyone=everyone)
    assert classes.of(addr(WEB)) == classes.of(addr(OTHER))


def test_s30_a_block_that_holds_one_of_two_alike_pods_tells_them_apart():
    rule = allow(block("10.0.1.2/31", "10.0.1.3/32"), ports=[port(5)])
    snapshot, classes = _of(policy("a/p", {"app": "db"}, ingress=[rule]))
    assert str(_same(snapshot, classes, WEB, DB)) == "5/tcp"
    assert _same(snapshot, classes, OTHER, DB) == NOTHING


def test_s36_a_name_that_is_another_number_on_one_of_two_alike_pods_tells_them_apart():
    everyone = [
        pod("a/one", WEB, ports=["http:80/tcp"], app="web"),
        pod("a/two", OTHER, ports=["http:8080/tcp"], app="web"),
        pod("a/none", "10.0.1.4", app="web"),
        pod("a/db", DB, app="db"),
    ]
    ingress = policy("a/in", {"app": "web"}, ingress=[allow(ports=[named("http")])])
    egress = policy("a/out", {"app": "db"}, egress=[allow(ports=[named("http")])])
    for each in (ingress, egress):
        snapshot, classes = _of(each, everyone=everyone)
        assert str(_same(snapshot, classes, DB, WEB)) == "80/tcp"
        assert str(_same(snapshot, classes, DB, OTHER)) == "8080/tcp"
        assert _same(snapshot, classes, DB, "10.0.1.4") == NOTHING


def test_s42_only_a_pods_own_node_passes_its_isolation():
    snapshot, classes = _of(policy("a/p", ingress=[], egress=[]))
    assert _same(snapshot, classes, "192.168.0.1", WEB) == EVERYTHING
    assert _same(snapshot, classes, "192.168.0.2", WEB) == NOTHING


def test_s43_the_switch_for_a_pods_own_node_is_about_that_node_alone():
    settings = Settings(judge_node_egress=False)
    snapshot, classes = _of(policy("a/p", egress=[]), settings=settings)
    assert _same(snapshot, classes, WEB, "192.168.0.1", settings) == EVERYTHING
    assert _same(snapshot, classes, WEB, "192.168.0.2", settings) == NOTHING


def test_s44_a_pod_reaches_its_own_other_address():
    everyone = [pod("a/web", WEB, "10.0.1.9", app="web"), pod("a/other", OTHER, app="web")]
    snapshot, classes = _of(policy("a/p", ingress=[], egress=[]), everyone=everyone)
    assert _same(snapshot, classes, WEB, OTHER) == NOTHING
    assert _same(snapshot, classes, WEB, "10.0.1.9") == EVERYTHING


def test_s48_an_unknown_address_of_a_pod_range_is_no_address_outside():
    for closed in (True, False):
        settings = Settings(close_unknown_pods=closed)
        snapshot, classes = _of(settings=settings)
        outside = _same(snapshot, classes, WEB, "8.8.8.8", settings)
        unknown = _same(snapshot, classes, WEB, "10.0.2.77", settings)
        assert outside == EVERYTHING
        assert unknown == (NOTHING if closed else EVERYTHING)


def test_a_namespace_that_is_not_known_matches_no_selector():
    everyone = [pod("a/db", DB, app="db"), pod("late/x", WEB), pod("a/x", OTHER)]
    rule = allow(pods(namespaces=labels()), ports=[port(5)])
    snapshot, classes = _of(policy("a/p", {"app": "db"}, ingress=[rule]), everyone=everyone)
    assert _same(snapshot, classes, WEB, DB) == NOTHING
    assert str(_same(snapshot, classes, OTHER, DB)) == "5/tcp"


def test_sources_look_alike_to_those_who_do_not_tell_them_apart():
    narrow = policy("a/p", {"app": "db"}, ingress=[allow(block("10.0.1.2/32"))])
    _, classes = _of(narrow, policy("a/q", {"app": "web"}, ingress=[]))
    judging = classes.judges(addr(DB), Direction.INGRESS)
    bored = classes.judges(addr(WEB), Direction.INGRESS)
    one, two = addr(WEB), addr(OTHER)
    assert classes.source_looks(one, [judging]) != classes.source_looks(two, [judging])
    assert classes.source_looks(one, [bored]) == classes.source_looks(two, [bored])


def test_reaches_are_sets():
    _, classes = _of(policy("a/p", {"app": "db"}, ingress=[allow(ports=[port(10, 20)])]))
    some = classes.reach(addr(WEB), addr(DB))
    rest = minus(EVERYTHING, some)
    assert str(rest) == "1-9,21-65535/tcp, udp, sctp, icmp"
    assert both(some, rest) == NOTHING
    assert either([some, rest]) == EVERYTHING
    assert minus(some, EVERYTHING) == NOTHING
    assert minus(some, NOTHING) == some
    assert either([]) == NOTHING
