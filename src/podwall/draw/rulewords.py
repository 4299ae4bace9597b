"""Kernel rules in a few words, for pictures: what a packet must be like, and what happens then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from podwall.model.net import Cidr
from podwall.ruleset.ir import (
    AddToSet,
    Drop,
    End,
    Goto,
    Jump,
    Log,
    Match,
    MatchAddress,
    MatchLimit,
    MatchLoopback,
    MatchMidStream,
    MatchNeighbourDiscovery,
    MatchPorts,
    MatchProtocol,
    MatchSelf,
    MatchSet,
    MatchState,
    Reject,
    Return,
    Rule,
    Target,
)

_WORDS = {End.SRC: "from", End.DST: "to"}


def match_words(rule: Rule) -> str:
    """What a packet must be like: ``tcp 6379, from PW4-p-…``."""
    return ", ".join(_phrases(rule)) or "any packet"


def _phrases(rule: Rule) -> Iterator[str]:
    protocol = ""
    for match in rule.matches:
        if isinstance(match, MatchProtocol):
            protocol = match.protocol.name.lower()
        elif isinstance(match, MatchPorts):
            yield f"{protocol} {','.join(map(str, match.ports))}"
            protocol = ""
        else:
            if protocol:
                yield protocol
                protocol = ""
            yield _phrase(match)
    if protocol:
        yield protocol


def _phrase(match: Match) -> str:
    match match:
        case MatchSet():
            negated = "not " if match.negated else ""
            ends = match.ends
            where = _WORDS[ends[0]] if len(ends) == 1 else ",".join(each.value for each in ends)
            return (
                f"{negated}{where} {match.set}"
                if len(ends) == 1
                else (f"{where} {negated}in {match.set}")
            )
        case MatchAddress():
            return f"{_WORDS[match.end]} {_block(match.cidr)}"
        case MatchState():
            return "or ".join(f"{each.lower()} " for each in match.states).strip()
        case MatchMidStream():
            return "not a first packet"
        case MatchLoopback():
            return "from interface lo"
        case MatchNeighbourDiscovery():
            return f"icmpv6 type {match.icmp_type}, hop limit 255"
        case MatchSelf():
            return "to its own address"
        case MatchLimit():
            return f"at most {match.per_second} a second"
        case MatchProtocol() | MatchPorts():
            return ""
        case _:
            assert_never(match)


def _block(cidr: Cidr) -> str:
    text = str(cidr)
    return text.partition("/")[0] if cidr.prefix == cidr.family.bits else text


def target_words(target: Target) -> str:
    """What happens to a packet that is like this."""
    match target:
        case Return():
            return "RETURN"
        case Drop():
            return "DROP"
        case Reject(tcp_reset=True):
            return "REJECT with a TCP reset"
        case Reject():
            return "REJECT"
        case Jump(chain):
            return f"jump {chain}"
        case Goto(chain):
            return f"goto {chain}"
        case AddToSet():
            return f"add to {target.set}"
        case Log():
            return f"NFLOG to group {target.group}"
        case _:
            assert_never(target)
