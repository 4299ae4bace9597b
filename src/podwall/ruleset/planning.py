"""The order of a plan's steps: what to do first so that nothing opens on the way.

1.  Sets that are missing are made, full, and sets that are there gain members.
2.  Each family's chains are switched in one transaction: profiles, dispatch and hooks at once.
3.  Sets lose members, and sets that nothing names any more are destroyed.

While this runs, a peer that changes sets is in both for a moment, so a flow meets its old verdict
or its new one, and never a third. Where a change of members would cross another change, that is not
so (:mod:`podwall.ruleset.crossing`): those members leave before the first step and join after the
last. So no flow that both states deny passes at any moment, and every step can be cut off anywhere:
reading the kernel and diffing again leads to the same end.

What changes is said by :class:`FamilyChange`: :mod:`podwall.ruleset.diff` finds it by comparing a
kernel with a ruleset, :mod:`podwall.ruleset.live` knows it from what happened.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from podwall.ruleset.crossing import Crossing
from podwall.ruleset.ir import IPSet, Member
from podwall.ruleset.plan import ChainStep, MemberChange, Plan, SetStep, Step

_T = TypeVar("_T")


class SetChange(msgspec.Struct, frozen=True):
    """A set that stays: what it gains and what it loses.

    ``in_use`` is whether a rule in the kernel names it now. A set that none names is made ready
    before one does.
    """

    set: IPSet
    gained: frozenset[Member]
    lost: frozenset[Member]
    in_use: bool = True


class FamilyChange:
    """Everything that has to change in one family.

    Args:
        switch: what becomes of the chains and hooks.
        created: sets that are missing, full.
        changes: sets that stay, with other members.
        destroyed: sets that nothing names afterwards.
        mismatched: sets of another kind in the place of one that is wanted.
        crossing: asked for once, and only if members of a set in use change.
    """

    def __init__(
        self,
        switch: ChainStep,
        created: tuple[IPSet, ...] = (),
        changes: tuple[SetChange, ...] = (),
        destroyed: tuple[str, ...] = (),
        mismatched: tuple[str, ...] = (),
        crossing: Callable[[], Crossing] | None = None,
    ) -> None:
        self.switch = switch
        self.created = created
        self.changes = changes
        self.destroyed = destroyed
        self.mismatched = mismatched
        self._find_crossing = crossing

    @functools.cached_property
    def _crossing(self) -> Crossing | None:
        return None if self._find_crossing is None else self._find_crossing()

    def additions(self, moment: Moment) -> Iterator[MemberChange]:
        """Members that sets gain: early, so that movers are in both, unless they have to wait."""
        for change in self.changes:
            yield from _some(
                change,
                [
                    each
                    for each in change.gained
                    if self._waits(change, each) is (moment is Moment.LAST)
                ],
            )

    def deletions(self, moment: Moment) -> Iterator[MemberChange]:
        """Members that sets lose: late, for the same reason."""
        for change in self.changes:
            yield from _some(
                change,
                [
                    each
                    for each in change.lost
                    if (not change.in_use or self._waits(change, each)) is (moment is Moment.FIRST)
                ],
            )

    def _waits(self, change: SetChange, member: Member) -> bool:
        """Whether a member may be in the set only while both states say so."""
        if not change.in_use or self._crossing is None:
            return False
        return self._crossing.crosses(change.set, member)


class Moment(enum.Enum):
    """When members of sets change: before the rules are switched or after."""

    FIRST = enum.auto()
    LAST = enum.auto()


def make_plan(changes: Sequence[FamilyChange]) -> Plan:
    """The steps that make these changes; an empty plan where there are none."""
    steps: list[Step] = [
        SetStep(destroy=_all(change.mismatched for change in changes)),
        SetStep(delete=_all(change.deletions(Moment.FIRST) for change in changes)),
        SetStep(
            create=_all(change.created for change in changes),
            add=_all(change.additions(Moment.FIRST) for change in changes),
        ),
        *(change.switch for change in changes),
        SetStep(
            delete=_all(change.deletions(Moment.LAST) for change in changes),
            destroy=_all(change.destroyed for change in changes),
        ),
        SetStep(add=_all(change.additions(Moment.LAST) for change in changes)),
    ]
    return joined_plan(steps)


def joined_plan(steps: Iterable[Step]) -> Plan:
    """A plan of those steps that do anything; neighbours are one where order allows."""
    return Plan(tuple(_joined(step for step in steps if not _is_empty(step))))


def _some(change: SetChange, members: Iterable[Member]) -> Iterator[MemberChange]:
    ordered = tuple(sorted(members))
    if ordered:
        yield MemberChange(change.set, ordered)


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
