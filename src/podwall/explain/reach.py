"""Which ports of one end another can reach: the cells of the computed matrix.

Ports that no policy tells apart behave alike, so it is enough to ask the oracle once for each
stretch between the port numbers that the policies of the two ends mention. Reaches are sets: what
both directions let through is :func:`both`, what one has and another has not is :func:`minus`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.model.flow import Flow
from podwall.model.net import (
    PORT_PROTOCOLS,
    Address,
    Family,
    PortRange,
    Protocol,
    merge_ports,
)
from podwall.model.policy import Direction, NamedPort, NumberedPorts
from podwall.model.settings import Settings
from podwall.model.spans import merged, without
from podwall.policy.evaluate import (
    evaluate,
    isolating_policies,
    judge,
)

_LAST_PORT = 65535


class Reach(msgspec.Struct, frozen=True):
    """What can be reached: by protocol the allowed port ranges; and whether ICMP can.

    ``ports`` has an entry for each of TCP, UDP and SCTP; no range means no port of it.
    """

    ports: tuple[tuple[Protocol, tuple[PortRange, ...]], ...]
    icmp: bool

    @property
    def everything(self) -> bool:
        """Whether nothing is closed."""
        whole = (PortRange(1, _LAST_PORT),)
        return self.icmp and all(ranges == whole for _, ranges in self.ports)

    @property
    def nothing(self) -> bool:
        """Whether nothing is open."""
        return not self.icmp and not any(ranges for _, ranges in self.ports)

    def __str__(self) -> str:
        if self.everything:
            return "all"
        if self.nothing:
            return "-"
        words = [_ports_text(protocol, ranges) for protocol, ranges in self.ports if ranges]
        return ", ".join([*words, *(["icmp"] if self.icmp else [])])

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: ranges as ``[first, last]``."""
        return {
            "everything": self.everything,
            "nothing": self.nothing,
            "icmp": self.icmp,
            **{
                protocol.name.lower(): [[each.first, each.last] for each in ranges]
                for protocol, ranges in self.ports
            },
        }


def _ports_text(protocol: Protocol, ranges: tuple[PortRange, ...]) -> str:
    name = protocol.name.lower()
    if ranges == (PortRange(1, _LAST_PORT),):
        return name
    text = ",".join(
        str(each.first) if each.first == each.last else f"{each.first}-{each.last}"
        for each in ranges
    )
    return f"{text}/{name}"


EVERYTHING = Reach(tuple((each, (PortRange(1, _LAST_PORT),)) for each in PORT_PROTOCOLS), True)
"""All ports of all protocols, and ICMP."""

NOTHING = Reach(tuple((each, ()) for each in PORT_PROTOCOLS), False)
"""No port of any protocol, and no ICMP."""


def in_words(what: Reach) -> str:
    """``6379/tcp, icmp``, or where less is missing than there is, ``all but 6379/tcp``."""
    missing = minus(EVERYTHING, what)
    if what.everything or what.nothing or len(str(missing)) >= len(str(what)):
        return str(what)
    return f"all but {missing}"


def both(one: Reach, other: Reach) -> Reach:
    """What ``one`` and ``other`` let through."""
    return minus(one, minus(EVERYTHING, other))


def either(reaches: Iterable[Reach]) -> Reach:
    """What any of ``reaches`` lets through."""
    everyone = tuple(reaches)
    ports = tuple(
        (protocol, merge_ports(each for reach in everyone for each in reach.ports[index][1]))
        for index, protocol in enumerate(PORT_PROTOCOLS)
    )
    return Reach(ports, any(each.icmp for each in everyone))


def minus(one: Reach, other: Reach) -> Reach:
    """What ``one`` lets through and ``other`` does not."""
    ports = tuple(
        (protocol, _without(mine, theirs))
        for (protocol, mine), (_, theirs) in zip(one.ports, other.ports, strict=True)
    )
    return Reach(ports, one.icmp and not other.icmp)


def _without(mine: tuple[PortRange, ...], theirs: tuple[PortRange, ...]) -> tuple[PortRange, ...]:
    if not mine or not theirs:
        return mine
    holes = merged((each.first, each.last) for each in theirs)
    spans = without(((each.first, each.last) for each in mine), holes)
    return tuple(PortRange(first, last) for first, last in spans)


def reach(snapshot: Snapshot, src: Address, dst: Address, settings: Settings = Settings()) -> Reach:
    """What ``src`` can reach of ``dst``; both are of one family."""

    def allowed(flow: Flow) -> bool:
        return evaluate(snapshot, flow, settings).allowed

    return _ask(snapshot, src, dst, tuple(Direction), allowed)


def passage(
    snapshot: Snapshot,
    src: Address,
    dst: Address,
    direction: Direction,
    settings: Settings = Settings(),
) -> Reach:
    """What one direction lets through from ``src`` to ``dst``, whatever the other one says."""

    def allowed(flow: Flow) -> bool:
        return judge(snapshot, flow, direction, settings).allowed

    return _ask(snapshot, src, dst, (direction,), allowed)


def _ask(
    snapshot: Snapshot,
    src: Address,
    dst: Address,
    directions: tuple[Direction, ...],
    allowed: Callable[[Flow], bool],
) -> Reach:
    """Ask once for each stretch of ports that the policies of these directions tell apart."""
    icmp = Protocol.ICMP if src.family is Family.V4 else Protocol.ICMPV6
    ports = tuple(
        (
            protocol,
            merge_ports(
                stretch
                for stretch in _stretches(_edges(snapshot, src, dst, directions, protocol))
                if allowed(Flow(src, dst, protocol, stretch.first))
            ),
        )
        for protocol in PORT_PROTOCOLS
    )
    return Reach(ports, allowed(Flow(src, dst, icmp, None)))


def _edges(
    snapshot: Snapshot,
    src: Address,
    dst: Address,
    directions: tuple[Direction, ...],
    protocol: Protocol,
) -> set[int]:
    """Ports at which the verdict may change: where a range of some policy begins or has ended."""
    edges = {1}
    for direction in directions:
        pod = snapshot.owner(src if direction is Direction.EGRESS else dst)
        if pod is None:
            continue
        for policy in isolating_policies(snapshot, pod, direction):
            for rule in policy.rules(direction):
                for port in rule.ports:
                    if isinstance(port, NumberedPorts) and port.protocol is protocol:
                        edges |= {port.ports.first, port.ports.last + 1}
                    elif isinstance(port, NamedPort) and port.protocol is protocol:
                        edges |= _named_edges(snapshot, dst, port)
    return {edge for edge in edges if edge <= _LAST_PORT}


def _named_edges(snapshot: Snapshot, dst: Address, port: NamedPort) -> set[int]:
    pod = snapshot.owner(dst)
    if pod is None:
        return set()
    return {
        edge
        for each in pod.ports
        if each.name == port.name and each.protocol is port.protocol
        for edge in (each.number, each.number + 1)
    }


def _stretches(edges: set[int]) -> Iterator[PortRange]:
    for first, following in itertools.pairwise([*sorted(edges), _LAST_PORT + 1]):
        yield PortRange(first, following - 1)
