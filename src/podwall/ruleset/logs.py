"""How packets are logged: one of each flow now and then, and never so many that it costs anything.

A packet that is about to be dropped is handed to an NFLOG group, unless one of its flow was in the
last few seconds, or too many were. A set that forgets remembers the flows. Before the set stands a
limit far above what is logged, which is cheaper to ask: under a flood, next to all packets cost a
look at that limit. Whatever happens, the set stays small and who listens is told a few hundred
packets a second at most (ADR 18 says why it is not ``hashlimit``).
"""

from __future__ import annotations

from podwall.model.net import Family
from podwall.ruleset import names
from podwall.ruleset.ir import (
    AddToSet,
    Chain,
    ChainRole,
    End,
    IPSet,
    Jump,
    Log,
    LogKind,
    MatchLimit,
    MatchSet,
    Rule,
    SetRole,
    SetType,
)

LOGGED_SECONDS = 10
"""For so long a flow that was logged is not logged again."""

LOGGED_A_SECOND = 200
"""So many packets are logged in a second, each for itself by each kind and family."""

LOGGED_AT_ONCE = 400
"""So many are logged in one go after a quiet time."""

LOOKED_UP_A_SECOND = 1000
"""Of so many packets in a second is asked whether their flow was logged; others are not logged."""

_FLOW = (End.SRC, End.DST, End.DST)

_TITLES = {
    LogKind.DENY: "tell that a packet is denied",
    LogKind.AUDIT: "tell that audited policies would deny a packet",
}
_SET_TITLES = {
    LogKind.DENY: "denied flows that were logged: source address, destination port and address",
    LogKind.AUDIT: "flows that audited policies would deny: source address, destination port and "
    "address",
}


def log_rule(family: Family, kind: LogKind) -> Rule:
    """Lead a packet to where it is logged if its flow was not, a moment ago."""
    flood = MatchLimit(LOOKED_UP_A_SECOND, LOOKED_UP_A_SECOND)
    known = MatchSet(names.logged_set(family, kind), _FLOW, negated=True)
    limit = MatchLimit(LOGGED_A_SECOND, LOGGED_AT_ONCE)
    return Rule(Jump(names.log_chain(kind)), (flood, known, limit))


def log_chain(family: Family, kind: LogKind, group: int) -> Chain:
    """Remember the flow and log the packet; then the packet goes on where it came from."""
    return Chain(
        names.log_chain(kind),
        ChainRole.LOG,
        (Rule(AddToSet(names.logged_set(family, kind), _FLOW)), Rule(Log(kind, group))),
        title=_TITLES[kind],
    )


def logged_set(family: Family, kind: LogKind) -> IPSet:
    """The flows that were logged a moment ago."""
    return IPSet(
        name=names.logged_set(family, kind),
        type=SetType.HASH_IP_PORT_IP,
        family=family,
        role=SetRole.LOGGED,
        title=_SET_TITLES[kind],
        timeout=LOGGED_SECONDS,
    )
