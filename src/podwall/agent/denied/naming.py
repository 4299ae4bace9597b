"""From logged packets to denials by name.

The reconciler's thread is asked once for a batch, and only looks up who owns the addresses and
which policies their namespaces have. The oracle works on that here, beside it. What was found out
about a flow holds for as long as that is the same, so a flow that goes on is named once.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import msgspec

from podwall.agent.control.answers import DropLine
from podwall.agent.denied.asking import excerpts_of
from podwall.agent.denied.record import Named
from podwall.agent.reconcile.picture import Picture
from podwall.cluster.snapshot import Snapshot
from podwall.dataplane.nflog import LoggedPacket
from podwall.explain.denial import Denial, name_packet
from podwall.model.flow import Flow
from podwall.model.settings import Settings
from podwall.ruleset.ir import LogKind

log = logging.getLogger(__name__)

MOST_KNOWN = 1000
"""Of so many flows is remembered what they were called."""

Excerpts = list[Snapshot] | None
Ask = Callable[[Callable[[Picture], Excerpts]], Future[Excerpts]]
"""Asks the reconciler's thread."""


class _Known(msgspec.Struct, frozen=True):
    snapshot: Snapshot
    denials: tuple[Denial, ...]


class Namer:
    """Names packets; belongs to one thread.

    Args:
        node: the name of this node.
        settings: its switches.
        ask: asks the reconciler's thread.
    """

    def __init__(self, node: str, settings: Settings, ask: Ask) -> None:
        self._node = node
        self._settings = settings
        self._ask = ask
        self._known: OrderedDict[tuple[LogKind, Flow], _Known] = OrderedDict()
        self._failed = False

    def name(self, packets: Sequence[LoggedPacket]) -> tuple[list[Named], int]:
        """What the packets were, and how many of them nobody can say that of.

        Raises:
            KernelError: the agent is ending.
        """
        flows = [_flow(each) for each in packets]
        pairs = [(each.src, each.dst) for each in flows]
        snapshots = self._ask(lambda picture: excerpts_of(picture, pairs)).result()
        if snapshots is None:
            return [], len(packets)
        named: list[Named] = []
        unnamed = 0
        for packet, flow, snapshot in zip(packets, flows, snapshots, strict=True):
            try:
                denials = self._denials(packet, flow, snapshot)
            except Exception as error:
                self._tell(error)
                unnamed += 1
                continue
            named += (_named(each, packet.when) for each in denials)
        return named, unnamed

    def _denials(self, packet: LoggedPacket, flow: Flow, snapshot: Snapshot) -> tuple[Denial, ...]:
        key = packet.kind, flow
        known = self._known.pop(key, None)
        if known is None or known.snapshot != snapshot:
            denials = name_packet(
                snapshot, flow, packet.kind, packet.when, self._settings, self._node
            )
            known = _Known(snapshot, denials)
        self._known[key] = known
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return known.denials

    def _tell(self, error: Exception) -> None:
        """A defect of podwall is logged once; packets that meet it are counted."""
        if not self._failed:
            log.error("a defect of podwall: a denied packet cannot be named", exc_info=error)
        self._failed = True


def _flow(packet: LoggedPacket) -> Flow:
    return Flow(packet.src, packet.dst, packet.protocol, packet.dport)


def _named(denial: Denial, when: float) -> Named:
    denial = msgspec.structs.replace(denial, time=when)
    told = msgspec.Raw(msgspec.json.encode(denial.to_dict()))
    return Named(
        kind=denial.kind,
        when=when,
        source=denial.source,
        target=denial.target,
        service=denial.service,
        direction=denial.direction,
        namespace=denial.namespace,
        policies=denial.isolated_by,
        line=msgspec.json.encode(DropLine(denial=told)),
        text=str(denial),
        stale=denial.stale,
    )
