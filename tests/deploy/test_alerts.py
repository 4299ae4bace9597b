"""The alert rules: well-formed, about metrics that exist, and each with a page in the runbook."""

from __future__ import annotations

import re
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from podwall.agent.report.metrics import Metrics
from podwall.agent.status import AgentStatus, Enforced, KernelStatus, WatchStatus
from tests.deploy.rendered import CHART, ROOT

ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((CHART / "files" / "alerts.yaml").read_text(encoding="utf-8"))[
        "groups"
    ]
    for rule in group["rules"]
]

# Not of the agent: kube-state-metrics tells of nodes that have none.
OTHERS = {"kube_daemonset_status_number_unavailable"}


def _names() -> set[str]:
    """The names of the samples that a running agent gives."""
    metrics = Metrics("1")
    kernel = KernelStatus(in_sync=True, since=1.0, last_check=1.0)
    status = AgentStatus(
        version="1",
        node="a",
        started=1.0,
        ready=True,
        why_not=(),
        watches=(WatchStatus(kind="Pod", listed=True, connected=True, since=1.0),),
        kernel=kernel,
        enforced=Enforced(),
    )
    metrics.follow(lambda: status)
    families = text_string_to_metric_families(metrics.render().decode())
    return {sample.name for family in families for sample in family.samples}


def test_every_metric_in_an_alert_is_one_that_the_agent_has() -> None:
    known = _names() | OTHERS
    for alert in ALERTS:
        used = set(re.findall(r"\b(?:podwall|process|kube)_\w+", alert["expr"]))
        assert used, alert["alert"]
        assert used <= known, alert["alert"]


def test_an_alert_has_a_severity_a_summary_and_a_page_that_tells_what_to_do() -> None:
    headings = re.findall(
        r"^### (\w+)$", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert headings == [alert["alert"] for alert in ALERTS]
    for alert in ALERTS:
        assert alert.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert alert["annotations"]["summary"]
        page, anchor = alert["annotations"]["runbook"].split("#")
        assert (page, anchor) == ("docs/operations.md", alert["alert"].lower())


def test_parentheses_and_quotes_of_the_expressions_close() -> None:
    for alert in ALERTS:
        expression = alert["expr"]
        assert expression.count("(") == expression.count(")")
        assert expression.count("{") == expression.count("}")
        assert expression.count('"') % 2 == 0
