"""S1 to S12: what isolates whom in which direction, and how policies add up."""

from __future__ import annotations

from collections.abc import Iterator, Set
from itertools import product
from typing import Any

from tests.conformance.case import (
    DIRECTIONS,
    EGRESS,
    INGRESS,
    Case,
    block,
    expected,
    isolating,
    letter,
    net_policy,
    other,
    rule,
    single,
    untouched,
)
from tests.conformance.world import (
    BLUE,
    ECHO,
    EVERYONE,
    GREEN,
    LISTENING,
    N1_PODS,
    NOBODY,
    OUTSIDE,
    PODS,
    RED,
    S80,
    T80,
    T81,
    U80,
)

FEW = frozenset({"red/b", "red/c", "green/b", "n1", "n2", "out1"})
"""Peers on the own node, on the other, and none of both."""


def cases() -> Iterator[Case]:
    yield from type_cases()
    yield from emptiness_cases()
    yield from adding_cases()
    yield from both_end_cases()
    yield from broken_cases()


def type_cases() -> Iterator[Case]:
    """S1, S6, S7, S8: policyTypes and the sections of a policy."""
    one_in = [rule(INGRESS, [{"podSelector": letter("b")}])]
    one_out = [rule(EGRESS, [{"podSelector": letter("b")}])]
    only_b = {"red/b"}
    forms: list[tuple[str, str, dict[str, Any], Set[str] | None, Set[str] | None]] = [
        # name, clauses, the spec besides podSelector; who gets in, who is reached (None: all).
        ("no-types-no-rules", "S4 S6", {}, NOBODY, None),
        ("no-types-ingress-rules", "S6", {"ingress": one_in}, only_b, None),
        ("no-types-egress-rules", "S6", {"egress": one_out}, NOBODY, only_b),
        ("no-types-both-rules", "S6", {"ingress": one_in, "egress": one_out}, only_b, only_b),
        ("no-types-empty-egress", "S6", {"ingress": one_in, "egress": []}, only_b, None),
        ("empty-types", "S6 S9", {"types": [], "ingress": one_in}, only_b, None),
        ("ingress-only", "S1", {"types": [INGRESS], "ingress": one_in}, only_b, None),
        ("egress-only", "S1", {"types": [EGRESS], "egress": one_out}, None, only_b),
        ("ingress-absent", "S4", {"types": [INGRESS]}, NOBODY, None),
        ("egress-absent", "S4", {"types": [EGRESS]}, None, NOBODY),
        ("both-absent", "S4", {"types": [INGRESS, EGRESS]}, NOBODY, NOBODY),
        (
            "ingress-section-under-egress",
            "S7",
            {"types": [EGRESS], "ingress": one_in},
            None,
            NOBODY,
        ),
        (
            "ingress-section-beside-egress",
            "S7",
            {"types": [EGRESS], "ingress": [{}], "egress": one_out},
            None,
            only_b,
        ),
        (
            "egress-section-under-ingress",
            "S7",
            {"types": [INGRESS], "egress": one_out},
            NOBODY,
            None,
        ),
        (
            "ingress-rules-never-authorise-egress",
            "S7",
            {"types": [INGRESS, EGRESS], "ingress": [{}]},
            EVERYONE,
            NOBODY,
        ),
        (
            "egress-rules-never-authorise-ingress",
            "S7",
            {"types": [INGRESS, EGRESS], "egress": [{}]},
            NOBODY,
            EVERYONE,
        ),
        (
            "unknown-type-beside-ingress",
            "S8",
            {"types": [INGRESS, "Sideways"], "ingress": one_in, "egress": one_out},
            only_b,
            None,
        ),
        ("repeated-type", "S1", {"types": [INGRESS, INGRESS], "ingress": one_in}, only_b, None),
    ]
    for name, clauses, spec, let_in, reached in forms:
        groups = []
        for direction, allowed in ((INGRESS, let_in), (EGRESS, reached)):
            if allowed is None:
                groups.append(untouched(direction, "red/a", FEW))
            else:
                groups.append(expected(direction, "red/a", allowed, among=FEW))
        yield single(f"types/{name}", clauses, net_policy("a", **spec), *groups)


