"""Dispatch: from a pod's address to the profile that decides, as a tree of address blocks.

Comparing an address with a prefix costs a sixtieth of looking it up in a set, so this node's own
pods, a few hundred at most, are told apart by rules, while peers, which may be the whole cluster,
live in sets (ADR 0003 has the measurement). The tree splits where addresses differ, four bits at a
time: the chain of a block depends only on the pods in that block, so a pod that comes or goes
rewrites one chain of at most sixteen rules, in the same transaction as its profile.

In a guarded block, this node's pod range, an address of no known pod is closed (S48); there, pods
that no policy isolates need a rule that lets them go. Outside, only isolated pods have a rule.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from podwall.model.net import Address, Cidr, Family, host_cidr
from podwall.model.policy import Direction
from podwall.ruleset import names
from podwall.ruleset.ir import Chain, ChainRole, End, Goto, MatchAddress, Return, Rule

LEAF_ADDRESSES = 16
"""Most addresses that are compared one after the other in one chain."""

STRIDE = 4
"""Bits by which the tree splits, so at most 16 branches in a chain."""

MAX_DEPTH = 8
"""Levels after which a chain lists all that is left: nf_tables refuses jumps deeper than 16."""

_CLOSED = Rule(Goto(names.DENY_CHAIN), (), "no known pod has this address")


class DispatchEntry(msgspec.Struct, frozen=True):
    """Where one address leads: to a profile's chain, or back (``None``) if it is not isolated."""

    address: Address
    chain: str | None
    note: str = ""


class Dispatch(msgspec.Struct, frozen=True):
    """All addresses of one direction and family; ``guarded`` are blocks closed to all others."""

    direction: Direction
    family: Family
    entries: tuple[DispatchEntry, ...]
    guarded: tuple[Cidr, ...] = ()


def pod_end(direction: Direction) -> End:
    """Which end of a packet is the subject's."""
    return End.DST if direction is Direction.INGRESS else End.SRC


class Subtree(msgspec.Struct, frozen=True):
    """The chains under a block, its own first, and what they were made from."""

    content: tuple[object, ...]
    chains: tuple[Chain, ...]


def lower(dispatch: Dispatch, made: dict[str, Subtree] | None = None) -> tuple[Chain, ...]:
    """Write a dispatch as a tree of chains; ``names.dispatch_chain(direction)`` is its root.

    ``made`` remembers the parts of the tree from call to call: parts whose entries are the same are
    taken from it, and it is changed to what was made now.
    """
    tree = _Tree(dispatch, made or {})
    chains = tuple(tree.chains())
    if made is not None:
        made.clear()
        made.update(tree.made)
    return chains


class _Tree:
    """The chains of one dispatch, named by the block of addresses that they tell apart."""

    def __init__(self, dispatch: Dispatch, before: Mapping[str, Subtree]) -> None:
        self._dispatch = dispatch
        self._end = pod_end(dispatch.direction)
        self._before = before
        self.made: dict[str, Subtree] = {}

    def chains(self) -> Iterator[Chain]:
        ordered = sorted(self._dispatch.entries, key=lambda each: each.address.value)
        values = [each.address.value for each in ordered]
        free: list[DispatchEntry] = []
        inside: list[tuple[Cidr, tuple[DispatchEntry, ...]]] = []
        done = 0
        for cidr in sorted(self._dispatch.guarded):
            first, after = bisect_left(values, cidr.first), bisect_right(values, cidr.last)
            inside.append((cidr, tuple(ordered[first:after])))
            free += ordered[done:first]
            done = max(done, after)
        free += ordered[done:]
        isolated = tuple(each for each in free if each.chain is not None)
        branches = tuple(self._branch(cidr) for cidr, _ in inside)
        yield from self._subtree(None, branches, isolated, (), depth=1)
        for cidr, entries in inside:
            yield from self._subtree(cidr, (), entries, (_CLOSED,), depth=1)

    def _subtree(
        self,
        block: Cidr | None,
        first: tuple[Rule, ...],
        entries: tuple[DispatchEntry, ...],
        last: tuple[Rule, ...],
        depth: int,
    ) -> tuple[Chain, ...]:
        """The chain of a block, which is ``first``, what tells its entries apart, and ``last``.

        Those of its parts follow, which end in ``last`` as well.
        """
        name = names.dispatch_chain(self._dispatch.direction, block)
        content = (block, first, entries, last, depth)
        known = self._before.get(name)
        if known is not None and known.content == content:
            for each in known.chains:
                self.made[each.name] = self._before[each.name]
            return known.chains
        parts = self._split(entries, depth)
        where = "" if block is None else f" of {block}"
        listed = () if parts else entries
        chain = Chain(
            name,
            ChainRole.DISPATCH,
            (*first, *(self._branch(part) for part, _ in parts), *map(self._leaf, listed), *last),
            title=f"{self._dispatch.direction.value} dispatch{where}",
            notes={len(first) + index: each.note for index, each in enumerate(listed)},
        )
        below = [
            chain
            for part, inside in parts
            for chain in self._subtree(part, (), inside, last, depth + 1)
        ]
        self.made[name] = Subtree(content, (chain, *below))
        return chain, *below

    def _leaf(self, entry: DispatchEntry) -> Rule:
        target = Return() if entry.chain is None else Goto(entry.chain)
        return Rule(target, (MatchAddress(self._end, host_cidr(entry.address)),))

    def _branch(self, block: Cidr) -> Rule:
        chain = names.dispatch_chain(self._dispatch.direction, block)
        # A match on /0 holds for every packet, and iptables does not print it back.
        matches = (MatchAddress(self._end, block),) if block.prefix else ()
        return Rule(Goto(chain), matches)

    def _split(
        self, entries: Sequence[DispatchEntry], depth: int
    ) -> list[tuple[Cidr, tuple[DispatchEntry, ...]]]:
        """The parts of a chain that is too long to walk; none where it is short enough."""
        if len(entries) <= LEAF_ADDRESSES or depth >= MAX_DEPTH:
            return []
        bits = self._dispatch.family.bits
        differing = entries[0].address.value ^ entries[-1].address.value
        common = bits - differing.bit_length()
        prefix = common - common % STRIDE + STRIDE
        return [
            (Cidr(self._dispatch.family, network << (bits - prefix), prefix), tuple(part))
            for network, part in itertools.groupby(
                entries, key=lambda each: each.address.value >> (bits - prefix)
            )
        ]
