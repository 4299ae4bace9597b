"""The compiler: from what policies mean for a node to the ruleset of its kernel.

Peers live in sets and policies in rules: what happens on other nodes changes members of sets and no
rule. This node's own pods are told apart by address (:mod:`podwall.ruleset.dispatch`) and led to
their profiles (:mod:`podwall.ruleset.profile`). One family is compiled at a time, and a family in
which no pod is isolated gets the fixed chains only (S29).
"""

from __future__ import annotations

from collections.abc import Mapping

from podwall.cluster.snapshot import Snapshot
from podwall.model.net import Cidr, Family
from podwall.model.policy import Direction, PolicyKey
from podwall.model.settings import Settings
from podwall.policy.resolve import EndpointPolicy, ResolvedNode, policies_of, resolve
from podwall.ruleset import names
from podwall.ruleset.comments import rule_comment
from podwall.ruleset.dispatch import Dispatch, DispatchEntry, lower
from podwall.ruleset.ir import Chain, FamilyRules, IPSet, Ruleset, SetRole, SetType
from podwall.ruleset.names import Namer
from podwall.ruleset.profile import ProfileCompiler
from podwall.ruleset.roots import deny_chain, root_chains

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
    policies = policies_of(node.endpoints)
    origins = {rule_comment(rule.id): rule.id for policy in policies for rule in policy.rules}
    return Ruleset(
        v4=_compile_family(Family.V4, node, settings, namer),
        v6=_compile_family(Family.V6, node, settings, namer),
        origins={comment: origins[comment] for comment in sorted(origins)},
    )


def _compile_family(
    family: Family, node: ResolvedNode, settings: Settings, namer: Namer
) -> FamilyRules:
    compiler = ProfileCompiler(family, node, namer)
    present = [
        endpoint
        for endpoint in node.endpoints
        if any(address.family is family for address in endpoint.addresses)
    ]
    profiles = {policy: compiler.compile_profile(policy) for policy in policies_of(present)}
    roots = root_chains(family, settings)
    guarded = guarded_cidrs(family, settings, node.pod_cidrs)
    chains: dict[str, Chain] = {
        chain.name: chain
        for chain in (
            deny_chain(family, settings),
            *roots.values(),
            *profiles.values(),
            *(
                chain
                for direction in Direction
                for chain in lower(_dispatch(family, direction, node, profiles, guarded))
            ),
        )
    }
    sets = dict(compiler.sets)
    if settings.cut_connections:
        cut = _cut_set(family)
        sets[cut.name] = cut
    return FamilyRules(
        family=family,
        sets={name: sets[name] for name in sorted(sets)},
        chains={name: chains[name] for name in sorted(chains)},
        hooks={hook: chain.name for hook, chain in roots.items()},
    )


def guarded_cidrs(
    family: Family, settings: Settings, pod_cidrs: tuple[Cidr, ...]
) -> tuple[Cidr, ...]:
    """The ranges in which an address that no known pod has is closed (S48)."""
    if not settings.close_unknown_pods:
        return ()
    return tuple(each for each in pod_cidrs if each.family is family)


def _dispatch(
    family: Family,
    direction: Direction,
    node: ResolvedNode,
    profiles: Mapping[EndpointPolicy, Chain],
    guarded: tuple[Cidr, ...],
) -> Dispatch:
    """Where each known address leads in one direction; guarded ranges need all of them."""
    entries = {
        address: DispatchEntry(address, None, "a node, or a pod of another node")
        for address in node.known
        if address.family is family
    }
    for endpoint in node.endpoints:
        policy = endpoint.policy(direction)
        chain = None if policy is None else profiles.get(policy)
        for address in endpoint.addresses:
            if address.family is family:
                entries[address] = DispatchEntry(
                    address,
                    None if chain is None else chain.name,
                    f"pod {endpoint.key}",
                )
    return Dispatch(direction, family, tuple(entries.values()), guarded)


def _cut_set(family: Family) -> IPSet:
    return IPSet(
        name=names.cut_set(family),
        type=SetType.HASH_IP_PORT_IP,
        family=family,
        role=SetRole.CUT,
        title="connections that were cut: server address and port, client address",
        timeout=CUT_TIMEOUT,
    )
