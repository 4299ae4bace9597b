"""S19 to S22 and S46 as far as new connections go: what holds after each of several changes."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.case import (
    DIRECTIONS,
    EGRESS,
    INGRESS,
    Case,
    Expectation,
    Step,
    block,
    expected,
    isolating,
    letter,
    net_policy,
    pod_key,
    policy_key,
    rule,
    step,
    untouched,
)
from tests.conformance.world import (
    BLUE,
    EVERYONE,
    GREEN,
    NOBODY,
    NODES,
    OUTSIDE,
    RED,
    T80,
    T81,
    Manifest,
    namespace,
    pod,
)

WEB = {"matchLabels": {"app": "web"}}


def cases() -> Iterator[Case]:
    for direction in DIRECTIONS:
        where = direction.lower()
        stories = {
            "policy-comes-changes-goes": ("S3", policy_story(direction)),
            "policies-come-and-go-one-by-one": ("S3", policies_story(direction)),
            "policy-turns-to-the-other-direction": ("S1 S7", turning_story(direction)),
            "peer-pod-is-relabelled": ("S20", relabelled_peer_story(direction)),
            "subject-is-relabelled": ("S20 S49", relabelled_subject_story(direction)),
            "namespace-is-relabelled": ("S19", relabelled_namespace_story(direction)),
            "namespace-and-pods-are-relabelled": ("S19 S20", relabelled_both_story(direction)),
            "peer-pod-goes-and-comes-back": ("S12 S48", deleted_peer_story(direction)),
            "subject-goes-and-comes-back": ("S48", deleted_subject_story(direction)),
            "address-is-used-again": ("S22", reused_address_story(direction)),
            "old-pod-is-deleted-late": ("S22", late_delete_story(direction)),
            "peer-pod-ends": ("S21", ended_peer_story(direction)),
            "peer-pod-is-terminating": ("S21", terminating_peer_story(direction)),
            "except-grows-and-shrinks": ("S25 S26", except_story(direction)),
            "pod-changes-the-number-of-a-name": ("S36 S37", renumbered_story(direction)),
            "rules-swap-their-places": ("S3", swapped_story(direction)),
            "policy-is-audited-first": ("S51", audited_story(direction)),
            "audited-policy-beside-an-enforced-one": ("S51", half_audited_story(direction)),
        }
        for name, (clauses, steps) in stories.items():
            yield Case(f"updates/{where}-{name}", tuple(clauses.split()), steps)


def to_web(direction: str) -> tuple[Manifest, ...]:
    return (isolating(direction, rule(direction, [{"podSelector": WEB}])),)


def policy_story(direction: str) -> tuple[Step, ...]:
    wider = isolating(
        direction, rule(direction, [{"podSelector": WEB}, {"podSelector": letter("b")}])
    )
    return (
        step(untouched(direction, "red/a"), note="no policy yet"),
        step(expected(direction, "red/a", {"red/d"}), apply=to_web(direction), note="it comes"),
        step(expected(direction, "red/a", {"red/b", "red/d"}), apply=(wider,), note="it opens"),
        step(expected(direction, "red/a", NOBODY), apply=(isolating(direction),), note="it closes"),
        step(
            untouched(direction, "red/a"),
            expected(direction, "red/b", NOBODY),
            apply=(isolating(direction, subject="b"),),
            note="it selects another pod",
        ),
        step(
            *(untouched(direction, each) for each in ("red/a", "red/b")),
            delete=(policy_key(),),
            note="it goes",
        ),
    )


def audited(policy: Manifest) -> Manifest:
    """The same policy in audit mode."""
    annotations = {"podwall.dev/mode": "audit"}
    return {**policy, "metadata": {**policy["metadata"], "annotations": annotations}}


def audited_story(direction: str) -> tuple[Step, ...]:
    (policy,) = to_web(direction)
    return (
        step(untouched(direction, "red/a"), apply=(audited(policy),), note="it is audited"),
        step(expected(direction, "red/a", {"red/d"}), apply=(policy,), note="it is enforced"),
        step(untouched(direction, "red/a"), apply=(audited(policy),), note="it is audited again"),
    )


def half_audited_story(direction: str) -> tuple[Step, ...]:
    closed = isolating(direction, name="closed")
    b = isolating(direction, rule(direction, [{"podSelector": letter("b")}]), name="b")
    return (
        step(
            expected(direction, "red/a", {"red/b"}),
            apply=(audited(closed), b),
            note="what closes is audited, what isolates and opens is not",
        ),
        step(
            expected(direction, "red/a", NOBODY),
            apply=(closed, audited(b)),
            note="what opens is audited, and opens nothing",
        ),
        step(expected(direction, "red/a", {"red/b"}), apply=(b,), note="both are enforced"),
        step(
            untouched(direction, "red/a"),
            apply=(audited(closed), audited(b)),
            note="both are audited",
        ),
    )


def policies_story(direction: str) -> tuple[Step, ...]:
    closed = isolating(direction, name="closed")
    b = isolating(direction, rule(direction, [{"podSelector": letter("b")}]), name="b")
    c = isolating(direction, rule(direction, [{"podSelector": letter("c")}]), name="c")
    return (
        step(expected(direction, "red/a", NOBODY), apply=(closed,)),
        step(expected(direction, "red/a", {"red/b"}), apply=(b,)),
        step(expected(direction, "red/a", {"red/b", "red/c"}), apply=(c,)),
        step(expected(direction, "red/a", {"red/b", "red/c"}), delete=(policy_key("closed"),)),
        step(expected(direction, "red/a", {"red/c"}), delete=(policy_key("b"),)),
        step(untouched(direction, "red/a"), delete=(policy_key("c"),)),
    )


def turning_story(direction: str) -> tuple[Step, ...]:
    turned = EGRESS if direction == INGRESS else INGRESS
    few = RED | NODES | OUTSIDE
    return (
        step(
            expected(direction, "red/a", {"red/d"}, among=few),
            untouched(turned, "red/a", few),
            apply=to_web(direction),
        ),
        step(
            untouched(direction, "red/a", few),
            expected(turned, "red/a", {"red/d"}, among=few),
            apply=to_web(turned),
        ),
        step(
            expected(direction, "red/a", NOBODY, among=few),
            expected(turned, "red/a", NOBODY, among=few),
            apply=(net_policy("a", types=[INGRESS, EGRESS]),),
        ),
    )


def relabelled_peer_story(direction: str) -> tuple[Step, ...]:
    return (
        step(expected(direction, "red/a", {"red/d"}), apply=to_web(direction)),
        step(
            expected(direction, "red/a", {"red/c", "red/d"}),
            apply=(pod("red/c", labels={"pod": "c", "app": "web"}),),
            note="red/c joins",
        ),
        step(
            expected(direction, "red/a", {"red/c"}),
            apply=(pod("red/d", labels={"pod": "d", "app": "other"}),),
            note="red/d leaves",
        ),
        step(
            expected(direction, "red/a", {"red/d"}),
            apply=(pod("red/c"), pod("red/d")),
            note="both are back",
        ),
    )


def relabelled_subject_story(direction: str) -> tuple[Step, ...]:
    policy = isolating(direction, subject={"matchLabels": {"app": "web"}})
    among = GREEN | OUTSIDE
    return (
        step(
            expected(direction, "red/a", NOBODY, among=among),
            untouched(direction, "red/c", among),
            apply=(policy,),
        ),
        step(
            untouched(direction, "red/a", among),
            expected(direction, "red/c", NOBODY, among=among),
            apply=(
                pod("red/a", labels={"pod": "a"}),
                pod("red/c", labels={"pod": "c", "app": "web"}),
            ),
            note="the two change roles",
        ),
        step(
            expected(direction, "red/a", NOBODY, among=among),
            untouched(direction, "red/c", among),
            apply=(pod("red/a"), pod("red/c")),
        ),
    )


def relabelled_namespace_story(direction: str) -> tuple[Step, ...]:
    policy = isolating(
        direction, rule(direction, [{"namespaceSelector": {"matchLabels": {"team": "b"}}}])
    )
    return (
        step(expected(direction, "red/a", BLUE), apply=(policy,)),
        step(
            expected(direction, "red/a", BLUE | GREEN),
            apply=(namespace("green", {"team": "b"}),),
            note="green joins",
        ),
        step(
            expected(direction, "red/a", GREEN),
            apply=(namespace("blue", {}),),
            note="blue leaves",
        ),
        step(expected(direction, "red/a", BLUE), apply=(namespace("green"), namespace("blue"))),
    )


def relabelled_both_story(direction: str) -> tuple[Step, ...]:
    peer = {"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": WEB}
    return (
        step(
            expected(direction, "red/a", {"blue/a"}),
            apply=(isolating(direction, rule(direction, [peer])),),
        ),
        step(
            expected(direction, "red/a", {"blue/a", "green/a"}),
            apply=(namespace("green", {"team": "b"}),),
            note="the namespace joins with the pods that match",
        ),
        step(
            expected(direction, "red/a", {"blue/a", "green/a", "green/c"}),
            apply=(pod("green/c", labels={"app": "web"}),),
            note="another pod there joins",
        ),
        step(
            expected(direction, "red/a", {"blue/a"}),
            apply=(namespace("green"),),
            note="the namespace leaves with all of them",
        ),
    )


def deleted_peer_story(direction: str) -> tuple[Step, ...]:
    policy = isolating(direction, rule(direction, [{"podSelector": letter("b", "c")}]))
    return (
        step(expected(direction, "red/a", {"red/b", "red/c"}), apply=(policy,)),
        step(
            expected(direction, "red/a", {"red/c"}),
            delete=(pod_key("red/b"),),
            note="its address is nobody's now",
        ),
        step(expected(direction, "red/a", NOBODY), delete=(pod_key("red/c"),), note="the last one"),
        step(expected(direction, "red/a", {"red/b", "red/c"}), apply=(pod("red/b"), pod("red/c"))),
    )


def deleted_subject_story(direction: str) -> tuple[Step, ...]:
    policy = to_web(direction)
    return (
        step(expected(direction, "red/a", {"red/d"}), apply=policy),
        step(
            expected(direction, "red/a", NOBODY),
            delete=(pod_key("red/a"),),
            note="unknown, so closed",
        ),
        step(expected(direction, "red/a", {"red/d"}), apply=(pod("red/a"),)),
    )


def reused_address_story(direction: str) -> tuple[Step, ...]:
    """red/d is a peer, then a pod of blue that matches nothing has its address."""
    heir = pod("blue/heir", labels={"app": "web"}, machine="red/d", created="2024-02-01T00:00:00Z")
    return (
        step(expected(direction, "red/a", {"red/d"}), apply=to_web(direction)),
        step(
            expected(direction, "red/a", NOBODY),
            apply=(heir,),
            delete=(pod_key("red/d"),),
            note="the machine red/d is the pod blue/heir now",
        ),
        step(
            expected(direction, "red/a", {"red/d"} | BLUE),
            apply=(
                isolating(
                    direction,
                    rule(direction, [{"namespaceSelector": {"matchLabels": {"env": ""}}}]),
                ),
            ),
            note="a selector of blue finds it",
        ),
    )


def late_delete_story(direction: str) -> tuple[Step, ...]:
    """The new owner of red/c's address is a peer; then the old pod is deleted at last."""
    old = pod("red/c", terminating=True)
    new = pod("red/web-1", labels={"app": "web"}, machine="red/c", created="2024-02-01T00:00:00Z")
    return (
        step(expected(direction, "red/a", {"red/d"}), apply=to_web(direction)),
        step(
            expected(direction, "red/a", {"red/c", "red/d"}),
            apply=(new, old),
            note="both pods claim the address, one of them is terminating",
        ),
        step(
            expected(direction, "red/a", {"red/c", "red/d"}),
            delete=(pod_key("red/c"),),
            note="the late delete takes nothing from the new owner",
        ),
        step(
            expected(direction, "red/a", {"red/d"}),
            delete=(pod_key("red/web-1"),),
            note="now the address is nobody's",
        ),
    )


