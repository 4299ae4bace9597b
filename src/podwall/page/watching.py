"""When to look again: files say when they changed, a lab or an agent has to be asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from podwall.cluster.snapshot import Snapshot

LOOK_EVERY = 0.5
"""Seconds between two looks at files."""

ASK_EVERY = 2.0
"""Seconds between two questions to a lab or an agent."""

SHARE = 20
"""Who answers slowly is asked less: at most one part in so many of the time."""

Mark = tuple[tuple[str, int, int], ...]


class Watched:
    """The paths that a page is made of; ``is_far`` if it comes from a lab or an agent."""

    def __init__(self, paths: Sequence[str], *, is_far: bool) -> None:
        self._paths = [Path(each) for each in paths]
        self.is_far = is_far
        self._took = 0.0

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        return max(ASK_EVERY, self._took * SHARE) if self.is_far else LOOK_EVERY

    def took(self, seconds: float) -> None:
        """Reading everything took so long."""
        self._took = seconds

    def mark(self) -> Mark:
        """Differs from an earlier one if a file came, went or changed."""
        return tuple(sorted(self._files()))

    def _files(self) -> Iterator[tuple[str, int, int]]:
        for path in self._paths:
            found = path.rglob("*") if path.is_dir() else iter((path,))
            for each in found:
                try:
                    status = each.stat()
                except OSError:
                    continue
                yield str(each), status.st_mtime_ns, status.st_size


def fingerprint(snapshot: Snapshot, problems: tuple[str, ...]) -> int:
    """Differs if what a page shows may differ."""
    parts = (snapshot.pods, snapshot.namespaces, snapshot.policies, snapshot.nodes)
    return hash((*(repr(part) for part in parts), problems))
