"""S13 to S18, S23: each form of podSelector and namespaceSelector, alone and together.

Two tables say by hand which pods and which namespaces of the world a selector means; every case
joins rows of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from msgspec.structs import replace

from tests.conformance.case import DIRECTIONS, Case, expected, isolating, need, rule, single
from tests.conformance.world import ECHO, EVERYONE, NOBODY, PODS, RED, T80, Manifest

POD_SELECTORS: dict[str, tuple[Manifest, str]] = {
    # name: selector, letters of the pods that it means
    "empty": ({}, "abcd"),
    "label": ({"matchLabels": {"app": "web"}}, "ad"),
    "labels": ({"matchLabels": {"app": "web", "tier": "back"}}, "d"),
    "label-with-empty-value": ({"matchLabels": {"tier": ""}}, "b"),
    "label-nobody-has": ({"matchLabels": {"app": "nobody"}}, ""),
    "in-one": ({"matchExpressions": [need("app", "In", "web")]}, "ad"),
    "in-two": ({"matchExpressions": [need("app", "In", "web", "db")]}, "abd"),
    "in-none": ({"matchExpressions": [need("app", "In", "nobody")]}, ""),
    "not-in-one": ({"matchExpressions": [need("app", "NotIn", "web")]}, "bc"),
    "not-in-two": ({"matchExpressions": [need("app", "NotIn", "web", "db")]}, "c"),
    "not-in-empty-value": ({"matchExpressions": [need("tier", "NotIn", "")]}, "acd"),
    "exists": ({"matchExpressions": [need("tier", "Exists")]}, "abd"),
    "does-not-exist": ({"matchExpressions": [need("tier", "DoesNotExist")]}, "c"),
    "two-expressions": (
        {"matchExpressions": [need("app", "Exists"), need("tier", "NotIn", "front")]},
        "bd",
    ),
    "label-and-expression": (
        {"matchLabels": {"app": "web"}, "matchExpressions": [need("tier", "In", "front", "")]},
        "a",
    ),
    "contradiction": (
        {"matchExpressions": [need("app", "Exists"), need("app", "DoesNotExist")]},
        "",
    ),
}

NAMESPACE_SELECTORS: dict[str, tuple[Manifest, str]] = {
    # name: selector, names of the namespaces that it means
    "empty": ({}, "red green blue"),
    "label": ({"matchLabels": {"team": "a"}}, "red green"),
    "label-with-empty-value": ({"matchLabels": {"env": ""}}, "blue"),
    "label-nobody-has": ({"matchLabels": {"team": "nobody"}}, ""),
    "name": ({"matchLabels": {"kubernetes.io/metadata.name": "green"}}, "green"),
    "name-in": (
        {"matchExpressions": [need("kubernetes.io/metadata.name", "In", "green", "blue")]},
        "green blue",
    ),
    "in": ({"matchExpressions": [need("team", "In", "b", "c")]}, "blue"),
    "not-in": ({"matchExpressions": [need("env", "NotIn", "prod")]}, "green blue"),
    "exists": ({"matchExpressions": [need("env", "Exists")]}, "red blue"),
    "does-not-exist": ({"matchExpressions": [need("env", "DoesNotExist")]}, "green"),
    "label-and-expression": (
        {"matchLabels": {"team": "a"}, "matchExpressions": [need("env", "Exists")]},
        "red",
    ),
}

JOINED_PODS = ("empty", "label", "label-nobody-has", "not-in-one", "does-not-exist", "exists")
JOINED_NAMESPACES = ("empty", "label", "name", "not-in", "exists", "does-not-exist")


def pods_of(namespaces: str, letters: str) -> frozenset[str]:
    """The pods of the world in these namespaces with these letters."""
    wanted = {f"{name}/{each}" for name in namespaces.split() for each in letters}
    return PODS & wanted


def cases() -> Iterator[Case]:
    for direction in DIRECTIONS:
        where = direction.lower()
        for name, (selector, letters) in POD_SELECTORS.items():
            yield single(
                f"pods/{where}-{name}",
                "S13 S16 S17 S23 S24",
                isolating(direction, rule(direction, [{"podSelector": selector}])),
                expected(direction, "red/a", pods_of("red", letters), probes=(T80, ECHO)),
            )
        for name, (selector, namespaces) in NAMESPACE_SELECTORS.items():
            yield single(
                f"namespaces/{where}-{name}",
                "S14 S17 S18 S23",
                isolating(direction, rule(direction, [{"namespaceSelector": selector}])),
                expected(direction, "red/a", pods_of(namespaces, "abcd")),
            )
        for pod_name, namespace_name in product(JOINED_PODS, JOINED_NAMESPACES):
            pod_selector, letters = POD_SELECTORS[pod_name]
            namespace_selector, namespaces = NAMESPACE_SELECTORS[namespace_name]
            peer = {"podSelector": pod_selector, "namespaceSelector": namespace_selector}
            case = single(
                f"pods-and-namespaces/{where}-{pod_name}-in-{namespace_name}",
                "S15 S17",
                isolating(direction, rule(direction, [peer])),
                expected(direction, "red/a", pods_of(namespaces, letters), among=PODS | {"n1"}),
            )
            yield replace(case, core="does-not-exist" in (pod_name, namespace_name))
        yield from separate_cases(direction)


def separate_cases(direction: str) -> Iterator[Case]:
    """S15: the same two selectors in one peer and in two, and the policy in another namespace."""
    where = direction.lower()
    pod_half = {"podSelector": {"matchLabels": {"app": "web"}}}
    namespace_half = {"namespaceSelector": {"matchLabels": {"team": "b"}}}
    yield single(
        f"pods-and-namespaces/{where}-one-peer-is-and",
        "S15",
        isolating(direction, rule(direction, [{**pod_half, **namespace_half}])),
        expected(direction, "red/a", {"blue/a"}),
    )
    yield single(
        f"pods-and-namespaces/{where}-two-peers-are-or",
        "S15",
        isolating(direction, rule(direction, [pod_half, namespace_half])),
        expected(direction, "red/a", {"red/d", "blue/a", "blue/b", "blue/c"}),
    )
    yield single(
        f"pods/{where}-of-a-policy-in-another-namespace",
        "S13",
        isolating(direction, rule(direction, [{"podSelector": {}}]), namespace="blue"),
        expected(direction, "blue/a", {"blue/b", "blue/c"}),
    )
    yield single(
        f"pods/{where}-host-network-pods-are-their-node",
        "S23",
        isolating(direction, rule(direction, [{"podSelector": {"matchLabels": {"pod": "host"}}}])),
        expected(direction, "red/a", NOBODY, among=EVERYONE),
    )
    yield single(
        f"pods/{where}-ended-pods-lend-nobody-their-labels",
        "S21 S22",
        isolating(
            direction, rule(direction, [{"podSelector": {"matchLabels": {"tier": "front"}}}])
        ),
        # red/done has this label and green/b its address; red/a is the only other one.
        expected(direction, "red/a", NOBODY, among=RED | {"green/b"}),
    )
