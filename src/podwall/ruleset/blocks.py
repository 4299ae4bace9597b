"""Address blocks with holes as the members of one ``hash:net`` set.

``except`` means "not by this item" (S25), so the items of a rule are a union (S26): what one leaves
out another may bring back. The union is computed first, on integer ranges, and then written as the
smallest list of prefixes and ``nomatch`` holes whose longest match gives exactly it. That is the
problem of a smallest equivalent routing table with two next hops; the two passes below are the
algorithm of Draves, King, Venkatachary and Zill, "Constructing Optimal IP Routing Tables" (1999).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from podwall.model.net import Cidr, Family
from podwall.model.policy import IPBlock
from podwall.ruleset.ir import Net

Range: TypeAlias = tuple[int, int]
"""First and last address as integers, both included."""

_Tree: TypeAlias = "tuple[int, _Tree | None, _Tree | None]"
# A node of the binary trie: which answers could stand here at the least cost (1: outside,
# 2: inside, 3: either), and its halves; a node without halves is uniform.
_OUTSIDE, _INSIDE = 1, 2


def union_ranges(family: Family, blocks: Iterable[IPBlock]) -> tuple[Range, ...]:
    """The addresses of ``family`` that some block allows, as sorted ranges that do not touch."""
    pieces: list[Range] = []
    for block in blocks:
        if block.cidr.family is family:
            pieces.extend(_without(block))
    pieces.sort()
    merged: list[Range] = []
    for first, last in pieces:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def _without(block: IPBlock) -> Iterable[Range]:
    """The ranges of one block between its holes."""
    start = block.cidr.first
    for hole in sorted(block.excepts):
        if hole.first > start:
            yield start, hole.first - 1
        start = max(start, hole.last + 1)
    if start <= block.cidr.last:
        yield start, block.cidr.last


def minimal_members(family: Family, ranges: tuple[Range, ...]) -> frozenset[Net]:
    """The fewest members of a ``hash:net`` set that match exactly ``ranges``.

    ``ranges`` are sorted and do not touch. The kernel refuses a prefix length of 0 (S27), so each
    half of the address space is solved alone.
    """
    members: list[Net] = []
    half = 1 << (family.bits - 1)
    for start in (0, half):
        tree = _candidates(start, half, ranges)
        _choose(tree, family, start, half, inherited=_OUTSIDE, members=members)
    return frozenset(members)


def _candidates(start: int, size: int, ranges: tuple[Range, ...]) -> _Tree:
    """Pass one, from the leaves up: a node could take what both halves could, else either."""
    overlapping = tuple(each for each in ranges if each[0] < start + size and each[1] >= start)
    if not overlapping:
        return _OUTSIDE, None, None
    if overlapping[0][0] <= start and start + size - 1 <= overlapping[0][1]:
        return _INSIDE, None, None
    half = size // 2
    left = _candidates(start, half, overlapping)
    right = _candidates(start + half, half, overlapping)
    return left[0] & right[0] or left[0] | right[0], left, right


def _choose(
    tree: _Tree, family: Family, start: int, size: int, inherited: int, members: list[Net]
) -> None:
    """Pass two, from the root down: write a member only where the inherited answer will not do."""
    answers, left, right = tree
    answer = inherited
    if not answers & inherited:
        answer = answers
        prefix = family.bits - (size.bit_length() - 1)
        members.append(Net(Cidr(family, start, prefix), nomatch=answer == _OUTSIDE))
    if left is not None and right is not None:
        half = size // 2
        _choose(left, family, start, half, answer, members)
        _choose(right, family, start + half, half, answer, members)


def block_members(family: Family, blocks: Iterable[IPBlock]) -> frozenset[Net]:
    """Members of the ``hash:net`` set that matches exactly the union of ``blocks`` (S26)."""
    return minimal_members(family, union_ranges(family, blocks))
