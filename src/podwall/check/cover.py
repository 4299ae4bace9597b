"""What certainly allows at least as much as something else, whatever the cluster looks like.

Everything here may say "no" where the truth is "yes", but never the reverse: a developer deletes
what podwall calls superfluous.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from podwall.model.net import PORT_PROTOCOLS, Family, Protocol
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
from podwall.model.spans import Span, contains, merged
from podwall.ruleset.blocks import union_ranges


def rule_covers(wide: PolicyRule, narrow: PolicyRule) -> bool:
    """Whether ``wide`` allows everything that ``narrow`` allows, as rules of one direction."""
    return ports_cover(wide.ports, narrow.ports) and peers_cover(wide.peers, narrow.peers)


def peers_cover(wide: tuple[Peer, ...], narrow: tuple[Peer, ...]) -> bool:
    """Whether every address that one of ``narrow`` means is meant by one of ``wide``."""
    if any(isinstance(each, AnyPeer) for each in wide):
        return True
    if any(isinstance(each, AnyPeer) for each in narrow):
        return False
    ours = [each for each in narrow if isinstance(each, PodPeer)]
    theirs = [each for each in wide if isinstance(each, PodPeer)]
    # A rule may hold thousands of blocks, so those are compared all at once.
    return all(_has_pods(theirs, each) for each in ours) and all(
        contains(_addresses(wide, family), _addresses(narrow, family)) for family in Family
    )


def _has_pods(wide: Iterable[PodPeer], narrow: PodPeer) -> bool:
    return any(
        implies(narrow.pods, each.pods) and namespaces_imply(narrow.namespaces, each.namespaces)
        for each in wide
    )


@functools.lru_cache(maxsize=4096)
def _addresses(peers: tuple[Peer, ...], family: Family) -> tuple[Span, ...]:
    # Rules are compared pairwise, so the same few lists of peers come back all the time.
    return union_ranges(family, (each for each in peers if isinstance(each, IPBlock)))


def ports_cover(wide: tuple[Port, ...], narrow: tuple[Port, ...]) -> bool:
    """Whether every packet that one of ``narrow`` means is meant by one of ``wide``."""
    if wide == narrow or AnyPort() in wide:
        return True
    if AnyPort() in narrow:
        return False
    known = frozenset(wide)
    return all(
        each in known or AllPortsOf(each.protocol) in known
        for each in narrow
        if isinstance(each, AllPortsOf | NamedPort)
    ) and all(
        contains(_numbers(wide, protocol), _numbers(narrow, protocol))
        for protocol in PORT_PROTOCOLS
    )


@functools.lru_cache(maxsize=4096)
def _numbers(ports: tuple[Port, ...], protocol: Protocol) -> tuple[Span, ...]:
    """Every port number of ``protocol`` that ``ports`` mean."""
    if AllPortsOf(protocol) in ports:
        return ((0, 65535),)
    return merged(
        (each.ports.first, each.ports.last)
        for each in ports
        if isinstance(each, NumberedPorts) and each.protocol is protocol
    )


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