def ended_peer_story(direction: str) -> tuple[Step, ...]:
    return (
        step(expected(direction, "red/a", {"red/d"}), apply=to_web(direction)),
        step(expected(direction, "red/a", NOBODY), apply=(pod("red/d", phase="Succeeded"),)),
        step(expected(direction, "red/a", {"red/d"}), apply=(pod("red/d"),)),
        step(expected(direction, "red/a", NOBODY), apply=(pod("red/d", phase="Failed"),)),
    )


def terminating_peer_story(direction: str) -> tuple[Step, ...]:
    return (
        step(expected(direction, "red/a", {"red/d"}), apply=to_web(direction)),
        step(expected(direction, "red/a", {"red/d"}), apply=(pod("red/d", terminating=True),)),
        step(expected(direction, "red/a", NOBODY), delete=(pod_key("red/d"),)),
    )


def except_story(direction: str) -> tuple[Step, ...]:
    def near(*v4_and_v6: tuple[str, str]) -> Manifest:
        v4 = block("198.51.100.0/24", *(each[0] for each in v4_and_v6))
        v6 = block("2001:db8:1::/64", *(each[1] for each in v4_and_v6))
        return isolating(direction, rule(direction, [v4, v6]))

    upper = ("198.51.100.128/25", "2001:db8:1::200/120")
    one = ("198.51.100.10/32", "2001:db8:1::10/128")
    return (
        step(expected(direction, "red/a", {"out1", "out2"}), apply=(near(),)),
        step(expected(direction, "red/a", {"out1"}), apply=(near(upper),)),
        step(expected(direction, "red/a", NOBODY), apply=(near(upper, one),)),
        step(expected(direction, "red/a", {"out2"}), apply=(near(one),)),
        step(expected(direction, "red/a", {"out1", "out2"}), apply=(near(),)),
    )


