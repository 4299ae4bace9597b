"""The thread: takes what comes, answers between two batches, ends when it is told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from podwall.agent.reconcile import Picture, ReconcileOptions, Reconciler
from podwall.agent.status import Cause
from podwall.cluster.events import Applied, Deleted, Kind
from podwall.errors import KernelError
from podwall.model.decode import Problem
from podwall.model.policy import PolicyKey
from podwall.model.settings import Settings
from podwall.ruleset.live import LiveNode
from tests.builders import pod, pod_key
from tests.unit.agent.reconcile.rig import NODE, Notebook, Rig, listing
from tests.unit.dataplane.scenario import cluster

PATIENCE = 30.0


class World:
    """A reconciler on a fake kernel; everything is waited for, nothing is timed."""

    def __init__(self, directory: Path) -> None:
        self.rig = Rig(directory)
        self.seen = Notebook()
        self.reconciler = Reconciler(
            NODE,
            Settings(),
            self.rig.open,
            self.seen,
            ReconcileOptions(
                check_every=0.01,
                check_share=1,
                retry_first=0.01,
                applies_per_second=100,
                burst=2,
                lock_file=directory / "lock",
                lock_seconds=0,
            ),
        )

    def list_everything(self) -> None:
        for event in listing(cluster()):
            self.reconciler.take(event, time.monotonic())

    def ask(self, question: Callable[[Picture], object] = lambda _picture: None) -> object:
        return self.reconciler.ask(question).result(PATIENCE)

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, self.reconciler.status()
            time.sleep(0.002)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    assert made.reconciler.stop(PATIENCE)


def test_what_came_before_the_start_is_not_lost(world: World) -> None:
    world.list_everything()
    assert world.reconciler.waiting() == len(listing(cluster()))
    world.reconciler.start()
    world.ask()
    assert world.reconciler.waiting() == 0
    assert world.reconciler.status().in_sync
    assert world.rig.holds(cluster())


def test_questions_are_answered_before_and_after_the_gate_opens(world: World) -> None:
    world.reconciler.start()
    assert world.ask(lambda picture: picture.live) is None
    assert not world.reconciler.status().in_sync
    world.list_everything()
    assert isinstance(world.ask(lambda picture: picture.live), LiveNode)
    assert world.ask(lambda picture: len(picture.observe().v4.chains))
    with pytest.raises(ZeroDivisionError):
        world.ask(lambda _picture: 1 / 0)


def test_after_the_end_questions_are_refused_and_the_rules_stay(world: World) -> None:
    world.list_everything()
    world.reconciler.start()
    world.ask()
    blocked, go_on = threading.Event(), threading.Event()

    def wait(_picture: Picture) -> str:
        blocked.set()
        assert go_on.wait(PATIENCE)
        return "answered"

    under_way = world.reconciler.ask(wait)
    assert blocked.wait(PATIENCE)
    left = world.reconciler.ask(lambda _picture: "too late")
    threading.Timer(0.02, go_on.set).start()
    assert world.reconciler.stop(PATIENCE)
    assert under_way.result(0) == "answered"
    for late in (left, world.reconciler.ask(lambda _picture: "too late")):
        with pytest.raises(KernelError, match="ending"):
            late.result(0)
    assert world.rig.holds(cluster())


def test_load_that_goes_on_is_written_together_and_none_of_it_is_lost(world: World) -> None:
    world.list_everything()
    world.reconciler.start()
    world.ask()
    for number in range(300):
        peer = pod(f"dev/c-{number}", f"10.0.3.{number % 250}", node="b", app="client")
        world.reconciler.take(Applied(peer), time.monotonic())
        if number % 3 == 0:
            world.reconciler.take(Deleted(pod_key(f"dev/c-{number}")), time.monotonic())
    world.until(lambda: world.reconciler.waiting() == 0)
    expected = cluster(*sorted({f"10.0.3.{n % 250}" for n in range(300) if n % 3}))
    members = {each.members for each in world.rig.open().observe().v4.sets.values()}
    assert len(max(members, key=len)) == len(expected.pods) - 2
    assert world.reconciler.status().in_sync
    assert 0 < len(world.seen.applies) < 200


def test_numbers_follow_when_there_is_time(world: World) -> None:
    world.list_everything()
    world.reconciler.start()
    world.until(lambda: world.reconciler.enforced().pods == 2)
    assert world.reconciler.objects()[Kind.POD.value] == 3


def test_complaints_and_events_keep_their_order(world: World) -> None:
    world.list_everything()
    world.reconciler.start()
    key, problem = PolicyKey("dev", "odd"), Problem(("spec",), "5 is a number")
    world.reconciler.complain(key, (problem,))
    world.ask()
    [found] = world.reconciler.problems()
    assert (found.name, found.text) == ("dev/odd", "spec: 5 is a number")
    world.reconciler.take(Deleted(key), time.monotonic())
    world.reconciler.complain(key, (problem,))
    world.ask()
    assert len(world.reconciler.problems()) == 1
    world.reconciler.complain(key, (problem,))
    world.reconciler.take(Deleted(key), time.monotonic())
    world.ask()
    assert world.reconciler.problems() == ()


def test_drift_is_found_by_the_looks_that_are_taken_beside(world: World) -> None:
    world.list_everything()
    world.reconciler.start()
    world.until(lambda: world.reconciler.status().last_check > 0)
    [peers] = [name for name in world.rig.kernel.sets.by_name if name.startswith("PW4-p-")]
    done = world.rig.kernel.run(["ipset", "restore"], input=f"del {peers} 10.0.1.9\n")
    assert not done.status
    world.until(lambda: world.reconciler.status().drift_repairs == 1)
    assert world.rig.holds(cluster())
    assert world.seen.applies[-1].cause is Cause.DRIFT


def test_what_fails_is_tried_again_until_it_works(world: World) -> None:
    world.rig.kernel.missing.add("ipset")
    world.list_everything()
    world.reconciler.start()
    world.until(lambda: len(world.seen.failures) > 2)
    assert "ipset is not installed" in world.reconciler.status().error
    world.rig.kernel.missing.clear()
    world.until(lambda: world.reconciler.status().in_sync)
    assert world.rig.holds(cluster())


def test_a_defect_does_not_end_the_thread(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.list_everything()
    world.reconciler.start()
    world.ask()
    real, chances = LiveNode.apply, [True]

    def broken(live: LiveNode, events: object) -> object:
        if chances:
            chances.clear()
            raise RuntimeError("surprise")
        return real(live, events)  # type: ignore[arg-type]

    monkeypatch.setattr(LiveNode, "apply", broken)
    more = pod("dev/c-1", "10.0.3.1", node="b", app="client")
    world.reconciler.take(Applied(more), time.monotonic())
    world.until(lambda: not chances)
    world.ask()
    world.until(lambda: world.reconciler.status().in_sync)
    assert "surprise" in caplog.text
    members = [each.members for each in world.rig.open().observe().v4.sets.values()]
    assert any(len(each) == 2 for each in members)


class Touchy(Notebook):
    """An observer with a defect."""

    def problem_changed(self, *_: object) -> None:
        raise RuntimeError("surprise")


def test_a_defect_of_who_is_told_of_problems_loses_no_event(world: World) -> None:
    world.reconciler._keeper.problems._observer = Touchy()
    world.reconciler.complain(PolicyKey("dev", "odd"), (Problem((), "odd"),))
    world.list_everything()
    world.reconciler.take(Deleted(PolicyKey("dev", "odd")), time.monotonic())
    world.reconciler.start()
    world.until(lambda: world.reconciler.status().in_sync)
    assert world.rig.holds(cluster())
    assert world.reconciler.ended() == ()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_by_itself_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(_items: object) -> None:
        raise KeyboardInterrupt

    assert world.reconciler.ended() == ()
    monkeypatch.setattr(world.reconciler, "_handle", end)
    world.reconciler.start()
    world.reconciler.take(Deleted(pod_key("dev/x")), 0.0)
    world.until(lambda: bool(world.reconciler.ended()))
    assert world.reconciler.ended() == ("the thread that writes to the kernel has ended",)


def test_a_look_that_cannot_begin_is_taken_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.list_everything()
    start = threading.Thread.start
    failing = [True, True]

    def rarely(thread: threading.Thread) -> None:
        if thread.name == "podwall-look" and failing:
            failing.pop()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", rarely)
    world.reconciler.start()
    world.until(lambda: not failing and world.reconciler.status().last_check > 0)
