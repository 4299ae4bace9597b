"""Run a packet through a ruleset as the kernel would, and keep the way it took.

The simulator knows rules, not policies: agreement between it and the oracle is one of the three
properties that hold podwall together, and its trace is what explanations show.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from podwall.errors import CompileError
from podwall.model.flow import ConnState, Flow, Verdict
from podwall.model.net import Address, Protocol
from podwall.ruleset.ir import (
    AddressPort,
    AddToSet,
    Drop,
    End,
    FamilyRules,
    Goto,
    Hook,
    IPSet,
    Jump,
    Log,
    LogKind,
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
    Net,
    Reject,
    Return,
    Rule,
    SetType,
)

_LIMIT = 10_000
_WITH_PORTS = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)


class TraceStep(msgspec.Struct, frozen=True):
    """One rule that a packet met: where it stands, and the first of its matches that failed."""

    chain: str
    index: int
    rule: Rule
    failed: Match | None = None

    @property
    def matched(self) -> bool:
        """Whether all matches held, so that the packet took the rule's target."""
        return self.failed is None


class Trace(msgspec.Struct, frozen=True):
    """The verdict at one hook and every rule on the way to it, in order."""

    hook: Hook
    verdict: Verdict
    steps: tuple[TraceStep, ...]

    @property
    def logs(self) -> tuple[LogKind, ...]:
        """What the packet is logged for, in order."""
        return tuple(
            step.rule.target.kind
            for step in self.steps
            if step.matched and isinstance(step.rule.target, Log)
        )


def simulate(rules: FamilyRules, hook: Hook, flow: Flow) -> Trace:
    """Send ``flow`` through the chains of ``hook``.

    Raises:
        CompileError: a rule names a chain or set that is not there, or the chains loop.
    """
    root = rules.hooks.get(hook)
    if root is None:
        return Trace(hook, Verdict.ALLOWED, ())
    walk = _Walk(rules, flow, root)
    return Trace(hook, walk.run(), tuple(walk.steps))


class _Walk:
    """The way of one packet through the chains.

    ``joined`` are the sets into which rules on the way put the packet's flow.
    """

    def __init__(self, rules: FamilyRules, flow: Flow, root: str) -> None:
        self._rules = rules
        self._flow = flow
        self._chain, self._index = root, 0
        # Where to go on after a return: a jump pushes its successor, a goto pushes nothing.
        self._stack: list[tuple[str, int]] = []
        self._joined: set[str] = set()
        self.steps: list[TraceStep] = []

    def run(self) -> Verdict:
        while True:
            if len(self.steps) > _LIMIT:
                raise CompileError(f"chains loop: {self._flow} met more than {_LIMIT} rules")
            rules = _chain_rules(self._rules, self._chain)
            if self._index < len(rules):
                if self._meets(rules[self._index]):
                    return Verdict.DENIED
            elif self._stack:
                self._chain, self._index = self._stack.pop()
            else:
                return Verdict.ALLOWED

    def _meets(self, rule: Rule) -> bool:
        """Go on after ``rule``; says whether the packet ends here."""
        failed = next((each for each in rule.matches if not self._holds(each)), None)
        self.steps.append(TraceStep(self._chain, self._index, rule, failed))
        self._index += 1
        if failed is not None:
            return False
        match rule.target:
            case Drop() | Reject():
                return True
            case Return():
                self._index = len(_chain_rules(self._rules, self._chain))
            case Jump(target):
                self._stack.append((self._chain, self._index))
                self._chain, self._index = target, 0
            case Goto(target):
                self._chain, self._index = target, 0
            case AddToSet(name):
                # In place of a port there may be the type of a ping, or nothing.
                self._joined.add(name)
            case Log():
                pass
            case _:
                assert_never(rule.target)
        return False

    def _holds(self, match: Match) -> bool:
        if isinstance(match, MatchSet) and match.set in self._joined:
            return not match.negated
        return _holds(self._rules, match, self._flow)


def _chain_rules(rules: FamilyRules, name: str) -> tuple[Rule, ...]:
    try:
        return rules.chains[name].rules
    except KeyError:
        raise CompileError(f"chain {name} does not exist") from None


def _holds(rules: FamilyRules, match: Match, flow: Flow) -> bool:
    match match:
        case MatchSet(name, ends, negated):
            return set_matches(_set(rules, name), ends, flow) != negated
        case MatchProtocol(protocol):
            return flow.protocol == protocol
        case MatchPorts(ports):
            return flow.port is not None and any(flow.port in each for each in ports)
        case MatchAddress(end, cidr):
            return _address(flow, end) in cidr
        case MatchState(states):
            return flow.state.value in states
        case MatchMidStream():
            return flow.protocol == Protocol.TCP and flow.state is not ConnState.NEW
        case MatchLoopback() | MatchNeighbourDiscovery():
            # A flow is between two ends of the cluster and names no ICMP type.
            return False
        case MatchSelf():
            return flow.src == flow.dst
        case MatchLimit():
            # Nothing came before, so no limit is reached.
            return True
        case _:
            assert_never(match)


def _set(rules: FamilyRules, name: str) -> IPSet:
    try:
        return rules.sets[name]
    except KeyError:
        raise CompileError(f"set {name} does not exist") from None


def _address(flow: Flow, end: End) -> Address:
    return flow.src if end is End.SRC else flow.dst


def set_matches(ipset: IPSet, ends: tuple[End, ...], flow: Flow) -> bool:
    """Whether the packet's ``ends`` are in the set, as the kernel answers it."""
    address = _address(flow, ends[0])
    match ipset.type:
        case SetType.HASH_IP:
            return address in ipset.members
        case SetType.HASH_NET:
            return net_matches(ipset, address)
        case SetType.HASH_IP_PORT:
            if flow.protocol not in _WITH_PORTS or flow.port is None:
                return False
            return AddressPort(address, Protocol(flow.protocol), flow.port) in ipset.members
        case SetType.HASH_IP_PORT_IP:
            # Filled while running, with flows that were cut or logged; a new one is none of them.
            return False
        case _:
            assert_never(ipset.type)


def net_matches(ipset: IPSet, address: Address) -> bool:
    """Whether a ``hash:net`` set matches: the longest prefix that holds the address decides."""
    covering = [
        member for member in ipset.members if isinstance(member, Net) and address in member.cidr
    ]
    longest = max(covering, key=lambda member: member.cidr.prefix, default=None)
    return longest is not None and not longest.nomatch
