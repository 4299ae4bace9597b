"""What is logged and counted of what the reconciler does."""

from __future__ import annotations

import logging

import pytest

from podwall.agent.report.metrics import Metrics
from podwall.agent.report.reporter import PROBLEMS_AT_ONCE, CountingFeed, Reporter
from podwall.agent.status import Applied, Cause, ObjectProblem
from podwall.cluster.events import Applied as ObjectApplied
from podwall.cluster.events import Event, ObjectKey
from podwall.dataplane.apply import ApplyReport
from podwall.dataplane.conntrack import CutReport
from podwall.errors import KernelError
from podwall.model.decode import Problem
from podwall.model.objects import Node, PodKey

WEB = PodKey("dev", "web-0")


class World:
    """A reporter, its clock, and what it told others."""

    def __init__(self) -> None:
        self.now = 0.0
        self.metrics = Metrics("1")
        self.problems: list[ObjectKey] = []
        self.syncs = 0
        self.reporter = Reporter(
            self.metrics, lambda key, _: self.problems.append(key), self._sync, lambda: self.now
        )

    def _sync(self) -> None:
        self.syncs += 1

    def metric(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(name)
        assert value is not None
        return value


@pytest.fixture
def world(caplog: pytest.LogCaptureFixture) -> World:
    caplog.set_level(logging.INFO)
    return World()


def applied(cause: Cause, *latencies: float) -> Applied:
    report = ApplyReport(1, 3, 1, 12, 0, 0.041)
    return Applied(1.0, cause, "pod dev/web-0", report, latencies)


def test_an_apply_is_told_with_its_reason_and_how_long_its_events_waited(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.reporter.applied(applied(Cause.EVENT, 0.050))
    world.reporter.applied(applied(Cause.EVENT, 0.050, 0.070))
    told = "applied in 41 ms: rules +3 -1, members +12 -0 (reason: pod dev/web-0"
    assert [each.getMessage() for each in caplog.records] == [
        f"{told}; 50 ms after the event arrived)",
        f"{told}; 2 events, the slowest 70 ms after it arrived)",
    ]
    assert world.metric("podwall_event_to_kernel_seconds_count") == 3
    assert world.syncs == 0


def test_the_first_picture_is_told_to_who_waits_for_it(world: World) -> None:
    world.reporter.applied(applied(Cause.SYNC))
    assert world.syncs == 1


def test_a_repair_is_one_line_and_a_rival_that_goes_on_is_logged_less_and_less(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for count in range(1, 9):
        world.reporter.applied(applied(Cause.DRIFT))
        world.reporter.drifted("set PW4-x lost 10.0.0.1", count)
    lines = [each.getMessage() for each in caplog.records]
    assert lines[0] == (
        "applied in 41 ms: rules +3 -1, members +12 -0 "
        "(reason: somebody else changed what is ours: set PW4-x lost 10.0.0.1)"
    )
    assert len(lines) == 4
    assert "8 times in a row" in lines[-1]
    assert {each.levelname for each in caplog.records} == {"WARNING"}
    assert world.metric("podwall_drift_repairs_total") == 8


def test_a_failure_that_goes_on_is_logged_less_and_less(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(16):
        world.reporter.failed(KernelError("no\nipset"), 2.0)
    assert len(caplog.records) == 5
    assert caplog.records[0].getMessage() == (
        "the kernel is not in sync: no ipset; tried again in 2.0 s"
    )
    assert world.metric("podwall_apply_failures_total") == 16


def test_connections_that_were_cut_are_told_and_judging_without_effect_is_not(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.reporter.cut(CutReport(31, 0, 0.1))
    world.reporter.cut(CutReport(31, 2, 0.1))
    (record,) = caplog.records
    assert record.getMessage() == "cut 2 of 31 connections, which a change forbids"
    assert world.metric("podwall_connections_cut_total") == 2


def test_objects_in_error_are_told_and_do_not_fill_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    problem = ObjectProblem("Pod", "dev/web-0", "spec: it is a number", 0.0)
    for _ in range(1000):
        world.reporter.problem_changed(WEB, (problem,))
    assert len(caplog.records) == PROBLEMS_AT_ONCE
    assert caplog.records[0].getMessage() == "Pod dev/web-0: spec: it is a number"
    assert len(world.problems) == 1000
    world.now = 60
    world.reporter.problem_changed(WEB, ())
    assert [each.getMessage() for each in caplog.records[-2:]] == [
        "900 lines on objects in error were left out",
        "Pod dev/web-0 is in error no more",
    ]


def test_events_are_counted_on_their_way(world: World) -> None:
    taken: list[Event] = []

    class Feed:
        def take(self, event: Event, received: float) -> None:
            taken.append(event)

        def complain(self, key: ObjectKey, problems: tuple[Problem, ...]) -> None:
            raise AssertionError

    feed = CountingFeed(Feed(), world.metrics)
    given = [ObjectApplied(Node("n1")), ObjectApplied(Node("n2"))]
    for each in given:
        feed.take(each, 0.0)
    assert taken == given
    assert world.metric("podwall_events_total") == 2


def test_connections_that_cannot_be_cut_are_not_taken_for_rules_that_are_not_written(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(4):
        world.reporter.cut_failed(KernelError("no"), 2.0)
    world.reporter.cut(CutReport(1, 0, 0.0))
    world.reporter.cut_failed(KernelError("no"), 0.5)
    told = "connections that a change forbids may go on: no; tried again in"
    assert [each.getMessage() for each in caplog.records] == [
        *[f"{told} 2.0 s"] * 3,
        f"{told} 0.5 s",
    ]
    assert world.metric("podwall_cut_failures_total") == 5
    assert world.metric("podwall_apply_failures_total") == 0
