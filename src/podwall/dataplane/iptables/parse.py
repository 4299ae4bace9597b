"""What iptables-save printed, as data.

Only our own chains are read (names that podwall can have made) and the rules of built-in chains
that lead to one of them; other programs' chains and rules are not looked at. A rule in one of our
chains that podwall would never write becomes an :class:`UnreadableRule`, so that the diff sees that
the chain was changed by hand. The parser takes the output of both modes, with or without counters.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping

import msgspec

from podwall.dataplane.fence import OUR_CHAIN
from podwall.dataplane.iptables.render import hook_spec
from podwall.dataplane.iptables.words import (
    LOG_AT_ONCE,
    LOG_BYTES,
    LOG_PREFIX,
    MID_STREAM,
    PORT_UNREACHABLE,
    PROTOCOL_WORDS,
    SELF_PROGRAM,
    TCP_RESET,
)
from podwall.errors import AddressError
from podwall.model.net import Family, PortRange, Protocol, parse_cidr
from podwall.ruleset.ir import (
    AddToSet,
    Drop,
    End,
    Goto,
    Hook,
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
from podwall.ruleset.plan import HookJump, ObservedRule, UnreadableRule

_COUNTERS = re.compile(r"\[\d+:\d+\] ")
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ESCAPE = re.compile(r"\\(.)")
_PORTS = re.compile(r"(\d{1,5})(?::(\d{1,5}))?\Z", re.ASCII)
_LIMIT = re.compile(r"([1-9]\d{0,4})/sec\Z", re.ASCII)
_LOG_KINDS = {prefix: kind for kind, prefix in LOG_PREFIX.items()}
_HOOKS = {hook.value: hook for hook in Hook}
_PROTOCOLS = {word: protocol for protocol, word in PROTOCOL_WORDS.items()} | {
    "icmpv6": Protocol.ICMPV6
}


class SavedChains(msgspec.Struct, frozen=True):
    """Our chains, and the rules of built-in chains that lead to them, of one family."""

    chains: Mapping[str, tuple[ObservedRule, ...]] = {}
    hooks: Mapping[Hook, tuple[HookJump, ...]] = {}


class _Unreadable(Exception):
    """The rule is none that podwall writes; caught in this module."""


def parse_save(text: str, family: Family) -> SavedChains:
    """Read the ``filter`` table from the output of iptables-save."""
    chains: dict[str, list[ObservedRule]] = {}
    hooks: dict[Hook, list[HookJump]] = {}
    positions = dict.fromkeys(Hook, 0)
    for line in filter_lines(text):
        if line.startswith(":"):
            name = line[1:].partition(" ")[0]
            if OUR_CHAIN.match(name):
                chains.setdefault(name, [])
        elif line.startswith("-A "):
            name, _, spec = line[3:].partition(" ")
            if name in chains:
                chains[name].append(parse_rule(spec, family))
            elif (hook := _HOOKS.get(name)) is not None:
                if (chain := _leads_to(spec)) is not None:
                    plain = split_words(spec) == split_words(hook_spec(chain))
                    jump = HookJump(positions[hook], chain, spec, plain)
                    hooks.setdefault(hook, []).append(jump)
                positions[hook] += 1
    return SavedChains(
        chains={name: tuple(chains[name]) for name in sorted(chains)},
        hooks={hook: tuple(hooks[hook]) for hook in Hook if hook in hooks},
    )


def filter_lines(text: str) -> Iterator[str]:
    """The lines of the filter table, without counters; only a newline ends a line."""
    inside = False
    for raw in text.split("\n"):
        line = _COUNTERS.sub("", raw, count=1) if raw.startswith("[") else raw
        if line.startswith("*"):
            inside = line == "*filter"
        elif inside:
            yield line


def split_words(spec: str) -> list[str]:
    """The words of a rule as iptables-restore reads them: quotes removed, escapes undone."""
    return [word if word else _ESCAPE.sub(r"\1", quoted) for quoted, word in _WORD.findall(spec)]


def _leads_to(spec: str) -> str | None:
    """The chain of ours that a rule of a built-in chain jumps or goes to."""
    words = split_words(spec)
    for option, chain in itertools.pairwise(words):
        if option in ("-j", "-g") and OUR_CHAIN.match(chain):
            return chain
    return None


@functools.lru_cache(maxsize=65536)
def parse_rule(spec: str, family: Family) -> ObservedRule:
    """One rule without its chain; what podwall never writes comes back as text.

    Remembered, since whoever reads the kernel again mostly finds the rules of the last time.
    """
    try:
        return _Parser(split_words(spec), family).rule()
    except (_Unreadable, AddressError):
        return UnreadableRule(spec)


class _Parser:
    """Reads the words of one rule from left to right; anything unexpected is unreadable."""

    def __init__(self, words: list[str], family: Family) -> None:
        self._words = words
        self._next = 0
        self._family = family

    def rule(self) -> Rule:
        matches: list[Match] = []
        comment = ""
        while True:
            option = self._take()
            match option:
                case "-s" | "-d":
                    matches.append(self._address(End.SRC if option == "-s" else End.DST))
                case "-i":
                    self._expect("lo")
                    matches.append(MatchLoopback())
                case "-p":
                    matches.append(self._protocol())
                case "-m" if self._peek() == "comment" and not comment:
                    self._expect("comment", "--comment")
                    comment = self._take()
                case "-m":
                    matches.append(self._match())
                case "-j" | "-g":
                    return Rule(self._target(option), tuple(matches), comment)
                case _:
                    raise _Unreadable

    def _take(self) -> str:
        if self._next >= len(self._words):
            raise _Unreadable
        self._next += 1
        return self._words[self._next - 1]

    def _peek(self) -> str:
        return self._words[self._next] if self._next < len(self._words) else ""

    def _expect(self, *words: str) -> None:
        for word in words:
            if self._take() != word:
                raise _Unreadable

    def _ended(self) -> bool:
        return self._next == len(self._words)

    def _address(self, end: End) -> Match:
        cidr = parse_cidr(self._take())
        if cidr.family is not self._family:
            raise _Unreadable
        return MatchAddress(end, cidr)

    def _protocol(self) -> Match:
        protocol = _PROTOCOLS.get(self._take())
        if protocol is None:
            raise _Unreadable
        following = self._words[self._next : self._next + 3]
        if protocol is Protocol.ICMPV6 and following == ["-m", "icmp6", "--icmpv6-type"]:
            self._expect(*following)
            icmp_type = self._number()
            self._expect("-m", "hl", "--hl-eq", "255")
            return MatchNeighbourDiscovery(icmp_type)
        return MatchProtocol(protocol)

    def _match(self) -> Match:
        match self._take():
            case "set":
                return self._set()
            case "multiport":
                self._expect("--dports")
                return MatchPorts(tuple(map(_ports, self._take().split(","))))
            case "conntrack":
                self._expect("--ctstate")
                return MatchState(tuple(self._take().split(",")))
            case "tcp" | "udp" if self._peek() == "--dport":
                self._expect("--dport")
                return MatchPorts((_ports(self._take()),))
            case "tcp":
                self._expect(*MID_STREAM)
                return MatchMidStream()
            case "limit":
                return self._limit()
            case "bpf":
                self._expect("--bytecode", SELF_PROGRAM[self._family])
                return MatchSelf()
            case _:
                raise _Unreadable

    def _set(self) -> Match:
        negated = self._peek() == "!"
        if negated:
            self._expect("!")
        self._expect("--match-set")
        return MatchSet(self._take(), self._ends(), negated)

    def _ends(self) -> tuple[End, ...]:
        try:
            return tuple(End(word) for word in self._take().split(","))
        except ValueError as error:
            raise _Unreadable from error

    def _limit(self) -> Match:
        self._expect("--limit")
        rate = _LIMIT.match(self._take())
        if rate is None:
            raise _Unreadable
        self._expect("--limit-burst")
        return MatchLimit(int(rate[1]), self._number())

    def _number(self) -> int:
        word = self._take()
        if not word.isdecimal():
            raise _Unreadable
        return int(word)

    def _target(self, option: str) -> Target:
        name = self._take()
        target: Target
        if OUR_CHAIN.match(name):
            target = Goto(name) if option == "-g" else Jump(name)
        elif option == "-g":
            raise _Unreadable
        elif name == "RETURN":
            target = Return()
        elif name == "DROP":
            target = Drop()
        elif name == "REJECT":
            self._expect("--reject-with")
            how = self._take()
            if how not in (TCP_RESET, PORT_UNREACHABLE[self._family]):
                raise _Unreadable
            target = Reject(tcp_reset=how == TCP_RESET)
        elif name == "SET":
            self._expect("--add-set")
            target = AddToSet(self._take(), self._ends())
        elif name == "NFLOG":
            target = self._log()
        else:
            raise _Unreadable
        if not self._ended():
            raise _Unreadable
        return target

    def _log(self) -> Target:
        self._expect("--nflog-prefix")
        kind = _LOG_KINDS.get(self._take())
        if kind is None:
            raise _Unreadable
        group = 0
        if self._peek() == "--nflog-group":
            self._expect("--nflog-group")
            group = self._number()
        self._expect("--nflog-size", str(LOG_BYTES), "--nflog-threshold", str(LOG_AT_ONCE))
        return Log(kind, group)


def _ports(word: str) -> PortRange:
    found = _PORTS.match(word)
    if found is None:
        raise _Unreadable
    first = int(found[1])
    return PortRange(first, int(found[2]) if found[2] else first)
