"""Addresses outside as blocks: each its own, or, of many, the smallest that hold them all.

A block that holds more than was seen must never hold a pod or a node: those are peers by name, and
a block would let them in unnamed (S30). So a block that grows over them has holes there.
"""

from __future__ import annotations

import heapq
import ipaddress
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from operator import itemgetter

import msgspec

from podwall.model.net import Address, Cidr, Family, host_cidr
from podwall.model.spans import Span, merged

_MOST_HOLES = 16


class Block(msgspec.Struct, frozen=True, order=True):
    """A block without its holes, and the addresses in it that were seen, sorted."""

    cidr: Cidr
    seen: tuple[Address, ...]
    holes: tuple[Cidr, ...] = ()

    @property
    def others(self) -> int:
        """How many addresses it holds that were not seen."""
        held = _size(self.cidr) - sum(map(_size, self.holes))
        return held - len(self.seen)


class Kept:
    """Addresses that no block of several may hold: pods, their ranges, and nodes."""

    def __init__(self, cidrs: Iterable[Cidr]) -> None:
        spans: dict[Family, list[Span]] = {family: [] for family in Family}
        for cidr in cidrs:
            spans[cidr.family].append((cidr.first, cidr.last))
        self._spans = {family: merged(each) for family, each in spans.items()}

    def within(self, cidr: Cidr) -> tuple[Cidr, ...] | None:
        """The blocks of them that lie in ``cidr``; ``None`` if they are too many to write down."""
        spans = self._spans[cidr.family]
        holes: list[Cidr] = []
        for first, last in spans[bisect_left(spans, cidr.first, key=_LAST) :]:
            if first > cidr.last:
                break
            holes += _cidrs(cidr.family, max(first, cidr.first), min(last, cidr.last))
            if len(holes) > _MOST_HOLES:
                return None
        return tuple(holes)


_LAST = itemgetter(1)


def _cidrs(family: Family, first: int, last: int) -> list[Cidr]:
    kind = ipaddress.IPv4Address if family is Family.V4 else ipaddress.IPv6Address
    found = ipaddress.summarize_address_range(kind(first), kind(last))
    return [Cidr(family, int(each.network_address), each.prefixlen) for each in found]


def _size(cidr: Cidr) -> int:
    return cidr.last - cidr.first + 1


def cover(addresses: Iterable[Address], limit: int, kept: Kept) -> tuple[Block, ...]:
    """Blocks that hold ``addresses``, sorted; none lies in another.

    Up to ``limit`` addresses of a family are a block each. Of more, those nearest to each other
    are put together, smallest block first, until there are no more than ``limit``, or until every
    block that would be next has too many holes: what is ``kept`` out of it. No address may be both.
    """
    blocks: list[Block] = []
    distinct = sorted(set(addresses))
    for family in Family:
        own = [each for each in distinct if each.family is family]
        blocks += _covered(own, limit, kept)
    return tuple(blocks)


def _covered(addresses: Sequence[Address], limit: int, kept: Kept) -> list[Block]:
    """Neighbours join by the longest prefix that they share, so blocks never overlap."""
    blocks: dict[int, Block] = {
        index: Block(host_cidr(each), (each,)) for index, each in enumerate(addresses)
    }
    following = {index: index + 1 for index in range(len(addresses) - 1)}
    before = {index + 1: index for index in range(len(addresses) - 1)}
    queue = [_candidate(blocks, index, index + 1) for index in range(len(addresses) - 1)]
    heapq.heapify(queue)
    while queue and len(blocks) > limit:
        _, _, first, second, joined = heapq.heappop(queue)
        if following.get(first) != second or joined != _common(blocks[first], blocks[second]):
            continue
        holes = kept.within(joined)
        if holes is None:
            continue
        blocks[first] = Block(joined, blocks[first].seen + blocks.pop(second).seen, holes)
        after = following.pop(second, None)
        if after is None:
            following.pop(first)
        else:
            following[first], before[after] = after, first
            heapq.heappush(queue, _candidate(blocks, first, after))
        if first in before:
            heapq.heappush(queue, _candidate(blocks, before[first], first))
    return [blocks[index] for index in sorted(blocks)]


def _candidate(
    blocks: dict[int, Block], first: int, second: int
) -> tuple[int, int, int, int, Cidr]:
    joined = _common(blocks[first], blocks[second])
    return -joined.prefix, joined.value, first, second, joined


def _common(one: Block, other: Block) -> Cidr:
    """The smallest block that holds two."""
    family = one.cidr.family
    differing = (one.cidr.first ^ other.cidr.last) | (one.cidr.first ^ other.cidr.first)
    prefix = min(family.bits - differing.bit_length(), one.cidr.prefix, other.cidr.prefix)
    host = family.bits - prefix
    return Cidr(family, one.cidr.first >> host << host, prefix)
