"""The invariants of a ruleset, checked before anything reaches a kernel.

The compiler never breaks them; this is the fence that keeps a defect of ours from becoming a
refused batch on somebody's node, and what the property tests lean on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from podwall.errors import CompileError
from podwall.ruleset.comments import LIMIT as COMMENT_LIMIT
from podwall.ruleset.ir import (
    MULTIPORT_SLOTS,
    AddToSet,
    FamilyRules,
    Goto,
    Jump,
    Log,
    MatchPorts,
    MatchProtocol,
    MatchSet,
    Net,
    Rule,
    Ruleset,
    port_slots,
)
from podwall.ruleset.names import CHAIN_LIMIT, SET_LIMIT

LOG_GROUP_LIMIT = 65535
"""The highest NFLOG group."""

_NAME = re.compile(r"PW[46]?-[A-Za-z0-9.-]+\Z", re.ASCII)


def validate(ruleset: Ruleset) -> None:
    """Check every invariant of :mod:`podwall.ruleset.ir`.

    Raises:
        CompileError: naming the set, the chain or the rule, all faults at once.
    """
    faults = [fault for family in ruleset.families for fault in _family_faults(family)]
    if faults:
        raise CompileError("; ".join(faults))


def _family_faults(rules: FamilyRules) -> Iterator[str]:
    for name, ipset in rules.sets.items():
        if len(name) > SET_LIMIT or not _NAME.match(name):
            yield f"set name {name!r} does not fit"
        for member in ipset.members:
            if isinstance(member, Net) and member.cidr.prefix == 0:
                yield f"set {name} holds a prefix of length 0"
    for name, chain in rules.chains.items():
        if len(name) > CHAIN_LIMIT or not _NAME.match(name):
            yield f"chain name {name!r} does not fit"
        for index, rule in enumerate(chain.rules):
            for fault in _rule_faults(rules, rule):
                yield f"chain {name} rule {index}: {fault}"
    for hook, name in rules.hooks.items():
        if name not in rules.chains:
            yield f"{hook.value} leads to chain {name}, which does not exist"
    yield from _cycles(rules)


def _rule_faults(rules: FamilyRules, rule: Rule) -> Iterator[str]:
    if len(rule.comment) > COMMENT_LIMIT:
        yield "comment is too long"
    if isinstance(rule.target, Jump | Goto) and rule.target.chain not in rules.chains:
        yield f"leads to chain {rule.target.chain}, which does not exist"
    if isinstance(rule.target, AddToSet) and rule.target.set not in rules.sets:
        yield f"adds to set {rule.target.set}, which does not exist"
    if isinstance(rule.target, Log) and not 0 <= rule.target.group <= LOG_GROUP_LIMIT:
        yield f"logs to group {rule.target.group}, which is not 0 to {LOG_GROUP_LIMIT}"
    protocols = [match for match in rule.matches if isinstance(match, MatchProtocol)]
    for match in rule.matches:
        if isinstance(match, MatchSet) and match.set not in rules.sets:
            yield f"names set {match.set}, which does not exist"
        if isinstance(match, MatchPorts) and not (
            0 < port_slots(match.ports) <= MULTIPORT_SLOTS and len(protocols) == 1
        ):
            yield "multiport without a protocol, or with too many slots"


def _cycles(rules: FamilyRules) -> Iterator[str]:
    finished: set[str] = set()
    for start in rules.chains:
        path: list[str] = []
        pending: list[tuple[str, bool]] = [(start, False)]
        while pending:
            name, done = pending.pop()
            if done:
                path.pop()
                finished.add(name)
            elif name in path:
                yield f"chains {' -> '.join([*path[path.index(name) :], name])} loop"
                return
            elif name not in finished and name in rules.chains:
                path.append(name)
                pending.append((name, True))
                for rule in rules.chains[name].rules:
                    if isinstance(rule.target, Jump | Goto):
                        pending.append((rule.target.chain, False))
