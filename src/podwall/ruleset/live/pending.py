"""What changed in one family since the kernel was last told, and what that crosses.

It is put together from what happened, without comparing rulesets: profiles and sets that came and
went, members that came and went, addresses that are led elsewhere. Names come from content, so no
profile ever changes under its name; of chains only those of dispatch are rewritten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from podwall.model.net import Address, Family
from podwall.model.policy import Direction
from podwall.ruleset.crossing import Crossing, address_of
from podwall.ruleset.ir import Chain, Rule
from podwall.ruleset.live.dispatch import LiveDispatch
from podwall.ruleset.live.sets import LiveSets
from podwall.ruleset.plan import ChainStep
from podwall.ruleset.planning import FamilyChange, SetChange


class Pending:
    """What to tell the kernel of one family.

    Attributes:
        is_guarded_anew: other ranges than before are closed to unknown addresses (S48).
    """

    def __init__(
        self,
        family: Family,
        fresh: Mapping[str, Chain],
        gone: Mapping[str, Chain],
        sets: LiveSets,
        dispatch: Mapping[Direction, LiveDispatch],
    ) -> None:
        self._family = family
        self._dispatch = dispatch
        self._sets = sets
        self.is_guarded_anew = any(each.is_guarded_anew for each in dispatch.values())
        self._moved = {direction: each.moved() for direction, each in dispatch.items()}
        self._new = dict(fresh)
        self._old = dict(gone)
        for each in dispatch.values():
            self._compare(each.told(), each.chains())
        self._changed = [
            live for _, live in sorted(sets.touched.items()) if live.gained or live.lost
        ]

    def change(self) -> FamilyChange:
        """The change, for a plan."""
        return FamilyChange(
            switch=ChainStep(
                family=self._family,
                replace=tuple(self._new[name] for name in sorted(self._new)),
                delete=tuple(sorted(self._old.keys() - self._new.keys())),
            ),
            created=tuple(live.ipset() for _, live in sorted(self._sets.fresh.items())),
            changes=tuple(
                SetChange(live.head, frozenset(live.gained), frozenset(live.lost))
                for live in self._changed
            ),
            destroyed=tuple(sorted(self._sets.gone)),
            crossing=self._crossing,
        )

    def judged(self) -> Iterator[Address]:
        """An end of every flow whose verdict the change can turn."""
        for moved in self._moved.values():
            yield from moved
        for direction in Direction:
            yield from self._joining(direction)

    def rules(self) -> tuple[int, int]:
        """How many rules come and go; a chain that is rewritten counts those that differ."""
        added = removed = 0
        for name in self._new.keys() | self._old.keys():
            before, after = self._rules_of(self._old, name), self._rules_of(self._new, name)
            added += (after - before).total()
            removed += (before - after).total()
        return added, removed

    def members(self) -> tuple[int, int]:
        """How many members come and go, those of whole sets among them."""
        added = sum(len(live.members) for live in self._sets.fresh.values())
        removed = sum(live.size_in_kernel for live in self._sets.gone.values())
        return (
            added + sum(len(live.gained) for live in self._changed),
            removed + sum(len(live.lost) for live in self._changed),
        )

    def _compare(self, told: Mapping[str, Chain], chains: Mapping[str, Chain]) -> None:
        """Note the chains of a dispatch that come, go or are rewritten."""
        for name in told.keys() | chains.keys():
            before, after = told.get(name), chains.get(name)
            if before is after:
                continue
            if before is not None and after is not None and before.rules == after.rules:
                continue
            if before is not None:
                self._old[name] = before
            if after is not None:
                self._new[name] = after

    @staticmethod
    def _rules_of(chains: Mapping[str, Chain], name: str) -> Counter[Rule]:
        chain = chains.get(name)
        return Counter(() if chain is None else chain.rules)

    def _crossing(self) -> Crossing:
        return Crossing(
            everything=self.is_guarded_anew,
            moved=self._moved,
            uses={live.name: live.in_force | live.directions for live in self._changed},
            joining=self._joining(Direction.INGRESS),
            isolated={direction: each.isolated() for direction, each in self._dispatch.items()},
        )

    def _joining(self, direction: Direction) -> Iterator[Address]:
        """The addresses whose membership changes in sets of one direction."""
        for live in self._changed:
            if direction in live.in_force | live.directions:
                yield from filter(None, map(address_of, (*live.gained, *live.lost)))
