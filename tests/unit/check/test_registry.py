from __future__ import annotations

import io
import re

import msgspec
from hypothesis import given
from rich.console import Console

from podwall.check import (
    CHECKS,
    Severity,
    check,
    checks_table,
    finding_line,
    findings_table,
    skipped_checks,
    to_dict,
    worst,
)
from podwall.cluster.snapshot import Snapshot
from tests import strategies
from tests.builders import allow, pod, pods, policy, port
from tests.unit.check.helpers import cluster

CHECKS_BY_CODE = {each.code: each for each in CHECKS}
BAD_PEER = policy(
    "dev/p",
    {"app": "web"},
    ingress=[allow(pods({"app": "no"}, namespaces="dev"), ports=[port(80)])],
)
WEB = pod("dev/web", "10.0.0.2", app="web")


def shown(table: object) -> str:
    console = Console(width=250, color_system=None, file=io.StringIO())
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_every_check_has_a_name_a_clause_and_one_sentence() -> None:
    assert len({each.code for each in CHECKS}) == len(CHECKS)
    for each in CHECKS:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", each.code)
        assert re.fullmatch(r"S([1-9]|[1-4][0-9]|5[01])", each.clause)
        assert each.explains.endswith(".")


def test_findings_come_in_the_order_of_a_reader() -> None:
    nobody = pods({"app": "no"}, namespaces="dev")
    many = policy("dev/z", ingress=[allow(nobody, ports=[port(each)]) for each in range(1, 12)])
    findings = check(cluster(WEB, many, BAD_PEER), checks=[CHECKS_BY_CODE["peer-matches-no-pod"]])
    assert [each.policy.name for each in findings] == ["p"] + ["z"] * 11
    assert findings[-1].path.startswith("spec.ingress[10]")
    assert findings[2].path.startswith("spec.ingress[1]")


def test_without_any_pods_only_the_checks_run_that_need_none() -> None:
    snapshot = cluster(BAD_PEER)
    assert check(snapshot) == ()
    skipped = {each.code for each in skipped_checks(snapshot)}
    assert "peer-matches-no-pod" in skipped
    assert "rule-swallowed" not in skipped
    assert skipped_checks(cluster(WEB)) == ()


def test_the_worst_severity_decides() -> None:
    [warning] = check(cluster(WEB, BAD_PEER))
    info = msgspec.structs.replace(warning, severity=Severity.INFO)
    error = msgspec.structs.replace(warning, severity=Severity.ERROR)
    assert worst([]) is None
    assert worst([info]) is Severity.INFO
    assert worst([info, error, warning]) is Severity.ERROR


def test_a_finding_as_a_line_a_table_and_a_dictionary() -> None:
    [finding] = check(cluster(WEB, BAD_PEER))
    message = "no pod in namespace dev has app=no, so it allows nobody. Values of app in use: web."
    assert finding_line(finding) == (
        f"warning: dev/p spec.ingress[0].from[0].podSelector: {message} [S12 peer-matches-no-pod]"
    )
    text = shown(findings_table([finding]))
    for each in ("dev/p", "spec.ingress[0].from[0].podSelector", "[peer-matches-no-pod]", "S12"):
        assert each in text
    assert to_dict(finding) == {
        "severity": "warning",
        "code": "peer-matches-no-pod",
        "clause": "S12",
        "namespace": "dev",
        "policy": "p",
        "path": "spec.ingress[0].from[0].podSelector",
        "message": message,
    }


def test_names_that_look_like_markup_are_shown_as_they_are() -> None:
    [finding] = check(cluster(WEB, BAD_PEER))
    hostile = msgspec.structs.replace(finding, message="label [red]x[/red]")
    assert "label [red]x[/red]" in shown(findings_table([hostile]))


def test_the_list_of_checks_names_all_of_them() -> None:
    text = shown(checks_table(CHECKS))
    assert all(each.code in text and each.explains in text for each in CHECKS)


@given(strategies.snapshots(min_policies=1))
def test_any_cluster_can_be_checked_and_the_answer_is_always_the_same(snapshot: Snapshot) -> None:
    findings = check(snapshot)
    assert findings == check(snapshot)
    assert {each.policy for each in findings} <= snapshot.policies.keys()
    assert {each.code for each in findings} <= CHECKS_BY_CODE.keys()
