"""Every picture can be read: nothing lies on anything, sticks out, or is crossed by a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from podwall.api import Cluster
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.draw import Picture, chains_picture, policy_picture
from podwall.draw.metrics import Style
from podwall.draw.scene import Canvas, Ink, Label, Look
from podwall.errors import InputError
from podwall.model.policy import PolicyKey
from podwall.model.settings import DenyAction, Settings
from tests.builders import allow, block, labels, namespace, node, pod, pods, policy, port
from tests.conformance.cases import CORE
from tests.conformance.test_oracle import snapshot_of
from tests.conformance.world import world
from tests.strategies import snapshots
from tests.unit.draw.gallery import EXAMPLES, HOSTILE, pictures_of
from tests.unit.draw.walk import faults

LOUD = Settings(deny=DenyAction.REJECT, log_denied=True)


def check(picture: Picture) -> None:
    assert faults(picture.scene) == [], picture.title


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_nothing_overlaps_in_the_pictures_of_the_examples(path: Path) -> None:
    snapshot = Cluster.load([str(path)]).snapshot
    for picture in pictures_of(snapshot, LOUD):
        check(picture)


@given(snapshots(min_policies=1))
@settings(
    max_examples=60,
    # A cluster takes minutes to shrink; as it was found it says enough.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
def test_nothing_overlaps_whatever_the_policies_say(snapshot: Snapshot) -> None:
    for picture in pictures_of(snapshot):
        check(picture)


def test_nothing_overlaps_in_the_pictures_of_the_conformance_cases() -> None:
    # Each fifth: the forms of peers and ports come again and again.
    for case in CORE[::5]:
        for _, objects in case.states(world()):
            snapshot = snapshot_of(objects.values())
            if snapshot.policies:
                check(policy_picture(snapshot, list(snapshot.policies)))


def hostile() -> Snapshot:
    """A cluster in which every name and label is one of :data:`HOSTILE`."""
    some = {name: name for name in HOSTILE}
    found = [namespace(name, team=name) for name in HOSTILE[:4]]
    crowd = [
        pod(f"{space.name.replace('/', '-')}/{name.replace('/', '-')}", **some)
        for space in found
        for name in HOSTILE
    ]
    spaces = [each.key.namespace for each in crowd]
    rules = [
        allow(pods({name: name}, namespaces={name: name}), ports=[port(80)]) for name in HOSTILE
    ]
    policies = [
        policy(
            f"{space}/{name.replace('/', '-')}",
            {name: name},
            ingress=rules,
            egress=[allow(pods(labels({name: name}), namespaces=space)), allow(block("::/0"))],
            problems=[f"{name}: is not a name"],
        )
        for space in sorted(set(spaces))
        for name in HOSTILE
    ]
    nodes = [node("n1", "192.168.0.1")]
    return build_snapshot(crowd, found, policies, nodes)


def test_nothing_overlaps_whatever_things_are_called() -> None:
    for picture in pictures_of(hostile(), most=6):
        check(picture)


def crowd(count: int, policies: int) -> Snapshot:
    """Many pods of many workloads and many policies, all in one namespace."""
    spaces = [namespace("crowd", team="crowd"), namespace("other")]
    found = [
        pod(
            f"crowd/app{number % 50}-{number}",
            f"10.1.{number // 200}.{number % 200 + 1}",
            node="n1",
            app=f"app{number % 50}",
            tier=f"tier{number % 7}",
        )
        for number in range(count)
    ]
    rules = [
        allow(
            *(pods({"app": f"app{each}"}, namespaces="crowd") for each in range(20)),
            ports=[port(1000 + each) for each in range(40)],
        )
        for _ in range(20)
    ]
    written = [
        policy(
            f"crowd/p{number}",
            {"app": f"app{number % 50}"} if number % 3 else {"tier": f"tier{number % 7}"},
            ingress=rules,
            egress=[allow(block("10.0.0.0/8", *(f"10.{each}.0.0/16" for each in range(60))))],
        )
        for number in range(policies)
    ]
    return build_snapshot(found, spaces, written, [node("n1", pod_cidrs=["10.1.0.0/16"])])


def test_a_picture_of_very_much_says_what_it_left_out() -> None:
    snapshot = crowd(1000, 300)
    picture = policy_picture(snapshot, list(snapshot.policies))
    texts = " ".join(each.text for each in picture.scene.items if isinstance(each, Label))
    for words in ("more groups of pods", "more rules", "more peers", "more blocks in it"):
        assert words in texts
    assert len(picture.scene.items) < 5000
    assert len(picture.svg()) < 700_000
    check(policy_picture(snapshot, list(snapshot.policies)[:1]))


def test_the_pictures_of_many_chains_say_how_many_were_left_out() -> None:
    ruleset = Cluster(crowd(120, 20)).ruleset("n1")
    picture = chains_picture(ruleset)
    texts = [each.text for each in picture.scene.items if isinstance(each, Label)]
    assert any("more chains" in each for each in texts)
    assert any(each.startswith("and ") and each.endswith("more rules") for each in texts)
    check(picture)


def test_equal_input_gives_the_same_bytes() -> None:
    path = str(EXAMPLES[1])
    one, other = (list(pictures_of(Cluster.load([path]).snapshot)) for _ in range(2))
    for mine, again in zip(one, other, strict=True):
        assert mine.svg() == again.svg()
        assert mine.mermaid() == again.mermaid()
        assert mine.dot() == again.dot()


def test_the_walk_finds_what_it_is_for() -> None:
    canvas = Canvas()
    one = canvas.box((10, 10, 50, 50), Look.CARD)
    canvas.box((40, 40, 50, 50), Look.CARD)
    far = canvas.box((200, 10, 40, 40), Look.CARD)
    canvas.box((100, 20, 30, 20), Look.CARD)
    canvas.box((205, 15, 50, 10), Look.CARD, far.id)
    canvas.text(one.id, (12, 30), "too long for this box", Style.BODY)
    canvas.wire([(60, 30), (200, 30)], Ink.ALLOW, (one.id, far.id))
    found = faults(canvas.scene(260, 100))
    for words in ("overlaps", "sticks out of", "runs through"):
        assert any(words in each for each in found), words


def test_a_policy_that_is_not_there_cannot_be_drawn() -> None:
    with pytest.raises(InputError, match="there is no policy a/b"):
        policy_picture(build_snapshot(), [PolicyKey("a", "b")])
