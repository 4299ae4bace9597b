"""Answers of the reconciler's thread: what differs from the kernel, and what becomes of a packet.

Each function here is asked with the :class:`~podwall.agent.reconcile.picture.Picture` of a moment,
between two batches of events. It reads the kernel afresh, so it answers with what is there.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from podwall.agent.control.answers import LiveDiff, LiveExplanation
from podwall.agent.control.excerpt import excerpt
from podwall.agent.control.explaining import View, explain_live
from podwall.agent.reconcile.picture import Picture
from podwall.dataplane.apply import count_changes, for_families
from podwall.dataplane.plan_text import StepText, render_plan
from podwall.errors import AgentError
from podwall.model.objects import PodKey
from podwall.model.policy import PolicyKey
from podwall.ruleset.diff import diff

MOST_LINES = 20_000
"""So many lines of one step of a difference are told; the rest is counted."""


NO_PICTURE = "the agent has not seen the whole cluster yet; podwall status says what is missing"


def find_difference(picture: Picture) -> LiveDiff:
    """What the kernel lacks and has too much of.

    Raises:
        AgentError: the agent has no full picture of the cluster yet.
        KernelError: the kernel cannot be read.
    """
    if picture.live is None or picture.dataplane is None:
        raise AgentError(NO_PICTURE)
    dataplane = picture.dataplane
    desired = for_families(picture.live.ruleset(), dataplane.families)
    observed = picture.observe()
    plan = diff(observed, desired)
    text = render_plan(plan, count_changes(plan, observed), _bounded(dataplane.repairs))
    steps = tuple(StepText(each.program, _bounded(each.input)) for each in text.steps)
    return LiveDiff(picture.node, msgspec.structs.replace(text, steps=steps))


def explain_connection(
    picture: Picture, source: str, target: str, service: str
) -> list[LiveExplanation]:
    """Why a connection passes this node or not, in each family.

    Raises:
        AgentError: the agent has no full picture of the cluster yet.
        InputError: an end or the service is not understood.
        KernelError: the kernel cannot be read.
    """
    if picture.live is None or picture.dataplane is None:
        raise AgentError(NO_PICTURE)
    live, dataplane = picture.live, picture.dataplane
    view = View(
        picture.node,
        picture.settings,
        excerpt(live.state, (source, target)),
        live.ruleset(),
        live.refused,
        picture.observe(),
        dataplane.counters,
    )
    return explain_live(view, source, target, service)


def isolated_here(
    picture: Picture, policies: Iterable[PolicyKey]
) -> dict[PolicyKey, tuple[PodKey, ...]] | None:
    """The pods of this node that each policy selects; policies that are gone are left out.

    ``None`` as long as the cluster is not known in full.
    """
    if picture.live is None:
        return None
    state = picture.live.state
    found = [policy for policy in map(state.policy, policies) if policy is not None]
    here = [pod for each in picture.live.endpoints if (pod := state.pod(each.key)) is not None]
    return {
        policy.key: tuple(
            pod.key
            for pod in here
            if pod.key.namespace == policy.key.namespace and policy.subject.matches(pod.labels)
        )
        for policy in found
    }


def _bounded(lines: Iterable[str]) -> tuple[str, ...]:
    told = tuple(lines)
    if len(told) <= MOST_LINES:
        return told
    return (*told[:MOST_LINES], f"# and {len(told) - MOST_LINES} more lines")
