from __future__ import annotations

from podwall.check.finding import Severity
from podwall.model.decode import Severity as ProblemSeverity
from podwall.model.decode import decode_policy
from podwall.model.policy import Policy, PolicyKey
from tests.builders import policy
from tests.unit.check.helpers import cluster, found, run


def decoded(spec: dict[str, object]) -> tuple[Policy, dict[PolicyKey, list[str]]]:
    """A policy as the decoder gives it, and its warnings as ``check`` takes them."""
    result = decode_policy({"metadata": {"name": "p", "namespace": "dev"}, "spec": spec})
    assert result.value is not None
    warnings = [each for each in result.problems if each.severity is ProblemSeverity.WARNING]
    return result.value, {result.value.key: [str(each) for each in warnings]}


def test_s10_every_problem_is_an_error() -> None:
    broken, _ = decoded(
        {
            "podSelector": {},
            "ingress": [{"ports": [{"port": 80, "endPort": 79}]}, {"from": [{}]}],
        }
    )
    findings = run("invalid", cluster(broken))
    assert [each.path for each in findings] == [
        "spec.ingress[0].ports[0].endPort",
        "spec.ingress[1].from[0]",
    ]
    assert {each.severity for each in findings} == {Severity.ERROR}
    assert "79 is below port 80" in findings[0].message


def test_a_problem_without_a_path_is_not_lost() -> None:
    broken = policy("dev/p", ingress=[], problems=["12 more errors, not shown"])
    assert found("invalid", cluster(broken))[0][0] == ""
    assert "12 more errors" in found("invalid", cluster(broken))[0][1]


def test_s7_a_section_that_policy_types_leaves_out_is_found() -> None:
    value, remarks = decoded({"podSelector": {}, "policyTypes": ["Egress"], "ingress": [{}]})
    assert found("section-ignored", cluster(value), remarks) == [
        ("spec.ingress", "policyTypes does not list Ingress, so this section is ignored.")
    ]
    assert not found("doubtful-field", cluster(value), remarks)


def test_s7_a_section_that_policy_types_lists_is_fine() -> None:
    value, remarks = decoded({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]})
    assert not found("section-ignored", cluster(value), remarks)


def test_other_warnings_of_the_decoder_are_findings_too() -> None:
    value, remarks = decoded({"podSelector": {}, "podselector": {}, "ingress": []})
    [(path, message)] = found("doubtful-field", cluster(value), remarks)
    assert path == "spec.podselector"
    assert "podSelector" in message
    assert not found("section-ignored", cluster(value), remarks)


def test_a_sound_policy_has_nothing_to_report() -> None:
    value, remarks = decoded({"podSelector": {}, "ingress": [{}]})
    for code in ("invalid", "section-ignored", "doubtful-field"):
        assert not found(code, cluster(value), remarks)
