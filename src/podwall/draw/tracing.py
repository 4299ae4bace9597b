"""What became of the parts of one policy on one node: sets, and the rules that use them.

The trail is in the ruleset itself. A pod's address leads through dispatch to its profile, rules
carry the policy rule that they come from as their comment, and sets have a role.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.draw.crowd import Crowd
from podwall.model.net import Address
from podwall.model.policy import AnyPeer, AnyPort, Direction, IPBlock, Peer, PodPeer, Policy
from podwall.model.policy import PolicyRule as ModelRule
from podwall.ruleset.comments import rule_comment
from podwall.ruleset.ir import (
    Chain,
    ChainRole,
    FamilyRules,
    Goto,
    IPSet,
    MatchAddress,
    MatchProtocol,
    MatchSet,
    Rule,
    SetRole,
)
from podwall.ruleset.names import dispatch_direction


class Placed(msgspec.Struct, frozen=True):
    """A kernel rule and where it stands; ``number`` counts from 1."""

    chain: str
    number: int
    rule: Rule
    note: str = ""


class RuleTrail(msgspec.Struct, frozen=True):
    """A rule of the policy, the kernel rules made of it, and the sets that they ask, in order."""

    rule: ModelRule
    placed: tuple[Placed, ...]
    sets: tuple[IPSet, ...]


class DirectionTrail(msgspec.Struct, frozen=True):
    """One direction: how pods are led to a profile, the rules, and the profile's last rule.

    ``profiles`` are all chains that hold the rules of the policy; the first is the one shown.
    """

    direction: Direction
    dispatch: tuple[Placed, ...]
    profiles: tuple[str, ...]
    rules: tuple[RuleTrail, ...]
    last: Placed | None


def trail(
    snapshot: Snapshot, rules: FamilyRules, policy: Policy, direction: Direction
) -> DirectionTrail:
    """Follow one direction of a policy into the rules of a node."""
    addresses = {
        address
        for pod in Crowd(snapshot).subjects(policy)
        for address in snapshot.owned_addresses(pod)
        if address.family is rules.family
    }
    dispatch = tuple(_dispatch(rules, addresses, direction))
    found = [rules.chains[name] for name in dict.fromkeys(map(_goal, dispatch))]
    profiles = [each for each in found if _is_about(each, policy, direction)]
    chain = profiles[0] if profiles else None
    names = {each.name for each in profiles}
    last = len(chain.rules) if chain else 0
    return DirectionTrail(
        direction=direction,
        dispatch=tuple(each for each in dispatch if _goal(each) in names),
        profiles=tuple(each.name for each in profiles),
        rules=tuple(_rule(rules, chain, each) for each in policy.rules(direction)),
        last=Placed(chain.name, last, chain.rules[-1]) if chain else None,
    )


def _dispatch(
    rules: FamilyRules, addresses: Iterable[Address], direction: Direction
) -> Iterator[Placed]:
    wanted = {each.value for each in addresses}
    for chain in rules.chains.values():
        if chain.role is not ChainRole.DISPATCH or dispatch_direction(chain.name) is not direction:
            continue
        for index, rule in enumerate(chain.rules):
            if isinstance(rule.target, Goto) and _leaf(rules, rule) in wanted:
                yield Placed(chain.name, index + 1, rule, chain.notes.get(index, ""))


def _leaf(rules: FamilyRules, rule: Rule) -> int | None:
    """The address that a dispatch rule leads to a profile."""
    target = rule.target
    if not isinstance(target, Goto) or rules.chains[target.chain].role is not ChainRole.PROFILE:
        return None
    for match in rule.matches:
        if isinstance(match, MatchAddress) and match.cidr.prefix == rules.family.bits:
            return match.cidr.value
    return None


def _goal(placed: Placed) -> str:
    target = placed.rule.target
    return target.chain if isinstance(target, Goto) else ""


def _is_about(chain: Chain, policy: Policy, direction: Direction) -> bool:
    """Whether a profile of the policy's pods is made of it.

    An audited policy is none of it where enforced ones isolate the pod. Where rules say nothing,
    since the policy has none, the profile's words do.
    """
    comments = {rule_comment(each.id) for each in policy.rules(direction)}
    if any(each.comment in comments for each in chain.rules):
        return True
    _, _, names = chain.title.partition(" by ")
    return str(policy.key) in names.split(", ")


def _rule(rules: FamilyRules, chain: Chain | None, rule: ModelRule) -> RuleTrail:
    comment = rule_comment(rule.id)
    placed = [
        Placed(chain.name, index + 1, each)
        for index, each in enumerate(chain.rules if chain else ())
        if chain is not None and each.comment == comment
    ]
    names = dict.fromkeys(name for each in placed for name in sets_of(each.rule))
    order = list(SetRole)
    sets = sorted((rules.sets[each] for each in names), key=lambda each: order.index(each.role))
    places = {each.name: index for index, each in enumerate(sets)}

    def place(each: Placed) -> tuple[int, int]:
        return min((places[name] for name in sets_of(each.rule)), default=-1), each.number

    return RuleTrail(rule, tuple(sorted(placed, key=place)), tuple(sets))


def sets_of(rule: Rule) -> tuple[str, ...]:
    """The sets that a rule asks."""
    return tuple(each.set for each in rule.matches if isinstance(each, MatchSet))


def has_ports(rule: Rule) -> bool:
    """Whether a kernel rule tells protocols apart by itself, not by a set."""
    return any(isinstance(each, MatchProtocol) for each in rule.matches)


def makes(peer: Peer, ipset: IPSet) -> bool:
    """Whether a peer of a rule is part of what a set of that rule holds."""
    match ipset.role:
        case SetRole.PEERS:
            return isinstance(peer, PodPeer)
        case SetRole.BLOCKS:
            return isinstance(peer, IPBlock) and peer.cidr.family is ipset.family
        case SetRole.NAMED_PORTS:
            return not isinstance(peer, IPBlock) or peer.cidr.family is ipset.family
        case _:
            return False


def in_order(rule: ModelRule) -> list[Peer]:
    """The peers by what becomes of them: pods, then blocks, or everyone."""
    if AnyPeer() in rule.peers:
        return [AnyPeer()]
    return sorted(rule.peers, key=lambda each: not isinstance(each, PodPeer))


def names_ports(rule: ModelRule) -> bool:
    """Whether the rule says on which ports."""
    return bool(rule.ports) and AnyPort() not in rule.ports
