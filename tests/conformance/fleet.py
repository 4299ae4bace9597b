"""Labs that run cases side by side, and what they find, in words.

A :class:`Fleet` has some equal labs (:mod:`tests.conformance.kernel_lab`), each with a thread that
feeds it one case after the other. Cases can be handed in long before their results are asked for.
"""

from __future__ import annotations

import queue
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import StringIO
from types import TracebackType

import msgspec
from rich.console import Console

from podwall.cli.show import show_explanation
from podwall.cluster.snapshot import Snapshot
from podwall.dataplane.iptables.mode import Mode
from podwall.explain.ends import Service, end_at
from podwall.explain.explanation import explain
from podwall.lab.topology import Cni
from podwall.model.flow import Flow
from podwall.model.net import Protocol
from podwall.model.settings import Settings
from podwall.ruleset.compile import compile_node
from tests.conformance.case import Case
from tests.conformance.cases import ALL, CORE
from tests.conformance.kernel_lab import Report
from tests.conformance.test_oracle import flow_of, snapshot_of
from tests.conformance.world import world

_WIDTH = 160


class Kind(msgspec.Struct, frozen=True):
    """A kind of lab; ``mode`` is that of iptables, None programs nothing at all."""

    mode: Mode | None
    cni: Cni

    def __str__(self) -> str:
        return f"{'open' if self.mode is None else self.mode.value}-{self.cni.value}"


ROUTED_NFT = Kind(Mode.NFT, Cni.ROUTED)
ROUTED_LEGACY = Kind(Mode.LEGACY, Cni.ROUTED)
BRIDGE_NFT = Kind(Mode.NFT, Cni.BRIDGE)
BRIDGE_LEGACY = Kind(Mode.LEGACY, Cni.BRIDGE)
OPEN = Kind(None, Cni.ROUTED)
KINDS = (ROUTED_NFT, ROUTED_LEGACY, BRIDGE_NFT, BRIDGE_LEGACY)


def cases_for(kind: Kind, everything: bool) -> tuple[Case, ...]:
    """The cases to run in labs of a kind: all, or for each kind what is worth its time.

    The most usual kind has every core case. The others have one case of each chapter and set of
    clauses, and every story of changes; bridges with legacy tables have one of each chapter.
    """
    if everything:
        return ALL
    if kind == ROUTED_NFT:
        return CORE
    chosen: dict[object, Case] = {}
    for case in CORE:
        chapter, _, name = case.name.partition("/")
        if kind == BRIDGE_LEGACY:
            chosen.setdefault(chapter, case)
        elif case.changes_the_world:
            chosen.setdefault(case.name, case)
        else:
            direction, _, _ = name.partition("-")
            chosen.setdefault((chapter, direction, case.clauses), case)
    return tuple(chosen.values())


class LabProcess:
    """One lab and the pipes to it."""

    def __init__(self, kind: Kind) -> None:
        mode = "none" if kind.mode is None else kind.mode.value
        argv = (sys.executable, "-m", "tests.conformance.kernel_lab")
        self._process = subprocess.Popen(
            (*argv, "--mode", mode, "--cni", kind.cni.value),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, case: Case) -> Report:
        """Run a case and wait for its report; a lab that ended gives one, too."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            process.stdin.write(f"{case.name}\n")
            process.stdin.flush()
        except BrokenPipeError:
            return Report(error=f"the lab ended: {process.stderr.read()}")
        line = process.stdout.readline()
        if not line:
            return Report(error=f"the lab ended: {process.stderr.read()}")
        return msgspec.json.decode(line, type=Report)

    def end(self) -> None:
        """End the lab at once."""
        self._process.kill()
        self._process.communicate()


class Fleet:
    """Labs of one kind; a context manager, at whose end they are gone."""

    def __init__(self, kind: Kind, labs: int) -> None:
        self._labs = [LabProcess(kind) for _ in range(labs)]
        self._idle: queue.SimpleQueue[LabProcess] = queue.SimpleQueue()
        for lab in self._labs:
            self._idle.put(lab)
        self._pool = ThreadPoolExecutor(labs)
        self._reports: dict[str, Future[Report]] = {}

    def submit(self, cases: Iterable[Case]) -> None:
        """Have cases run in this order, in the background."""
        for case in cases:
            if case.name not in self._reports:
                self._reports[case.name] = self._pool.submit(self._run, case)

    def report(self, case: Case) -> Report:
        """What came of a case; waits for it, and has it run if nobody did yet."""
        self.submit([case])
        return self._reports[case.name].result()

    def _run(self, case: Case) -> Report:
        lab = self._idle.get()
        try:
            return lab.run(case)
        finally:
            self._idle.put(lab)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for lab in self._labs:
            lab.end()
        self._pool.shutdown()


def story(case: Case, report: Report) -> str:
    """What went wrong, and what podwall says should have happened and why."""
    return "\n\n".join((f"{case.name} ({' '.join(case.clauses)})", *_paragraphs(case, report)))


def _paragraphs(case: Case, report: Report) -> Iterator[str]:
    if report.error:
        yield report.error
    states = list(case.states(world()))
    for miss in report.misses:
        step, objects = states[miss.step]
        expectation = step.expect[miss.expectation]
        note = f" ({step.note})" if step.note else ""
        yield f"step {miss.step + 1}{note}: expected that {expectation}, but it was {miss.outcome}"
    for number in sorted({miss.step for miss in report.misses}):
        step, objects = states[number]
        first = next(miss for miss in report.misses if miss.step == number)
        snapshot = snapshot_of(objects.values())
        flow = flow_of(step.expect[first.expectation])
        yield explanation_text(snapshot, flow, case.settings)


def explanation_text(snapshot: Snapshot, flow: Flow, settings: Settings) -> str:
    """What ``podwall explain`` would print about a flow."""
    console = Console(file=StringIO(), width=_WIDTH, highlight=False)
    for each in explain(
        snapshot,
        end_at(snapshot, flow.src),
        end_at(snapshot, flow.dst),
        Service(Protocol(flow.protocol), flow.port),
        lambda node: compile_node(snapshot, node, settings),
        settings,
    ):
        show_explanation(console, each)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()
