"""The seam between watching and reconciling: events go one way, from the event loop to a thread."""

from __future__ import annotations

from typing import Protocol

from podwall.cluster.events import Event, ObjectKey
from podwall.model.decode import Problem


class Feed(Protocol):
    """Takes what watches learn. Every call returns at once, whatever the kernel is busy with."""

    def take(self, event: Event, received: float) -> None:
        """Take in an event; ``received`` is the monotonic time at which its bytes had arrived.

        A :class:`~podwall.cluster.events.Remaining` tells as well that its kind was listed to the
        end: the first of each kind opens the gate.
        """
        ...

    def complain(self, key: ObjectKey, problems: tuple[Problem, ...]) -> None:
        """Note what is wrong with an object as it is now; nothing if ``problems`` is empty."""
        ...
