"""What the picture of policies tells."""

from __future__ import annotations

import pytest

from podwall.api import Cluster
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.draw import Picture, policy_picture
from podwall.draw.graph import Kind
from podwall.draw.looking import view_of
from podwall.draw.scene import Box, Ink, Label, Look, Mark, Sign, Wire
from podwall.draw.view import Gate
from podwall.model.policy import Mode, Policy
from tests.builders import allow, block, named, namespace, pod, pods, policy, port
from tests.unit.draw.gallery import EXAMPLES

EXAMPLE, SHOP = EXAMPLES[:2]


def texts(picture: Picture) -> list[str]:
    return [each.text for each in picture.scene.items if isinstance(each, Label)]


def looks(picture: Picture) -> list[Look]:
    return [each.look for each in picture.scene.items if isinstance(each, Box)]


def wires(picture: Picture, ink: Ink) -> list[Wire]:
    return [each for each in picture.scene.items if isinstance(each, Wire) and each.ink is ink]


def draw(*policies: Policy, of: Snapshot | None = None) -> Picture:
    cluster = of or world(*policies)
    return policy_picture(cluster, [each.key for each in policies])


def world(*policies: Policy) -> Snapshot:
    return build_snapshot(
        [
            pod("a/web-0", "10.0.0.1", ports=["http:8080/tcp"], app="web"),
            pod("a/web-1", "10.0.0.2", ports=["http:8081/tcp"], app="web"),
            pod("a/db-0", "10.0.0.3", app="db"),
            pod("b/job", "10.0.0.4", app="job"),
            pod("a/agent", "192.168.0.1", host_network=True, app="web"),
        ],
        [namespace("a", team="a"), namespace("b", team="b")],
        policies,
    )


def test_the_example_says_who_may_come_in_where_they_may_go_and_on_which_ports() -> None:
    snapshot = Cluster.load([str(EXAMPLE)]).snapshot
    picture = policy_picture(snapshot, list(snapshot.policies))
    said = texts(picture)
    for words in (
        "role=db",
        "2 pods",
        "db-0",
        "namespaces project=myproject",
        "now: partner",
        "role=frontend",
        "172.17.0.0/16",
        "not 172.17.1.0/24",
        "TCP 6379",
        "10.0.0.0/24",
        "TCP 5978",
        "shut out",
        "out of reach",
    ):
        assert words in said, words
    assert picture.title == "default/test-network-policy"
    assert "from all pods or role=frontend or 172.17.0.0/16 except 172.17.1.0/24 on TCP 6379" in (
        picture.description
    )


def test_holes_are_where_they_are_in_their_block() -> None:
    one = policy("a/p", ingress=[allow(block("10.0.0.0/8", "10.128.0.0/9"))])
    boxes = [each for each in draw(one).scene.items if isinstance(each, Box)]
    bar = next(each for each in boxes if each.look is Look.BLOCK)
    hole = next(each for each in boxes if each.look is Look.HOLE)
    assert hole.parent == bar.id
    assert hole.x == pytest.approx(bar.x + bar.width / 2, abs=0.5)
    assert hole.right == pytest.approx(bar.right, abs=0.5)
    assert hole.title == "not 10.128.0.0/9"


def test_a_hole_too_small_to_see_is_drawn_where_it_can_be_seen() -> None:
    one = policy("a/p", ingress=[allow(block("::/0", "2001:db8::1/128"))])
    hole = next(
        each for each in draw(one).scene.items if isinstance(each, Box) and each.look is Look.HOLE
    )
    assert hole.width > 4


def test_an_isolated_direction_has_a_wall_and_an_open_one_has_none() -> None:
    picture = draw(policy("a/p", {"app": "web"}, ingress=[]))
    assert Look.WALL in looks(picture)
    assert Look.OPEN in looks(picture)
    assert {"everyone", "shut out", "anywhere", "not restricted"} <= set(texts(picture))
    assert len(wires(picture, Ink.DENY)) == 1
    assert any(each.head for each in wires(picture, Ink.ALLOW))


def test_who_may_do_everything_leaves_nobody_to_shut_out() -> None:
    picture = draw(policy("a/p", ingress=[allow()], egress=[allow(ports=[port(53)])]))
    assert "shut out" not in texts(picture)
    assert "every other port" in texts(picture)


def test_an_audited_policy_shows_a_wall_that_holds_nobody() -> None:
    one = policy("a/p", {"app": "web"}, ingress=[allow(ports=[port(80)])], mode=Mode.AUDIT)
    picture = draw(one)
    assert "in audit mode: it denies nothing, and what it would deny is told" in texts(picture)
    assert Look.WALL not in looks(picture)
    assert "would be shut out" in texts(picture)
    assert all(each.dashed for each in wires(picture, Ink.AUDIT))
    signs = [each.sign for each in picture.scene.items if isinstance(each, Mark)]
    assert Sign.EYE in signs


