"""S11 to S15, S30: every pair of kinds of peers in one rule, in two rules and in two policies.

:data:`KINDS` says by hand whom each kind means; two of them mean the union, however they are put.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from itertools import combinations_with_replacement

from msgspec.structs import replace

from tests.conformance.case import (
    DIRECTIONS,
    Case,
    block,
    expected,
    isolating,
    letter,
    rule,
    single,
)
from tests.conformance.world import (
    BLUE,
    ECHO,
    EVERYONE,
    NODES,
    OUTSIDE,
    PODS,
    T80,
    T81,
    Manifest,
)

KINDS: Mapping[str, tuple[list[Manifest], Set[str]]] = {
    "pods": ([{"podSelector": {"matchLabels": {"app": "web"}}}], {"red/d"}),
    "namespaces": ([{"namespaceSelector": {"matchLabels": {"team": "b"}}}], BLUE),
    "pods-in-namespaces": (
        [{"namespaceSelector": {}, "podSelector": letter("b")}],
        {"red/b", "green/b", "blue/b"},
    ),
    "nobody": ([{"podSelector": {"matchLabels": {"app": "nobody"}}}], set()),
    "block": ([block("198.51.100.0/24"), block("2001:db8:1::/64")], {"out1", "out2"}),
    "block-with-except": (
        [
            block("198.51.100.0/24", "198.51.100.128/25"),
            block("2001:db8:1::/64", "2001:db8:1::200/120"),
        ],
        {"out1"},
    ),
    "overlapping-blocks": (
        [
            block("10.80.0.0/16", "10.80.1.0/24"),
            block("10.80.1.0/24", "10.80.1.20/30"),
            block("fd80::/30", "fd80:1::/64"),
            block("fd80:1::/64", "fd80:1::20/124"),
        ],
        # 10.80.1.20/30 and fd80:1::20/124 hold green/b, of all machines.
        PODS - {"green/b"},
    ),
    "everything-but-pods": (
        [block("0.0.0.0/0", "10.80.0.0/16"), block("::/0", "fd80::/30")],
        NODES | OUTSIDE,
    ),
    "everything": ([block("0.0.0.0/0"), block("::/0")], EVERYONE),
}


def cases() -> Iterator[Case]:
    for direction in DIRECTIONS:
        for one, other in combinations_with_replacement(KINDS, 2):
            yield pair_case(direction, one, other)
            if one != other:
                yield replace(two_policy_case(direction, one, other), core=False)
        for name, (peers, means) in KINDS.items():
            # With ports of their own, so that the two halves of a rule are seen to be an AND.
            yield single(
                f"peers/{direction.lower()}-{name}-on-one-port",
                "S15 S34",
                isolating(direction, rule(direction, peers, [{"port": 80}])),
                expected(direction, "red/a", means, probes=(T80,)),
                expected(direction, "red/a", (), probes=(T81, ECHO), among=EVERYONE),
            )


def pair_case(direction: str, one: str, other: str) -> Case:
    """Both in one rule; a kind with itself is just that kind."""
    peers = KINDS[one][0] + (KINDS[other][0] if one != other else [])
    return single(
        f"peers/{direction.lower()}-{one}" + (f"-or-{other}" if one != other else ""),
        "S15 S26 S30",
        isolating(direction, rule(direction, peers)),
        expected(direction, "red/a", KINDS[one][1] | KINDS[other][1]),
    )


def two_policy_case(direction: str, one: str, other: str) -> Case:
    """One policy each, on different ports, of which one overlaps."""
    return single(
        f"peers/{direction.lower()}-{one}-and-another-policy-for-{other}",
        "S3 S15",
        (
            isolating(direction, rule(direction, KINDS[one][0], [{"port": 80}]), name="one"),
            isolating(
                direction,
                rule(direction, KINDS[other][0], [{"port": 80, "endPort": 81}]),
                name="two",
            ),
        ),
        expected(direction, "red/a", KINDS[one][1] | KINDS[other][1], probes=(T80,)),
        expected(direction, "red/a", KINDS[other][1], probes=(T81,)),
    )
