"""How many packets met each rule, as ``iptables-save -c`` prints it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from podwall.dataplane.fence import OUR_CHAIN
from podwall.dataplane.iptables.parse import parse_rule
from podwall.model.net import Family
from podwall.ruleset.plan import ObservedRule

_RULE = re.compile(r"\[(\d+):(\d+)\] -A (\S+) (.*)")


class CountedRule(msgspec.Struct, frozen=True):
    """A rule in the kernel, and the packets and bytes that met it since it was written."""

    rule: ObservedRule
    packets: int
    bytes: int


def parse_counters(text: str, family: Family) -> Mapping[str, tuple[CountedRule, ...]]:
    """The rules of our chains in the filter table, by chain, in their order."""
    chains: dict[str, list[CountedRule]] = {}
    inside = False
    for line in text.split("\n"):
        if line.startswith("*"):
            inside = line == "*filter"
        elif inside and (found := _RULE.fullmatch(line)) and OUR_CHAIN.match(found[3]):
            counted = CountedRule(parse_rule(found[4], family), int(found[1]), int(found[2]))
            chains.setdefault(found[3], []).append(counted)
    return {name: tuple(rules) for name, rules in chains.items()}
