"""How often something happened, when first and when last; a bounded number of things.

Where there are more, those that were not seen for the longest time are forgotten one by one, and
what they had counted is kept as a sum.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

import msgspec


class Count(msgspec.Struct, gc=False):
    """So many times, between ``first`` and ``last``, in seconds since the epoch."""

    count: int
    first: float
    last: float


K = TypeVar("K", bound=Hashable)


class Tally(Generic[K]):
    """Counts by key; belongs to one thread.

    Args:
        most: so many keys are kept.

    Attributes:
        forgotten: what keys had counted that are not kept any more.
    """

    def __init__(self, most: int) -> None:
        self.forgotten = 0
        self._most = most
        self._counts: OrderedDict[K, Count] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, key: K, when: float) -> Count:
        """Count ``key`` once more; the count then."""
        found = self._counts.pop(key, None)
        if found is None:
            found = Count(1, when, when)
        else:
            found.count += 1
            found.first, found.last = min(found.first, when), max(found.last, when)
        self._keep(key, found)
        return found

    def put(self, key: K, count: Count) -> None:
        """Take over what was counted before."""
        self._counts.pop(key, None)
        self._keep(key, count)

    def drop(self, unwanted: Callable[[K], bool]) -> int:
        """Forget keys, also what they had counted; how many."""
        gone = [each for each in self._counts if unwanted(each)]
        for each in gone:
            del self._counts[each]
        return len(gone)

    def items(self) -> Iterator[tuple[K, Count]]:
        """Keys and counts; the key that was seen last comes last."""
        return iter(self._counts.items())

    def _keep(self, key: K, count: Count) -> None:
        self._counts[key] = count
        while len(self._counts) > self._most:
            _, oldest = self._counts.popitem(last=False)
            self.forgotten += oldest.count