def emptiness_cases() -> Iterator[Case]:
    """S4, S5, S11, S12, and who is a subject at all."""
    for direction in DIRECTIONS:
        where = direction.lower()
        yield single(
            f"empty/{where}-no-rules-on-any-protocol",
            "S1 S4 S47",
            isolating(direction),
            expected(direction, "red/a", NOBODY, among=FEW, probes=LISTENING),
            untouched(other(direction), "red/a", FEW, LISTENING),
        )
        yield single(
            f"empty/{where}-one-empty-rule",
            "S5",
            isolating(direction, {}),
            expected(direction, "red/a", EVERYONE, among=FEW, probes=LISTENING),
        )
        yield single(
            f"empty/{where}-empty-rule-beside-a-narrow-one",
            "S3 S5",
            isolating(direction, rule(direction, [block("192.0.2.0/24")]), {}),
            expected(direction, "red/a", EVERYONE, probes=(T80, ECHO)),
        )
        yield single(
            f"empty/{where}-peers-empty-list",
            "S11",
            isolating(direction, rule(direction, [], [{"port": 80}])),
            expected(direction, "red/a", EVERYONE),
            expected(direction, "red/a", NOBODY, among=FEW, probes=(T81, U80, ECHO)),
        )
        yield single(
            f"empty/{where}-peers-absent",
            "S11",
            isolating(direction, rule(direction, ports=[{"port": 80}])),
            expected(direction, "red/a", EVERYONE),
            expected(direction, "red/a", NOBODY, among=FEW, probes=(T81, U80, ECHO)),
        )
        yield single(
            f"empty/{where}-selector-matches-nobody",
            "S12",
            isolating(
                direction, rule(direction, [{"podSelector": {"matchLabels": {"pod": "zz"}}}])
            ),
            expected(direction, "red/a", NOBODY),
        )
        yield single(
            f"empty/{where}-subject-everything",
            "S1 S23",
            isolating(direction, subject={}),
            *(
                expected(direction, each, NOBODY, among=GREEN | OUTSIDE | {"n1", "n2"})
                for each in sorted(RED)
            ),
            untouched(direction, "green/a", BLUE | OUTSIDE),
            # red/host is in the namespace, but counts as its node, and nodes are nobody's subject.
            untouched(direction, "n1", ["n2", "out1"], (T80, ECHO)),
        )
        yield single(
            f"empty/{where}-subject-matches-nobody",
            "S49",
            isolating(direction, subject={"matchLabels": {"app": "nobody"}}),
            *(untouched(direction, each, FEW) for each in ("red/a", "red/b")),
        )
        yield single(
            f"empty/{where}-other-namespaces-are-not-subjects",
            "S13 S49",
            isolating(direction),
            untouched(direction, "green/a", FEW),
            untouched(direction, "blue/a", FEW),
            untouched(direction, "red/d", FEW - {"red/a"}),
        )
        subject = {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}
        yield single(
            f"empty/{where}-subject-lacks-a-label",
            "S17",
            isolating(direction, subject=subject),
            expected(direction, "red/c", NOBODY, among=GREEN | OUTSIDE),
            *(untouched(direction, each, GREEN | OUTSIDE) for each in ("red/a", "red/b", "red/d")),
        )


