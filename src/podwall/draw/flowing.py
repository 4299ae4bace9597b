"""Which chains a picture shows, and in which column: from the hooks on, each after who leads to it.

Dispatch is a tree, so its chains have a level; profiles come after the deepest, and what denies,
audits or logs comes last. A cluster of a hundred pods has more chains than a picture can hold: of
each column the first few are shown, and the others are counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from podwall.ruleset.ir import Chain, ChainRole, FamilyRules, Goto, Hook, Jump, Rule

MOST_CHAINS = 8
MOST_DISPATCH = 4
"""Chains shown of a column; those that tell pods apart are much alike."""

MOST_ROWS = 8
"""Rules shown of a chain."""


class ChainRow(msgspec.Struct, frozen=True):
    """A rule and its number in the chain, from 1 as iptables counts; or how many are left out."""

    number: int
    rule: Rule | None
    left_out: int = 0
    note: str = ""
    hidden: tuple[Rule, ...] = ()


class ChainView(msgspec.Struct, frozen=True):
    """A chain, and the rules of it that are shown."""

    chain: Chain
    rows: tuple[ChainRow, ...]
    hook: Hook | None = None


class Column(msgspec.Struct, frozen=True):
    """Chains that stand below each other, and how many have no room."""

    title: str
    chains: tuple[ChainView, ...]
    left_out: int = 0


def goal_of(rule: Rule) -> str | None:
    """The chain that a rule leads to."""
    return rule.target.chain if isinstance(rule.target, Jump | Goto) else None


def goals_of(row: ChainRow) -> tuple[str, ...]:
    """The chains that a row leads to, each once."""
    rules = row.hidden if row.rule is None else (row.rule,)
    return tuple(dict.fromkeys(goal for each in rules if (goal := goal_of(each)) is not None))


def columns_of(rules: FamilyRules) -> tuple[Column, ...]:
    """The columns of one family, without empty ones."""
    hooks = {chain: hook for hook, chain in rules.hooks.items()}
    levels = _levels(rules)
    depth = max(levels.values(), default=0)
    by_column: dict[int, list[str]] = {}
    for name in _in_order(rules):
        by_column.setdefault(_column(rules.chains[name], levels, depth), []).append(name)
    columns: list[Column] = []
    for index in sorted(by_column):
        names = by_column[index]
        shown = _fair(names, rules.chains[names[0]].role)
        views = tuple(_view(rules.chains[name], hooks.get(name)) for name in shown)
        title = _title(rules.chains[names[0]].role)
        columns.append(Column(title, views, len(names) - len(shown)))
    return tuple(columns)


def _title(role: ChainRole) -> str:
    return {
        ChainRole.ROOT: "every packet",
        ChainRole.DISPATCH: "whose packet",
        ChainRole.PROFILE: "what may pass",
    }.get(role, "what nothing allowed")


def _column(chain: Chain, levels: Mapping[str, int], depth: int) -> int:
    match chain.role:
        case ChainRole.ROOT:
            return 0
        case ChainRole.DISPATCH:
            return 1 + levels.get(chain.name, 0)
        case ChainRole.PROFILE:
            return 2 + depth
        case _:
            return 3 + depth


def _levels(rules: FamilyRules) -> dict[str, int]:
    """How deep each dispatch chain is: 0 where only roots lead to it."""
    levels: dict[str, int] = {}
    waiting = [name for name, chain in rules.chains.items() if chain.role is ChainRole.DISPATCH]
    led = {
        goal
        for name in waiting
        for rule in rules.chains[name].rules
        if (goal := goal_of(rule)) is not None
    }
    front = [name for name in waiting if name not in led]
    level = 0
    while front:
        levels.update(dict.fromkeys(front, level))
        level += 1
        goals = (goal_of(rule) for name in front for rule in rules.chains[name].rules)
        front = [
            goal
            for goal in dict.fromkeys(goals)
            if goal is not None
            and goal in rules.chains
            and rules.chains[goal].role is ChainRole.DISPATCH
        ]
    return levels


def _in_order(rules: FamilyRules) -> Iterator[str]:
    """All chains, in the order in which a packet may meet them: breadth first from the hooks."""
    seen: dict[str, None] = {}
    front = [rules.hooks[hook] for hook in Hook if hook in rules.hooks]
    while front:
        seen.update(dict.fromkeys(front))
        goals = (goal_of(rule) for name in front for rule in rules.chains[name].rules)
        front = [
            goal
            for goal in dict.fromkeys(goals)
            if goal is not None and goal in rules.chains and goal not in seen
        ]
    seen.update(dict.fromkeys(rules.chains))
    yield from seen


def _fair(names: list[str], role: ChainRole) -> list[str]:
    """The first few of ``names``; of both directions about as many."""
    most = MOST_DISPATCH if role is ChainRole.DISPATCH else MOST_CHAINS
    if len(names) <= most:
        return names
    half = most // 2
    egress = [each for each in names if each.startswith(("PW-e-", "PW-eg"))]
    ingress = [each for each in names if each not in egress]
    first = egress[: max(half, most - len(ingress))]
    second = ingress[: most - len(first)]
    kept = {*first, *second}
    return [each for each in names if each in kept]


def _view(chain: Chain, hook: Hook | None) -> ChainView:
    rows = [
        ChainRow(index + 1, rule, note=chain.notes.get(index, ""))
        for index, rule in enumerate(chain.rules)
    ]
    if len(rows) > MOST_ROWS:
        hidden = tuple(row.rule for row in rows[MOST_ROWS - 2 : -1] if row.rule is not None)
        rows[MOST_ROWS - 2 : -1] = [ChainRow(0, None, len(hidden), hidden=hidden)]
    return ChainView(chain, tuple(rows), hook)
