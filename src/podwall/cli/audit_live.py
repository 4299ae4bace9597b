"""What the agent of this host has to say about audited policies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import msgspec

from podwall.agent.control.answers import AuditReport
from podwall.agent.control.client import ask
from podwall.agent.control.words import AskAudit
from podwall.api import Cluster
from podwall.learn.auditing import WouldDeny, workload_of
from podwall.model.policy import Direction, PolicyKey


class Log(msgspec.Struct, frozen=True):
    """What the agent logged, where, for how many seconds each policy is watched, and the gaps.

    ``complete`` is false if what would be denied now may not be in it.
    """

    told: tuple[tuple[PolicyKey, WouldDeny], ...]
    where: str
    seconds: Mapping[str, float]
    notes: tuple[str, ...]
    complete: bool = True


def ask_agent(state_dir: str, cluster: Cluster) -> Log:
    """Ask the agent of this host.

    Raises:
        AgentError: none answers.
    """
    report = ask(state_dir, AskAudit(), AuditReport)
    now = time.time()
    return Log(
        tuple(_told(report, cluster)),
        f"node {report.node}",
        {each.policy: max(0.0, now - each.since) for each in report.policies},
        tuple(_gaps(report)),
        complete=report.status.reading or not report.status.wanted,
    )


def _told(report: AuditReport, cluster: Cluster) -> Iterator[tuple[PolicyKey, WouldDeny]]:
    for each in report.policies:
        key = PolicyKey(*each.policy.split("/", 1))
        for flow in each.flows:
            denied = WouldDeny(
                source=workload_of(cluster.snapshot, flow.source),
                target=workload_of(cluster.snapshot, flow.target),
                service=flow.service,
                direction=Direction(flow.direction),
                count=flow.count,
                example=(flow.source, flow.target),
                first=flow.first,
                last=flow.last,
            )
            yield key, denied


def _gaps(report: AuditReport) -> Iterator[str]:
    """What the agent may have missed."""
    status = report.status
    if status.wanted and not status.reading:
        yield f"the agent does not read the kernel's log now: {status.error or 'not yet'}"
    if status.lost or status.unnamed or report.forgotten:
        missed = status.unnamed + report.forgotten
        yield f"the log has gaps: {status.lost} packets were lost, and {missed} are not in it"