def adding_cases() -> Iterator[Case]:
    """S3: policies, rules, peers and ports add up, and never mix."""
    only = {"red/b": {"podSelector": letter("b")}, "red/c": {"podSelector": letter("c")}}
    for direction in DIRECTIONS:
        where = direction.lower()
        first = isolating(direction, rule(direction, [only["red/b"]]), name="first")
        second = isolating(direction, rule(direction, [only["red/c"]]), name="second")
        closed = isolating(direction, name="a-closed")
        for names, policies in (
            ("two", (first, second)),
            ("two-and-a-closed-one", (closed, first, second)),
        ):
            yield single(
                f"adding/{where}-{names}",
                "S3",
                policies,
                expected(direction, "red/a", {"red/b", "red/c"}),
            )
        yield single(
            f"adding/{where}-wide-beside-closed",
            "S3 S5",
            (closed, isolating(direction, {}, name="open")),
            expected(direction, "red/a", EVERYONE, probes=(T80, ECHO)),
        )
        two_rules = isolating(
            direction,
            rule(direction, [only["red/b"]], [{"port": 80}]),
            rule(direction, [only["red/c"]], [{"port": 81}]),
        )
        yield single(
            f"adding/{where}-rules-do-not-mix",
            "S3",
            two_rules,
            expected(direction, "red/a", {"red/b"}),
            expected(direction, "red/a", {"red/c"}, probes=(T81,)),
        )
        many = tuple(
            isolating(
                direction, rule(direction, [only["red/b"]], [{"port": port}]), name=f"p{port}"
            )
            for port in range(70, 82)
        )
        yield single(
            f"adding/{where}-a-dozen-policies",
            "S3",
            many,
            expected(direction, "red/a", {"red/b"}, probes=(T80, T81)),
            expected(direction, "red/a", NOBODY, among=FEW, probes=(U80, ECHO)),
        )
        yield single(
            f"adding/{where}-subjects-that-overlap",
            "S3",
            (
                isolating(direction, rule(direction, [only["red/b"]]), subject={}, name="all"),
                isolating(direction, rule(direction, [only["red/c"]]), name="one"),
            ),
            expected(direction, "red/a", {"red/b", "red/c"}),
            expected(direction, "red/d", {"red/b"}, among=EVERYONE - {"red/a"}),
        )
        yield single(
            f"adding/{where}-same-name-in-two-namespaces",
            "S3 S13",
            (
                isolating(direction, rule(direction, [{"podSelector": letter("b")}])),
                isolating(
                    direction,
                    rule(direction, [{"podSelector": letter("b")}]),
                    namespace="green",
                ),
            ),
            expected(direction, "red/a", {"red/b"}, among=EVERYONE - {"green/a"}),
            expected(direction, "green/a", {"green/b"}, among=EVERYONE - {"red/a"}),
        )


def both_end_cases() -> Iterator[Case]:
    """S2: the source's egress and the destination's ingress, on one node and across nodes."""
    for (where, src), out_open, in_open in product(
        (("one-node", "red/c"), ("across-nodes", "red/b")), (True, False), (True, False)
    ):
        leave = rule(EGRESS, [{"podSelector": letter("a")}], [{"port": 80}])
        enter = rule(INGRESS, [{"podSelector": letter(src[-1])}], [{"port": 80}])
        policies = (
            isolating(EGRESS, *([leave] if out_open else []), subject=src[-1], name="out"),
            isolating(INGRESS, *([enter] if in_open else []), name="in"),
        )
        name = (
            f"{where}-out-{'open' if out_open else 'closed'}-in-{'open' if in_open else 'closed'}"
        )
        yield single(
            f"both-ends/{name}",
            "S2",
            policies,
            expected(INGRESS, "red/a", {src} if out_open and in_open else NOBODY, among=[src]),
            expected(INGRESS, "red/a", NOBODY, among=[src], probes=(T81, S80)),
            untouched(EGRESS, "red/a", [src]),
            untouched(INGRESS, src, ["red/a"]),
            expected(EGRESS, src, NOBODY, among=PODS - {"red/a"}),
        )
    yield single(
        "both-ends/one-policy-for-both-directions-of-both-pods",
        "S2 S7",
        net_policy(
            {},
            types=[INGRESS, EGRESS],
            ingress=[rule(INGRESS, [{"podSelector": letter("a")}])],
            egress=[rule(EGRESS, [{"podSelector": letter("b")}])],
        ),
        # Only red/a to red/b is allowed at both ends.
        expected(EGRESS, "red/a", {"red/b"}),
        expected(INGRESS, "red/b", {"red/a"}),
        expected(EGRESS, "red/b", NOBODY),
        expected(EGRESS, "red/c", NOBODY),
    )
    yield single(
        "both-ends/everything-closed",
        "S2 S4",
        tuple(
            net_policy({}, name="closed", namespace=name, types=[INGRESS, EGRESS])
            for name in ("red", "green", "blue")
        ),
        *(
            expected(direction, each, NOBODY)
            for direction in DIRECTIONS
            for each in ("red/a", "green/c", "blue/b")
        ),
        expected(EGRESS, "out1", {"n1", "n2", "out3"}, among=[*N1_PODS, "n1", "n2", "out3"]),
    )


