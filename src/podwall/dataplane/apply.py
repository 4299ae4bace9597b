"""Make a kernel hold a ruleset: look, plan, run the steps, say what was done.

Nothing here remembers anything: what is in the kernel is the truth. So an apply that was cut off
at any point is finished by running it again, and one with nothing to do writes nothing.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import assert_never

import msgspec

from podwall.dataplane.base import DataPlane
from podwall.dataplane.blame import find_culprits
from podwall.errors import BatchRefused, KernelError
from podwall.model.net import Family
from podwall.model.policy import PolicyKey
from podwall.ruleset.diff import cleanup, diff
from podwall.ruleset.ir import FamilyRules, Ruleset
from podwall.ruleset.plan import ChainStep, Observed, ObservedRule, Plan, SetStep

log = logging.getLogger(__name__)

CompileWithout = Callable[[frozenset[PolicyKey]], Ruleset]
"""Compiles the same cluster with these policies reduced to the isolation of their pods (S10)."""


class Refusal(msgspec.Struct, frozen=True):
    """Policies that the kernel would not take, and what it said; their pods are isolated.

    ``cause`` shows the lines around, ``summary`` does not: these may be other users' rules.
    """

    policies: tuple[PolicyKey, ...]
    cause: str
    summary: str


class ApplyReport(msgspec.Struct, frozen=True):
    """What an apply changed.

    A chain that is rewritten counts the rules in which it differs, the jumps from built-in chains
    count as rules. ``refusals`` is empty when everything is enforced as it was meant.
    """

    steps: int = 0
    rules_added: int = 0
    rules_removed: int = 0
    members_added: int = 0
    members_removed: int = 0
    seconds: float = 0.0
    refusals: tuple[Refusal, ...] = ()

    def __str__(self) -> str:
        if not self.steps:
            return f"nothing to change ({self.seconds * 1000:.0f} ms)"
        return (
            f"applied in {self.seconds * 1000:.0f} ms: "
            f"rules +{self.rules_added} -{self.rules_removed}, "
            f"members +{self.members_added} -{self.members_removed}"
        )


class StepRefused(BatchRefused):
    """A step of a plan was refused; knows which."""

    def __init__(self, step: SetStep | ChainStep, cause: BatchRefused) -> None:
        super().__init__(cause.argv, cause.status, cause.stderr, cause.line, cause.text)
        self.step = step


def enforce(
    dataplane: DataPlane,
    desired: Ruleset,
    compile_without: CompileWithout | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> ApplyReport:
    """Make ``dataplane`` hold ``desired``, whatever it holds now.

    If the kernel refuses the rules of a policy, ``compile_without`` is asked for a ruleset in which
    that policy only isolates, and this is enforced; the report names the policy and the cause.
    Whoever calls again with the full ruleset tries the policy again.

    Raises:
        BatchRefused: the kernel refuses something that is no single policy's fault.
        KernelError: a tool is missing, failed, did not end, or waited too long for the lock.
    """
    start = clock()
    refusals: list[Refusal] = []
    reduced: frozenset[PolicyKey] = frozenset()
    retried = False
    while True:
        try:
            report = _enforce_once(dataplane, desired)
        except StepRefused as error:
            # Somebody may have changed the kernel after we looked: only what a plan made from a
            # fresh look is refused as well is held against a policy.
            if not retried:
                retried = True
                continue
            culprits = find_culprits(dataplane, error.step, error, desired) - reduced
            if not culprits or compile_without is None:
                raise
            log.warning("the kernel refuses rules of %s: %s", _names(culprits), error)
            refusals.append(Refusal(tuple(sorted(culprits)), str(error), error.summary))
            reduced |= culprits
            desired = compile_without(reduced)
        else:
            return msgspec.structs.replace(
                report, seconds=clock() - start, refusals=tuple(refusals)
            )


def _names(policies: frozenset[PolicyKey]) -> str:
    return ", ".join(map(str, sorted(policies)))


def _enforce_once(dataplane: DataPlane, desired: Ruleset) -> ApplyReport:
    observed = dataplane.observe()
    if _repair(dataplane):
        observed = dataplane.observe()
    plan = diff(observed, for_families(desired, dataplane.families))
    report = apply(dataplane, plan, observed)
    if plan:
        # What could not be removed before may have been held by rules that are gone now.
        _repair(dataplane)
    return report


def _repair(dataplane: DataPlane) -> int:
    """Remove what is not ours from our sets; that it fails must not keep rules from being set."""
    try:
        return dataplane.repair()
    except KernelError as error:
        log.warning("our sets hold what podwall never writes, and it cannot be removed: %s", error)
        return 0


def for_families(desired: Ruleset, families: Sequence[Family]) -> Ruleset:
    """``desired`` with nothing in the families that the host does not have."""
    halves = {
        family: desired.family(family) if family in families else FamilyRules(family)
        for family in Family
    }
    return msgspec.structs.replace(desired, v4=halves[Family.V4], v6=halves[Family.V6])


def apply(
    dataplane: DataPlane,
    plan: Plan,
    observed: Observed,
    clock: Callable[[], float] = time.perf_counter,
) -> ApplyReport:
    """Run the steps of ``plan``, which was made from ``observed``, in order.

    Raises:
        StepRefused: the kernel refused a step; those before it stay.
        KernelError: a tool is missing, failed, did not end, or waited too long for the lock.
    """
    start = clock()
    for step in plan.steps:
        try:
            dataplane.run(step)
        except BatchRefused as error:
            raise StepRefused(step, error) from error
    changes = count_changes(plan, observed)
    return msgspec.structs.replace(changes, seconds=clock() - start)


def plan_cleanup(dataplanes: Sequence[DataPlane]) -> list[tuple[Observed, Plan]]:
    """Plans that remove every trace of ours, one for each data path of a host, to be run in order.

    With each comes what it was made from. The sets are shared by the data paths, so only the last
    plan destroys them: when no rule names them any more.

    Raises:
        KernelError: a tool is missing, failed or did not end.
    """
    plans = []
    for number, dataplane in enumerate(dataplanes, start=1):
        observed = dataplane.observe()
        steps = cleanup(observed).steps
        if number < len(dataplanes):
            steps = tuple(step for step in steps if isinstance(step, ChainStep))
        plans.append((observed, Plan(steps)))
    return plans


def clean_up(
    dataplanes: Sequence[DataPlane], clock: Callable[[], float] = time.perf_counter
) -> ApplyReport:
    """Remove every trace of ours from the data paths of a host; what it took in all.

    Raises:
        StepRefused: the kernel refused a step; those before it stay.
        KernelError: a tool is missing, failed, did not end, or waited too long for the lock.
    """
    start = clock()
    plans = zip(dataplanes, plan_cleanup(dataplanes), strict=True)
    reports = [apply(dataplane, plan, observed) for dataplane, (observed, plan) in plans]
    return ApplyReport(
        steps=sum(each.steps for each in reports),
        rules_removed=sum(each.rules_removed for each in reports),
        members_removed=sum(each.members_removed for each in reports),
        seconds=clock() - start,
    )


def count_changes(plan: Plan, observed: Observed) -> ApplyReport:
    """What running ``plan`` on ``observed`` changes, before anything is run."""
    tally = _Tally(observed)
    for step in plan.steps:
        match step:
            case SetStep():
                tally.set_step(step)
            case ChainStep():
                tally.chain_step(step)
            case _:
                assert_never(step)
    return ApplyReport(
        steps=len(plan.steps),
        rules_added=tally.rules_added,
        rules_removed=tally.rules_removed,
        members_added=tally.members_added,
        members_removed=tally.members_removed,
    )


class _Tally:
    """Counts the changes of steps, following what the chains and sets become."""

    def __init__(self, observed: Observed) -> None:
        self.rules_added = 0
        self.rules_removed = 0
        self.members_added = 0
        self.members_removed = 0
        self._chains = {each: dict(observed.family(each).chains) for each in Family}
        self._sizes = {
            name: len(ipset.members)
            for family in Family
            for name, ipset in observed.family(family).sets.items()
        }

    def set_step(self, step: SetStep) -> None:
        for ipset in step.create:
            self._grow(ipset.name, len(ipset.members))
        for change in step.add:
            self._grow(change.set.name, len(change.members))
        for change in step.delete:
            self._shrink(change.set.name, len(change.members))
        for name in step.destroy:
            self._shrink(name, self._sizes.get(name, 0))

    def _grow(self, name: str, members: int) -> None:
        self.members_added += members
        self._sizes[name] = self._sizes.get(name, 0) + members

    def _shrink(self, name: str, members: int) -> None:
        self.members_removed += members
        self._sizes[name] = self._sizes.get(name, 0) - members

    def chain_step(self, step: ChainStep) -> None:
        chains = self._chains[step.family]
        for chain in step.replace:
            self._compare(chains.get(chain.name, ()), chain.rules)
            chains[chain.name] = chain.rules
        for name in step.delete:
            self._compare(chains.pop(name, ()), ())
        self.rules_added += len(step.hook)
        self.rules_removed += len(step.unhook)

    def _compare(self, before: Sequence[ObservedRule], after: Sequence[ObservedRule]) -> None:
        self.rules_added += (Counter(after) - Counter(before)).total()
        self.rules_removed += (Counter(before) - Counter(after)).total()
