"""Where things stand in a manifest, and how messages speak of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from podwall.model.objects import Pod
from podwall.model.policy import Direction, Peer, Policy, PolicyRule, Port
from podwall.model.selector import Operator, Selector

PEERS_FIELD = {Direction.INGRESS: "from", Direction.EGRESS: "to"}


class PlacedPeer(NamedTuple):
    """A peer of a rule with the path that leads to it."""

    path: str
    rule: PolicyRule
    peer: Peer


class PlacedPort(NamedTuple):
    """A port of a rule with the path that leads to it."""

    path: str
    rule: PolicyRule
    port: Port


def rules(policy: Policy) -> tuple[PolicyRule, ...]:
    """The rules of both directions."""
    return policy.ingress + policy.egress


def rule_path(rule: PolicyRule) -> str:
    """``spec.ingress[0]``."""
    return f"spec.{rule.id.direction.value}[{rule.id.index}]"


def placed_peers(policy: Policy) -> Iterator[PlacedPeer]:
    """Every peer of every rule."""
    for rule in rules(policy):
        field = f"{rule_path(rule)}.{PEERS_FIELD[rule.id.direction]}"
        for index, peer in enumerate(rule.peers):
            yield PlacedPeer(_item(policy, field, index), rule, peer)


def placed_ports(policy: Policy) -> Iterator[PlacedPort]:
    """Every port of every rule."""
    for rule in rules(policy):
        field = f"{rule_path(rule)}.ports"
        for index, port in enumerate(rule.ports):
            yield PlacedPort(_item(policy, field, index), rule, port)


def _item(policy: Policy, field: str, index: int) -> str:
    # The decoder leaves out items that it cannot understand, and the others move up. Where that
    # happened, the list as a whole is the honest answer.
    if any(each.startswith(field) for each in policy.problems):
        return field
    return f"{field}[{index}]"


def list_of(words: Iterable[object], limit: int = 3) -> str:
    """The first few of ``words``: ``a, b, c and 4 more``."""
    items = tuple(words)
    shown = ", ".join(map(str, items[:limit]))
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"


def count(number: int, noun: str) -> str:
    """``1 pod``, ``3 pods``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def names_of(pods: Sequence[Pod]) -> str:
    """The first few of ``pods`` by name."""
    return list_of(each.key for each in pods)


def hint(wanted: Selector, words: Mapping[str, frozenset[str]], noun: str) -> str:
    """Why ``wanted`` may match nothing, as a sentence with a space before it, or nothing.

    ``words`` are the labels in use (see :func:`podwall.check.world.vocabulary`), ``noun`` is what
    carries them.
    """
    for each in wanted.requirements:
        if each.operator not in (Operator.IN, Operator.EXISTS):
            continue
        values = words.get(each.key)
        if values is None:
            close = get_close_matches(each.key, sorted(words), n=1)
            meant = f"; did you mean {close[0]}?" if close else "."
            return f" No {noun} has a label {each.key}{meant}"
        if each.operator is Operator.IN and values.isdisjoint(each.values):
            close = get_close_matches(each.values[0], sorted(values), n=1) if each.values else []
            if close:
                return f" Did you mean {each.key}={close[0]}?"
            return f" Values of {each.key} in use: {list_of(sorted(values))}."
    return ""
