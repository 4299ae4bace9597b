"""Why a connection is as it is, in a sentence for each direction that matters."""

from __future__ import annotations

from collections.abc import Iterator

from podwall.explain.explanation import judged_end
from podwall.policy.decision import Decision, DirectionDecision
from podwall.policy.refusal import RuleRefusal

_MOST_REASONS = 3


def why(decision: Decision) -> tuple[str, ...]:
    """What allows a connection, both directions; or what denies it, those that do."""
    if decision.allowed:
        return tuple(map(_allowed, decision.directions))
    return tuple(_denied(each) for each in decision.directions if not each.allowed)


def _allowed(direction: DirectionDecision) -> str:
    if direction.exemption is not None:
        return f"{_whose(direction)}: {direction.exemption.value}"
    return f"{_whose(direction)} is allowed by {direction.allowed_by}"


def _denied(direction: DirectionDecision) -> str:
    if direction.exemption is not None:
        return f"{_whose(direction)}: {direction.exemption.value}"
    isolated = f"is isolated by {', '.join(map(str, direction.isolated_by))}"
    return f"{_whose(direction)} {isolated}; {'; '.join(_misses(direction))}"


def _whose(direction: DirectionDecision) -> str:
    return f"{direction.direction.value} of {direction.subject or judged_end(direction.direction)}"


def _misses(direction: DirectionDecision) -> Iterator[str]:
    """The rules that come nearest: the right peer on another port, else the right port."""
    rules = [rule for refusal in direction.refusals for rule in refusal.rules]
    peers = [rule for rule in rules if rule.peer is not None]
    ports = [rule for rule in rules if rule.port is not None]
    for rule in peers or ports:
        yield _miss(rule)
    if not rules:
        yield "no rule allows anything"
    elif not (peers or ports):
        yield "no rule allows this peer or this port"
    for refusal in direction.refusals:
        if refusal.problems:
            yield f"{refusal.policy} could not be understood in full: {refusal.problems[0]}"


def _miss(rule: RuleRefusal) -> str:
    if rule.peer is not None:
        half, reasons = "port", list(map(str, rule.ports))
    else:
        half, reasons = "peer", list(map(str, rule.peers))
    if len(reasons) > _MOST_REASONS:
        reasons = [*reasons[:_MOST_REASONS], f"and {len(reasons) - _MOST_REASONS} more"]
    return f"{rule.rule} does not allow this {half}: {', '.join(reasons) or 'it has no valid one'}"
