"""Find whose rule the kernel refused.

One policy must never keep the others from being enforced (S10). Where the tool names a line, the
rule's comment leads back to its policy. Where it names none (legacy iptables learns only at COMMIT
what the kernel refuses), the rules of the batch are tried in a chain of their own that nothing
leads to, in ever smaller halves, until the guilty ones stand alone.

A kernel that cannot log takes none of the rules that audited policies share. Then these policies
are not audited, and everything else is enforced.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from podwall.dataplane.base import DataPlane
from podwall.dataplane.iptables.parse import parse_rule
from podwall.errors import BatchRefused
from podwall.model.net import Family
from podwall.model.policy import PolicyKey
from podwall.ruleset.ir import (
    Chain,
    ChainRole,
    Goto,
    Jump,
    LogKind,
    MatchSet,
    Return,
    Rule,
    Ruleset,
)
from podwall.ruleset.names import AUDIT_CHAIN, DENY_CHAIN, log_chain
from podwall.ruleset.plan import ChainStep, SetStep, Step

PROBE_CHAIN = "PW-probe"
"""The chain in which rules are tried; nothing leads to it, and it is removed after each try."""


def find_culprits(
    dataplane: DataPlane, step: Step, error: BatchRefused, desired: Ruleset
) -> frozenset[PolicyKey]:
    """The policies without which ``step`` may succeed; none if no policy's rule is at fault.

    Raises:
        KernelError: a rule could not be tried for another reason than that it is refused.
    """
    if isinstance(step, SetStep):
        rules = list(_rules_on_set(_refused_set(error), desired))
    elif error.line is not None:
        rules = list(_refused_rule(step.family, error))
    else:
        suspects = [rule for chain in step.replace for rule in chain.rules]
        rules = refused_rules(dataplane, step.family, suspects)
    origins = (desired.origins.get(rule.comment) for rule in rules)
    culprits = frozenset(origin.policy for origin in origins if origin is not None)
    if not culprits and not _audit_rules(desired).isdisjoint(rules):
        return frozenset(desired.audited)
    return culprits


def _audit_rules(desired: Ruleset) -> frozenset[Rule]:
    """The rules that are there for audited policies alone, and of no single one of them (S51)."""
    auditing = _rules_in((AUDIT_CHAIN, log_chain(LogKind.AUDIT)), desired)
    return auditing - _rules_in((DENY_CHAIN,), desired)


def _rules_in(chains: Iterable[str], desired: Ruleset) -> frozenset[Rule]:
    return frozenset(
        rule
        for family in desired.families
        for name in chains
        if name in family.chains
        for rule in family.chains[name].rules
    )


def _refused_line(error: BatchRefused) -> str:
    return "" if error.line is None else error.text.split("\n")[error.line - 1]


def _refused_set(error: BatchRefused) -> str:
    """The set that the refused line is about."""
    _, _, rest = _refused_line(error).partition(" ")
    return rest.partition(" ")[0]


def _rules_on_set(name: str, desired: Ruleset) -> Iterator[Rule]:
    for family in desired.families:
        for chain in family.chains.values():
            for rule in chain.rules:
                if any(isinstance(each, MatchSet) and each.set == name for each in rule.matches):
                    yield rule


def _refused_rule(family: Family, error: BatchRefused) -> Iterator[Rule]:
    verb, _, rest = _refused_line(error).partition(" ")
    rule = parse_rule(rest.partition(" ")[2], family) if verb == "-A" else None
    if isinstance(rule, Rule):
        yield rule


def refused_rules(dataplane: DataPlane, family: Family, rules: Sequence[Rule]) -> list[Rule]:
    """Those of ``rules`` that the kernel refuses, each tried for what it matches.

    Where a rule leads does not matter here, so jumps become returns. Takes about two tries for each
    halving on the way to a guilty rule.
    """
    if not rules or _accepted(dataplane, family, rules):
        return []
    if len(rules) == 1:
        return list(rules)
    middle = len(rules) // 2
    return [
        *refused_rules(dataplane, family, rules[:middle]),
        *refused_rules(dataplane, family, rules[middle:]),
    ]


def _accepted(dataplane: DataPlane, family: Family, rules: Sequence[Rule]) -> bool:
    harmless = tuple(
        msgspec.structs.replace(rule, target=Return())
        if isinstance(rule.target, Jump | Goto)
        else rule
        for rule in rules
    )
    probe = Chain(PROBE_CHAIN, ChainRole.PROFILE, harmless)
    try:
        dataplane.run(ChainStep(family, replace=(probe,)))
    except BatchRefused:
        return False
    dataplane.run(ChainStep(family, delete=(PROBE_CHAIN,)))
    return True
