"""What to do so that the kernel holds what it shall hold, found by comparing the two.

:func:`diff` compares what a kernel was seen to hold with a ruleset;
:mod:`podwall.ruleset.planning` puts the changes into an order that never opens a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from podwall.ruleset.crossing import compare, used_sets
from podwall.ruleset.ir import FamilyRules, Hook, IPSet, Member, Net, Ruleset
from podwall.ruleset.plan import ChainStep, Observed, ObservedFamily, Plan, SetStep, Step
from podwall.ruleset.planning import FamilyChange, SetChange, joined_plan, make_plan


def diff(observed: Observed, desired: Ruleset) -> Plan:
    """The steps from ``observed`` to ``desired``; an empty plan where they are equal already."""
    return make_plan([_compare(observed.family(each.family), each) for each in desired.families])


def cleanup(observed: Observed) -> Plan:
    """The steps that remove every trace of ours: rules first, then the sets that they name."""
    steps: list[Step] = []
    sets: list[str] = []
    for family in (observed.v4, observed.v6):
        jumps = [(hook, jump.spec) for hook, jumps in family.hooks.items() for jump in jumps]
        steps.append(
            ChainStep(family.family, unhook=tuple(jumps), delete=tuple(sorted(family.chains)))
        )
        sets += sorted(family.sets)
    steps.append(SetStep(destroy=tuple(sets)))
    return joined_plan(steps)


def _compare(observed: ObservedFamily, desired: FamilyRules) -> FamilyChange:
    """Everything that has to change in one family."""
    mismatched = tuple(
        name
        for name, ipset in sorted(observed.sets.items())
        if name in desired.sets and not _same_kind(ipset, desired.sets[name])
    )
    present = {name: each for name, each in observed.sets.items() if name not in mismatched}
    used = used_sets(observed.chains)
    changes = tuple(
        SetChange(ipset, missing, surplus, in_use=ipset.name in used)
        for ipset, missing, surplus in _compared_sets(present, desired.sets)
        if missing or surplus
    )
    return FamilyChange(
        switch=_switch(observed, desired),
        created=tuple(each for name, each in desired.sets.items() if name not in present),
        changes=changes,
        destroyed=tuple(sorted(present.keys() - desired.sets.keys())),
        mismatched=mismatched,
        crossing=lambda: compare(
            observed,
            desired,
            [(each.set, each.gained | each.lost) for each in changes if each.in_use],
        ),
    )


def _compared_sets(
    present: Mapping[str, IPSet], desired: Mapping[str, IPSet]
) -> Iterator[tuple[IPSet, frozenset[Member], frozenset[Member]]]:
    """The sets that stay, what each lacks and what it has too much.

    What was cut or logged is known to the kernel alone.
    """
    for name, wanted in desired.items():
        if name not in present or wanted.role.is_transient:
            continue
        if present[name].members is wanted.members:
            # Whoever looks again and again knows most sets to be what they were.
            continue
        # Adding a prefix with the other sign changes the entry in place: deleting it by its prefix
        # afterwards would take the new one away.
        prefixes = {each.cidr for each in wanted.members if isinstance(each, Net)}
        surplus = frozenset(
            each
            for each in present[name].members - wanted.members
            if not (isinstance(each, Net) and each.cidr in prefixes)
        )
        yield wanted, wanted.members - present[name].members, surplus


def _switch(observed: ObservedFamily, desired: FamilyRules) -> ChainStep:
    """The transaction that puts the new rules in force and removes the old ones."""
    unhook, hook = _hook_changes(observed, desired)
    return ChainStep(
        family=desired.family,
        replace=tuple(
            chain
            for name, chain in desired.chains.items()
            if observed.chains.get(name) != chain.rules
        ),
        unhook=unhook,
        hook=hook,
        delete=tuple(sorted(observed.chains.keys() - desired.chains.keys())),
    )


def _hook_changes(
    observed: ObservedFamily, desired: FamilyRules
) -> tuple[tuple[tuple[Hook, str], ...], tuple[tuple[Hook, str], ...]]:
    """Jumps to delete and to insert, so that each hook starts with just one jump of ours."""
    unhook: list[tuple[Hook, str]] = []
    hook: list[tuple[Hook, str]] = []
    for each in Hook:
        jumps = observed.hooks.get(each, ())
        chain = desired.hooks.get(each)
        found = [(jump.index, jump.chain, jump.plain) for jump in jumps]
        if chain is not None and found == [(0, chain, True)]:
            continue
        unhook += ((each, jump.spec) for jump in jumps)
        if chain is not None:
            hook.append((each, chain))
    return tuple(unhook), tuple(hook)


def _same_kind(observed: IPSet, desired: IPSet) -> bool:
    return (
        observed.type is desired.type
        and observed.family is desired.family
        and (observed.timeout is None) == (desired.timeout is None)
    )
