"""Why a connection is as it is, in a sentence for each direction that matters."""

from __future__ import annotations

from podwall.cluster.snapshot import Snapshot
from podwall.explain.denial import why_denied
from podwall.explain.explanation import judged_end
from podwall.policy.decision import Decision, DirectionDecision


def why(snapshot: Snapshot, decision: Decision) -> tuple[str, ...]:
    """What allows a connection, both directions; or what denies it, those that do."""
    if decision.allowed:
        return tuple(map(_allowed, decision.directions))
    denying = (each for each in decision.directions if not each.allowed)
    return tuple(why_denied(snapshot, decision.flow, each) for each in denying)


def _allowed(direction: DirectionDecision) -> str:
    whose = f"{direction.direction.value} of {direction.subject or judged_end(direction.direction)}"
    if direction.exemption is not None:
        return f"{whose}: {direction.exemption.value}"
    return f"{whose} is allowed by {direction.allowed_by}"
