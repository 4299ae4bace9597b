"""What this node would say of a connection that exists: the judge for cutting (S46).

Connections are cut by what the node's own rules do to them, not by what the cluster's policies mean
for both ends: the other end is judged where it lives, this node may not know it yet, and this node
has addresses that no Node object tells, those of bridges among them, from which it always reaches
its pods (S42).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from podwall.dataplane.command import DEFAULT_TIMEOUT, Runner, check
from podwall.errors import AddressError
from podwall.model.flow import Flow, Verdict
from podwall.model.net import Address, Cidr, Family, parse_address
from podwall.ruleset.ir import Hook, MatchAddress, Ruleset
from podwall.ruleset.simulate import simulate

_ADDRESS = re.compile(r"\s(?:inet6?)\s+([0-9a-fA-F.:]+)")


def host_addresses(runner: Runner) -> frozenset[Address]:
    """Every address of the host that ``runner`` runs programs on.

    Raises:
        KernelError: they cannot be read.
    """
    argv = ["ip", "-o", "address", "show"]
    text = check(argv, runner.run(argv, input=None, timeout=DEFAULT_TIMEOUT))
    return frozenset(filter(None, map(_address, _ADDRESS.findall(text))))


def _address(text: str) -> Address | None:
    try:
        return parse_address(text)
    except AddressError:
        return None


def node_allows(ruleset: Ruleset, own: frozenset[Address]) -> Callable[[Flow], bool]:
    """Whether the rules of a node with the addresses ``own`` let a new connection through."""

    def allows(flow: Flow) -> bool:
        hook = Hook.FORWARD
        if flow.src in own:
            hook = Hook.OUTPUT
        elif flow.dst in own:
            hook = Hook.INPUT
        return simulate(ruleset.family(flow.src.family), hook, flow).verdict is Verdict.ALLOWED

    return allows


def judged_addresses(ruleset: Ruleset) -> Callable[[Address], bool]:
    """Whether any rule of a node asks for an address by itself: pods, and the node's pod range."""
    blocks: dict[Family, set[Cidr]] = {
        rules.family: {
            match.cidr
            for chain in rules.chains.values()
            for rule in chain.rules
            for match in rule.matches
            if isinstance(match, MatchAddress)
        }
        for rules in ruleset.families
    }
    singles = {
        family: {each.value for each in cidrs if each.prefix == family.bits}
        for family, cidrs in blocks.items()
    }
    ranges = {
        family: [each for each in cidrs if each.prefix < family.bits]
        for family, cidrs in blocks.items()
    }

    def concerns(address: Address) -> bool:
        family = address.family
        return address.value in singles[family] or any(address in each for each in ranges[family])

    return concerns
