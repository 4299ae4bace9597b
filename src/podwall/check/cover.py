"""What certainly allows at least as much as something else, whatever the cluster looks like.

Everything here may say "no" where the truth is "yes", but never the reverse: a developer deletes
what podwall calls superfluous.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import assert_never

from podwall.model.net import Family, PortRange, merge_ports
from podwall.model.policy import (
    AllPortsOf,
    AnyPeer,
    AnyPort,
    IPBlock,
    NamedPort,
    NumberedPorts,
    Peer,
    PodPeer,
    PolicyRule,
    Port,
)
from podwall.model.selector import EVERYTHING, Operator, Requirement, Selector
from podwall.ruleset.blocks import Range, union_ranges


def rule_covers(wide: PolicyRule, narrow: PolicyRule) -> bool:
    """Whether ``wide`` allows everything that ``narrow`` allows, as rules of one direction."""
    return all(port_covered(each, wide.ports) for each in narrow.ports) and all(
        peer_covered(each, wide.peers) for each in narrow.peers
    )


def ports_cover(wide: Iterable[Port], narrow: Iterable[Port]) -> bool:
    """Whether ``wide`` has every port that ``narrow`` has."""
    wide = tuple(wide)
    return all(port_covered(each, wide) for each in narrow)


def peer_covered(narrow: Peer, wide: tuple[Peer, ...]) -> bool:
    """Whether every address that ``narrow`` means is meant by one of ``wide``."""
    if any(isinstance(each, AnyPeer) for each in wide):
        return True
    match narrow:
        case AnyPeer():
            return False
        case IPBlock():
            blocks = tuple(each for each in wide if isinstance(each, IPBlock))
            family = narrow.cidr.family
            return contains(_union(family, blocks), _union(family, (narrow,)))
        case PodPeer():
            return any(
                implies(narrow.pods, each.pods)
                and namespaces_imply(narrow.namespaces, each.namespaces)
                for each in wide
                if isinstance(each, PodPeer)
            )
        case _:
            assert_never(narrow)


@functools.lru_cache(maxsize=4096)
def _union(family: Family, blocks: tuple[IPBlock, ...]) -> tuple[Range, ...]:
    # Rules are compared pairwise, so the same few lists of blocks come back all the time.
    return union_ranges(family, blocks)


def port_covered(narrow: Port, wide: tuple[Port, ...]) -> bool:
    """Whether every packet that ``narrow`` means is meant by one of ``wide``."""
    if any(isinstance(each, AnyPort) for each in wide):
        return True
    if isinstance(narrow, AnyPort):
        return False
    if AllPortsOf(narrow.protocol) in wide:
        return True
    match narrow:
        case AllPortsOf():
            return False
        case NamedPort():
            return narrow in wide
        case NumberedPorts():
            ranges = (
                each.ports
                for each in wide
                if isinstance(each, NumberedPorts) and each.protocol is narrow.protocol
            )
            return any(_inside(narrow.ports, each) for each in merge_ports(ranges))
        case _:
            assert_never(narrow)


def _inside(narrow: PortRange, wide: PortRange) -> bool:
    return wide.first <= narrow.first and narrow.last <= wide.last


def namespaces_imply(narrow: Selector | str, wide: Selector | str) -> bool:
    """Whether every namespace that ``narrow`` means is meant by ``wide``."""
    if isinstance(narrow, str):
        # Labels of a namespace change, its name doesn't: only the empty selector surely has it.
        return wide in (narrow, EVERYTHING)
    return isinstance(wide, Selector) and implies(narrow, wide)


def implies(narrow: Selector, wide: Selector) -> bool:
    """Whether everything that ``narrow`` matches is matched by ``wide``."""
    return all(
        any(_requires(strict, each) for strict in narrow.requirements) for each in wide.requirements
    )


def _requires(strict: Requirement, lax: Requirement) -> bool:
    """Whether labels that meet ``strict`` always meet ``lax``."""
    if strict.key != lax.key:
        return False
    ours, theirs = set(strict.values), set(lax.values)
    match strict.operator, lax.operator:
        case Operator.IN, Operator.IN:
            return ours <= theirs
        case Operator.IN, Operator.NOT_IN:
            return ours.isdisjoint(theirs)
        case Operator.IN, Operator.EXISTS:
            return True
        case Operator.NOT_IN, Operator.NOT_IN:
            return theirs <= ours
        case Operator.DOES_NOT_EXIST, Operator.NOT_IN:
            return True
        case _:
            return strict == lax


def contains(wide: Iterable[Range], narrow: Iterable[Range]) -> bool:
    """Whether every address of ``narrow`` is in ``wide``; both sorted ranges that do not touch."""
    outer = tuple(wide)
    return all(
        any(first <= inner_first and inner_last <= last for first, last in outer)
        for inner_first, inner_last in narrow
    )


def intersects(some: Iterable[Range], others: Iterable[Range]) -> bool:
    """Whether an address is in both."""
    second = tuple(others)
    return any(
        first <= other_last and other_first <= last
        for first, last in some
        for other_first, other_last in second
    )
