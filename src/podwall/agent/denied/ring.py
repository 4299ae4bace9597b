"""The last denials, as the lines that are sent to whoever asks.

Each line has a number, one more than that of the line before it. Who follows remembers the number
that comes next and asks for what there is from there on; who was away for too long learns how many
lines were overwritten meanwhile. So a slow reader costs nothing but its own lines.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

SIZE = 10_000
"""So many denials are kept; some five megabytes once they are all there."""


class Piece(msgspec.Struct, frozen=True):
    """Lines in their order; ``lost`` came before them and are gone, ``next`` comes after them."""

    lines: tuple[bytes, ...]
    lost: int
    next: int


class Ring:
    """Keeps the last ``size`` lines. Methods may be called from any thread."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._lines: list[bytes] = []
        self._end = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def start(self) -> int:
        """The number of the oldest line that is kept."""
        return self._end - len(self._lines)

    @property
    def end(self) -> int:
        """The number of the line that comes next; so many there were since the start."""
        return self._end

    def add(self, lines: Sequence[bytes]) -> None:
        """Keep more lines, at the cost of the oldest."""
        with self._lock:
            for each in lines:
                if len(self._lines) < self._size:
                    self._lines.append(each)
                else:
                    self._lines[self._end % self._size] = each
                self._end += 1

    def read(self, start: int, most: int) -> Piece:
        """At most ``most`` lines from number ``start`` on."""
        with self._lock:
            begin = max(start, self.start)
            end = min(self._end, begin + most)
            lines = tuple(self._lines[each % self._size] for each in range(begin, end))
        return Piece(lines, begin - start, max(begin, end))
