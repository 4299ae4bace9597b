"""Checks of ipBlock peers: excepts that except nothing, and blocks that meet pods."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from podwall.check.cover import contains, intersects, ports_cover
from podwall.check.finding import Check, Note, Severity
from podwall.check.places import PlacedPeer, list_of, placed_peers, rule_path
from podwall.check.world import World
from podwall.model.net import Cidr
from podwall.model.policy import IPBlock, Policy
from podwall.ruleset.blocks import Range, union_ranges


def _blocks(policy: Policy) -> Iterator[tuple[PlacedPeer, IPBlock]]:
    for placed in placed_peers(policy):
        if isinstance(placed.peer, IPBlock):
            yield placed, placed.peer


def _ranges(*blocks: IPBlock) -> tuple[Range, ...]:
    return union_ranges(blocks[0].cidr.family, blocks) if blocks else ()


def _whole(cidr: Cidr) -> tuple[Range, ...]:
    return ((cidr.first, cidr.last),)


def except_allowed_again(policy: Policy, world: World) -> Iterator[Note]:  # noqa: ARG001
    """What an except leaves out, another block of the same policy allows."""
    placed_blocks = list(_blocks(policy))
    for placed, block in placed_blocks:
        rivals = [
            (other, rival)
            for other, rival in placed_blocks
            if other is not placed
            and rival.cidr.family is block.cidr.family
            and other.rule.id.direction is placed.rule.id.direction
            and ports_cover(other.rule.ports, placed.rule.ports)
        ]
        for index, hole in enumerate(block.excepts):
            culprits = [
                (other, rival)
                for other, rival in rivals
                if intersects(_ranges(rival), _whole(hole))
            ]
            if not culprits:
                continue
            names = list_of(_name(placed, other, rival) for other, rival in culprits)
            wholly = contains(_ranges(*(rival for _, rival in culprits)), _whole(hole))
            yield Note(
                f"{placed.path}.ipBlock.except[{index}]",
                f"{'' if wholly else 'a part of '}{hole} is allowed all the same, by {names}: an "
                "except only limits its own item.",
                # Taking a part back is a usual way to write an exception to an exception.
                None if wholly else Severity.INFO,
            )


def _name(placed: PlacedPeer, other: PlacedPeer, rival: IPBlock) -> str:
    if other.rule is placed.rule:
        return str(rival)
    return f"{rival} in {rule_path(other.rule)}"


def except_superfluous(policy: Policy, world: World) -> Iterator[Note]:  # noqa: ARG001
    """An except lies inside another except of the same block."""
    for placed, block in _blocks(policy):
        for index, hole in enumerate(block.excepts):
            wider = [
                other
                for position, other in enumerate(block.excepts)
                if other.covers(hole) and (other != hole or position < index)
            ]
            if wider:
                yield Note(
                    f"{placed.path}.ipBlock.except[{index}]",
                    f"{hole} is left out already by {wider[0]}.",
                )


def block_swallowed(policy: Policy, world: World) -> Iterator[Note]:  # noqa: ARG001
    """Another block of the same rule has every address of this one."""
    placed_blocks = list(_blocks(policy))
    for position, (placed, block) in enumerate(placed_blocks):
        for other_position, (other, rival) in enumerate(placed_blocks):
            if other is placed or other.rule is not placed.rule:
                continue
            if rival.cidr.family is not block.cidr.family:
                continue
            ours, theirs = _ranges(block), _ranges(rival)
            if contains(theirs, ours) and (ours != theirs or other_position < position):
                yield Note(
                    f"{placed.path}.ipBlock",
                    f"{block} adds nothing: {rival} in the same rule has all its addresses.",
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
                f"{block} also means addresses of pods ({list_of(examples)}{more}), whatever "
                "their labels; leave the pods' ranges out by except if only the outside is meant.",
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
                    f"{block} also means addresses of pods ({list_of(pod_ranges)}), whatever "
                    "their labels; leave these out by except if only the outside is meant.",
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
