"""The lab itself, inside its own namespaces: build it, change it, program it, probe it.

A :class:`World` lives in the holder process (:mod:`podwall.lab.holder`). It keeps the snapshot that
it stands for and the topology that it is built as; :meth:`World.apply` goes from one to the next by
taking down what is gone, building what is new and leaving the rest alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.dataplane.command import Runner
from podwall.errors import LabError
from podwall.lab import libc, netns
from podwall.lab.engine import Engine
from podwall.lab.listeners import Answer, Command, Door, doors_of, serve
from podwall.lab.matrix import Matrix, build_matrix
from podwall.lab.probe import PATIENCE, ask
from podwall.lab.topology import (
    OUTSIDE,
    Cni,
    Outcome,
    Probe,
    Selection,
    Shape,
    Topology,
    all_probes,
    node_netns,
    plan_topology,
    pod_netns,
)
from podwall.lab.wiring import (
    endpoint_addresses,
    merge,
    unwire_pods,
    wire_hosts,
    wire_nodes,
    wire_pods,
)
from podwall.lab.worker import Report, Worker
from podwall.model.net import Address
from podwall.model.objects import Pod, PodKey
from podwall.model.settings import Settings

Progress = Callable[[int, int, str], None]
"""Told how many of how many are done, and of what."""

_Identity: TypeAlias = tuple[PodKey, str, tuple[Address, ...]]
"""What makes a pod's namespace: if it changes, the namespace is made anew."""

_EXPECT_AT_ONCE = 100
_SECOND_CHANCES = ((2.0, 200), (4.0, 20))
"""For probes that should have got through: patience and how many at a time, round by round."""

_HOPELESS = 400
"""With more probes than this to repeat it is not the machine that is slow."""


