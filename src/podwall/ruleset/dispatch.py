"""Dispatch: from a pod's address to the profile that decides, as a tree of sets.

Asking the sets of all classes one after the other costs about 55 ns each, so beyond a handful they
hang in a tree. Each node splits its classes four ways by digits of a hash of their names: the place
of a class never depends on the other classes' members, and a class that comes or goes changes the
chains on its own path only. A test for a part of the tree is a set with the pods below it; the last
part needs no test, since every leaf tests for its own classes again and what matches none is
closed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from podwall.model.net import Family
from podwall.model.policy import Direction
from podwall.ruleset import names
from podwall.ruleset.ir import (
    Chain,
    ChainRole,
    End,
    Goto,
    IPSet,
    MatchSet,
    Member,
    Rule,
    SetRole,
    SetType,
)

FAN_OUT = 4
"""Ways in which a node of the tree splits; ADR 0003 has the measurement."""


class DispatchClass(msgspec.Struct, frozen=True):
    """One way through dispatch: the pods in ``set`` go to ``chain``."""

    set: IPSet
    chain: str
    comment: str = ""

    @property
    def digits(self) -> str:
        """The place in the tree, a digit below the fan-out for each level."""
        return tree_digits(self.set.name)


class Dispatch(msgspec.Struct, frozen=True):
    """All classes of one direction and family."""

    direction: Direction
    family: Family
    classes: tuple[DispatchClass, ...]


class LoweredDispatch(msgspec.Struct, frozen=True):
    """A dispatch as chains and sets; the chain to enter is ``names.dispatch_chain(direction)``."""

    chains: tuple[Chain, ...]
    sets: tuple[IPSet, ...]


def tree_digits(set_name: str) -> str:
    """The digits of a class's place in the tree, from the name of its set."""
    value = int.from_bytes(hashlib.sha256(set_name.encode()).digest()[:16], "big")
    return "".join(str(value >> (2 * level) & (FAN_OUT - 1)) for level in range(64))


def pod_end(direction: Direction) -> End:
    """Which end of a packet is the subject's."""
    return End.DST if direction is Direction.INGRESS else End.SRC


def lower(dispatch: Dispatch) -> LoweredDispatch:
    """Write a dispatch as a tree of chains and sets.

    Up to :data:`FAN_OUT` classes stand in one chain. Chains and sets are named by their place, so
    that a change rewrites the chains on one path, each in place and all in one transaction.
    """
    chains: list[Chain] = []
    sets: list[IPSet] = []
    ordered = sorted(dispatch.classes, key=lambda each: each.set.name)
    _lower_node(dispatch, "", ordered, chains, sets)
    return LoweredDispatch(tuple(chains), tuple(sets))


def _lower_node(
    dispatch: Dispatch,
    path: str,
    classes: Sequence[DispatchClass],
    chains: list[Chain],
    sets: list[IPSet],
) -> None:
    """Append the chain at ``path``, the chains below it, and the sets that it tests."""
    parts = _split(classes, len(path)) if len(classes) > FAN_OUT else {}
    single = [each for part in parts.values() if len(part) == 1 for each in part]
    deeper = [(digit, part) for digit, part in parts.items() if len(part) > 1]
    rules = [_class_rule(dispatch, each) for each in (single if parts else classes)]
    for digit, part in deeper:
        below = path + digit
        target = Goto(names.dispatch_chain(dispatch.direction, below))
        if digit == deeper[-1][0]:
            rules.append(Rule(target))
        else:
            tree_set = _tree_set(dispatch, below, part)
            sets.append(tree_set)
            rules.append(Rule(target, (MatchSet(tree_set.name, (pod_end(dispatch.direction),)),)))
    if not deeper:
        rules.append(Rule(Goto(names.DENY_CHAIN)))
    chains.append(
        Chain(
            names.dispatch_chain(dispatch.direction, path),
            ChainRole.DISPATCH,
            tuple(rules),
            title=f"{dispatch.direction.value} dispatch of {len(classes)} classes",
        )
    )
    for digit, part in deeper:
        _lower_node(dispatch, path + digit, part, chains, sets)


def _split(classes: Sequence[DispatchClass], level: int) -> dict[str, list[DispatchClass]]:
    parts: dict[str, list[DispatchClass]] = {}
    for each in classes:
        parts.setdefault(each.digits[level], []).append(each)
    return {digit: parts[digit] for digit in sorted(parts)}


def _class_rule(dispatch: Dispatch, each: DispatchClass) -> Rule:
    match = MatchSet(each.set.name, (pod_end(dispatch.direction),))
    return Rule(Goto(each.chain), (match,), each.comment)


def _tree_set(dispatch: Dispatch, path: str, classes: Sequence[DispatchClass]) -> IPSet:
    members: frozenset[Member] = frozenset().union(*(each.set.members for each in classes))
    return IPSet(
        name=names.tree_set(dispatch.family, dispatch.direction, path),
        type=SetType.HASH_IP,
        family=dispatch.family,
        role=SetRole.TREE,
        members=members,
        title=f"pods of {len(classes)} classes, {dispatch.direction.value} dispatch",
    )
