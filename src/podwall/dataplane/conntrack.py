"""Cut connections that policies no longer allow (S46).

Policy is applied when a connection starts; established ones pass first of all. So after a change
the tracked connections of the pods concerned are judged anew, as the connections that they once
were: from the client's own address to the server that DNAT chose. An entry that is no longer
allowed is deleted, but not before its server, port and client are in the set of cut connections:
without that the server's next packet would start the same connection from the other end, which
other policies may allow. Protocols without ports have no such set: see :func:`cut_members`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import msgspec

from podwall.dataplane import ctnetlink
from podwall.dataplane.base import Connection, DataPlane
from podwall.dataplane.ipset.render import CutMember
from podwall.errors import AddressError, KernelError
from podwall.model.flow import Flow
from podwall.model.net import PORT_PROTOCOLS, Address, Family, Protocol, parse_address

HELPER = (sys.executable, "-I", "-S", "-B", str(Path(ctnetlink.__file__).resolve()))
"""The command that lists and deletes entries: see :mod:`podwall.dataplane.ctnetlink`."""

SEEN = (*HELPER, "seen")
"""The command that lists what was seen, for whoever learns from it: see there."""

_FIELDS = 11


class CutReport(msgspec.Struct, frozen=True):
    """How many connections concerned were judged, how many were cut, and how long it took."""

    judged: int
    cut: int
    seconds: float


def cut_forbidden(
    dataplane: DataPlane,
    is_allowed: Callable[[Flow], bool],
    concerns: Callable[[Address], bool],
    clock: Callable[[], float] = time.perf_counter,
) -> CutReport:
    """Cut the connections that ``is_allowed`` denies, and forget those cut that it allows again.

    Only those are judged of which ``concerns`` names one end, such as the pods of this node. A flow
    is judged once, however many connections it has.

    Raises:
        KernelError: the table cannot be read or changed.
    """
    start = clock()
    again = [each for each in dataplane.remains() if is_allowed(flow_of(each))]
    if again:
        dataplane.release(again)
    report = cut_among(dataplane, dataplane.connections(), is_allowed, concerns)
    return msgspec.structs.replace(report, seconds=clock() - start)


def cut_among(
    dataplane: DataPlane,
    connections: Iterable[Connection],
    is_allowed: Callable[[Flow], bool],
    concerns: Callable[[Address], bool],
) -> CutReport:
    """Cut those of ``connections`` that ``is_allowed`` denies; see :func:`cut_forbidden`.

    Raises:
        KernelError: the table cannot be changed.
    """
    verdicts: dict[Flow, bool] = {}
    forbidden: list[Connection] = []
    judged = 0
    for connection in connections:
        flow = connection.flow
        if not (concerns(flow.src) or concerns(flow.dst)):
            continue
        judged += 1
        if flow not in verdicts:
            verdicts[flow] = is_allowed(flow)
        if not verdicts[flow]:
            forbidden.append(connection)
    cut = dataplane.cut(forbidden) if forbidden else 0
    return CutReport(judged, cut, 0.0)


def flow_of(member: CutMember) -> Flow:
    """The connection that was cut, from its client."""
    return Flow(member.client, member.server, member.protocol, member.port)


def parse_entries(text: str, families: Collection[Family]) -> list[Connection]:
    """The connections that the helper listed, of these families.

    Raises:
        KernelError: the text is not what the helper prints.
    """
    connections = []
    for line in text.splitlines():
        words = line.split(" ")
        if len(words) != _FIELDS or not words[0].isdecimal():
            raise KernelError(f"connection tracking entry cannot be read: {line[:200]!r}")
        if int(words[0]) in families:
            connection = _connection(words)
            if connection is not None:
                connections.append(connection)
    return connections


def _connection(words: list[str]) -> Connection | None:
    """A connection; ``None`` where an address is one that no pod can have."""
    _, protocol, src, _, _, _, reply_src, _, reply_sport, _, handle = words
    number = int(protocol)
    port = int(reply_sport) if number in PORT_PROTOCOLS else None
    try:
        flow = Flow(parse_address(src), parse_address(reply_src), number, port)
    except AddressError:
        return None
    return Connection(flow, handle)


def cut_members(connections: Iterable[Connection], family: Family) -> list[CutMember]:
    """What goes into the set of cut connections of a family; sorted, each once.

    Only protocols with ports: the set tells connections apart by a port. An ICMP reply without its
    request starts no connection. But of protocols that conntrack knows by addresses alone (ESP,
    IPIP, GRE without keys) the server's next packet does start one, in the other direction. So a
    cut flow of these goes on, in both directions, where policies allow the server to send to the
    client; and where they don't it ends, as the others do.
    """
    return sorted(
        {
            CutMember(flow.dst, Protocol(flow.protocol), flow.port, flow.src)
            for flow in (each.flow for each in connections)
            if flow.port is not None and flow.src.family is family
        }
    )
