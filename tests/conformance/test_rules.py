"""The compiled rules against the conformance suite, simulated: every case, without a kernel."""

from __future__ import annotations

import pytest

from podwall.model.flow import Verdict
from podwall.ruleset.compile import compile_node
from podwall.ruleset.ir import Ruleset
from podwall.ruleset.journey import travel
from podwall.ruleset.validate import validate
from tests.conformance.case import Case
from tests.conformance.cases import ALL
from tests.conformance.test_oracle import flow_of, snapshot_of
from tests.conformance.world import world


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_the_rules_meet_every_expectation(case: Case) -> None:
    for number, (step, objects) in enumerate(case.states(world())):
        snapshot = snapshot_of(objects.values())
        rulesets: dict[str, Ruleset] = {
            node: compile_node(snapshot, node, case.settings) for node in snapshot.nodes
        }
        for ruleset in rulesets.values():
            validate(ruleset)
        for expectation in step.expect:
            journey = travel(snapshot, flow_of(expectation), rulesets.__getitem__)
            assert (journey.verdict is Verdict.ALLOWED) == expectation.allowed, (
                f"{case.name} ({' '.join(case.clauses)}), step {number} {step.note}: "
                f"expected that {expectation}, but {journey.stops}"
            )
