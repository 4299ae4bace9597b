"""Checks of ipBlock peers: excepts that except nothing, and blocks that meet pods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from podwall.check.cover import ports_cover
from podwall.check.finding import Check, Note, Severity
from podwall.check.nets import NetIndex
from podwall.check.places import PlacedPeer, list_of, placed_peers, rule_path
from podwall.check.world import World
from podwall.model.net import Address, Cidr, host_cidr
from podwall.model.policy import IPBlock, Policy, PolicyRule, RuleId
from podwall.model.spans import Span, contains, intersects, without
from podwall.ruleset.blocks import union_ranges


class _Placed(NamedTuple):
    """A block of a policy: the how-manieth, where it stands, and the addresses that it means."""

    position: int
    path: str
    rule: PolicyRule
    block: IPBlock
    ranges: tuple[Span, ...]


def _placed_blocks(policy: Policy) -> list[_Placed]:
    return [
        _Placed(position, placed.path, placed.rule, block, _ranges(block))
        for position, (placed, block) in enumerate(_blocks(policy))
    ]


def _index(blocks: Iterable[_Placed]) -> NetIndex[_Placed]:
    """The blocks by their whole range: a policy may hold thousands, few of which ever meet."""
    return NetIndex((each.block.cidr, each) for each in blocks)


def _blocks(policy: Policy) -> Iterator[tuple[PlacedPeer, IPBlock]]:
    for placed in placed_peers(policy):
        if isinstance(placed.peer, IPBlock):
            yield placed, placed.peer


def _ranges(block: IPBlock) -> tuple[Span, ...]:
    return union_ranges(block.cidr.family, [block])


def _whole(cidr: Cidr) -> tuple[Span, ...]:
    return ((cidr.first, cidr.last),)


def except_allowed_again(policy: Policy, world: World) -> Iterator[Note]:  # noqa: ARG001
    """What an except leaves out, another block of the same policy allows."""
    blocks = _placed_blocks(policy)
    index = _index(blocks)
    for placed in blocks:
        for number, hole in enumerate(placed.block.excepts):
            culprits = [
                rival
                for rival in sorted(index.meeting(hole))
                if rival.position != placed.position
                and rival.rule.id.direction is placed.rule.id.direction
                and intersects(rival.ranges, _whole(hole))
                and ports_cover(rival.rule.ports, placed.rule.ports)
            ]
            if not culprits:
                continue
            names = list_of(_name(placed, rival) for rival in culprits)
            left = _whole(hole)
            for rival in culprits:
                left = without(left, rival.ranges)
            wholly = not left
            yield Note(
                f"{placed.path}.ipBlock.except[{number}]",
                f"{'' if wholly else 'a part of '}{hole} is allowed all the same, by {names}: an "
                "except only limits its own item.",
                # Taking a part back is a usual way to write an exception to an exception.
                None if wholly else Severity.INFO,
            )


def _name(placed: _Placed, rival: _Placed) -> str:
    if rival.rule is placed.rule:
        return _text(rival.block)
    return f"{_text(rival.block)} in {rule_path(rival.rule)}"


def _text(block: IPBlock) -> str:
    return f"{block.cidr} except {list_of(block.excepts)}" if block.excepts else str(block.cidr)


def except_superfluous(policy: Policy, world: World) -> Iterator[Note]:  # noqa: ARG001
    """An except lies inside another except of the same block."""
    for placed, block in _blocks(policy):
        # Prefixes nest or are apart, so the widest so far in this order is the only candidate.
        widest: Cidr | None = None
        for hole, index in sorted((hole, index) for index, hole in enumerate(block.excepts)):
            if widest is None or not widest.covers(hole):
                widest = hole
                continue
            yield Note(
                f"{placed.path}.ipBlock.except[{index}]",
                f"{hole} is left out already by {widest}.",
            )


def block_swallowed(policy: Policy, world: World) -> Iterator[Note]:  # noqa: ARG001
    """Another block of the same rule has every address of this one."""
    blocks = _placed_blocks(policy)
    by_rule: dict[RuleId, list[_Placed]] = {}
    for placed in blocks:
        by_rule.setdefault(placed.rule.id, []).append(placed)
    indexes = {rule: _index(each) for rule, each in by_rule.items()}
    for placed in blocks:
        if not placed.ranges:
            continue
        family, ours = placed.block.cidr.family, placed.ranges
        lowest = host_cidr(Address(family, ours[0][0]))
        for rival in sorted(indexes[placed.rule.id].around(lowest)):
            if rival.position == placed.position or not contains(rival.ranges, ours):
                continue
            if ours != rival.ranges or rival.position < placed.position:
                yield Note(
                    f"{placed.path}.ipBlock",
                    f"{_text(placed.block)} adds nothing: {_text(rival.block)} in the same rule "
                    "has all its addresses.",
                )
                break


def block_on_pods(policy: Policy, world: World) -> Iterator[Note]:
    """A block holds addresses of pods, which a block allows like any other address."""
    for placed, block in _blocks(policy):
        family, ranges = block.cidr.family, _ranges(block)
        found = world.count_pod_addresses(family, ranges)
        examples = list(islice(world.pod_addresses_in(family, ranges), 3))
        path = f"{placed.path}.ipBlock"
        if found and block.cidr.prefix == family.bits:
            owner = world.snapshot.owner(examples[0])
            yield Note(
                path,
                f"{examples[0]} is the address of pod {owner.key if owner else ''} now; pods "
                "change their addresses and others get them, select it by labels.",
                Severity.WARNING,
            )
        elif found:
            more = "" if found <= len(examples) else f" and {found - len(examples)} more"
            yield Note(
                path,
                f"{_text(block)} also means addresses of pods ({list_of(examples)}{more}), "
                "whatever their labels; leave the pods' ranges out by except if only the outside "
                "is meant.",
            )
        else:
            pod_ranges = [
                cidr
                for cidr in world.pod_cidrs()
                if cidr.family is family and intersects(ranges, _whole(cidr))
            ]
            if pod_ranges:
                yield Note(
                    path,
                    f"{_text(block)} also means addresses of pods ({list_of(pod_ranges)}), "
                    "whatever their labels; leave these out by except if only the outside is "
                    "meant.",
                )


def block_family_unused(policy: Policy, world: World) -> Iterator[Note]:
    """No selected pod has an address of the block's family."""
    families = {each.family for pod in world.subjects(policy) for each in pod.addresses}
    for placed, block in _blocks(policy):
        family = block.cidr.family
        if families and family not in families:
            yield Note(
                f"{placed.path}.ipBlock.cidr",
                f"no selected pod has an IPv{family.value} address, so {block.cidr} allows "
                "nothing: a block is about its own address family only.",
            )


BLOCK_CHECKS = (
    Check(
        code="except-allowed-again",
        clause="S25",
        severity=Severity.WARNING,
        explains="An except only limits its own item: another block may allow the same address.",
        run=except_allowed_again,
        needs_pods=False,
    ),
    Check(
        code="except-superfluous",
        clause="S25",
        severity=Severity.INFO,
        explains="An except inside another except of the same block changes nothing.",
        run=except_superfluous,
        needs_pods=False,
    ),
    Check(
        code="block-swallowed",
        clause="S26",
        severity=Severity.WARNING,
        explains="The blocks of a rule are a union, so one inside another adds nothing.",
        run=block_swallowed,
        needs_pods=False,
    ),
    Check(
        code="block-on-pods",
        clause="S30",
        severity=Severity.INFO,
        explains="An ipBlock also matches addresses of pods, whatever their labels.",
        run=block_on_pods,
        needs_pods=False,
    ),
    Check(
        code="block-family-unused",
        clause="S29",
        severity=Severity.INFO,
        explains="A block contributes nothing to an address family that is not its own.",
        run=block_family_unused,
    ),
)
