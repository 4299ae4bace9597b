"""The process that owns one lab and runs cases of the suite in it, by real packets.

    python -m tests.conformance.kernel_lab --mode nft --cni routed

Builds the world of the suite once, as network namespaces with somebody listening on every port, and
then takes names of cases on its standard input, one a line. Each is answered by a line with
:class:`Report`: which expectations were not met. The lab ends with its standard input.

Three things keep it fast, and none weakens what is shown. A node is programmed only if its ruleset
is another one. A case starts from whatever the one before left in the kernel. And silence is waited
for briefly: last of all, *canaries* are asked, connections from each node to its own pod, which are
always allowed (S42). Where they come back, a packet that was let through had the time to do so,
since it was sent before; where they are late, everything is asked again, more patiently. A new
connection that gets through against expectation is a fact and never repeated, one that should have
got through and did not is asked again, alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.dataplane.apply import enforce
from podwall.dataplane.command import SystemRunner
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.kernel import open_kernel
from podwall.lab import isolation, netns
from podwall.lab.engine import open_engine
from podwall.lab.probe import ask
from podwall.lab.topology import (
    Cni,
    Endpoint,
    Listen,
    Outcome,
    Probe,
    Shape,
    Topology,
    node_netns,
)
from podwall.lab.world import World
from podwall.model.net import Family, Protocol, parse_address
from podwall.model.settings import Settings
from podwall.ruleset.compile import compile_node
from podwall.ruleset.ir import Ruleset
from tests.conformance.case import Case, Expectation
from tests.conformance.cases import ALL
from tests.conformance.test_oracle import snapshot_of
from tests.conformance.world import LISTENING, MACHINES, NODES, OUTSIDE, T80, world

CASES = {case.name: case for case in ALL}
PATIENCE = (0.06, 1.0, 4.0)
"""Seconds of silence that mean no; the later ones for when the canaries came late."""

SECOND_CHANCES = ((2.0, 40), (6.0, 4))
"""For what should have got through: patience, and how many at a time."""


class Miss(msgspec.Struct, frozen=True):
    """An expectation that was not met: the step's and its own number, and what happened."""

    step: int
    expectation: int
    outcome: str


class Report(msgspec.Struct, frozen=True):
    """What came of a case; ``error`` is why it could not be run at all."""

    misses: tuple[Miss, ...] = ()
    error: str = ""


class Node:
    """A node whose kernel is made to hold what the compiler says; ``mode`` None programs nothing.

    What was enforced last is remembered, so that a ruleset that did not change costs nothing.
    """

    def __init__(self, name: str, mode: Mode | None) -> None:
        self._name = name
        self._last: Ruleset | None = None
        with netns.inside(node_netns(name)):
            self._dataplane = None if mode is None else open_kernel(SystemRunner(), mode)

    def program(self, snapshot: Snapshot, settings: Settings) -> None:
        if self._dataplane is None:
            return
        ruleset = compile_node(snapshot, self._name, settings)
        if ruleset == self._last:
            return
        self._last = None
        with netns.inside(node_netns(self._name)):
            report = enforce(self._dataplane, ruleset)
        assert not report.refusals
        self._last = ruleset


