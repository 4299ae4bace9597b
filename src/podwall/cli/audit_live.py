"""What the agent of this host has to say about audited policies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import msgspec

from podwall.agent.control.answers import AuditReport
from podwall.agent.control.client import ask
from podwall.agent.control.words import AskAudit
from podwall.api import Cluster
from podwall.cluster.snapshot import Snapshot
from podwall.learn.auditing import WouldDeny, workload_of
from podwall.model.objects import PodKey
from podwall.model.policy import Direction, PolicyKey
from podwall.policy.evaluate import audited_policies, isolating_policies


class Log(msgspec.Struct, frozen=True):
    """What the agent logged, where, for how many seconds each policy is watched, and the gaps.

    ``heard`` are the policies that it can speak for: what they would deny is, or would be, in it.
    """

    told: tuple[tuple[PolicyKey, WouldDeny], ...]
    where: str
    seconds: Mapping[str, float]
    notes: tuple[str, ...]
    heard: frozenset[PolicyKey]


def ask_agent(state_dir: str, cluster: Cluster) -> Log:
    """Ask the agent of this host.

    Raises:
        AgentError: none answers.
    """
    report = ask(state_dir, AskAudit(), AuditReport)
    now = time.time()
    notes = list(_gaps(report))
    unlogged = tuple(_unlogged(report, cluster))
    if unlogged:
        names = ", ".join(map(str, unlogged))
        notes.append(f"the kernel has no rules that would log what these deny: {names}")
    return Log(
        tuple(_told(report, cluster)),
        f"node {report.node}",
        {each.policy: max(0.0, now - each.since) for each in report.policies},
        tuple(notes),
        _heard(report) - frozenset(unlogged),
    )


def _told(report: AuditReport, cluster: Cluster) -> Iterator[tuple[PolicyKey, WouldDeny]]:
    for each in report.policies:
        key = _key(each.policy)
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


def _heard(report: AuditReport) -> frozenset[PolicyKey]:
    """The policies that the agent has an unbroken ledger of, as far as it can know."""
    if (report.status.wanted and not report.status.reading) or report.forgotten:
        # What was forgotten may have been all that there was of a policy.
        return frozenset()
    return frozenset(_key(each.policy) for each in report.policies)


def _unlogged(report: AuditReport, cluster: Cluster) -> Iterator[PolicyKey]:
    """Policies that could deny something to a pod of the node, and have no rules there.

    The kernel refused them, as one does that cannot log, or they are not in it yet.
    """
    for each in report.policies:
        key = _key(each.policy)
        if each.packets is None and any(_decides(cluster.snapshot, key, pod) for pod in each.pods):
            yield key


def _decides(snapshot: Snapshot, key: PolicyKey, name: str) -> bool:
    """Whether a pod is audited by the policy in a direction in which nothing is enforced."""
    pod = snapshot.pods.get(PodKey(*name.split("/", 1)))
    return pod is not None and any(
        key in {each.key for each in audited_policies(snapshot, pod, direction)}
        and not isolating_policies(snapshot, pod, direction)
        for direction in Direction
    )


def _key(name: str) -> PolicyKey:
    return PolicyKey(*name.split("/", 1))


def _gaps(report: AuditReport) -> Iterator[str]:
    """What the agent may have missed."""
    status = report.status
    if status.wanted and not status.reading:
        yield f"the agent does not read the kernel's log now: {status.error or 'not yet'}"
    if status.lost or status.unnamed or report.forgotten:
        missed = status.unnamed + report.forgotten
        yield f"the log has gaps: {status.lost} packets were lost, and {missed} are not in it"
