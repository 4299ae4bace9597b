"""The oracle against the conformance suite, and the suite against its own promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.decode import decode_namespace, decode_node, decode_pod, decode_policy
from podwall.model.flow import Flow
from podwall.model.net import Family, Protocol, parse_address
from podwall.policy.evaluate import evaluate
from tests.conformance.case import Case, Expectation
from tests.conformance.cases import ALL, CORE
from tests.conformance.world import MACHINES, Manifest, world

SHOWN_BY_CASES = (
    *range(1, 31),
    *range(32, 45),
    47,
    48,
    49,
    51,
)
"""All clauses but those about addresses rewritten on the way (S31), connections that exist already
(S45, S46) and forged addresses (S50), which need more than new connections to be seen."""


def snapshot_of(manifests: Iterable[Manifest]) -> Snapshot:
    """Decode objects as files are, leaving out what no object can be made of."""
    by_kind: dict[str, list[Manifest]] = {
        kind: [] for kind in ("Pod", "Namespace", "NetworkPolicy", "Node")
    }
    for manifest in manifests:
        by_kind[manifest["kind"]].append(manifest)
    pods = [decode_pod(each).value for each in by_kind["Pod"]]
    namespaces = [decode_namespace(each).value for each in by_kind["Namespace"]]
    policies = [decode_policy(each).value for each in by_kind["NetworkPolicy"]]
    nodes = [decode_node(each).value for each in by_kind["Node"]]
    return build_snapshot(
        [each for each in pods if each is not None],
        [each for each in namespaces if each is not None],
        [each for each in policies if each is not None],
        [each for each in nodes if each is not None],
    )


def flow_of(expectation: Expectation) -> Flow:
    """The first packet of the connection that an expectation is about."""
    family = expectation.family
    echo = Protocol.ICMP if family is Family.V4 else Protocol.ICMPV6
    return Flow(
        parse_address(MACHINES[expectation.src].address(family)),
        parse_address(MACHINES[expectation.dst].address(family)),
        echo if expectation.protocol == "ICMP" else Protocol[expectation.protocol],
        expectation.port,
    )


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_the_oracle_meets_every_expectation(case: Case) -> None:
    for number, (step, objects) in enumerate(case.states(world())):
        snapshot = snapshot_of(objects.values())
        for expectation in step.expect:
            decision = evaluate(snapshot, flow_of(expectation), case.settings)
            assert decision.allowed == expectation.allowed, (
                f"{case.name} ({' '.join(case.clauses)}), step {number} {step.note}: "
                f"expected that {expectation}, but\n{decision}"
            )


def test_the_world_is_decoded_without_any_problem() -> None:
    for manifest in world():
        match manifest["kind"]:
            case "Pod":
                problems = decode_pod(manifest).problems
            case "Namespace":
                problems = decode_namespace(manifest).problems
            case _:
                problems = decode_node(manifest).problems
        assert problems == ()


def test_every_machine_that_is_a_pod_owns_its_addresses() -> None:
    snapshot = snapshot_of(world())
    for name, machine in MACHINES.items():
        for family in Family:
            owner = snapshot.owners.get(parse_address(machine.address(family)))
            assert (None if owner is None else str(owner)) == (name if "/" in name else None)


def test_there_are_enough_cases_and_their_names_are_unique() -> None:
    names = [case.name for case in ALL]
    assert len(set(names)) == len(names)
    assert len(CORE) >= 350
    assert {case.name for case in CORE} <= set(names)


def test_every_clause_that_new_connections_can_show_has_a_case() -> None:
    shown = {clause for case in CORE for clause in case.clauses}
    assert shown >= {f"S{number}" for number in SHOWN_BY_CASES}


def test_every_step_expects_something_and_never_contradicts_itself() -> None:
    for case in ALL:
        assert case.steps
        for step in case.steps:
            assert step.expect, case.name
            answers: dict[object, bool] = {}
            for each in step.expect:
                assert answers.setdefault(each.pair, each.allowed) == each.allowed, (
                    case.name,
                    str(each),
                )


def test_both_answers_directions_families_and_protocols_are_expected_often() -> None:
    counts: Counter[object] = Counter()
    for case in CORE:
        for step in case.steps:
            for each in step.expect:
                counts.update([each.allowed, each.family, each.protocol])
    assert min(counts.values()) > 1000, counts
    for word in ("ingress", "egress"):
        assert sum(word in case.name for case in CORE) > 100


def test_cases_that_touch_more_than_policies_say_so() -> None:
    touching = {case.name for case in ALL if case.changes_the_world}
    assert "updates/ingress-peer-pod-is-relabelled" in touching
    assert "unknown/no-policy-opens-what-is-not-known" in touching
    assert not any(name.startswith(("blocks/", "ports/", "pods/")) for name in touching)
