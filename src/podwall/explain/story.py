"""An explanation as lines of text, for whoever shows it: a terminal, a page.

Each line has a depth and a tone; how these look is for the reader's medium to say.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import assert_never

import msgspec

from podwall.explain.explanation import Explanation, Grant, judged_end
from podwall.policy.decision import DirectionDecision, PolicyRefusal
from podwall.ruleset.ir import (
    AddressPort,
    AddToSet,
    ChainRole,
    Drop,
    Goto,
    IPSet,
    Jump,
    Log,
    Match,
    MatchPorts,
    MatchProtocol,
    MatchSet,
    Member,
    Net,
    Reject,
    Return,
    Rule,
)
from podwall.ruleset.journey import StopTrace

SHOWN_MEMBERS = 4
"""So many members of a set are named."""


class Tone(enum.Enum):
    """How a line is meant."""

    PLAIN = "plain"
    ASIDE = "aside"
    WARNING = "warning"


class Line(msgspec.Struct, frozen=True):
    """One line; ``depth`` is how deep it stands under the heading."""

    text: str
    depth: int = 0
    tone: Tone = Tone.PLAIN


def whose(direction: DirectionDecision) -> str:
    """Whose policies decide in a direction."""
    return str(direction.subject) if direction.subject else judged_end(direction.direction)


def direction_lines(direction: DirectionDecision, grant: Grant | None) -> Iterator[Line]:
    """How one direction was decided; the verdict itself is left to the heading."""
    if direction.isolated_by:
        yield Line(f"isolated by {', '.join(map(str, direction.isolated_by))}")
    if direction.exemption is not None:
        yield Line(direction.exemption.value)
    if direction.allowed_by is not None:
        yield Line(f"allowed by {direction.allowed_by}")
        if grant is not None:
            yield Line(f"{grant.peer}; {grant.port}", 1)
    yield from _refusals(direction.refusals, 0)
    if direction.audited_by:
        yield from _audit(direction)


def _audit(direction: DirectionDecision) -> Iterator[Line]:
    """What policies that are only audited would make of it."""
    yield Line(f"audited by {', '.join(map(str, direction.audited_by))}")
    audit = direction.audit
    if audit is None:
        return
    if direction.would_deny:
        yield Line("would be denied if enforced:", 0, Tone.WARNING)
        yield from _refusals(audit.refusals, 1)
    elif audit.allowed_by is not None and audit.allowed_by.policy in direction.audited_by:
        yield Line(f"would be allowed by {audit.allowed_by} if enforced")


def _refusals(refusals: Sequence[PolicyRefusal], depth: int) -> Iterator[Line]:
    for refusal in refusals:
        if not refusal.rules:
            yield from (Line(line, depth) for line in str(refusal).splitlines())
        for rule in refusal.rules:
            yield Line(f"{rule.rule} does not allow it:", depth)
            reasons = [*map(str, rule.peers), *map(str, rule.ports)]
            for reason in reasons or ["nothing in it could be understood (S10)"]:
                yield Line(reason, depth + 1)
        if refusal.rules:
            yield from (Line(f"not understood: {each}", depth) for each in refusal.problems)


def stop_lines(explanation: Explanation, stop: StopTrace) -> Iterator[Line]:
    """The rules that a packet met at one hook, as far as they matter, and the sets they asked."""
    rules = explanation.rulesets[stop.stop.node].family(explanation.decision.flow.src.family)
    for step in stop.trace.steps:
        note = step.rule.comment or rules.chains[step.chain].notes.get(step.index, "")
        comment = f"   # {note}" if note else ""
        where = f"{step.chain} rule {step.index + 1}: "
        if step.failed is None:
            yield Line(f"{where}{target_words(step.rule)}{comment}")
        elif rules.chains[step.chain].role is ChainRole.PROFILE:
            yield Line(f"{where}no, {_failure_words(step.failed)}{comment}", 0, Tone.ASIDE)
    for ipset, holds in explanation.sets_of(stop):
        answer = "holds it" if holds else "does not hold it"
        yield Line(f"set {set_words(ipset)}: {answer}", 0, Tone.ASIDE)


def _failure_words(match: Match) -> str:
    """Why a rule of a profile does not match."""
    match match:
        case MatchSet(name, ends):
            return f"{','.join(end.value for end in ends)} is not in {name}"
        case MatchProtocol(protocol):
            return f"it is not {protocol.name}"
        case MatchPorts(ports):
            return f"the port is not in {','.join(map(str, ports))}"
        case _:
            return f"{type(match).__name__} does not hold"


def target_words(rule: Rule) -> str:
    """What a rule does with a packet that it matches."""
    match rule.target:
        case Jump(chain):
            return f"calls {chain}"
        case Goto(chain):
            return f"goes to {chain}"
        case Return():
            return "goes back: nothing against it here"
        case Drop():
            return "dropped"
        case Reject():
            return "rejected"
        case Log(kind, group):
            return f"told to who listens to NFLOG group {group}, as {kind.value}"
        case AddToSet(name):
            return f"its flow is noted in {name}, to be told of once"
        case _:
            assert_never(rule.target)


def set_words(ipset: IPSet) -> str:
    """A set: name, type, number of members, and the first few."""
    members = [_member_words(each) for each in sorted(ipset.members)]
    shown = ", ".join(members[:SHOWN_MEMBERS])
    more = f" and {len(members) - SHOWN_MEMBERS} more" if len(members) > SHOWN_MEMBERS else ""
    return f"{ipset.name} ({ipset.type.value}, {len(members)} members): {shown}{more}"


def _member_words(member: Member) -> str:
    match member:
        case Net(cidr, nomatch):
            return f"{cidr} nomatch" if nomatch else str(cidr)
        case AddressPort(address, protocol, port):
            return f"{address} {port}/{protocol.name.lower()}"
        case _:
            return str(member)
