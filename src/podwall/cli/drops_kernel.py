"""Denied packets from the kernel's own log: of this host, or of the nodes of a lab.

The kernel remembers nothing, so this tells what happens from now on. Names come from the cluster as
it is known here. That of a lab changes while it is followed, and its policies are programmed before
anybody hears of them: what seems to be allowed waits a moment for news before it is told.
"""

from __future__ import annotations

import contextlib
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from podwall.cli.drops_model import Drop, Gap, Heard, drop_of
from podwall.cluster.snapshot import Snapshot
from podwall.dataplane.kernel import KernelDataPlane
from podwall.dataplane.nflog import LoggedPacket, NflogReader
from podwall.errors import KernelError, PodwallError
from podwall.explain.denial import name_packet
from podwall.model.flow import Flow
from podwall.model.settings import Settings
from podwall.ruleset.ir import Log, LogKind, Rule

if TYPE_CHECKING:
    from podwall.lab.client import Lab

TICK = 0.25
"""Seconds after which whoever listens gets a turn although nothing came."""

PATIENCE = 3.0
"""Seconds that a packet waits for news of the cluster, if it seems to be allowed."""

_REFRESH = 0.5


class View(Protocol):
    """A cluster that may change while it is looked at."""

    @property
    def snapshot(self) -> Snapshot:
        """The cluster as it is known now."""
        ...

    @property
    def changes(self) -> bool:
        """Whether there may be news."""
        ...


class Fixed(msgspec.Struct, frozen=True):
    """A cluster that does not change."""

    snapshot: Snapshot
    changes: bool = False


class Watched:
    """The cluster of a lab, asked for again and again by a thread of its own.

    A lab that is busy, with probes for instance, answers when it is done.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._snapshot = lab.snapshot()
        self._asking = threading.Event()
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="lab", daemon=True).start()

    @property
    def snapshot(self) -> Snapshot:
        """See :attr:`View.snapshot`."""
        return self._snapshot

    @property
    def changes(self) -> bool:
        """See :attr:`View.changes`."""
        return True

    @property
    def ended(self) -> bool:
        """Whether the lab is gone."""
        return self._ended.is_set()

    def _run(self) -> None:
        while True:
            time.sleep(_REFRESH)
            try:
                snapshot = self._lab.snapshot()
            except (PodwallError, OSError, ValueError):
                self._ended.set()
                return
            # Kept if it is the same, so that who holds it sees that nothing changed.
            if snapshot != self._snapshot:
                self._snapshot = snapshot


def logged_kinds(dataplane: KernelDataPlane) -> dict[LogKind, int]:
    """What podwall's rules in a kernel log, and to which group.

    Raises:
        KernelError: the kernel cannot be read.
    """
    observed = dataplane.observe()
    return {
        rule.target.kind: rule.target.group
        for family in (observed.v4, observed.v6)
        for rules in family.chains.values()
        for rule in rules
        if isinstance(rule, Rule) and isinstance(rule.target, Log)
    }


class _Waiting(msgspec.Struct, frozen=True):
    node: str
    packet: LoggedPacket
    snapshot: Snapshot
    until: float


class KernelLog:
    """Reads log groups and names what comes; a context manager that closes them.

    Args:
        readers: the open logs of each node, by its name.
        view: the cluster.
        settings: the switches of the nodes.
        clock: monotonic time.
    """

    def __init__(
        self,
        readers: Sequence[tuple[str, NflogReader]],
        view: View,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._readers = tuple(readers)
        self._view = view
        self._settings = settings
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()

    def hear(self) -> Iterator[Heard]:
        """What is denied from now on, without an end."""
        lost = [0] * len(self._readers)
        with selectors.DefaultSelector() as selector:
            for index, (_node, reader) in enumerate(self._readers):
                selector.register(reader, selectors.EVENT_READ, index)
            while True:
                found: list[tuple[str, LoggedPacket]] = []
                for key, _events in selector.select(TICK):
                    node, reader = self._readers[key.data]
                    found += ((node, each) for each in reader.read())
                    if reader.lost > lost[key.data]:
                        yield Gap(node, reader.lost - lost[key.data], "packets came too fast")
                        lost[key.data] = reader.lost
                for node, packet in sorted(found, key=lambda each: each[1].when):
                    yield from self._first(node, packet)
                yield from self._again()
                yield None
                if getattr(self._view, "ended", False):
                    raise KernelError("the lab has ended")

    def close(self) -> None:
        """Close the logs."""
        for _node, reader in self._readers:
            reader.close()

    def __enter__(self) -> KernelLog:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _first(self, node: str, packet: LoggedPacket) -> Iterator[Drop]:
        snapshot = self._view.snapshot
        drops = self._named(node, packet, snapshot)
        if self._view.changes and any(each.stale for each in drops):
            until = self._clock() + PATIENCE
            self._waiting.append(_Waiting(node, packet, snapshot, until))
            return
        yield from drops

    def _again(self) -> Iterator[Drop]:
        """Those that waited long enough, or that there is news for."""
        for _ in range(len(self._waiting)):
            each = self._waiting.popleft()
            snapshot = self._view.snapshot
            if snapshot is each.snapshot and self._clock() < each.until:
                self._waiting.append(each)
                continue
            drops = self._named(each.node, each.packet, snapshot)
            if self._clock() < each.until and any(drop.stale for drop in drops):
                self._waiting.append(msgspec.structs.replace(each, snapshot=snapshot))
                continue
            yield from drops

    def _named(self, node: str, packet: LoggedPacket, snapshot: Snapshot) -> tuple[Drop, ...]:
        flow = Flow(packet.src, packet.dst, packet.protocol, packet.dport)
        denials = name_packet(snapshot, flow, packet.kind, packet.when, self._settings, node)
        return tuple(drop_of(each, node) for each in denials)


def open_logs(
    logs: Mapping[str, Sequence[Callable[[], NflogReader]]],
) -> list[tuple[str, NflogReader]]:
    """Open all logs of all nodes, or none.

    Raises:
        KernelError: one cannot be opened; says which node's.
    """
    opened: list[tuple[str, NflogReader]] = []
    with contextlib.ExitStack() as stack:
        for node, makers in logs.items():
            for make in makers:
                reader = make()
                try:
                    reader.open()
                except KernelError as error:
                    raise KernelError(f"node {node}: {error}") from error
                stack.callback(reader.close)
                opened.append((node, reader))
        stack.pop_all()
    return opened