def test_an_audited_policy_beside_an_enforced_one_leaves_the_wall_standing() -> None:
    deny = policy("a/deny", {"app": "web"}, ingress=[])
    audited = policy("a/audited", ingress=[allow(block("10.0.0.0/8"))], mode=Mode.AUDIT)
    frame = view_of(world(deny, audited), [deny, audited]).frames[0]
    gates = {group.title: group.ingress.gate for group in frame.groups}
    assert gates == {"all pods": Gate.AUDITED, "2 workloads": Gate.CLOSED}


def test_what_was_not_understood_is_a_warning_and_allows_nobody() -> None:
    problem = "spec.ingress[0].from[0]: it is empty"
    one = policy("a/p", ingress=[], problems=[problem])
    picture = draw(one)
    assert Look.WARNING in looks(picture)
    assert f"a/p: {problem}" in texts(picture)
    assert wires(picture, Ink.ALLOW) == [each for each in wires(picture, Ink.ALLOW) if each.dashed]


def test_names_of_ports_say_what_they_mean_now() -> None:
    inward = allow(ports=[named("http")])
    outward = allow(pods({"app": "web"}, namespaces="a"), ports=[named("http")])
    said = texts(draw(policy("a/p", {"app": "web"}, ingress=[inward], egress=[outward])))
    assert said.count("TCP http") == 2
    assert said.count("= 8080, 8081") == 2


def test_peers_say_which_pods_they_are_now() -> None:
    said = texts(
        draw(
            policy(
                "a/p",
                ingress=[
                    allow(
                        pods({"app": "web"}, namespaces="a"),
                        pods({"app": "nobody"}, namespaces="a"),
                        pods(namespaces={"team": "c"}),
                    )
                ],
            )
        )
    )
    assert "2 pods: web-0, web-1" in said
    assert "no such pod" in said
    assert "no namespace has such labels" in said


def test_pods_on_the_network_of_their_host_are_nobodys_subject_or_peer() -> None:
    said = texts(draw(policy("a/p", {"app": "web"}, ingress=[])))
    assert "2 pods" in said
    assert "agent" not in said


def test_a_policy_that_selects_no_pod_says_so() -> None:
    assert "no pod" in texts(draw(policy("a/p", {"app": "nobody"}, ingress=[])))


def test_what_holds_for_all_pods_of_a_namespace_is_said_once() -> None:
    deny = policy("a/deny", ingress=[], egress=[])
    web = policy("a/web", {"app": "web"}, ingress=[allow(ports=[port(80)])])
    db = policy("a/db", {"app": "db"}, ingress=[allow(ports=[port(5432)])])
    picture = draw(deny, web, db)
    assert texts(picture).count("all not named here") == 2
    assert texts(picture).count("deny") == 1
    assert len(wires(picture, Ink.DENY)) == 2


def test_pods_that_no_policy_selects_stand_open() -> None:
    web = policy("a/web", {"app": "web"}, ingress=[], egress=[])
    again = policy("a/again", {"app": "web"}, ingress=[])
    frame = view_of(world(web, again), [web, again]).frames[0]
    last = frame.groups[-1]
    assert last.policies == ("no policy selects them",)
    assert (last.ingress.gate, last.egress.gate) == (Gate.OPEN, Gate.OPEN)


def test_a_single_policy_names_the_others_of_its_pods() -> None:
    deny, web = policy("a/deny", ingress=[]), policy("a/web", {"app": "web"}, egress=[])
    said = texts(policy_picture(world(deny, web), [web.key]))
    assert {"other policies here", "deny", "other policies may close it"} <= set(said)


def test_the_graph_says_the_same_as_the_picture() -> None:
    one = policy("a/p", {"app": "web"}, ingress=[allow(block("10.0.0.0/8"), ports=[port(80)])])
    graph = draw(one).graph
    names = {each.id: each.lines[0] for each in graph.nodes}
    edges = {
        (names[each.source], names[each.target], each.label): each.kind for each in graph.edges
    }
    assert edges == {
        ("10.0.0.0/8", "app=web", "TCP 80"): Kind.ALLOWED,
        ("all else", "app=web", ""): Kind.DENIED,
        ("app=web", "anywhere", ""): Kind.ALLOWED,
    }


def test_the_shop_is_one_frame_for_each_namespace() -> None:
    snapshot = Cluster.load([str(SHOP)]).snapshot
    picture = policy_picture(snapshot, list(snapshot.policies))
    said = texts(picture)
    assert picture.title == "13 policies of 2 namespaces"
    for words in ("namespace shop", "namespace data", "all pods", "storefront", "SCTP stream"):
        assert words in said
