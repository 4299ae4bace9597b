"""Rules and chains as text for iptables-restore.

The text is what iptables-save prints for the same rules, in both modes and both families, so that
saving, restoring and saving again changes nothing and what was read can be compared with what is
wanted. iptables-save prints a rule's addresses, interface and protocol first and the matches after
them in the order in which they were given; that order is kept, since the kernel evaluates matches
in it. A rule that is not already in this order is refused: it would never be recognised again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from podwall.dataplane.fence import chain_word, comment_word, set_word, spec_words
from podwall.dataplane.iptables.words import (
    HOOK_COMMENT,
    LIMIT_DEFAULT_BURST,
    LIMIT_SCALE,
    LOG_AT_ONCE,
    LOG_BYTES,
    LOG_PREFIX,
    MID_STREAM,
    PORT_UNREACHABLE,
    PROTOCOL_WORDS,
    SELF_PROGRAM,
    SINGLE_PORT_PROTOCOLS,
    STATES,
    TCP_RESET,
)
from podwall.errors import CompileError
from podwall.model.net import PORT_PROTOCOLS, Family, Protocol
from podwall.ruleset.ir import (
    MULTIPORT_SLOTS,
    AddToSet,
    Chain,
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
    port_slots,
)
from podwall.ruleset.plan import ChainStep


def render_chain_step(step: ChainStep) -> str:
    """One batch for ``iptables-restore --noflush``, applied as a whole or not at all.

    A chain that is declared is emptied, or created; so declaring those that go makes removing them
    succeed whether or not they are still there.

    Raises:
        CompileError: a name, comment or rule that podwall must not send.
    """
    lines = ["*filter"]
    lines += [f":{chain_word(chain.name)} - [0:0]" for chain in step.replace]
    lines += [f":{chain_word(name)} - [0:0]" for name in step.delete]
    for chain in step.replace:
        lines += _chain_lines(step.family, chain)
    lines += [f"-D {hook.value} {spec_words(spec)}" for hook, spec in step.unhook]
    lines += [f"-I {hook.value} 1 {hook_spec(name)}" for hook, name in step.hook]
    lines += [f"-X {chain_word(name)}" for name in step.delete]
    lines.append("COMMIT")
    return "\n".join(lines) + "\n"


def hook_spec(chain: str) -> str:
    """The jump from a built-in chain to a root chain, as the tool prints it."""
    return f"-m comment --comment {comment_word(HOOK_COMMENT)} -j {chain_word(chain)}"


def _chain_lines(family: Family, chain: Chain) -> Iterator[str]:
    for index, rule in enumerate(chain.rules):
        try:
            yield f"-A {chain.name} {render_rule(family, rule)}"
        except CompileError as error:
            raise CompileError(f"chain {chain.name} rule {index}: {error}") from error


def render_rule(family: Family, rule: Rule) -> str:
    """A rule without its chain: matches, comment, target.

    Raises:
        CompileError: the rule means nothing in iptables, or is not in the canonical order.
    """
    _check_order(rule)
    words = [word for match in rule.matches for word in _match_words(family, rule, match)]
    if rule.comment:
        words += ["-m", "comment", "--comment", comment_word(rule.comment)]
    words += _target_words(family, rule, rule.target)
    return " ".join(words)


def _place(match: Match) -> int:
    """Where iptables-save prints a match: addresses, interface, protocol, then the rest."""
    match match:
        case MatchAddress(end, _):
            return 0 if end is End.SRC else 1
        case MatchLoopback():
            return 2
        case MatchProtocol() | MatchNeighbourDiscovery():
            return 3
        case _:
            return 4


def _check_order(rule: Rule) -> None:
    places = [_place(match) for match in rule.matches]
    if places != sorted(places):
        raise CompileError("matches are not in the order addresses, interface, protocol, others")
    for place, what in enumerate(("source", "destination", "interface", "protocol")):
        if places.count(place) > 1:
            raise CompileError(f"more than one {what} match")


def _match_words(family: Family, rule: Rule, match: Match) -> list[str]:
    match match:
        case MatchSet():
            return _set_words(match)
        case MatchProtocol(protocol):
            return ["-p", PROTOCOL_WORDS[protocol]]
        case MatchPorts():
            return _port_words(rule, match)
        case MatchAddress():
            return _address_words(family, match)
        case MatchState():
            return _state_words(match)
        case MatchMidStream():
            _need_protocol(rule, (Protocol.TCP,), "a TCP flag match")
            return ["-m", "tcp", *MID_STREAM]
        case MatchLoopback():
            return ["-i", "lo"]
        case MatchNeighbourDiscovery():
            return _neighbour_words(family, match)
        case MatchSelf():
            return ["-m", "bpf", "--bytecode", f'"{SELF_PROGRAM[family]}"']
        case MatchLimit():
            return _limit_words(match)
        case _:
            assert_never(match)


def _set_words(match: MatchSet) -> list[str]:
    negation = ["!"] if match.negated else []
    return ["-m", "set", *negation, "--match-set", *_set_and_ends(match)]


def _set_and_ends(asked: MatchSet | AddToSet) -> list[str]:
    if not 1 <= len(asked.ends) <= 3:
        raise CompileError(f"a rule asks set {asked.set} for {len(asked.ends)} ends, not 1 to 3")
    return [set_word(asked.set), ",".join(end.value for end in asked.ends)]


def _limit_words(match: MatchLimit) -> list[str]:
    # What the kernel rounds would be printed otherwise than it was written.
    if match.per_second < 1 or LIMIT_SCALE % match.per_second:
        raise CompileError(f"a limit of {match.per_second} packets a second is none of iptables'")
    if not LIMIT_DEFAULT_BURST < match.burst <= LIMIT_SCALE:
        raise CompileError(f"a limit of {match.burst} packets at once is none of podwall's")
    rate = f"{match.per_second}/sec"
    return ["-m", "limit", "--limit", rate, "--limit-burst", str(match.burst)]


def _port_words(rule: Rule, match: MatchPorts) -> list[str]:
    protocol = _need_protocol(rule, PORT_PROTOCOLS, "a port match")
    slots = port_slots(match.ports)
    if not 1 <= slots <= MULTIPORT_SLOTS:
        raise CompileError(f"a port match has {slots} slots, not 1 to {MULTIPORT_SLOTS}")
    if any(not 0 < each.first <= each.last < 65536 for each in match.ports):
        raise CompileError("a port match has a range outside 1 to 65535")
    if len(match.ports) == 1 and protocol in SINGLE_PORT_PROTOCOLS:
        return ["-m", PROTOCOL_WORDS[protocol], "--dport", str(match.ports[0])]
    return ["-m", "multiport", "--dports", ",".join(map(str, match.ports))]


def _address_words(family: Family, match: MatchAddress) -> list[str]:
    if match.cidr.family is not family:
        raise CompileError(f"address {match.cidr} is of the other family")
    if match.cidr.prefix == 0:
        raise CompileError(f"address match {match.cidr} holds for everything; leave it out")
    return ["-s" if match.end is End.SRC else "-d", str(match.cidr)]


def _state_words(match: MatchState) -> list[str]:
    if not match.states or list(match.states) != [each for each in STATES if each in match.states]:
        raise CompileError(f"states {','.join(match.states)} are not in the order {STATES}")
    return ["-m", "conntrack", "--ctstate", ",".join(match.states)]


def _neighbour_words(family: Family, match: MatchNeighbourDiscovery) -> list[str]:
    if family is not Family.V6 or not 0 <= match.icmp_type < 256:
        raise CompileError(f"neighbour discovery type {match.icmp_type} of family {family.value}")
    protocol = PROTOCOL_WORDS[Protocol.ICMPV6]
    icmp = ["-m", "icmp6", "--icmpv6-type", str(match.icmp_type)]
    return ["-p", protocol, *icmp, "-m", "hl", "--hl-eq", "255"]


def _need_protocol(rule: Rule, protocols: tuple[Protocol, ...], what: str) -> Protocol:
    """The protocol that the rule matches, which must be one of ``protocols``."""
    found = [match.protocol for match in rule.matches if isinstance(match, MatchProtocol)]
    if not found or found[0] not in protocols:
        wanted = ", ".join(each.name for each in protocols)
        raise CompileError(f"{what} needs a protocol match of {wanted}")
    return found[0]


def _target_words(family: Family, rule: Rule, target: Target) -> list[str]:
    match target:
        case Return():
            return ["-j", "RETURN"]
        case Drop():
            return ["-j", "DROP"]
        case Reject(tcp_reset=True):
            _need_protocol(rule, (Protocol.TCP,), "a TCP reset")
            return ["-j", "REJECT", "--reject-with", TCP_RESET]
        case Reject():
            return ["-j", "REJECT", "--reject-with", PORT_UNREACHABLE[family]]
        case Jump(chain):
            return ["-j", chain_word(chain)]
        case Goto(chain):
            return ["-g", chain_word(chain)]
        case AddToSet():
            return ["-j", "SET", "--add-set", *_set_and_ends(target)]
        case Log():
            return _log_words(target)
        case _:
            assert_never(target)


def _log_words(target: Log) -> list[str]:
    if not 0 <= target.group < 65536:
        raise CompileError(f"log group {target.group} is not 0 to 65535")
    # Group 0 is the tool's default and not printed.
    group = ["--nflog-group", str(target.group)] if target.group else []
    prefix = ["--nflog-prefix", f'"{LOG_PREFIX[target.kind]}"']
    size = ["--nflog-size", str(LOG_BYTES), "--nflog-threshold", str(LOG_AT_ONCE)]
    return ["-j", "NFLOG", *prefix, *group, *size]