class CaseRunner:
    """Runs cases in a world that stands."""

    def __init__(self, topology: Topology, mode: Mode | None) -> None:
        self._places = dict(_places(topology))
        self._nodes = [Node(name, mode) for name in sorted(NODES)]
        self._canaries = [
            self._probe(Expectation(node, pod, Family.V4, *T80, allowed=True))
            for node, pod in (("n1", "red/c"), ("n2", "red/d"))
        ]
        self._tag = 0

    def run(self, case: Case) -> Report:
        """Apply each step and ask what it expects."""
        misses: list[Miss] = []
        for number, (step, objects) in enumerate(case.states(world())):
            snapshot = snapshot_of(objects.values())
            for node in self._nodes:
                node.program(snapshot, case.settings)
            for index, outcome in self._ask(step.expect):
                misses.append(Miss(number, index, outcome.name.lower()))
        return Report(tuple(misses))

    def _ask(self, expect: Sequence[Expectation]) -> Iterator[tuple[int, Outcome]]:
        """The expectations that are not met, by index."""
        probes = [self._probe(each) for each in expect]
        outcomes = self._outcomes(probes)
        for patience, at_a_time in SECOND_CHANCES:
            missed = [
                index
                for index, each in enumerate(expect)
                if each.allowed and not outcomes[index].reached
            ]
            again = [probes[index] for index in missed]
            for index, outcome in zip(
                missed, self._send(again, patience, at_a_time=at_a_time), strict=True
            ):
                outcomes[index] = outcome
        for index, each in enumerate(expect):
            if outcomes[index] is Outcome.MISDIRECTED or outcomes[index].reached != each.allowed:
                yield index, outcomes[index]

    def _outcomes(self, probes: Sequence[Probe]) -> list[Outcome]:
        """What becomes of all probes; that silence means no is shown by the canaries."""
        for patience in PATIENCE:
            *outcomes, _, _ = found = self._send([*probes, *self._canaries], patience)
            if all(each.reached for each in found[-len(self._canaries) :]):
                return outcomes
        raise AssertionError("a node does not reach its own pod, which is always allowed (S42)")

    def _send(self, probes: Sequence[Probe], patience: float, at_a_time: int = 0) -> list[Outcome]:
        if not probes:
            return []
        self._tag += 1
        window = at_a_time or len(probes)
        return ask(probes, self._tag, patience=patience, window=window)

    def _probe(self, expectation: Expectation) -> Probe:
        family = expectation.family
        echo = Protocol.ICMP if family is Family.V4 else Protocol.ICMPV6
        word = expectation.protocol
        return Probe(
            self._places[expectation.src, family],
            self._places[expectation.dst, family],
            family,
            echo if word == "ICMP" else Protocol[word],
            expectation.port,
        )


def _places(topology: Topology) -> Iterable[tuple[tuple[str, Family], Endpoint]]:
    """Where each machine of the suite is in the lab."""
    for name, machine in MACHINES.items():
        for family in Family:
            text = machine.address(family)
            called = f"node/{name}" if name in NODES else text if name in OUTSIDE else name
            endpoint = topology.find(called)
            assert endpoint is not None, called
            assert endpoint.address(family) == parse_address(text)
            yield (name, family), endpoint


def shape_of(cni: Cni) -> Shape:
    """The lab that the suite needs."""
    return Shape(
        families=tuple(Family),
        cni=cni,
        hosts=tuple(
            parse_address(MACHINES[name].address(family))
            for name in sorted(OUTSIDE)
            for family in Family
        ),
        ports=tuple(
            Listen(Protocol[protocol], port) for protocol, port in LISTENING if port is not None
        ),
    )


def serve(source: int, sink: int, mode: Mode | None, cni: Cni) -> int:
    """Build the lab, then run what is asked for until the source ends."""
    lab = World(snapshot_of(world()), shape_of(cni), open_engine(), SystemRunner())
    runner: CaseRunner | None = None
    with os.fdopen(source) as names, os.fdopen(sink, "wb", buffering=0) as answers:
        for line in names:
            try:
                if runner is None:
                    lab.build(lambda _done, _total, _label: None)
                    runner = CaseRunner(lab.topology, mode)
                report = runner.run(CASES[line.strip()])
            except Exception:
                report = Report(error=traceback.format_exc())
            answers.write(msgspec.json.encode(report) + b"\n")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=[*(mode.value for mode in Mode), "none"], required=True)
    parser.add_argument("--cni", choices=[cni.value for cni in Cni], required=True)
    args = parser.parse_args()
    mode = None if args.mode == "none" else Mode(args.mode)
    source, sink = os.dup(0), os.dup(1)
    lab = isolation.start(
        lambda: serve(source, sink, mode, Cni(args.cni)),
        detached=False,
        keep_open=[source, sink],
    )
    # Only the lab holds the pipes now: whoever reads answers learns at once when the lab ends.
    for descriptor in (0, 1, source, sink):
        os.close(descriptor)
    isolation.wait(lab, None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
