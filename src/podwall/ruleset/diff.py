"""What to do so that the kernel holds what it shall hold, in an order that never opens a gap.

1.  Sets that are missing are made, full; peer sets gain members.
2.  Each family's chains are switched in one transaction.
3.  Dispatch sets gain members, from the leaves of the tree up, so that a pod is led nowhere before
    its rules are there. Then sets lose members, from the root down.
4.  If classes disappeared, a second transaction removes what led to them.
5.  Sets that nothing names any more are destroyed.

Step 4 exists because sets and chains cannot change in one transaction. A pod that changes its class
is in the sets of both for a moment; the chains of step 2 therefore lead to old and new classes, and
the pod meets its old rules or its new ones, never none (:func:`transition`). Where no class
disappears, which is nearly always, step 2 is final and step 4 is empty.

Every step can be cut off anywhere: reading the kernel and diffing again leads to the same end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from podwall.model.net import Family
from podwall.model.policy import Direction
from podwall.ruleset import names
from podwall.ruleset.dispatch import Dispatch, DispatchClass, lower
from podwall.ruleset.ir import (
    Chain,
    FamilyRules,
    Goto,
    Hook,
    IPSet,
    MatchSet,
    Member,
    Net,
    Rule,
    Ruleset,
    SetRole,
)
from podwall.ruleset.plan import (
    ChainStep,
    MemberChange,
    Observed,
    ObservedFamily,
    Plan,
    SetStep,
    Step,
)

_ADD_ORDER = (SetRole.CLASS, SetRole.TREE, SetRole.ISOLATED, SetRole.KNOWN)
_DELETE_ORDER = (
    SetRole.KNOWN,
    SetRole.ISOLATED,
    SetRole.TREE,
    SetRole.CLASS,
    SetRole.PEERS,
    SetRole.NAMED_PORTS,
    SetRole.BLOCKS,
)


def diff(observed: Observed, desired: Ruleset) -> Plan:
    """The steps from ``observed`` to ``desired``; an empty plan where they are equal already."""
    changes = [_FamilyChange(observed.family(each.family), each) for each in desired.families]
    steps: list[Step] = [
        SetStep(
            create=_all(change.created for change in changes),
            add=_all(change.early_additions() for change in changes),
        ),
        *(change.switch() for change in changes),
        SetStep(
            add=_all(change.late_additions() for change in changes),
            delete=_all(change.deletions() for change in changes),
        ),
        *(change.finish() for change in changes),
        SetStep(destroy=_all(change.destroyed for change in changes)),
    ]
    mismatched = _all(change.mismatched for change in changes)
    if mismatched:
        steps.insert(0, SetStep(destroy=mismatched))
    return Plan(_merged(step for step in steps if not _is_empty(step)))


def cleanup(observed: Observed) -> Plan:
    """The steps that remove every trace of ours: rules first, then the sets that they name."""
    steps: list[Step] = []
    sets: list[str] = []
    for family in (observed.v4, observed.v6):
        steps.append(
            ChainStep(
                family=family.family,
                unhook=tuple(
                    (hook, jump.spec) for hook, jumps in family.hooks.items() for jump in jumps
                ),
                delete=tuple(sorted(family.chains)),
            )
        )
        sets += sorted(family.sets)
    steps.append(SetStep(destroy=tuple(sets)))
    return Plan(tuple(step for step in steps if not _is_empty(step)))


class _FamilyChange:
    """Everything that has to change in one family."""

    def __init__(self, observed: ObservedFamily, desired: FamilyRules) -> None:
        self.observed = observed
        self.desired = desired
        self.transition = transition(observed, desired)
        self.mismatched = tuple(
            name
            for name, ipset in sorted(observed.sets.items())
            if name in self.transition.sets and not _same_kind(ipset, self.transition.sets[name])
        )
        self._present: Mapping[str, IPSet] = {
            name: ipset for name, ipset in observed.sets.items() if name not in self.mismatched
        }
        self.created = tuple(
            ipset for name, ipset in self.transition.sets.items() if name not in self._present
        )
        self.destroyed = tuple(
            sorted(
                name
                for name in self._present.keys() | self.transition.sets.keys()
                if name not in desired.sets
            )
        )

    def early_additions(self) -> Iterator[MemberChange]:
        """Members that peers gain: an address may be allowed by old and new rules for a while."""
        for name, ipset in self.desired.sets.items():
            if name in self._present and not ipset.role.dispatches:
                yield from _additions(ipset, self._present[name].members)

    def late_additions(self) -> Iterator[MemberChange]:
        """Members that dispatch sets gain, once all that they lead to is there."""
        sets = [each for each in self.desired.sets.values() if each.role.dispatches]
        sets.sort(key=lambda each: (_ADD_ORDER.index(each.role), -len(each.name), each.name))
        for ipset in sets:
            if ipset.name in self._present:
                yield from _additions(ipset, self._present[ipset.name].members)

    def deletions(self) -> Iterator[MemberChange]:
        """Members that sets lose: dispatch sets from the root down, then peers."""
        sets = [each for each in self.desired.sets.values() if each.role is not SetRole.CUT]
        sets.sort(key=lambda each: (_DELETE_ORDER.index(each.role), len(each.name), each.name))
        for ipset in sets:
            before = self._present.get(ipset.name) or self.transition.sets[ipset.name]
            yield from _deletions(ipset, before.members)

    def switch(self) -> ChainStep:
        """The transaction that puts the new rules in force."""
        kept = self.transition.chains.keys() | self._retiring_profiles()
        return self._chain_step(self.transition, kept)

    def finish(self) -> ChainStep:
        """The transaction that removes the way to classes that are gone, if any are."""
        replace = tuple(
            chain
            for name, chain in self.desired.chains.items()
            if self.transition.chains[name].rules != chain.rules
        )
        gone = (self.transition.chains.keys() | self._retiring_profiles()) - (
            self.desired.chains.keys()
        )
        return ChainStep(self.desired.family, replace=replace, delete=tuple(sorted(gone)))

    def _chain_step(self, rules: FamilyRules, kept: Iterable[str]) -> ChainStep:
        unhook, hook = self._hook_changes()
        return ChainStep(
            family=rules.family,
            replace=tuple(
                chain
                for name, chain in rules.chains.items()
                if self.observed.chains.get(name) != chain.rules
            ),
            unhook=unhook,
            hook=hook,
            delete=tuple(sorted(self.observed.chains.keys() - set(kept))),
        )

    def _hook_changes(self) -> tuple[tuple[tuple[Hook, str], ...], tuple[tuple[Hook, str], ...]]:
        """Jumps to delete and to insert, so that each hook starts with just one jump of ours."""
        unhook: list[tuple[Hook, str]] = []
        hook: list[tuple[Hook, str]] = []
        for each in Hook:
            jumps = self.observed.hooks.get(each, ())
            chain = self.desired.hooks.get(each)
            if chain is not None and [(0, chain, True)] == [
                (jump.index, jump.chain, jump.plain) for jump in jumps
            ]:
                continue
            unhook += ((each, jump.spec) for jump in jumps)
            if chain is not None:
                hook.append((each, chain))
        return tuple(unhook), tuple(hook)

    def _retiring_profiles(self) -> set[str]:
        """Chains that the transition leads to and the desired state does not know."""
        targets = {
            rule.target.chain
            for chain in self.transition.chains.values()
            for rule in chain.rules
            if isinstance(rule.target, Goto)
        }
        return targets - self.transition.chains.keys()


def transition(observed: ObservedFamily, desired: FamilyRules) -> FamilyRules:
    """``desired``, with the ways to classes that still have members in the kernel left in place.

    Its dispatch sets hold old and new members alike, so that wherever a pod stands in the sets on
    the way from its old class to its new one, dispatch leads it to one of the two. Chains that it
    leads to but does not hold are in the kernel already and stay as they are. Equal to ``desired``
    where no class disappears.
    """
    chains = dict(desired.chains)
    sets = dict(desired.sets)
    for direction in Direction:
        current = _observed_classes(observed, direction)
        wanted = _desired_classes(desired, direction)
        retiring = [each for name, each in current.items() if name not in wanted]
        if not any(each.set.members for each in retiring):
            continue
        classes = [_joined(each, current.get(name)) for name, each in wanted.items()] + retiring
        lowered = lower(Dispatch(direction, desired.family, tuple(classes)))
        _drop_dispatch(chains, sets, direction, desired.family)
        chains.update((chain.name, chain) for chain in lowered.chains)
        sets.update((ipset.name, ipset) for ipset in lowered.sets)
        sets.update((each.set.name, each.set) for each in classes)
    return msgspec.structs.replace(
        desired,
        chains={name: chains[name] for name in sorted(chains)},
        sets={name: sets[name] for name in sorted(sets)},
    )


def _observed_classes(observed: ObservedFamily, direction: Direction) -> dict[str, DispatchClass]:
    """The classes that dispatch in the kernel leads to, by the name of their set."""
    classes = {}
    for name, rules in observed.chains.items():
        if not _is_dispatch(name, direction):
            continue
        for rule in rules:
            found = _class_of(rule, observed.sets) if isinstance(rule, Rule) else None
            if found is not None and found.chain in observed.chains:
                classes[found.set.name] = found
    return classes


def _desired_classes(desired: FamilyRules, direction: Direction) -> dict[str, DispatchClass]:
    classes = {}
    for name, chain in desired.chains.items():
        if _is_dispatch(name, direction):
            for rule in chain.rules:
                if (found := _class_of(rule, desired.sets)) is not None:
                    classes[found.set.name] = found
    return classes


def _class_of(rule: Rule, sets: Mapping[str, IPSet]) -> DispatchClass | None:
    """The class that a dispatch rule leads to; ``None`` for the tree's other rules."""
    if not isinstance(rule.target, Goto) or len(rule.matches) != 1:
        return None
    match = rule.matches[0]
    if not isinstance(match, MatchSet):
        return None
    ipset = sets.get(match.set)
    if ipset is None or ipset.role is not SetRole.CLASS:
        return None
    return DispatchClass(ipset, rule.target.chain, rule.comment)


