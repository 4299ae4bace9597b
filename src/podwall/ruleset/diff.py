"""What to do so that the kernel holds what it shall hold, in an order that never opens a gap.

1.  Sets that are missing are made, full, and sets that are there gain members.
2.  Each family's chains are switched in one transaction: profiles, dispatch and hooks at once.
3.  Sets lose members, and sets that nothing names any more are destroyed.

While this runs, a peer that changes sets is in both for a moment, so a flow meets its old verdict
or its new one, and never a third. Where a change of members would cross another change, that is not
so (:mod:`podwall.ruleset.crossing`): those members leave before the first step and join after the
last. So no flow that both states deny passes at any moment, and every step can be cut off anywhere:
reading the kernel and diffing again leads to the same end.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeVar

from podwall.ruleset.crossing import Crossing, used_sets
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
        SetStep(delete=_all(change.deletions(_Moment.FIRST) for change in changes)),
        SetStep(
            create=_all(change.created for change in changes),
            add=_all(change.additions(_Moment.FIRST) for change in changes),
        ),
        *(change.switch() for change in changes),
        SetStep(
            delete=_all(change.deletions(_Moment.LAST) for change in changes),
            destroy=_all(change.destroyed for change in changes),
        ),
        SetStep(add=_all(change.additions(_Moment.LAST) for change in changes)),
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


class _Moment(enum.Enum):
    """When members of sets change: before the rules are switched or after."""

    FIRST = enum.auto()
    LAST = enum.auto()


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

    @functools.cached_property
    def _used(self) -> Collection[str]:
        """The sets that a rule in the kernel names."""
        return used_sets(self.observed.chains)

    @functools.cached_property
    def _crossing(self) -> Crossing:
        return Crossing(
            self.observed,
            self.desired,
            [
                (ipset, missing | surplus)
                for ipset, missing, surplus in self._changes
                if ipset.name in self._used
            ],
        )

    def additions(self, moment: _Moment) -> Iterator[MemberChange]:
        """Members that sets gain: early, so that movers are in both, unless they have to wait."""
        for desired, missing, _ in self._changes:
            chosen = [
                each for each in missing if self._waits(desired, each) is (moment is _Moment.LAST)
            ]
            if chosen:
                yield MemberChange(desired, _in_order(chosen))

    def deletions(self, moment: _Moment) -> Iterator[MemberChange]:
        """Members that sets lose: late, for the same reason."""
        for desired, _, surplus in self._changes:
            unused = bool(surplus) and desired.name not in self._used
            chosen = [
                each
                for each in surplus
                if (unused or self._waits(desired, each)) is (moment is _Moment.FIRST)
            ]
            if chosen:
                yield MemberChange(desired, _in_order(chosen))

    def _waits(self, ipset: IPSet, member: Member) -> bool:
        """Whether a member may be in the set only while both states say so.

        A set that no rule in the kernel names is made ready before one does.
        """
        return ipset.name in self._used and self._crossing.crosses(ipset, member)

    @functools.cached_property
    def _changes(self) -> tuple[tuple[IPSet, frozenset[Member], frozenset[Member]], ...]:
        """The sets that stay and change: what each lacks and what it has too much."""
        return tuple(
            (desired, missing, surplus)
            for desired, missing, surplus in self._compared()
            if missing or surplus
        )

    def _compared(self) -> Iterator[tuple[IPSet, frozenset[Member], frozenset[Member]]]:
        """The sets that stay, what each lacks and what it has too much.

        What was cut is known to the kernel alone.
        """
        for name, desired in self.desired.sets.items():
            if name not in self._present or desired.role is SetRole.CUT:
                continue
            present = self._present[name]
            # Adding a prefix with the other sign changes the entry in place: deleting it by its
            # prefix afterwards would take the new one away.
            prefixes = {each.cidr for each in desired.members if isinstance(each, Net)}
            surplus = frozenset(
                each
                for each in present.members - desired.members
                if not (isinstance(each, Net) and each.cidr in prefixes)
            )
            yield desired, desired.members - present.members, surplus

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
        elif isinstance(step, SetStep) and not (waiting.delete or waiting.destroy):
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