class World:
    """Everything that stands in the lab's namespaces."""

    def __init__(self, snapshot: Snapshot, shape: Shape, engine: Engine, runner: Runner) -> None:
        self.snapshot = snapshot
        self.topology = plan_topology(snapshot, shape)
        self._shape = shape
        self._engine = engine
        self._runner = runner
        self._standing: dict[_Identity, Pod] = {}
        self._doors: frozenset[Door] = frozenset()
        self._listeners: socket.socket | None = None
        self._tag = 0

    @property
    def settings(self) -> Settings:
        """How the open questions of the specification are read here."""
        return self._engine.settings

    def build(self, progress: Progress) -> None:
        """Bring up the router, the nodes, the pods and everything that listens."""
        total = len(self.topology.nodes) + len(self.topology.pods) + 1
        netns.create(OUTSIDE, netns.HOST_SYSCTLS, netns.ROUTER_SYSCTLS)
        bridge = netns.BRIDGE_SYSCTLS if self._shape.cni is Cni.BRIDGE else {}
        for node in self.topology.nodes:
            netns.create(node_netns(node.name), netns.HOST_SYSCTLS, netns.ROUTER_SYSCTLS, bridge)
        progress(len(self.topology.nodes) + 1, total, "building")
        netns.run_scripts(self._runner, merge(wire_nodes(self.topology)))
        netns.run_scripts(self._runner, [wire_hosts(sorted(endpoint_addresses(self.topology)))])
        self._build_pods(_networked(self.topology.pods))
        progress(total, total, "building")
        self._start_listeners()
        self._serve(self.topology)

    def program(self, progress: Progress) -> None:
        """Have the engine program every node for the present snapshot."""
        names = [node.name for node in self.topology.nodes]
        for done, name in enumerate(names):
            progress(done, len(names), "programming")
            self._engine.program(self.snapshot, name, netns.prefix(node_netns(name)))
        progress(len(names), len(names), "programming")

    def apply(self, snapshot: Snapshot, progress: Progress) -> None:
        """Become ``snapshot``; its nodes are those that stand. Programs the nodes as well.

        Raises:
            LabError: the nodes are different.
        """
        old, new = self.topology, plan_topology(snapshot, self._shape)
        if _fixed_parts(old) != _fixed_parts(new):
            raise LabError("the nodes of a lab cannot change while it is up: run 'lab down' first")
        kept = {_identity(pod): pod for pod in _networked(new.pods)}
        gone = [pod for identity, pod in self._standing.items() if identity not in kept]
        fresh = [pod for identity, pod in kept.items() if identity not in self._standing]
        doors = doors_of(new.endpoints)
        rebuilt = {pod_netns(pod) for pod in (*gone, *fresh)}
        stale = {each for each in self._doors if each not in doors or each.netns in rebuilt}
        self._listen(Command(close=tuple(sorted(stale))))
        self._doors -= stale
        self._remove_pods(gone)
        before, after = endpoint_addresses(old), endpoint_addresses(new)
        netns.run_scripts(self._runner, [wire_hosts(sorted(before - after), "del")])
        netns.run_scripts(self._runner, [wire_hosts(sorted(after - before))])
        self.snapshot, self.topology = snapshot, new
        self._build_pods(fresh)
        self._serve(new)
        self.program(progress)

    def probe(self, selection: Selection, progress: Progress) -> Matrix:
        """Ask all selected questions, and those again that should have been answered."""
        probes = list(all_probes(self.topology, selection))
        worker = self._ask(probes)
        expected: list[bool] = []
        try:
            while not worker.poll(0 if len(expected) < len(probes) else 0.1):
                batch = probes[len(expected) : len(expected) + _EXPECT_AT_ONCE]
                expected += [self._allows(probe) for probe in batch]
                progress(worker.progress, len(probes), "probing")
        finally:
            worker.stop()
        expected += [self._allows(probe) for probe in probes[len(expected) :]]
        outcomes = _outcomes(worker)
        self._ask_again(probes, expected, outcomes, progress)
        progress(len(probes), len(probes), "probing")
        return build_matrix(probes, expected, outcomes)

    def _ask_again(
        self,
        probes: Sequence[Probe],
        expected: Sequence[bool],
        outcomes: list[Outcome],
        progress: Progress,
    ) -> None:
        """Repeat, more patiently, what was expected to get through and did not.

        A busy machine loses packets. The reverse, a probe that got through against expectation, is
        a fact and is never repeated.
        """
        for patience, window in _SECOND_CHANCES:
            missed = [
                index
                for index, wanted in enumerate(expected)
                if wanted and not outcomes[index].reached
            ]
            if not missed or len(missed) > _HOPELESS:
                return
            worker = self._ask([probes[index] for index in missed], patience, window)
            try:
                while not worker.poll(0.1):
                    progress(worker.progress, len(missed), "probing again")
            finally:
                worker.stop()
            for index, outcome in zip(missed, _outcomes(worker), strict=True):
                outcomes[index] = outcome

    def _ask(
        self, probes: Sequence[Probe], patience: float = PATIENCE, window: int | None = None
    ) -> Worker:
        self._tag += 1
        tag = self._tag

        def work(report: Report) -> str:
            found = (
                ask(probes, tag, patience=patience, progress=report)
                if window is None
                else ask(probes, tag, patience=patience, window=window, progress=report)
            )
            return "".join(str(outcome.value) for outcome in found)

        return Worker(work)

    def _allows(self, probe: Probe) -> bool:
        return self._engine.allows(self.snapshot, probe.flow)

    def _build_pods(self, pods: Sequence[Pod]) -> None:
        """All of them or, with an error, none, so that another attempt begins from the start."""
        try:
            for pod in pods:
                netns.create(pod_netns(pod), netns.HOST_SYSCTLS)
            netns.run_scripts(self._runner, merge(wire_pods(self.topology, pods)))
        except (LabError, OSError):
            for pod in pods:
                self._clear_away(pod)
            raise
        self._standing.update((_identity(pod), pod) for pod in pods)

    def _clear_away(self, pod: Pod) -> None:
        """Remove whatever there is of a pod that was not built to its end."""
        for script in unwire_pods(self.topology, [pod]):
            with contextlib.suppress(LabError):
                netns.run_scripts(self._runner, [script])
        with contextlib.suppress(OSError):
            netns.delete(pod_netns(pod))

    def _remove_pods(self, pods: Sequence[Pod]) -> None:
        for pod in pods:
            del self._standing[_identity(pod)]
        netns.run_scripts(self._runner, merge(unwire_pods(self.topology, pods)))
        for pod in pods:
            netns.delete(pod_netns(pod))

    def _serve(self, topology: Topology) -> None:
        """Open the doors that are not open yet."""
        doors = doors_of(topology.endpoints)
        self._listen(Command(open=tuple(sorted(doors - self._doors))))
        self._doors = doors

    def _start_listeners(self) -> None:
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            status = 1
            try:
                libc.die_with_parent(signal.SIGKILL)
                ours.close()
                status = serve(theirs)
            finally:
                os._exit(status)
        theirs.close()
        self._listeners = ours

    def _listen(self, command: Command) -> None:
        if self._listeners is None:
            raise LabError("the lab's listeners do not run")
        self._listeners.sendall(msgspec.json.encode(command) + b"\n")
        with self._listeners.makefile("rb") as lines:
            line = lines.readline()
        if not line:
            raise LabError("the lab's listeners ended")
        answer = msgspec.json.decode(line, type=Answer)
        if answer.error:
            raise LabError(answer.error)


def _fixed_parts(topology: Topology) -> list[object]:
    """What an apply cannot change: the nodes and, where it has bridges on it, their pod ranges."""
    bridged = topology.cni is Cni.BRIDGE
    return [
        (node.name, node.addresses, node.pod_cidrs if bridged else ()) for node in topology.nodes
    ]


def _networked(pods: Iterable[Pod]) -> list[Pod]:
    return [pod for pod in pods if not pod.host_network]


def _identity(pod: Pod) -> _Identity:
    return pod.key, pod.node, pod.addresses


def _outcomes(worker: Worker) -> list[Outcome]:
    return [Outcome(int(digit)) for digit in worker.result or ""]
