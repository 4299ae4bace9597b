"""What was seen: connections, each once, however often and wherever they were seen.

A connection between two nodes is in the tables of both, and one that lasts is seen again by every
look. So whoever reads a table tells the client's port with each :class:`Sighting`, and
:func:`collect` counts a flow once for each client port.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from podwall.model.flow import Flow


class Sighting(msgspec.Struct, frozen=True, gc=False):
    """One line of a source.

    Attributes:
        flow: from the client's own address to the server that DNAT chose, as policies judge (S31).
        client: what tells this connection from others of the same flow: the client's port or
            identifier; ``None`` where the source counts flows and not connections.
        count: how many connections it stands for; 1 where ``client`` is known.
        answered: whether anything came back.
    """

    flow: Flow
    client: int | None = None
    count: int = 1
    answered: bool = True


class Observation(msgspec.Struct, frozen=True, gc=False):
    """A flow, how many connections of it were seen, and whether any of them was answered."""

    flow: Flow
    count: int = 1
    answered: bool = True


class Collection:
    """Gathers sightings; memory grows with the flows and connections that differ."""

    def __init__(self) -> None:
        self._clients: dict[Flow, set[int]] = {}
        self._counts: dict[Flow, int] = {}
        self._answered: dict[Flow, bool] = {}

    def add(self, sightings: Iterable[Sighting]) -> None:
        """Take what one look at one source gave."""
        for each in sightings:
            self._answered[each.flow] = each.answered or self._answered.get(each.flow, False)
            if each.client is None:
                self._counts[each.flow] = self._counts.get(each.flow, 0) + each.count
            else:
                self._clients.setdefault(each.flow, set()).add(each.client)

    def observations(self) -> tuple[Observation, ...]:
        """Every flow that was seen, sorted, so that equal sightings give equal proposals."""
        return tuple(
            Observation(
                flow,
                self._counts.get(flow, 0) + len(self._clients.get(flow, ())),
                self._answered[flow],
            )
            for flow in sorted(self._answered, key=flow_order)
        )


def collect(sightings: Iterable[Sighting]) -> tuple[Observation, ...]:
    """The observations of one look."""
    collection = Collection()
    collection.add(sightings)
    return collection.observations()


def flow_order(flow: Flow) -> tuple[object, ...]:
    """Orders flows."""
    return flow.src, flow.dst, flow.protocol, flow.port or 0
