"""What the reconciler says of itself: written by its threads, read by anybody."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec

from podwall.agent.status import Applied, Enforced, KernelStatus


class Ledger:
    """The newest numbers; each reading is consistent in itself.

    Args:
        wall: the time, in seconds since the epoch.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._lock = threading.Lock()
        self._status = KernelStatus(in_sync=False, since=wall())
        self._enforced = Enforced()
        self._objects: dict[str, int] = {}

    @property
    def status(self) -> KernelStatus:
        """The kernel side."""
        return self._status

    @property
    def enforced(self) -> Enforced:
        """What the kernel shall hold, in numbers."""
        return self._enforced

    @property
    def objects(self) -> dict[str, int]:
        """What is known of the cluster, by kind."""
        return dict(self._objects)

    def in_sync(self) -> None:
        """The kernel holds what the last known cluster asks for."""
        self._set(in_sync=True, error="")

    def out_of_sync(self, error: str) -> None:
        """It does not, or nobody knows."""
        self._set(in_sync=False, error=error)

    def host(self, mode: str, families: tuple[int, ...]) -> None:
        """How the kernel is written."""
        self._set(mode=mode, families=families)

    def notes(self, notes: tuple[str, ...]) -> None:
        """What a user should know."""
        self._set(notes=notes)

    def checked(self) -> None:
        """The kernel was looked at, and is right."""
        self._set(last_check=self._wall())

    def applied(self, applied: Applied) -> None:
        """Something was written, or found to be there already."""
        with self._lock:
            written = 1 if applied.report.steps else 0
            self._replace(applies=self._status.applies + written, last_apply=applied)

    def drifted(self) -> None:
        """Somebody else's change was repaired."""
        with self._lock:
            self._replace(drift_repairs=self._status.drift_repairs + 1)

    def cut(self, connections: int) -> None:
        """Connections were judged, and so many cut."""
        with self._lock:
            cut = self._status.connections_cut + connections
            self._replace(connections_cut=cut, cut_error="")

    def cut_failed(self, error: str) -> None:
        """Connections that are not allowed any more may go on."""
        self._set(cut_error=error)

    def count(self, enforced: Enforced, objects: dict[str, int]) -> None:
        """What is enforced, and what is known, in numbers."""
        self._enforced = enforced
        self._objects = objects

    def _set(self, **fields: Any) -> None:
        with self._lock:
            self._replace(**fields)

    def _replace(self, **fields: Any) -> None:
        """Change the status; ``since`` moves with ``in_sync`` alone."""
        if fields.get("in_sync", self._status.in_sync) is not self._status.in_sync:
            fields["since"] = self._wall()
        if any(getattr(self._status, name) != value for name, value in fields.items()):
            self._status = msgspec.structs.replace(self._status, **fields)
