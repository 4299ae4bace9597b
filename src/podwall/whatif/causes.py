"""Why a verdict changes: the oracle's two answers about one connection, put side by side."""

from __future__ import annotations

from podwall.explain.reach import Reach
from podwall.model.net import Family, Protocol
from podwall.model.policy import PolicyKey
from podwall.policy.decision import Decision, DirectionDecision, Exemption
from podwall.whatif.outcome import Cause

_MOST_SAMPLES = 12


def samples(what: Reach, family: Family) -> list[tuple[int, int | None]]:
    """Protocols and ports that stand for what opens or closes: the first of each range."""
    found: list[tuple[int, int | None]] = [
        (protocol, each.first) for protocol, ranges in what.ports for each in ranges
    ]
    if what.icmp:
        found.append((Protocol.ICMP if family is Family.V4 else Protocol.ICMPV6, None))
    return found[:_MOST_SAMPLES]


def causes_between(old: Decision, new: Decision) -> tuple[Cause, ...]:
    """Why a connection that is allowed in one of the two is denied in the other."""
    return tuple(
        _opening(mine, theirs) if theirs.allowed else _closing(mine, theirs)
        for mine, theirs in zip(old.directions, new.directions, strict=True)
        # A direction that changes the other way is not why.
        if mine.allowed is not theirs.allowed and theirs.allowed is new.allowed
    )


def causes_of(decision: Decision) -> tuple[Cause, ...]:
    """By whose word a connection is allowed."""
    found = []
    for each in decision.directions:
        if each.allowed_by is not None:
            found.append(Cause(each.direction, f"{each.allowed_by} allows it", each.allowed_by))
        elif each.exemption is Exemption.NOT_ISOLATED:
            found.append(Cause(each.direction, "no policy isolates it"))
    return tuple(found)


def _opening(old: DirectionDecision, new: DirectionDecision) -> Cause:
    if new.allowed_by is not None:
        return Cause(new.direction, f"{new.allowed_by} allows it", new.allowed_by)
    if new.exemption is Exemption.NOT_ISOLATED and old.isolated_by:
        names = _names(old.isolated_by)
        text = f"no policy isolates it any more, as {names} did"
        return Cause(new.direction, text, None, old.isolated_by)
    return Cause(new.direction, _exempt(new))


def _closing(old: DirectionDecision, new: DirectionDecision) -> Cause:
    gained = tuple(each for each in new.isolated_by if each not in old.isolated_by)
    if old.exemption is Exemption.NOT_ISOLATED and gained:
        text = f"isolated now by {_names(gained)}, and no rule allows it"
        return Cause(new.direction, text, None, gained)
    if old.allowed_by is not None and new.isolated_by:
        rule = old.allowed_by
        how = "is gone" if rule.policy not in new.isolated_by else "allows it no more"
        text = f"{rule} {how}, and no rule of {_names(new.isolated_by)} does"
        return Cause(new.direction, text, rule, new.isolated_by)
    return Cause(new.direction, _exempt(new))


def _exempt(new: DirectionDecision) -> str:
    if new.exemption is not None:
        return new.exemption.value
    return f"isolated by {_names(new.isolated_by)}, and no rule allows it"


_MOST_NAMES = 5


def _names(keys: tuple[PolicyKey, ...]) -> str:
    more = f" and {len(keys) - _MOST_NAMES} more" if len(keys) > _MOST_NAMES else ""
    return f"{', '.join(map(str, keys[:_MOST_NAMES]))}{more}"