def broken_cases() -> Iterator[Case]:
    """S10: what cannot be understood allows nothing, isolates all the same, and stops nobody."""
    sound = {"podSelector": letter("b")}
    nonsense: list[tuple[str, str, dict[str, Any]]] = [
        ("port-zero", "S10", {"ports": [{"port": 0}]}),
        ("port-too-high", "S10", {"ports": [{"port": 65536}]}),
        ("port-unknown-protocol", "S10 S34", {"ports": [{"port": 80, "protocol": "TCPv2"}]}),
        ("port-end-below-start", "S10 S40", {"ports": [{"port": 81, "endPort": 80}]}),
        ("port-end-without-start", "S10 S40", {"ports": [{"endPort": 80}]}),
        ("port-end-with-name", "S10 S40", {"ports": [{"port": "web", "endPort": 90}]}),
        ("block-no-cidr", "S10", {"peers": [block("everywhere")]}),
        ("block-except-outside", "S10 S28", {"peers": [block("10.0.0.0/8", "11.0.0.0/16")]}),
        ("block-except-equal", "S10 S28", {"peers": [block("10.0.0.0/8", "10.0.0.0/8")]}),
        ("block-except-other-family", "S10", {"peers": [block("10.0.0.0/8", "fd80::/64")]}),
        ("block-and-selector", "S10", {"peers": [{**block("0.0.0.0/0"), **sound}]}),
        (
            "selector-unknown-operator",
            "S10",
            {"peers": [{"podSelector": {"matchExpressions": [{"key": "pod", "operator": "Is"}]}}]},
        ),
        (
            "selector-in-without-values",
            "S10",
            {"peers": [{"podSelector": {"matchExpressions": [{"key": "pod", "operator": "In"}]}}]},
        ),
        ("peer-empty", "S10", {"peers": [{}]}),
    ]
    for direction in DIRECTIONS:
        for name, clauses, parts in nonsense:
            broken = rule(
                direction,
                **{"peers": [{"namespaceSelector": {}}], **parts},
            )
            yield single(
                f"broken/{direction.lower()}-{name}",
                clauses,
                (
                    isolating(direction, broken, rule(direction, [sound], [{"port": 80}])),
                    isolating(
                        direction,
                        rule(direction, [{"podSelector": letter("c")}]),
                        subject="d",
                        name="sound",
                    ),
                ),
                expected(direction, "red/a", {"red/b"}),
                expected(direction, "red/a", NOBODY, among=FEW, probes=(T81,)),
                expected(direction, "red/d", {"red/c"}, among=FEW),
            )
        yield single(
            f"broken/{direction.lower()}-bad-port-beside-a-good-one",
            "S10",
            isolating(direction, rule(direction, [sound], [{"port": 0}, {"port": 80}])),
            expected(direction, "red/a", {"red/b"}, among=FEW),
            expected(direction, "red/a", NOBODY, among=FEW, probes=(T81, U80)),
        )
        yield single(
            f"broken/{direction.lower()}-bad-peer-beside-a-good-one",
            "S10",
            isolating(direction, rule(direction, [block("10.0.0.0/99"), sound])),
            expected(direction, "red/a", {"red/b"}),
        )
