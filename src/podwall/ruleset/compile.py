"""The compiler: from what policies mean for a node to the ruleset of its kernel.

Pods live in sets, policies live in rules: the chains made here depend on which classes and peers
there are, never on which pods are their members. One family is compiled at a time, and a family in
which no isolated pod has an address gets the fixed chains only (S29).
"""

from __future__ import annotations

from collections.abc import Iterable

from podwall.cluster.snapshot import Snapshot
from podwall.model.net import Family
from podwall.model.policy import Direction, PolicyKey, RuleId
from podwall.model.settings import Settings
from podwall.policy.resolve import EndpointClass, ResolvedNode, resolve
from podwall.ruleset import names
from podwall.ruleset.comments import class_comment, rule_comment
from podwall.ruleset.dispatch import Dispatch, DispatchClass, lower
from podwall.ruleset.ir import (
    Chain,
    FamilyRules,
    IPSet,
    Member,
    Ruleset,
    SetRole,
    SetType,
)
from podwall.ruleset.names import Namer
from podwall.ruleset.profile import ProfileCompiler, of_family
from podwall.ruleset.roots import deny_chain, guarded_cidrs, root_chains

CUT_TIMEOUT = 86400
"""Seconds for which the remains of a cut connection are refused: TCP stacks give up well before."""


def compile_node(
    snapshot: Snapshot,
    node: str,
    settings: Settings = Settings(),
    refused: frozenset[PolicyKey] = frozenset(),
) -> Ruleset:
    """The ruleset that enforces the policies of ``snapshot`` on the pods of ``node``.

    Policies in ``refused`` isolate and allow nothing: the kernel would not take their rules.
    """
    return compile_ruleset(resolve(snapshot, node, refused), settings)


def compile_ruleset(node: ResolvedNode, settings: Settings = Settings()) -> Ruleset:
    """The ruleset of one node, from what its policies mean."""
    namer = Namer()
    rules = [rule.id for each in node.classes for tier in each.policy.tiers for rule in tier.rules]
    origins: dict[str, RuleId] = {rule_comment(rule): rule for rule in rules}
    v4 = _compile_family(Family.V4, node, settings, namer)
    v6 = _compile_family(Family.V6, node, settings, namer)
    return Ruleset(
        v4=v4,
        v6=v6,
        origins={comment: origins[comment] for comment in sorted(origins)},
    )


def _compile_family(
    family: Family, node: ResolvedNode, settings: Settings, namer: Namer
) -> FamilyRules:
    profiles = ProfileCompiler(family, node, namer)
    chains: list[Chain] = [deny_chain(family, settings)]
    sets: list[IPSet] = []
    roots = root_chains(family, settings, node.pod_cidrs)
    chains += roots.values()
    for direction in Direction:
        dispatch = _dispatch(family, direction, node.classes, profiles, chains, namer)
        lowered = lower(dispatch)
        chains += lowered.chains
        sets += lowered.sets
        sets += (each.set for each in dispatch.classes)
        sets.append(_isolated_set(dispatch))
    sets += profiles.sets.values()
    if guarded_cidrs(family, settings, node.pod_cidrs):
        sets.append(_known_set(family, node))
    if settings.cut_connections:
        sets.append(_cut_set(family))
    return FamilyRules(
        family=family,
        sets={each.name: each for each in sorted(sets, key=lambda each: each.name)},
        chains={each.name: each for each in sorted(chains, key=lambda each: each.name)},
        hooks={hook: chain.name for hook, chain in roots.items()},
    )


def _dispatch(
    family: Family,
    direction: Direction,
    classes: Iterable[EndpointClass],
    profiles: ProfileCompiler,
    chains: list[Chain],
    namer: Namer,
) -> Dispatch:
    """The dispatch of one direction; appends the profile chains that it leads to."""
    dispatched = []
    compiled: dict[str, Chain] = {}
    for each in classes:
        members = of_family(each.addresses, family)
        if each.identity.direction is not direction or not members:
            continue
        chain = profiles.compile_profile(each.policy)
        compiled[chain.name] = chain
        class_set = _class_set(family, each, members, namer)
        comment = class_comment(each.identity.policies)
        dispatched.append(DispatchClass(class_set, chain.name, comment))
    chains += compiled.values()
    return Dispatch(direction, family, tuple(dispatched))


def _class_set(
    family: Family, each: EndpointClass, members: frozenset[Member], namer: Namer
) -> IPSet:
    title = ", ".join(map(str, each.identity.policies))
    return IPSet(
        name=namer.set_name(family, SetRole.CLASS, each.identity.policies[0].name, each.identity),
        type=SetType.HASH_IP,
        family=family,
        role=SetRole.CLASS,
        members=members,
        title=f"pods isolated for {each.identity.direction.value} by {title}",
    )


def _isolated_set(dispatch: Dispatch) -> IPSet:
    members: frozenset[Member] = frozenset().union(*(each.set.members for each in dispatch.classes))
    return IPSet(
        name=names.isolated_set(dispatch.family, dispatch.direction),
        type=SetType.HASH_IP,
        family=dispatch.family,
        role=SetRole.ISOLATED,
        members=members,
        title=f"pods of this node that are isolated for {dispatch.direction.value}",
    )


def _known_set(family: Family, node: ResolvedNode) -> IPSet:
    return IPSet(
        name=names.known_set(family),
        type=SetType.HASH_IP,
        family=family,
        role=SetRole.KNOWN,
        members=of_family(node.known, family),
        title="addresses of this node's pod range that belong to a pod",
    )


def _cut_set(family: Family) -> IPSet:
    return IPSet(
        name=names.cut_set(family),
        type=SetType.HASH_IP_PORT_IP,
        family=family,
        role=SetRole.CUT,
        title="connections that were cut: server address and port, client address",
        timeout=CUT_TIMEOUT,
    )
