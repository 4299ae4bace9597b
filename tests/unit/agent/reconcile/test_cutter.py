"""Connections that are not allowed any more end, the others go on, at a bounded cost (S46)."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from podwall.agent.reconcile.cutter import Basis, Cutter
from podwall.agent.reconcile.ledger import Ledger
from podwall.agent.reconcile.options import ReconcileOptions
from podwall.dataplane.conntrack import CutReport
from podwall.dataplane.memory import memory_dataplane
from podwall.errors import KernelError
from podwall.model.net import Address
from podwall.ruleset.compile import compile_node
from tests.builders import addr, flow, pod
from tests.unit.agent.reconcile.rig import NODE, Notebook, Rig
from tests.unit.dataplane.scenario import cluster

WEB, DB, CLIENT, STRANGER = "10.0.0.2", "10.0.0.3", "10.0.1.9", "10.0.2.2"
ALLOWED, DENIED, ELSEWHERE = (
    flow(CLIENT, WEB, 80),
    flow(STRANGER, WEB, 80),
    flow(STRANGER, CLIENT, 80),
)
PATIENCE = 30.0


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path)
    made.sync(cluster())
    for each in (ALLOWED, DENIED, ELSEWHERE):
        made.kernel.track(each)
    return made


def cutter(rig: Rig) -> Cutter:
    return Cutter(lambda: None, rig.seen, rig.keeper.ledger, rig.options, lambda: rig.now)


def judge(rig: Rig, each: Cutter, *among: str) -> CutReport:
    dataplane = memory_dataplane(rig.kernel)
    assert rig.keeper.live is not None
    addresses = frozenset(map(addr, among)) if among else None
    return each.judge(dataplane, rig.keeper.live.ruleset(), addresses)


def test_s46_what_the_rules_do_not_allow_is_cut_and_nothing_else(rig: Rig) -> None:
    report = judge(rig, cutter(rig))
    assert (report.judged, report.cut) == (2, 1)
    assert len(rig.kernel.tracked) == 2
    assert rig.kernel.sets.by_name["PW4-cut"].members


def test_only_connections_with_an_end_that_is_asked_for_are_judged(rig: Rig) -> None:
    assert judge(rig, cutter(rig), DB).judged == 0
    assert judge(rig, cutter(rig), CLIENT) == CutReport(2, 0, 0.0)
    assert judge(rig, cutter(rig), STRANGER).cut == 1
    assert len(rig.kernel.tracked) == 2


def test_what_is_allowed_again_is_released(rig: Rig) -> None:
    each = cutter(rig)
    judge(rig, each, STRANGER)
    rig.give(pod("dev/stranger", STRANGER, node="b", app="client"))
    judge(rig, each, CLIENT)
    assert rig.kernel.sets.by_name["PW4-cut"].members
    judge(rig, each, STRANGER)
    assert not rig.kernel.sets.by_name["PW4-cut"].members


def test_remains_are_looked_for_only_while_there_may_be_any(rig: Rig) -> None:
    each = cutter(rig)
    judge(rig, each, CLIENT)
    rig.kernel.commands.clear()
    judge(rig, each, CLIENT)
    assert ("ipset", "save", "PW4-cut") not in rig.kernel.commands
    judge(rig, each, STRANGER)
    rig.kernel.commands.clear()
    judge(rig, each, CLIENT)
    assert ("ipset", "save", "PW4-cut") in rig.kernel.commands


def test_s42_connections_of_the_node_itself_are_never_cut(rig: Rig) -> None:
    own = "172.31.0.1"
    rig.kernel.own.append(own)
    rig.kernel.track(flow(own, WEB, 8080))
    assert judge(rig, cutter(rig), own).cut == 0


class Working:
    """A cutter at work, whose questions a test answers."""

    def __init__(self, directory: Path) -> None:
        self.rig = Rig(directory)
        self.rig.sync(cluster())
        self.asked = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.rounds: list[frozenset[Address] | None] = []
        self.failing = 0
        self.failure: Exception = KernelError("no")
        self.cutter = Cutter(
            self.basis,
            self.rig.seen,
            Ledger(lambda: 0.0),
            ReconcileOptions(retry_first=0.01, lock_file=directory / "lock"),
        )
        self.cutter.judge = self.judge  # type: ignore[method-assign]

    def basis(self) -> Basis:
        return memory_dataplane(self.rig.kernel), compile_node(cluster(), NODE)

    def judge(self, *words: object) -> CutReport:
        among = words[-1]
        assert among is None or isinstance(among, frozenset)
        self.asked.release()
        assert self.go_on.acquire(timeout=PATIENCE)
        self.rounds.append(among)
        if self.failing:
            self.failing -= 1
            raise self.failure
        return CutReport(3, 2, 0.0)


def ends(*texts: str) -> frozenset[Address]:
    return frozenset(map(addr, texts))


def test_what_is_asked_for_meanwhile_is_done_together(tmp_path: Path) -> None:
    working = Working(tmp_path)
    working.cutter.start()
    working.cutter.submit(frozenset())
    working.cutter.submit(ends(WEB))
    assert working.asked.acquire(timeout=PATIENCE)
    working.cutter.submit(ends(DB))
    working.cutter.submit(ends(CLIENT))
    working.go_on.release(2)
    assert working.asked.acquire(timeout=PATIENCE)
    working.cutter.stop(PATIENCE)
    assert working.rounds == [ends(WEB), ends(DB, CLIENT)]
    assert not working.cutter.alive


def test_everything_swallows_what_is_asked_for_besides(tmp_path: Path) -> None:
    working = Working(tmp_path)
    for among in (ends(WEB), None, ends(DB)):
        working.cutter.submit(among)
    working.go_on.release()
    working.cutter.start()
    assert working.asked.acquire(timeout=PATIENCE)
    working.cutter.stop(PATIENCE)
    assert working.rounds == [None]


@pytest.mark.parametrize("failure", [KernelError("no"), ValueError("surprise")])
def test_what_fails_is_told_and_tried_again_with_what_came_since(
    tmp_path: Path, failure: Exception
) -> None:
    working = Working(tmp_path)
    working.failure = failure
    working.failing = 2
    working.cutter.start()
    working.cutter.submit(ends(WEB))
    assert working.asked.acquire(timeout=PATIENCE)
    working.cutter.submit(ends(DB))
    working.go_on.release(3)
    for _ in range(2):
        assert working.asked.acquire(timeout=PATIENCE)
    working.cutter.stop(PATIENCE)
    assert working.rounds == [ends(WEB), ends(WEB, DB), ends(WEB, DB)]
    seen: Notebook = working.rig.seen
    assert [pause for _, pause in seen.cut_failures] == [0.01, 0.02]
    assert seen.failures == []
    assert [each.cut for each in seen.cuts] == [2]


def test_why_connections_may_go_on_is_known_until_they_were_judged(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    ledger = Ledger(lambda: 0.0)
    told = []

    def basis() -> Basis:
        told.append(ledger.status.cut_error)
        if len(told) < 3:
            raise ValueError("surprise")
        return memory_dataplane(rig.kernel), compile_node(cluster(), NODE)

    each = Cutter(
        basis, rig.seen, ledger, ReconcileOptions(retry_first=0.01, lock_file=tmp_path / "lock")
    )
    each.start()
    each.submit(None)
    deadline = time.monotonic() + PATIENCE
    while not rig.seen.cuts:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    each.stop(PATIENCE)
    assert told == ["", *["a defect of podwall: ValueError: surprise"] * 2]
    assert ledger.status.cut_error == ""
