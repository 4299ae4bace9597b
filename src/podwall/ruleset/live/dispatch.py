"""Where addresses lead in one direction and family, and the chains that say so.

Only the chains of blocks in which something changed are made anew. What was led elsewhere since the
kernel was last told is known without looking at any rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from podwall.model.net import Address, Cidr, Family
from podwall.model.policy import Direction
from podwall.ruleset.dispatch import Dispatch, DispatchEntry, Subtree, lower
from podwall.ruleset.ir import Chain


class LiveDispatch:
    """The dispatch of one direction and family, entry by entry.

    An address outside the guarded ranges that leads to no profile needs no entry and gets none.
    """

    def __init__(self, direction: Direction, family: Family) -> None:
        self._direction = direction
        self._family = family
        self._guarded: tuple[Cidr, ...] = ()
        self._entries: dict[Address, DispatchEntry] = {}
        self._subtrees: dict[str, Subtree] = {}
        self._chains: dict[str, Chain] | None = None
        self._told: Mapping[str, Chain] = {}
        self._told_guarded: tuple[Cidr, ...] = ()
        self._led_before: dict[Address, str | None] = {}

    @property
    def addresses(self) -> Set[Address]:
        """The addresses that have an entry."""
        return self._entries.keys()

    @property
    def is_guarded_anew(self) -> bool:
        """Whether other ranges are guarded than the kernel was told."""
        return self._guarded != self._told_guarded

    @property
    def is_quiet(self) -> bool:
        """Whether nothing was done since the kernel was told."""
        return self._chains is not None and self._chains is self._told

    def guard(self, guarded: tuple[Cidr, ...]) -> None:
        """Close these ranges to addresses without an entry (S48); entries are then put anew."""
        if guarded != self._guarded:
            self._guarded = guarded
            self._chains = None

    def put(self, address: Address, chain: str | None, note: str) -> None:
        """Lead ``address`` to a profile's chain, or with ``None`` back."""
        if chain is None and not any(address in cidr for cidr in self._guarded):
            self._set(address, None)
        else:
            self._set(address, DispatchEntry(address, chain, note))

    def remove(self, address: Address) -> None:
        """Forget ``address``."""
        self._set(address, None)

    def moved(self) -> frozenset[Address]:
        """The addresses that are led elsewhere than the kernel was told."""
        return frozenset(
            address
            for address, before in self._led_before.items()
            if before != self._leads_to(address)
        )

    def isolated(self) -> Isolated:
        """The addresses that lead to a profile now or did so when the kernel was told."""
        return Isolated(self._entries, self._led_before)

    def chains(self) -> Mapping[str, Chain]:
        """The chains, by name."""
        if self._chains is None:
            dispatch = Dispatch(
                self._direction, self._family, tuple(self._entries.values()), self._guarded
            )
            self._chains = {each.name: each for each in lower(dispatch, self._subtrees)}
        return self._chains

    def told(self) -> Mapping[str, Chain]:
        """The chains that the kernel was told, by name."""
        return self._told

    def settle(self) -> None:
        """Take the kernel for told."""
        self._told = self.chains()
        self._told_guarded = self._guarded
        self._led_before = {}

    def _set(self, address: Address, entry: DispatchEntry | None) -> None:
        if self._entries.get(address) == entry:
            return
        self._led_before.setdefault(address, self._leads_to(address))
        self._chains = None
        if entry is None:
            del self._entries[address]
        else:
            self._entries[address] = entry

    def _leads_to(self, address: Address) -> str | None:
        entry = self._entries.get(address)
        return None if entry is None else entry.chain or ""


class Isolated:
    """Tells whether an address leads to a profile, or did so before: a container of addresses."""

    def __init__(
        self, entries: Mapping[Address, DispatchEntry], before: Mapping[Address, str | None]
    ) -> None:
        self._entries = entries
        self._before = before

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, Address):
            return False
        entry = self._entries.get(address)
        return bool((entry is not None and entry.chain) or self._before.get(address))
