"""Things by the network they belong to, to find those that could meet an address range.

Networks nest or are apart, so those around a range are found by its prefixes, and those within lie
side by side in the sorted order. Comparing each with each takes too long for a policy of thousands.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from podwall.model.net import Cidr

_T = TypeVar("_T")


class NetIndex(Generic[_T]):
    """Values by network; several may have the same one."""

    def __init__(self, items: Iterable[tuple[Cidr, _T]]) -> None:
        self._values: dict[Cidr, list[_T]] = {}
        for net, value in items:
            self._values.setdefault(net, []).append(value)
        self._nets = sorted(self._values)
        self._prefixes = sorted({net.prefix for net in self._nets})

    def around(self, wanted: Cidr) -> Iterator[_T]:
        """The values whose network is ``wanted`` or has all its addresses."""
        for prefix in self._prefixes:
            if prefix > wanted.prefix:
                return
            shift = wanted.family.bits - prefix
            net = Cidr(wanted.family, wanted.value >> shift << shift, prefix)
            yield from self._values.get(net, ())

    def meeting(self, wanted: Cidr) -> Iterator[_T]:
        """The values whose network has an address of ``wanted``."""
        yield from self.around(wanted)
        bits = wanted.family.bits
        first = bisect_right(self._nets, wanted)
        end = bisect_left(self._nets, Cidr(wanted.family, wanted.last, bits + 1))
        for net in self._nets[first:end]:
            yield from self._values[net]