def _joined(desired: DispatchClass, current: DispatchClass | None) -> DispatchClass:
    if current is None:
        return desired
    members = desired.set.members | current.set.members
    return msgspec.structs.replace(
        desired, set=msgspec.structs.replace(desired.set, members=members)
    )


def _drop_dispatch(
    chains: dict[str, Chain], sets: dict[str, IPSet], direction: Direction, family: Family
) -> None:
    """Take the dispatch of one direction out, so that another can be put in."""
    for name in [each for each in chains if _is_dispatch(each, direction)]:
        del chains[name]
    prefix = names.tree_set(family, direction, "")
    for name in [each for each in sets if each.startswith(prefix)]:
        del sets[name]


def _is_dispatch(chain: str, direction: Direction) -> bool:
    root = names.dispatch_chain(direction)
    return chain == root or chain.startswith(f"{root}-")


def _same_kind(observed: IPSet, desired: IPSet) -> bool:
    return (
        observed.type is desired.type
        and observed.family is desired.family
        and (observed.timeout is None) == (desired.timeout is None)
    )


def _additions(desired: IPSet, present: frozenset[Member]) -> Iterator[MemberChange]:
    if desired.role is SetRole.CUT:
        return
    missing = desired.members - present
    if missing:
        yield MemberChange(desired, tuple(sorted(missing)))


