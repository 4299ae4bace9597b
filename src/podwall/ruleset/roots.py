"""The fixed chains: what every packet meets first, and what becomes of a packet nothing allowed.

Replies go first, before any dispatch, so an established connection pays for one match. Then the
source is judged as the subject of egress, then the destination as the subject of ingress. There is
no ACCEPT and no mark: what passes both returns to the built-in chain, where other programs' rules
still have their say (S49).

A node always reaches its pods (S42), so the OUTPUT hook only refuses the remains of connections
that were cut: see :func:`cut_rules`.
"""

from __future__ import annotations

from collections.abc import Iterator

from podwall.model.net import Family, Protocol, parse_cidr
from podwall.model.policy import Direction
from podwall.model.settings import DenyAction, Settings
from podwall.ruleset import names
from podwall.ruleset.ir import (
    Chain,
    ChainRole,
    Drop,
    End,
    Goto,
    Hook,
    Jump,
    LogKind,
    MatchAddress,
    MatchLoopback,
    MatchMidStream,
    MatchNeighbourDiscovery,
    MatchProtocol,
    MatchSelf,
    MatchSet,
    MatchState,
    Reject,
    Return,
    Rule,
)
from podwall.ruleset.logs import log_rule

NEIGHBOUR_DISCOVERY_TYPES = (133, 134, 135, 136, 137)
"""Router solicitation and advertisement, neighbour solicitation and advertisement, redirect."""

LINK_LOCAL = parse_cidr("fe80::/10")

_REPLY = Rule(Return(), (MatchState(("RELATED", "ESTABLISHED")),))


def root_chains(family: Family, settings: Settings) -> dict[Hook, Chain]:
    """The root chain for each hook that needs one."""
    cut = tuple(cut_rules(family)) if settings.cut_connections else ()
    egress, ingress = (names.dispatch_chain(each) for each in (Direction.EGRESS, Direction.INGRESS))
    bridged = tuple(link_local_rules()) if family is Family.V6 else ()
    chains = {
        Hook.FORWARD: Chain(
            names.root_chain(Hook.FORWARD),
            ChainRole.ROOT,
            (
                _REPLY,
                *cut,
                *(bridged if settings.close_unknown_pods else ()),
                Rule(Jump(egress)),
                Rule(Goto(ingress)),
            ),
            title="forwarded packets: from a pod, to a pod, or both",
        )
    }
    if settings.judge_node_egress:
        chains[Hook.INPUT] = Chain(
            names.root_chain(Hook.INPUT),
            ChainRole.ROOT,
            (Rule(Return(), (MatchLoopback(),)), _REPLY, Rule(Goto(egress))),
            title="packets from a pod to this node",
        )
        if cut:
            chains[Hook.OUTPUT] = Chain(
                names.root_chain(Hook.OUTPUT),
                ChainRole.ROOT,
                (_REPLY, *cut),
                title="packets from this node to a pod: refuses the rest of cut connections",
            )
    return chains


def link_local_rules() -> Iterator[Rule]:
    """Close the addresses that pods on one bridge have beside those that policies know.

    Every interface has an IPv6 link-local address, which no status of a pod tells. No router
    forwards it, so a forwarded packet with one goes over a bridge, between pods (S48).
    """
    for end in End:
        yield Rule(
            Goto(names.DENY_CHAIN), (MatchAddress(end, LINK_LOCAL),), "link-local on a bridge"
        )


def cut_rules(family: Family) -> Iterator[Rule]:
    """Refuse what a server still sends on a connection that was cut.

    Without its conntrack entry the server's next packet looks like a new connection in the reverse
    direction, which policies may well allow; conntrack would then take the client's packets for
    replies and the connection would live on. The set names server, server port and client.
    """
    match = MatchSet(names.cut_set(family), (End.SRC, End.SRC, End.DST))
    yield Rule(
        Reject(tcp_reset=True),
        (MatchProtocol(Protocol.TCP), MatchMidStream(), match),
        "connection was cut",
    )
    for protocol in (Protocol.UDP, Protocol.SCTP):
        yield Rule(Drop(), (MatchProtocol(protocol), match), "connection was cut")


def deny_chain(family: Family, settings: Settings) -> Chain:
    """Where packets end that no rule allowed; the few that always pass return from here.

    These exceptions stand last because they are rare: here they cost nothing to what is allowed.
    """
    rules = list(_exceptions(family))
    if settings.log_denied:
        rules.append(log_rule(family, LogKind.DENY))
    match settings.deny:
        case DenyAction.DROP:
            rules.append(Rule(Drop()))
        case DenyAction.REJECT:
            rules.append(Rule(Reject(tcp_reset=True), (MatchProtocol(Protocol.TCP),)))
            rules.append(Rule(Reject()))
    return Chain(names.DENY_CHAIN, ChainRole.DENY, tuple(rules), title="no rule allowed it")


def audit_chain(family: Family) -> Chain:
    """Where packets come that audited policies would deny: they are told of, and go back (S51).

    What :func:`deny_chain` would let go is not told of.
    """
    return Chain(
        names.AUDIT_CHAIN,
        ChainRole.AUDIT,
        (*_exceptions(family), log_rule(family, LogKind.AUDIT)),
        title="no rule of the audited policies allows it",
    )


def _exceptions(family: Family) -> Iterator[Rule]:
    """What always passes, whatever policies say."""
    yield Rule(Return(), (MatchSelf(),), "a pod reaches its own address")
    if family is Family.V6:
        for each in NEIGHBOUR_DISCOVERY_TYPES:
            yield Rule(Return(), (MatchNeighbourDiscovery(each),), "neighbour discovery")
