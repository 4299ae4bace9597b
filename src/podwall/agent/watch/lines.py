"""Lines out of chunks: what a watch sends, cut where its lines end.

A line may be as long as an object is large, far beyond what stream readers hand out as a line, and
a chunk may hold a hundred lines or a piece of one.
"""

from __future__ import annotations

from podwall.errors import ApiGarbled

LONGEST = 64 << 20
"""Bytes of one line. An object has at most a few megabytes, so more is no object."""


class LineSplitter:
    """Takes chunks, gives whole lines without their ends; empty lines are left out."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._begun: list[bytes] = []
        self._size = 0
        self._longest = longest

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that end in ``chunk``, in their order.

        Raises:
            ApiGarbled: a line goes on beyond all bounds.
        """
        first, *rest = chunk.split(b"\n")
        self._begun.append(first)
        self._size += len(first)
        if self._size > self._longest:
            raise ApiGarbled(f"a line of the watch is longer than {self._longest >> 20} MiB")
        if not rest:
            return []
        lines = [b"".join(self._begun), *rest[:-1]]
        self._begun = [rest[-1]]
        self._size = len(rest[-1])
        return [each for each in lines if each]

    @property
    def unfinished(self) -> bool:
        """Whether a line has begun and not ended."""
        return self._size > 0
