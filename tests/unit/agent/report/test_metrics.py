"""Denied flows as metrics: by namespace, and never by too many of them."""

from __future__ import annotations

from podwall.agent.report.metrics import MOST_NAMESPACES, OTHER_NAMESPACES, Metrics
from podwall.agent.status import AgentStatus, DeniedStatus, Enforced, KernelStatus
from podwall.model.policy import Direction
from podwall.ruleset.ir import LogKind


def test_namespaces_beyond_the_first_hundred_are_counted_together() -> None:
    metrics = Metrics("1")
    for number in range(MOST_NAMESPACES + 50):
        metrics.denied(LogKind.DENY, Direction.EGRESS, f"team-{number}")
    metrics.denied(LogKind.AUDIT, Direction.EGRESS, "team-0")
    metrics.denied(LogKind.AUDIT, Direction.EGRESS, "one-more")
    text = metrics.render().decode()
    lines = [each for each in text.splitlines() if each.startswith("podwall_denied_flows_total")]
    assert len(lines) == MOST_NAMESPACES + 1
    other = f'{{direction="egress",namespace="{OTHER_NAMESPACES}"}}'
    assert f"podwall_denied_flows_total{other} 50.0" in text
    assert f"podwall_audited_flows_total{other} 1.0" in text
    assert 'podwall_audited_flows_total{direction="egress",namespace="team-0"} 1.0' in text


def test_a_log_that_is_wanted_and_not_read_and_what_was_lost_of_it_are_told() -> None:
    metrics = Metrics("1")
    denied = DeniedStatus(wanted=True, error="another program reads it", lost=3, unnamed=4)
    kernel = KernelStatus(in_sync=True, since=0.0)
    metrics.follow(
        lambda: AgentStatus("1", "a", 0.0, True, (), (), kernel, Enforced(), denied=denied)
    )
    text = metrics.render().decode()
    for line in ("failing 1.0", "lost_total 3.0", "unnamed_total 4.0"):
        assert f"\npodwall_denied_log_{line}\n" in text
