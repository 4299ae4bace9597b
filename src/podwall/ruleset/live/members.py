"""The members of a set that follows the cluster: a frozen set, and what changed since.

A set of ten thousand addresses gains one in no time, and is held once: a new frozen copy is made
when somebody asks for it, or when so much changed that what changed takes a good part of the room.
"""

from __future__ import annotations

from collections.abc import Iterable

from podwall.ruleset.ir import Member

_FEW = 64


class Members:
    """Members that come and go; :meth:`frozen` gives them as they are now."""

    __slots__ = ("_added", "_frozen", "_removed")

    def __init__(self, members: Iterable[Member] = ()) -> None:
        self._frozen = frozenset(members)
        self._added: set[Member] = set()
        self._removed: set[Member] = set()

    def __len__(self) -> int:
        return len(self._frozen) + len(self._added) - len(self._removed)

    def __contains__(self, member: Member) -> bool:
        return member in self._added or (member in self._frozen and member not in self._removed)

    def put(self, member: Member, present: bool) -> bool:
        """Make ``member`` one or none of the members; says whether that changes anything."""
        if (member in self) is present:
            return False
        undone, done = (self._removed, self._added) if present else (self._added, self._removed)
        if member in undone:
            undone.discard(member)
        else:
            done.add(member)
        if len(self._added) + len(self._removed) > max(_FEW, len(self._frozen) // 4):
            self.frozen()
        return True

    def frozen(self) -> frozenset[Member]:
        """The members as they are now; asking again costs nothing until they change."""
        if self._added or self._removed:
            self._frozen = (self._frozen - self._removed) | self._added
            self._added, self._removed = set(), set()
        return self._frozen
