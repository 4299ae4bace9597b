"""The compiler: from what policies mean for a node to the ruleset of its kernel.

Peers live in sets and policies in rules: what happens on other nodes changes members of sets and no
rule. This node's own pods are told apart by address (:mod:`podwall.ruleset.dispatch`) and led to
their profiles (:mod:`podwall.ruleset.profile`). One family is compiled at a time, and a family in
which no pod is isolated gets the fixed chains only (S29).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import assert_never

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.model.net import Cidr, Family
from podwall.model.policy import Direction, PolicyKey
from podwall.model.settings import Settings
from podwall.policy.resolve import EndpointPolicy, ResolvedNode, policies_of, resolve
from podwall.ruleset import names
from podwall.ruleset.comments import rule_comment
from podwall.ruleset.dispatch import Dispatch, DispatchEntry, lower
from podwall.ruleset.ir import (
    AddressPort,
    FamilyRules,
    IPSet,
    LogKind,
    Member,
    Ruleset,
    SetRole,
    SetType,
)
from podwall.ruleset.logs import log_chain, logged_set
from podwall.ruleset.names import Namer
from podwall.ruleset.profile import PeerSet, Profile, ProfileCompiler
from podwall.ruleset.roots import audit_chain, deny_chain, root_chains

ELSEWHERE = "a node, or a pod of another node"
"""What dispatch notes of an address that is known and not one of this node's pods."""

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
        audited=audited_policies(policies),
    )


def audited_policies(policies: Iterable[EndpointPolicy]) -> tuple[PolicyKey, ...]:
    """The policies that are audited for some pod, sorted."""
    tiers = (tier for policy in policies for tier in policy.tiers if tier.audit)
    return tuple(sorted({key for tier in tiers for key in tier.isolated_by}))


def _compile_family(
    family: Family, node: ResolvedNode, settings: Settings, namer: Namer
) -> FamilyRules:
    compiler = ProfileCompiler(family, namer)
    present = [
        endpoint
        for endpoint in node.endpoints
        if any(address.family is family for address in endpoint.addresses)
    ]
    profiles = {policy: compiler.compile_profile(policy) for policy in policies_of(present)}
    guarded = guarded_cidrs(family, settings, node.pod_cidrs)
    fixed = [fixed_rules(family, settings)]
    if not all(policy.isolates for policy in profiles):
        fixed.append(audit_rules(family, settings))
    chains = {
        chain.name: chain
        for chain in (
            *(chain for part in fixed for chain in part.chains.values()),
            *(profile.chain for profile in profiles.values()),
            *(
                chain
                for direction in Direction
                for chain in lower(_dispatch(family, direction, node, profiles, guarded))
            ),
        )
    }
    peer_sets = {each.ipset.name: each for profile in profiles.values() for each in profile.sets}
    sets = [
        *(ipset for part in fixed for ipset in part.sets.values()),
        *(_filled(each, node) for each in peer_sets.values()),
    ]
    return FamilyRules(
        family=family,
        sets={each.name: each for each in sorted(sets, key=lambda each: each.name)},
        chains={name: chains[name] for name in sorted(chains)},
        hooks=fixed[0].hooks,
    )


def fixed_rules(family: Family, settings: Settings) -> FamilyRules:
    """What a family needs whatever policies say: the chains of the hooks, and how to deny."""
    roots = root_chains(family, settings)
    sets = [_cut_set(family)] if settings.cut_connections else []
    chains = [deny_chain(family, settings), *roots.values()]
    if settings.log_denied:
        sets.append(logged_set(family, LogKind.DENY))
        chains.append(log_chain(family, LogKind.DENY, settings.log_group))
    return FamilyRules(
        family=family,
        sets={each.name: each for each in sets},
        chains={each.name: each for each in chains},
        hooks={hook: chain.name for hook, chain in roots.items()},
    )


def audit_rules(family: Family, settings: Settings) -> FamilyRules:
    """What a family needs besides where audited policies are about some pod (S51)."""
    logged = logged_set(family, LogKind.AUDIT)
    log = log_chain(family, LogKind.AUDIT, settings.log_group)
    return FamilyRules(
        family=family,
        sets={logged.name: logged},
        chains={each.name: each for each in (audit_chain(family), log)},
    )


def _filled(peer_set: PeerSet, node: ResolvedNode) -> IPSet:
    """A set with its members, from what is known of the pods."""
    ipset, peers = peer_set.ipset, peer_set.peers
    members: Iterable[Member]
    match ipset.role:
        case SetRole.PEERS:
            members = (each for each in node.pod_members[peers.pods] if each.family is ipset.family)
        case SetRole.NAMED_PORTS:
            members = (
                AddressPort(address, protocol, number)
                for address, protocol, number in node.port_members[peers, peer_set.names]
                if address.family is ipset.family
            )
        case SetRole.BLOCKS | SetRole.CUT | SetRole.LOGGED:
            return ipset
        case _:
            assert_never(ipset.role)
    return msgspec.structs.replace(ipset, members=frozenset(members))


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
    profiles: Mapping[EndpointPolicy, Profile],
    guarded: tuple[Cidr, ...],
) -> Dispatch:
    """Where each known address leads in one direction; guarded ranges need all of them."""
    entries = {
        address: DispatchEntry(address, None, ELSEWHERE)
        for address in node.known
        if address.family is family
    }
    for endpoint in node.endpoints:
        policy = endpoint.policy(direction)
        profile = None if policy is None else profiles.get(policy)
        for address in endpoint.addresses:
            if address.family is family:
                entries[address] = DispatchEntry(
                    address,
                    None if profile is None else profile.chain.name,
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
