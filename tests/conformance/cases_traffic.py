"""S42 to S49: nodes, unknown addresses, protocols without ports, and the switches."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from podwall.model.settings import Settings
from tests.conformance.case import (
    BOTH,
    DIRECTIONS,
    EGRESS,
    INGRESS,
    Case,
    Expectation,
    block,
    expected,
    isolating,
    net_policy,
    pod_key,
    rule,
    single,
    step,
    untouched,
)
from tests.conformance.world import (
    ECHO,
    EVERYONE,
    LISTENING,
    MACHINES,
    NOBODY,
    NODES,
    OUTSIDE,
    PODS,
    S80,
    T80,
    U80,
)


def cases() -> Iterator[Case]:
    yield from node_cases()
    yield from switch_cases()
    yield from unknown_pod_cases()
    yield from protocol_cases()
    yield Case(
        "traffic/without-policies-everything-is-open",
        ("S49",),
        (
            step(
                *(
                    untouched(direction, each, probes=(T80, U80, S80, ECHO))
                    for direction in DIRECTIONS
                    for each in ("red/a", "blue/b")
                )
            ),
        ),
    )
    yield single(
        "traffic/a-closed-pod-reaches-itself",
        "S24 S44",
        net_policy({}, types=[INGRESS, EGRESS]),
        [
            Expectation("red/a", "red/a", family, *probe, allowed=True)
            for family in BOTH
            for probe in LISTENING
        ],
        expected(INGRESS, "red/a", NOBODY),
    )
    yield single(
        "traffic/who-is-selected-by-nobody-gets-no-verdict",
        "S49",
        net_policy("a", types=[INGRESS, EGRESS]),
        *(untouched(direction, "red/c", EVERYONE - {"red/a"}) for direction in DIRECTIONS),
        untouched(EGRESS, "out1", NODES | OUTSIDE - {"out1"}),
    )


def node_cases() -> Iterator[Case]:
    """S23, S42, S43: a node and its own pods, and those of another node."""
    closed = net_policy({}, types=[INGRESS, EGRESS])
    yield single(
        "nodes/the-own-node-reaches-every-closed-pod",
        "S42",
        closed,
        *(
            expected(INGRESS, each, NOBODY, among=NODES, probes=LISTENING)
            for each in ("red/a", "red/b", "red/c", "red/d")
        ),
    )
    yield single(
        "nodes/a-closed-pod-does-not-reach-its-node",
        "S43",
        closed,
        *(
            expected(EGRESS, each, NOBODY, among=NODES, probes=(T80, U80, ECHO))
            for each in ("red/a", "red/b")
        ),
    )
    for name, cidrs, means in (
        ("own", ("172.29.0.1/32", "fd80:ff::1/128"), {"n1"}),
        ("other", ("172.29.0.2/32", "fd80:ff::2/128"), {"n2"}),
        ("both", ("172.29.0.0/24", "fd80:ff::/64"), {"n1", "n2"}),
    ):
        for direction in DIRECTIONS:
            yield single(
                f"nodes/{direction.lower()}-a-block-for-{name}",
                "S23 S30 S42 S43",
                isolating(direction, rule(direction, [block(each) for each in cidrs])),
                expected(direction, "red/a", means, probes=(T80, ECHO)),
            )
    yield single(
        "nodes/no-selector-means-a-node",
        "S14 S23 S43",
        isolating(EGRESS, rule(EGRESS, [{"namespaceSelector": {}}])),
        expected(EGRESS, "red/a", PODS),
    )


def switch_cases() -> Iterator[Case]:
    """S43 and S48 the other way round."""
    closed = net_policy("a", types=[INGRESS, EGRESS])
    yield replace(
        single(
            "switches/pods-may-reach-their-own-node",
            "S43",
            closed,
            expected(EGRESS, "red/a", {"n1"}, probes=(T80, U80, ECHO)),
            expected(INGRESS, "red/a", NOBODY),
        ),
        settings=Settings(judge_node_egress=False),
    )
    yield Case(
        "switches/unknown-pods-are-open",
        ("S48",),
        (
            step(
                *(untouched(direction, "red/b") for direction in DIRECTIONS),
                delete=(pod_key("red/b"),),
            ),
        ),
        settings=Settings(close_unknown_pods=False),
    )


def unknown_pod_cases() -> Iterator[Case]:
    """S48: a machine in a pod range whose pod nobody knows."""
    gone = tuple(map(pod_key, ("red/b", "blue/c")))
    yield Case(
        "unknown/closed-in-both-directions-but-for-the-own-node",
        ("S42", "S48"),
        (
            step(
                expected(INGRESS, "red/b", NOBODY, probes=(T80, U80, S80, ECHO)),
                expected(EGRESS, "red/b", NOBODY, probes=(T80, ECHO)),
                expected(INGRESS, "blue/c", NOBODY),
                expected(EGRESS, "blue/c", NOBODY, among=EVERYONE - {"red/b"}),
                untouched(INGRESS, "red/a", EVERYONE - {"red/b", "blue/c"}),
                delete=gone,
            ),
        ),
    )
    yield Case(
        "unknown/no-policy-opens-what-is-not-known",
        ("S5", "S48"),
        (
            step(
                expected(INGRESS, "red/b", NOBODY),
                expected(EGRESS, "red/b", NOBODY),
                apply=(net_policy({}, types=[INGRESS, EGRESS], ingress=[{}], egress=[{}]),),
                delete=(pod_key("red/b"),),
            ),
        ),
    )
    yield Case(
        "unknown/no-block-opens-what-is-not-known",
        ("S30", "S48"),
        (
            step(
                expected(EGRESS, "red/a", EVERYONE - {"red/b"}),
                apply=(isolating(EGRESS, rule(EGRESS, [block("0.0.0.0/0"), block("::/0")])),),
                delete=(pod_key("red/b"),),
            ),
        ),
    )


def protocol_cases() -> Iterator[Case]:
    """S32, S34, S47: protocols are told apart on a closed pod."""
    opened = {"TCP": {T80}, "UDP": {U80}, "SCTP": {S80}}
    few = ["red/b", "green/b", "out1"]
    for direction in DIRECTIONS:
        for protocol, probes in opened.items():
            yield single(
                f"protocols/{direction.lower()}-{protocol.lower()}-80-and-nothing-else",
                "S34 S47",
                isolating(direction, rule(direction, ports=[{"port": 80, "protocol": protocol}])),
                expected(direction, "red/a", few, among=few, probes=sorted(probes)),
                expected(
                    direction,
                    "red/a",
                    NOBODY,
                    among=few,
                    probes=[*({T80, U80, S80} - probes), ECHO],
                ),
            )
        yield single(
            f"protocols/{direction.lower()}-icmp-from-one-peer",
            "S32 S47",
            isolating(
                direction,
                rule(direction, [block(f"{MACHINES['out1'].v4}/32"), block("2001:db8:1::10/128")]),
                rule(direction, ports=[{"protocol": "TCP"}]),
            ),
            expected(direction, "red/a", {"out1"}, among=few, probes=(ECHO, U80)),
            expected(direction, "red/a", few, among=few),
        )
