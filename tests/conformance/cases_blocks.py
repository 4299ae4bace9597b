"""S25 to S30: ipBlock, in both families with the same geometry.

:data:`BLOCKS` names some blocks of each family and says by hand which machines are in them; a case
is written once with the names and made for IPv4 and for IPv6. In each, nobody of the other family
may get in or out (S29).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

import msgspec

from podwall.model.net import Family
from tests.conformance.case import (
    BOTH,
    DIRECTIONS,
    Case,
    Expectation,
    block,
    expected,
    isolating,
    letter,
    rule,
    single,
)
from tests.conformance.world import (
    ECHO,
    EVERYONE,
    N1_PODS,
    N2_PODS,
    NOBODY,
    NODES,
    OUTSIDE,
    PODS,
    T80,
    Manifest,
)

BLOCKS: Mapping[str, tuple[str, str, Set[str]]] = {
    # name: IPv4, IPv6, the machines in it
    "all": ("0.0.0.0/0", "::/0", EVERYONE),
    "near": ("198.51.100.0/24", "2001:db8:1::/64", {"out1", "out2"}),
    "near-upper": ("198.51.100.128/25", "2001:db8:1::200/120", {"out2"}),
    "near-wide": ("198.51.0.0/16", "2001:db8:1::/48", {"out1", "out2"}),
    "one": ("198.51.100.10/32", "2001:db8:1::10/128", {"out1"}),
    "far": ("203.0.113.0/24", "2001:db8:2::/64", {"out3"}),
    "pods": ("10.80.0.0/16", "fd80::/30", PODS),
    "pods-n1": ("10.80.1.0/24", "fd80:1::/64", N1_PODS),
    "pods-n2": ("10.80.2.0/24", "fd80:2::/64", N2_PODS),
    "green-b": ("10.80.1.21/32", "fd80:1::21/128", {"green/b"}),
    "nodes": ("172.29.0.0/24", "fd80:ff::/64", NODES),
    "node-n2": ("172.29.0.2/32", "fd80:ff::2/128", {"n2"}),
    "nowhere": ("192.0.2.0/24", "2001:db8:99::/64", NOBODY),
}

LOWER: Mapping[Family, Set[str]] = {Family.V4: PODS, Family.V6: OUTSIDE}
"""Who is in the lower half of the addresses: 0.0.0.0/1 and ::/1."""


class Shape(msgspec.Struct, frozen=True):
    """Rules as lists of (block, excepts) by name, and whom they mean together."""

    name: str
    clauses: str
    rules: tuple[tuple[tuple[str, ...], ...], ...]
    means: Set[str]


SHAPES = (
    Shape("one-block", "S30", ((("near",),),), {"out1", "out2"}),
    Shape("one-address", "S30", ((("one",),),), {"out1"}),
    Shape("pods-are-addresses-too", "S30", ((("pods",),),), PODS),
    Shape("pods-of-one-node", "S30", ((("pods-n2",),),), N2_PODS),
    Shape("nodes", "S23 S30", ((("nodes",),),), NODES),
    Shape("another-node", "S23 S30 S42", ((("node-n2",),),), {"n2"}),
    Shape("nobody-there", "S12", ((("nowhere",),),), NOBODY),
    Shape("everything", "S27", ((("all",),),), EVERYONE),
    Shape("except", "S25", ((("near", "near-upper"),),), {"out1"}),
    Shape("except-one-address", "S25", ((("near", "one"),),), {"out2"}),
    Shape("two-excepts", "S25", ((("near", "near-upper", "one"),),), NOBODY),
    Shape("except-twice", "S25", ((("near", "near-upper", "near-upper"),),), {"out1"}),
    Shape("nested-excepts", "S25", ((("near-wide", "near", "near-upper"),),), NOBODY),
    Shape("except-that-does-nothing", "S25", ((("all", "nowhere"),),), EVERYONE),
    Shape("everything-except", "S25 S27", ((("all", "near"),),), EVERYONE - {"out1", "out2"}),
    Shape("everything-except-pods", "S25 S27", ((("all", "pods"),),), NODES | OUTSIDE),
    Shape(
        "everything-except-all-we-have",
        "S25 S27",
        ((("all", "pods", "nodes", "near", "far"),),),
        NOBODY,
    ),
    Shape("pods-except-one", "S25 S30", ((("pods", "green-b"),),), PODS - {"green/b"}),
    Shape("two-blocks", "S26", ((("near",), ("far",)),), OUTSIDE),
    Shape("block-in-a-block", "S26", ((("near",), ("near-upper",)),), {"out1", "out2"}),
    Shape(
        "except-given-back",
        "S25 S26",
        ((("near", "near-upper"), ("near-upper",)),),
        {"out1", "out2"},
    ),
    Shape(
        "except-given-back-by-a-wider-block",
        "S25 S26",
        ((("near", "near-upper"), ("near-wide",)),),
        {"out1", "out2"},
    ),
    Shape(
        "except-given-back-in-part", "S25 S26", ((("all", "near"), ("one",)),), EVERYONE - {"out2"}
    ),
    Shape(
        "same-block-other-excepts",
        "S26",
        ((("near", "near-upper"), ("near", "one")),),
        {"out1", "out2"},
    ),
    Shape(
        "same-block-with-and-without-except",
        "S26",
        ((("near", "near-upper"), ("near",)),),
        {"out1", "out2"},
    ),
    Shape("same-block-same-except", "S26", ((("near", "one"), ("near", "one")),), {"out2"}),
    Shape(
        "overlap-with-excepts-of-their-own",
        "S26",
        ((("near-wide", "one"), ("near", "near-upper")),),
        {"out1", "out2"},
    ),
    Shape(
        "hole-in-a-block-in-a-hole",
        "S26",
        ((("all", "pods"), ("pods-n1", "green-b")),),
        NODES | OUTSIDE | (N1_PODS - {"green/b"}),
    ),
    Shape(
        "many-blocks",
        "S26",
        ((("one",), ("near-upper",), ("far",), ("node-n2",), ("green-b",), ("nowhere",)),),
        {"out1", "out2", "out3", "n2", "green/b"},
    ),
    Shape(
        "except-given-back-by-another-rule",
        "S3 S25",
        ((("near", "near-upper"),), (("near-upper",),)),
        {"out1", "out2"},
    ),
)


def cases() -> Iterator[Case]:
    for direction in DIRECTIONS:
        for family in BOTH:
            yield from shape_cases(direction, family)
            yield from text_cases(direction, family)
        yield from mixed_cases(direction)


def named_block(family: Family, names: tuple[str, ...]) -> Manifest:
    """The peer for a block and its excepts by name."""
    texts = [BLOCKS[name][0] if family is Family.V4 else BLOCKS[name][1] for name in names]
    return block(*texts)


def only(family: Family, direction: str, means: Set[str]) -> list[list[Expectation]]:
    """Expectations: ``means`` in ``family``, nobody in the other (S29)."""
    there = Family.V6 if family is Family.V4 else Family.V4
    return [
        expected(direction, "red/a", means, families=(family,), probes=(T80, ECHO)),
        expected(direction, "red/a", NOBODY, families=(there,)),
    ]


def shape_cases(direction: str, family: Family) -> Iterator[Case]:
    where = f"{direction.lower()}-v{family.value}"
    for shape in SHAPES:
        rules = [
            rule(direction, [named_block(family, names) for names in blocks])
            for blocks in shape.rules
        ]
        yield single(
            f"blocks/{where}-{shape.name}",
            f"{shape.clauses} S29",
            isolating(direction, *rules),
            *only(family, direction, shape.means),
        )
    yield single(
        f"blocks/{where}-except-given-back-by-another-policy",
        "S3 S25 S29",
        tuple(
            isolating(direction, rule(direction, [named_block(family, names)]), name=f"p{index}")
            for index, names in enumerate((("near", "near-upper"), ("near-upper",)))
        ),
        *only(family, direction, {"out1", "out2"}),
    )
    yield single(
        f"blocks/{where}-except-given-back-by-a-selector",
        "S25 S29 S30",
        isolating(
            direction,
            rule(
                direction, [named_block(family, ("pods", "pods-n2")), {"podSelector": letter("b")}]
            ),
        ),
        expected(direction, "red/a", N1_PODS | {"red/b"}, families=(family,)),
        expected(
            direction,
            "red/a",
            {"red/b"},
            families=(Family.V6 if family is Family.V4 else Family.V4,),
        ),
    )


def text_cases(direction: str, family: Family) -> Iterator[Case]:
    """S27, S28: halves of everything, host bits, leading zeros, other spellings."""
    where = f"{direction.lower()}-v{family.value}"
    v4 = family is Family.V4
    lower, upper = ("0.0.0.0/1", "128.0.0.0/1") if v4 else ("::/1", "8000::/1")
    texts: list[tuple[str, str, list[Manifest], Set[str]]] = [
        ("lower-half", "S27", [block(lower)], LOWER[family]),
        ("upper-half", "S27", [block(upper)], EVERYONE - LOWER[family]),
        ("both-halves", "S27", [block(lower), block(upper)], EVERYONE),
        (
            "everything-except-both-halves",
            "S25 S27",
            [block("0.0.0.0/0" if v4 else "::/0", lower, upper)],
            NOBODY,
        ),
        (
            "host-bits",
            "S28",
            [block("198.51.100.77/24" if v4 else "2001:db8:1::77/64")],
            {"out1", "out2"},
        ),
        (
            "host-bits-in-an-except",
            "S28",
            [
                block("198.51.100.77/24", "198.51.100.201/25")
                if v4
                else block("2001:db8:1::77/64", "2001:db8:1::2ff/120")
            ],
            {"out1"},
        ),
        (
            "leading-zeros" if v4 else "long-spelling",
            "S28",
            [block("198.051.100.000/24" if v4 else "2001:0DB8:0001:0:0:0:0:0/64")],
            {"out1", "out2"},
        ),
        (
            "except-outside-beside-a-sound-block",
            "S10 S28",
            [
                block("198.51.100.0/24", "203.0.113.0/24")
                if v4
                else block("2001:db8:1::/64", "2001:db8:2::/64"),
                named_block(family, ("far",)),
            ],
            {"out3"},
        ),
    ]
    for name, clauses, peers, means in texts:
        yield single(
            f"blocks/{where}-{name}",
            f"{clauses} S29",
            isolating(direction, rule(direction, peers)),
            *only(family, direction, means),
        )


def mixed_cases(direction: str) -> Iterator[Case]:
    """S29: blocks of both families in one rule, and blocks beside ports."""
    where = direction.lower()
    yield single(
        f"blocks/{where}-both-families",
        "S29",
        isolating(
            direction,
            rule(
                direction,
                [named_block(Family.V4, ("near",)), named_block(Family.V6, ("near", "near-upper"))],
            ),
        ),
        expected(direction, "red/a", {"out1", "out2"}, families=(Family.V4,)),
        expected(direction, "red/a", {"out1"}, families=(Family.V6,)),
    )
    yield single(
        f"blocks/{where}-everything-of-both-families",
        "S27 S29",
        isolating(direction, rule(direction, [named_block(family, ("all",)) for family in BOTH])),
        expected(direction, "red/a", EVERYONE, probes=(T80, ECHO)),
    )
    yield single(
        f"blocks/{where}-each-family-its-own-port",
        "S29 S32",
        isolating(
            direction,
            rule(direction, [named_block(Family.V4, ("near",))], [{"port": 80}]),
            rule(direction, [named_block(Family.V6, ("near",))], [{"port": 81}]),
        ),
        expected(direction, "red/a", {"out1", "out2"}, families=(Family.V4,)),
        expected(direction, "red/a", NOBODY, families=(Family.V6,)),
        expected(
            direction, "red/a", {"out1", "out2"}, families=(Family.V6,), probes=(("TCP", 81),)
        ),
        expected(direction, "red/a", NOBODY, families=(Family.V4,), probes=(("TCP", 81),)),
    )
