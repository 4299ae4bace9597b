"""The least kernel that can run a plan: sets and chains as data, a state for each change.

It knows nothing of text; ``podwall.dataplane.memory`` is the fake that takes what the tools take.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from podwall.model.net import Family
from podwall.ruleset.ir import Chain, ChainRole, FamilyRules, IPSet, Ruleset
from podwall.ruleset.plan import (
    ChainStep,
    HookJump,
    Observed,
    ObservedFamily,
    Plan,
    SetStep,
)


def empty_kernel() -> Observed:
    """A kernel that holds nothing of ours."""
    return Observed()


def holding(ruleset: Ruleset) -> Observed:
    """A kernel that holds exactly ``ruleset``."""
    return Observed(*(_observed(each) for each in ruleset.families))


def _observed(rules: FamilyRules) -> ObservedFamily:
    return ObservedFamily(
        family=rules.family,
        sets=dict(rules.sets),
        chains={name: chain.rules for name, chain in rules.chains.items()},
        hooks={hook: (_jump(chain),) for hook, chain in rules.hooks.items()},
    )


def _jump(chain: str) -> HookJump:
    return HookJump(0, chain, f"-j {chain}")


def run_all(kernel: Observed, plan: Plan) -> Observed:
    """The state after the whole plan."""
    return deque([kernel, *run(kernel, plan)], maxlen=1).pop()


def run(kernel: Observed, plan: Plan) -> Iterator[Observed]:
    """Every state that a packet could meet while ``plan`` runs; the last one is the outcome."""
    state = kernel
    for step in plan.steps:
        states = _run_sets(state, step) if isinstance(step, SetStep) else _switch(state, step)
        for each in states:
            yield each
            state = each


def _with_set(kernel: Observed, name: str, ipset: IPSet | None) -> Observed:
    family = Family.V4 if name.startswith("PW4") else Family.V6
    half = kernel.family(family)
    sets = dict(half.sets)
    if ipset is None:
        used = {
            getattr(match, "set", None)
            for rules in half.chains.values()
            for rule in rules
            for match in getattr(rule, "matches", ())
        }
        assert name not in used, f"{name} is destroyed while a rule names it"
        del sets[name]
    else:
        sets[name] = ipset
    return _with_family(kernel, msgspec.structs.replace(half, sets=sets))


def _with_family(kernel: Observed, half: ObservedFamily) -> Observed:
    if half.family is Family.V4:
        return msgspec.structs.replace(kernel, v4=half)
    return msgspec.structs.replace(kernel, v6=half)


def _run_sets(kernel: Observed, step: SetStep) -> Iterator[Observed]:
    for ipset in step.create:
        kernel = _with_set(kernel, ipset.name, ipset)
    yield kernel
    for changes, joins in ((step.add, True), (step.delete, False)):
        for change in changes:
            for member in change.members:
                present = kernel.family(change.set.family).sets[change.set.name]
                members = present.members | {member} if joins else present.members - {member}
                changed = msgspec.structs.replace(present, members=members)
                kernel = _with_set(kernel, change.set.name, changed)
                yield kernel
    for name in step.destroy:
        kernel = _with_set(kernel, name, None)
    yield kernel


def _switch(kernel: Observed, step: ChainStep) -> Iterator[Observed]:
    half = kernel.family(step.family)
    chains = dict(half.chains)
    chains.update((chain.name, chain.rules) for chain in step.replace)
    for name in step.delete:
        del chains[name]
    hooks = dict(half.hooks)
    for hook, _spec in step.unhook:
        hooks.pop(hook, None)
    for hook, chain in step.hook:
        hooks[hook] = (_jump(chain),)
    for rules in chains.values():
        for rule in rules:
            target = getattr(getattr(rule, "target", None), "chain", None)
            assert target is None or target in chains, f"a rule leads to {target}, which is gone"
            for match in getattr(rule, "matches", ()):
                name = getattr(match, "set", None)
                assert name is None or name in half.sets, f"a rule names {name}, which is not there"
    yield _with_family(kernel, msgspec.structs.replace(half, chains=chains, hooks=hooks))


def as_rules(half: ObservedFamily) -> FamilyRules:
    """What the simulator takes, from what the kernel holds."""
    return FamilyRules(
        family=half.family,
        sets=half.sets,
        chains={
            name: Chain(name, ChainRole.PROFILE, rules)  # type: ignore[arg-type]
            for name, rules in half.chains.items()
        },
        hooks={hook: jumps[0].chain for hook, jumps in half.hooks.items()},
    )
