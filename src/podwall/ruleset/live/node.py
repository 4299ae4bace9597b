"""The ruleset of one node, kept up to date event by event."""

from __future__ import annotations

from collections.abc import Iterable

from podwall.cluster.dirty import Dirty
from podwall.cluster.events import Event
from podwall.cluster.state import ClusterState
from podwall.model.policy import PolicyKey
from podwall.model.settings import Settings
from podwall.policy.resolve import policies_of, resolve
from podwall.ruleset.compile import compile_node
from podwall.ruleset.diff import diff
from podwall.ruleset.ir import ChainRole, FamilyRules, Ruleset
from podwall.ruleset.live.change import LiveChange, LiveCounts
from podwall.ruleset.plan import ChainStep, HookJump, Observed, ObservedFamily, Plan, SetStep


class LiveNode:
    """What the kernel of one node shall hold, and what each change of the cluster makes of it."""

    def __init__(self, state: ClusterState, node: str, settings: Settings = Settings()) -> None:
        self._state = state
        self._node = node
        self._settings = settings
        self._refused: frozenset[PolicyKey] = frozenset()
        self._ruleset = self._compile(self._refused)

    @property
    def state(self) -> ClusterState:
        """The cluster as far as it is known."""
        return self._state

    @property
    def refused(self) -> frozenset[PolicyKey]:
        """The policies that the kernel would not take: they isolate and allow nothing (S10)."""
        return self._refused

    @property
    def counts(self) -> LiveCounts:
        """The ruleset in numbers."""
        endpoints = resolve(self._state.snapshot(), self._node, self._refused).endpoints
        isolating = policies_of(endpoints)
        halves = self._ruleset.families
        return LiveCounts(
            pods=len(endpoints),
            isolated_pods=sum(1 for each in endpoints if each.ingress or each.egress),
            policies=len({key for each in isolating for key in each.tiers[0].isolated_by}),
            profiles=sum(
                chain.role is ChainRole.PROFILE for half in halves for chain in half.chains.values()
            ),
            chains=sum(len(half.chains) for half in halves),
            rules=sum(len(chain.rules) for half in halves for chain in half.chains.values()),
            sets=sum(len(half.sets) for half in halves),
            members=sum(len(ipset.members) for half in halves for ipset in half.sets.values()),
        )

    def ruleset(self) -> Ruleset:
        """What the node's kernel shall hold now."""
        return self._ruleset

    def without(self, policies: frozenset[PolicyKey]) -> Ruleset:
        """What it would hold if ``policies`` were refused as well."""
        return self._compile(self._refused | policies)

    def apply(self, events: Iterable[Event]) -> LiveChange:
        """Take in events; says what to change in the kernel.

        A policy that was refused and changed is tried again.
        """
        dirty = self._state.apply_all(events)
        self._refused -= dirty.policies
        return self._renew(dirty) if dirty else LiveChange()

    def refuse(self, policies: frozenset[PolicyKey]) -> LiveChange:
        """Reduce ``policies`` to the isolation of their pods: the kernel would not take them."""
        self._refused |= policies & self._state.snapshot().policies.keys()
        return self._renew(Dirty())

    def _compile(self, refused: frozenset[PolicyKey]) -> Ruleset:
        return compile_node(self._state.snapshot(), self._node, self._settings, refused)

    def _renew(self, dirty: Dirty) -> LiveChange:
        before, self._ruleset = self._ruleset, self._compile(self._refused)
        plan = diff(_held(before), self._ruleset)
        return LiveChange(plan, dirty, None if plan else frozenset(), **_counted(plan, before))


def _held(ruleset: Ruleset) -> Observed:
    return Observed(*map(_held_family, ruleset.families))


def _held_family(rules: FamilyRules) -> ObservedFamily:
    return ObservedFamily(
        family=rules.family,
        sets=rules.sets,
        chains={name: chain.rules for name, chain in rules.chains.items()},
        hooks={hook: (HookJump(0, chain, f"-j {chain}"),) for hook, chain in rules.hooks.items()},
    )


def _counted(plan: Plan, before: Ruleset) -> dict[str, int]:
    added = removed = joined = left = 0
    for step in plan.steps:
        if isinstance(step, SetStep):
            sets = {name: each for half in before.families for name, each in half.sets.items()}
            joined += sum(len(each.members) for each in step.create)
            joined += sum(len(each.members) for each in step.add)
            left += sum(len(each.members) for each in step.delete)
            left += sum(len(sets[name].members) for name in step.destroy)
        elif isinstance(step, ChainStep):
            chains = before.family(step.family).chains
            for chain in step.replace:
                old = chains[chain.name].rules if chain.name in chains else ()
                added += len([each for each in chain.rules if each not in old])
                removed += len([each for each in old if each not in chain.rules])
            removed += sum(len(chains[name].rules) for name in step.delete)
    return {
        "rules_added": added,
        "rules_removed": removed,
        "members_added": joined,
        "members_removed": left,
    }