def _deletions(desired: IPSet, present: frozenset[Member]) -> Iterator[MemberChange]:
    surplus = present - desired.members
    if surplus:
        # Adding a prefix with the other sign changes the entry in place: deleting it by its prefix
        # afterwards would take the new one away.
        prefixes = {each.cidr for each in desired.members if isinstance(each, Net)}
        surplus = frozenset(
            each for each in surplus if not (isinstance(each, Net) and each.cidr in prefixes)
        )
    if surplus:
        yield MemberChange(desired, tuple(sorted(surplus)))


def _is_empty(step: Step) -> bool:
    if isinstance(step, SetStep):
        return not (step.create or step.add or step.delete or step.destroy)
    return not (step.replace or step.unhook or step.hook or step.delete)


def _merged(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Join set steps that follow each other: one program less to start."""
    merged: list[Step] = []
    for step in steps:
        last = merged[-1] if merged else None
        if isinstance(step, SetStep) and isinstance(last, SetStep) and not last.destroy:
            merged[-1] = SetStep(
                create=last.create + step.create,
                add=last.add + step.add,
                delete=last.delete + step.delete,
                destroy=step.destroy,
            )
        else:
            merged.append(step)
    return tuple(merged)


def _all(groups: Iterable[Iterable[object]]) -> tuple:  # type: ignore[type-arg]
    return tuple(each for group in groups for each in group)
