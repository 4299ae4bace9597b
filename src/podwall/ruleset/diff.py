"""What to do so that the kernel holds what it shall hold, in an order that never opens a gap.

1.  Sets that are missing are made, full, and sets that are there gain members.
2.  Each family's chains are switched in one transaction: profiles, dispatch and hooks at once.
3.  Sets lose members, and sets that nothing names any more are destroyed.

While this runs, a peer that changes sets is in both for a moment, so each direction of a flow meets
its old verdict or its new one, and never a third. Every step can be cut off anywhere: reading the
kernel and diffing again leads to the same end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from podwall.ruleset.ir import FamilyRules, Hook, IPSet, Member, Net, Ruleset, SetRole
from podwall.ruleset.plan import (
    ChainStep,
    MemberChange,
    Observed,
    ObservedFamily,
    Plan,
    SetStep,
    Step,
)

_T = TypeVar("_T")


def diff(observed: Observed, desired: Ruleset) -> Plan:
    """The steps from ``observed`` to ``desired``; an empty plan where they are equal already."""
    changes = [_FamilyChange(observed.family(each.family), each) for each in desired.families]
    steps: list[Step] = [
        SetStep(destroy=_all(change.mismatched for change in changes)),
        SetStep(
            create=_all(change.created for change in changes),
            add=_all(change.additions() for change in changes),
        ),
        *(change.switch() for change in changes),
        SetStep(
            delete=_all(change.deletions() for change in changes),
            destroy=_all(change.destroyed for change in changes),
        ),
    ]
    return Plan(tuple(_joined(step for step in steps if not _is_empty(step))))


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
    return Plan(tuple(step for step in steps if not _is_empty(step)))


class _FamilyChange:
    """Everything that has to change in one family."""

    def __init__(self, observed: ObservedFamily, desired: FamilyRules) -> None:
        self.observed = observed
        self.desired = desired
        self.mismatched = tuple(
            name
            for name, ipset in sorted(observed.sets.items())
            if name in desired.sets and not _same_kind(ipset, desired.sets[name])
        )
        self._present: Mapping[str, IPSet] = {
            name: ipset for name, ipset in observed.sets.items() if name not in self.mismatched
        }
        self.created = tuple(
            ipset for name, ipset in desired.sets.items() if name not in self._present
        )
        self.destroyed = tuple(sorted(self._present.keys() - desired.sets.keys()))

    def additions(self) -> Iterator[MemberChange]:
        """Members that sets gain: an address may be allowed by old and new rules for a while."""
        for desired, present in self._compared():
            missing = desired.members - present.members
            if missing:
                yield MemberChange(desired, _in_order(missing))

    def deletions(self) -> Iterator[MemberChange]:
        """Members that sets lose."""
        for desired, present in self._compared():
            # Adding a prefix with the other sign changes the entry in place: deleting it by its
            # prefix afterwards would take the new one away.
            prefixes = {each.cidr for each in desired.members if isinstance(each, Net)}
            surplus = frozenset(
                each
                for each in present.members - desired.members
                if not (isinstance(each, Net) and each.cidr in prefixes)
            )
            if surplus:
                yield MemberChange(desired, _in_order(surplus))

    def _compared(self) -> Iterator[tuple[IPSet, IPSet]]:
        """Sets whose members are compared; what was cut is known to the kernel alone."""
        for name, desired in self.desired.sets.items():
            if name in self._present and desired.role is not SetRole.CUT:
                yield desired, self._present[name]

    def switch(self) -> ChainStep:
        """The transaction that puts the new rules in force and removes the old ones."""
        unhook, hook = self._hook_changes()
        return ChainStep(
            family=self.desired.family,
            replace=tuple(
                chain
                for name, chain in self.desired.chains.items()
                if self.observed.chains.get(name) != chain.rules
            ),
            unhook=unhook,
            hook=hook,
            delete=tuple(sorted(self.observed.chains.keys() - self.desired.chains.keys())),
        )

    def _hook_changes(self) -> tuple[tuple[tuple[Hook, str], ...], tuple[tuple[Hook, str], ...]]:
        """Jumps to delete and to insert, so that each hook starts with just one jump of ours."""
        unhook: list[tuple[Hook, str]] = []
        hook: list[tuple[Hook, str]] = []
        for each in Hook:
            jumps = self.observed.hooks.get(each, ())
            chain = self.desired.hooks.get(each)
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


def _in_order(members: Iterable[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members))


def _is_empty(step: Step) -> bool:
    if isinstance(step, SetStep):
        return not (step.create or step.add or step.delete or step.destroy)
    return not (step.replace or step.unhook or step.hook or step.delete)


def _joined(steps: Iterable[Step]) -> Iterator[Step]:
    """Join set steps that follow each other where order allows: one program less to start."""
    waiting: SetStep | None = None
    for step in steps:
        if waiting is None:
            pass
        elif isinstance(step, SetStep) and not waiting.destroy:
            waiting = SetStep(
                waiting.create + step.create,
                waiting.add + step.add,
                waiting.delete + step.delete,
                step.destroy,
            )
            continue
        else:
            yield waiting
            waiting = None
        if isinstance(step, SetStep):
            waiting = step
        else:
            yield step
    if waiting is not None:
        yield waiting


def _all(groups: Iterable[Iterable[_T]]) -> tuple[_T, ...]:
    return tuple(each for group in groups for each in group)
