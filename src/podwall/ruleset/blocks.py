"""Address blocks with holes as the members of one ``hash:net`` set.

``except`` means "not by this item" (S25), so the items of a rule are a union (S26): what one leaves
out another may bring back. The union is computed first, on integer ranges, and then written as the
smallest list of prefixes and ``nomatch`` holes whose longest match gives exactly it. That is the
problem of a smallest equivalent routing table with two next hops; the two passes below are the
algorithm of Draves, King, Venkatachary and Zill, "Constructing Optimal IP Routing Tables" (1999).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from podwall.model.net import Cidr, Family
from podwall.model.policy import IPBlock
from podwall.model.spans import Span, merged, without
from podwall.ruleset.ir import Net

_OUTSIDE, _INSIDE, _EITHER = 1, 2, 3
# Which answers could stand at a node of the binary trie at the least cost.


class _Node(NamedTuple):
    """A part of the address space, a power of two in size; one without children is uniform."""

    answers: int
    start: int
    size: int
    children: tuple[_Node, ...] = ()


def union_ranges(family: Family, blocks: Iterable[IPBlock]) -> tuple[Span, ...]:
    """The addresses of ``family`` that some block allows, as sorted ranges that do not touch."""
    return merged(
        piece for block in blocks if block.cidr.family is family for piece in _pieces(block)
    )


def _pieces(block: IPBlock) -> tuple[Span, ...]:
    """The ranges of one block between its holes."""
    holes = merged((each.first, each.last) for each in block.excepts)
    return without([(block.cidr.first, block.cidr.last)], holes)


def minimal_members(family: Family, ranges: Sequence[Span]) -> frozenset[Net]:
    """The fewest members of a ``hash:net`` set that match exactly ``ranges``.

    ``ranges`` are sorted and do not touch. The kernel refuses a prefix length of 0 (S27), so each
    half of the address space is solved alone.
    """
    # Where the answer changes: an address is inside if an odd number of edges is not above it.
    edges = [edge for first, last in ranges for edge in (first, last + 1)]
    members: list[Net] = []
    half = 1 << (family.bits - 1)
    middle = bisect_left(edges, half)
    after = middle + (edges[middle : middle + 1] == [half])
    low = _candidates(edges, 0, half, int(edges[:1] == [0]), middle)
    high = _candidates(edges, half, half, after, bisect_left(edges, 2 * half))
    for tree in (low, high):
        _choose(tree, family, _OUTSIDE, members)
    return frozenset(members)


def _candidates(edges: Sequence[int], start: int, size: int, lo: int, hi: int) -> _Node:
    """Pass one, from the leaves up: a node could take what both halves could, else either.

    ``edges[lo:hi]`` are the edges within, those at the node's start not among them.
    """
    before = _INSIDE if lo % 2 else _OUTSIDE
    if lo == hi:
        return _Node(before, start, size)
    if (hi - lo) % 2 == 0:
        # All around the part with the edges the answer is the same. From two levels above that part
        # on, this is the answer that a node could take, so the levels between need not be walked.
        small = 2 << ((edges[lo] - 1) ^ edges[hi - 1]).bit_length()
        if small < size:
            inner = _split(edges, edges[lo] // small * small, small, lo, hi)
            return _Node(before, start, size, (inner,))
    return _split(edges, start, size, lo, hi)


def _split(edges: Sequence[int], start: int, size: int, lo: int, hi: int) -> _Node:
    half = size // 2
    middle = bisect_left(edges, start + half, lo, hi)
    after = middle + (middle < hi and edges[middle] == start + half)
    left = _candidates(edges, start, half, lo, middle)
    right = _candidates(edges, start + half, half, after, hi)
    answers = left.answers & right.answers or _EITHER
    return _Node(answers, start, size, (left, right))


def _choose(node: _Node, family: Family, inherited: int, members: list[Net]) -> None:
    """Pass two, from the root down: write a member only where the inherited answer will not do."""
    answer = inherited
    if not node.answers & inherited:
        answer = node.answers
        prefix = family.bits - (node.size.bit_length() - 1)
        members.append(Net(Cidr(family, node.start, prefix), nomatch=answer == _OUTSIDE))
    for child in node.children:
        _choose(child, family, answer, members)


def block_members(family: Family, blocks: Iterable[IPBlock]) -> frozenset[Net]:
    """Members of the ``hash:net`` set that matches exactly the union of ``blocks`` (S26)."""
    return minimal_members(family, union_ranges(family, blocks))
