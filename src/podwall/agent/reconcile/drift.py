"""Whether the kernel is still as it was left, and what somebody did to it.

A look costs the tools' reading plus a digest; only sets and tables whose text differs from the one
that was last found right are read and compared. So it can be taken every few seconds, whatever the
number of members.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import assert_never

import msgspec

from podwall.agent.reconcile.words import few, plain
from podwall.dataplane.apply import for_families
from podwall.dataplane.ipset.render import member_text
from podwall.dataplane.kernel import KernelDataPlane
from podwall.dataplane.saved import Prints, Saved, first_rule, take_prints
from podwall.ruleset.diff import diff
from podwall.ruleset.ir import IPSet, Net, Ruleset
from podwall.ruleset.plan import (
    ChainStep,
    MemberChange,
    Observed,
    ObservedFamily,
    Plan,
    SetStep,
)

_MOST = 8
"""So many differences a text names; the others are counted."""


class Look(msgspec.Struct, frozen=True):
    """What was seen of the kernel at one moment."""

    saved: Saved
    prints: Prints


def look(dataplane: KernelDataPlane) -> Look:
    """Look at the kernel; any thread may do so.

    Raises:
        KernelError: the kernel cannot be read.
    """
    saved = dataplane.read()
    return Look(saved, take_prints(saved))


class Drift(msgspec.Struct, frozen=True):
    """The kernel is not as it should be; ``text`` names what differs.

    ``everything`` is whether nothing of ours is in force any more.
    """

    text: str
    everything: bool


class Checker:
    """Remembers how the kernel looked when it was right."""

    def __init__(self) -> None:
        self._prints = Prints({}, {})
        self._right: Mapping[str, IPSet] = {}
        self._writes: int | None = None

    def same(self, seen: Look, writes: int) -> bool:
        """Whether the kernel looks as it did when it was last found right, and should still.

        ``writes`` counts what podwall itself wrote. It is not enough that nothing looks different:
        somebody may have put back what was there before.
        """
        return self._writes == writes and seen.prints == self._prints

    def compare(
        self, dataplane: KernelDataPlane, seen: Look, writes: int, ruleset: Ruleset
    ) -> Drift | None:
        """What differs from ``ruleset``; nothing if the kernel is right."""
        desired = for_families(ruleset, dataplane.families)
        wanted = {name: each for half in desired.families for name, each in half.sets.items()}
        # A set that looks as it did when it was this very set needs no second reading.
        known = {
            name: each
            for name, each in wanted.items()
            if self._right.get(name) is each
            and name in seen.prints.sets
            and seen.prints.sets[name] == self._prints.sets.get(name)
        }
        observed = dataplane.interpret(seen.saved, known)
        plan = diff(observed, desired)
        if not plan and not dataplane.repairs:
            self._prints, self._right, self._writes = seen.prints, wanted, writes
            return None
        self._writes = None
        everything = not any(half.chains or half.hooks for half in (observed.v4, observed.v6))
        return Drift(
            describe_drift(plan, observed, dataplane.repairs, seen.saved),
            everything and any(half.chains for half in desired.families),
        )


def worth_telling(count: int) -> bool:
    """Whether to log what happens for the ``count``-th time in a row: the 1st, 2nd, 4th, 8th."""
    return count & (count - 1) == 0


def describe_drift(
    plan: Plan, observed: Observed, repairs: Sequence[str] = (), saved: Saved | None = None
) -> str:
    """What somebody changed, told by what repairs it; entries are named, a bounded number."""
    parts = [f"podwall never made this: {plain(each, 120)}" for each in repairs]
    for step in plan.steps:
        match step:
            case SetStep():
                parts += _set_parts(step, observed)
            case ChainStep():
                parts += _chain_parts(step, observed.family(step.family), saved)
            case _:
                assert_never(step)
    return "; ".join(parts[:_MOST]) + (
        f"; and {len(parts) - _MOST} more differences" if len(parts) > _MOST else ""
    )


def _set_parts(step: SetStep, observed: Observed) -> Iterator[str]:
    there = {*observed.v4.sets, *observed.v6.sets}
    for ipset in step.create:
        # A set of another type is destroyed and made anew in one plan.
        yield f"set {ipset.name} is {'of another type' if ipset.name in there else 'gone'}"
    for change in step.add:
        yield f"set {change.set.name} lost {_members(change)}"
    for change in step.delete:
        yield f"set {change.set.name} held {_members(change)}, which nobody put there"
    for name in step.destroy:
        yield f"set {name} is not wanted"


def _members(change: MemberChange) -> str:
    return few(
        member_text(change.set, each)
        + (" nomatch" if isinstance(each, Net) and each.nomatch else "")
        for each in change.members
    )


def _chain_parts(step: ChainStep, observed: ObservedFamily, saved: Saved | None) -> Iterator[str]:
    where = f"(IPv{step.family.value})"
    gone = [chain.name for chain in step.replace if chain.name not in observed.chains]
    if gone:
        yield f"chains are gone {where}: {few(gone)}"
    for chain in step.replace:
        if chain.name in observed.chains:
            found, wanted = observed.chains[chain.name], chain.rules
            yield (
                f"chain {chain.name} is empty {where}"
                if not found
                else f"chain {chain.name} was changed {where}: "
                f"{len(set(wanted) - set(found))} of its {len(wanted)} rules are missing, "
                f"{len(set(found) - set(wanted))} others are there"
            )
    for hook, name in step.hook:
        jumps = [jump for jump in observed.hooks.get(hook, ()) if jump.chain == name]
        if not jumps:
            yield f"the jump from {hook.value} to {name} is gone {where}"
        elif jumps[0].index == 0:
            yield f"the jump from {hook.value} to {name} was changed {where}"
        else:
            first = "" if saved is None else first_rule(saved.tables[step.family], hook)
            before = jumps[0].index
            stand = "1 rule stands" if before == 1 else f"{before} rules stand"
            yield (
                f"{stand} before the jump from {hook.value} to {name} "
                f"{where}, the first is: {plain(first, 160)}"
            )
    if step.delete:
        yield f"chains are not wanted {where}: {few(step.delete)}"