def renumbered_story(direction: str) -> tuple[Step, ...]:
    """The destination's port ``web`` moves from 80 to 81 and vanishes."""
    named = isolating(direction, rule(direction, [{"namespaceSelector": {}}], [{"port": "web"}]))
    subject = "red/a"
    destination, peer = (subject, "red/c") if direction == INGRESS else ("red/c", "red/c")

    def web_is(probe_open: bool, other_open: bool) -> list[list[Expectation]]:
        return [
            expected(direction, subject, [peer] if probe_open else [], among=[peer]),
            expected(direction, subject, [peer] if other_open else [], among=[peer], probes=(T81,)),
        ]

    return (
        step(*web_is(True, False), apply=(named,)),
        step(*web_is(False, True), apply=(pod(destination, ports=[("web", "TCP", 81)]),)),
        step(*web_is(False, False), apply=(pod(destination, ports=[("www", "TCP", 80)]),)),
        step(*web_is(False, False), apply=(pod(destination, ports=[("web", "UDP", 80)]),)),
        step(*web_is(True, False), apply=(pod(destination),)),
    )


def swapped_story(direction: str) -> tuple[Step, ...]:
    first = rule(direction, [{"podSelector": letter("b")}], [{"port": 80}])
    second = rule(direction, [{"podSelector": letter("c")}], [{"port": 81}])
    holds = (
        expected(direction, "red/a", {"red/b"}, probes=(T80,)),
        expected(direction, "red/a", {"red/c"}, probes=(T81,), among=EVERYONE),
    )
    return (
        step(*holds, apply=(isolating(direction, first, second),)),
        step(*holds, apply=(isolating(direction, second, first),)),
        step(expected(direction, "red/a", {"red/b"}), apply=(isolating(direction, first),)),
    )
