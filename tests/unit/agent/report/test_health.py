"""When an agent is ready, when it is alive, and what its log says about the API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future

import msgspec
import pytest

from podwall.agent.reconcile.options import ReconcileOptions
from podwall.agent.reconcile.picture import Picture
from podwall.agent.report.health import STUCK_AFTER, Health, Pulse, stuck_after
from podwall.agent.report.metrics import Metrics
from podwall.agent.report.watchlog import WatchLog
from podwall.agent.status import Enforced, KernelStatus, ObjectProblem, WatchStatus
from podwall.errors import AgentError


class Reconciling:
    """What a reconciler says of itself."""

    def __init__(self) -> None:
        self.kernel = KernelStatus(in_sync=True, since=50.0)
        self.wrong: tuple[ObjectProblem, ...] = ()

    def status(self) -> KernelStatus:
        return self.kernel

    def enforced(self) -> Enforced:
        return Enforced(pods=2)

    def problems(self) -> tuple[ObjectProblem, ...]:
        return self.wrong

    def waiting(self) -> int:
        return 3

    def objects(self) -> dict[str, int]:
        return {"Pod": 7}


class Watch:
    """A watch, as good or bad as it is told to be."""

    def __init__(self, kind: str = "Pod") -> None:
        self.status = WatchStatus(kind, listed=True, connected=True, since=60.0)

    def be(self, **fields: object) -> None:
        self.status = msgspec.structs.replace(self.status, **fields)


class World:
    """An agent's health, and the time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reconciling = Reconciling()
        self.watch = Watch()
        self.health = Health("n1", self.reconciling, [self.watch], 30, lambda: self.now)


@pytest.fixture
def world() -> World:
    return World()


def test_an_agent_that_knows_all_and_is_in_sync_is_ready(world: World) -> None:
    status = world.health.status()
    assert status.ready
    assert status.why_not == ()
    assert (status.node, status.waiting, status.objects) == ("n1", 3, {"Pod": 7})


def test_an_agent_that_has_not_seen_everything_is_not_ready(world: World) -> None:
    world.watch.be(listed=False, connected=False, error="403 Forbidden")
    assert world.health.status().why_not == ("Pod objects are not known yet: 403 Forbidden",)


def test_a_watch_may_be_away_for_a_while_and_not_for_long(world: World) -> None:
    world.watch.be(connected=False, since=100.0, error="refused")
    world.now = 130.0
    assert world.health.status().ready
    world.now = 131.0
    assert world.health.status().why_not == ("no news of Pod objects for 31 s: refused",)


def test_an_agent_whose_kernel_is_not_in_sync_is_not_ready(world: World) -> None:
    world.reconciling.kernel = KernelStatus(in_sync=False, since=1.0, error="no ipset")
    assert world.health.status().why_not == ("the kernel is not in sync: no ipset",)
    world.reconciling.kernel = KernelStatus(in_sync=False, since=1.0)
    nothing = "nothing is enforced yet: "
    under_way = (f"{nothing}the first write to the kernel is under way",)
    assert world.health.status().why_not == under_way
    world.watch.be(listed=False, connected=False)
    assert world.health.status().why_not[-1] == f"{nothing}the cluster is not known in full"


def test_the_metrics_say_what_the_status_says(world: World) -> None:
    world.reconciling.wrong = (ObjectProblem("NetworkPolicy", "dev/web", "x", 0.0),)
    world.reconciling.kernel = KernelStatus(in_sync=True, since=1.0, last_check=90.0)
    metrics = Metrics("1.2.3")
    metrics.follow(world.health.status)
    text = metrics.render().decode()
    assert 'podwall_build_info{version="1.2.3"} 1.0' in text
    assert "podwall_ready 1.0" in text
    assert "podwall_pods 2.0" in text
    assert "podwall_events_waiting 3.0" in text
    assert 'podwall_objects{kind="Pod"} 7.0' in text
    assert 'podwall_objects_in_error{kind="NetworkPolicy"} 1.0' in text
    assert 'podwall_objects_in_error{kind="Pod"} 0.0' in text
    assert 'podwall_watch_up{kind="Pod"} 1.0' in text
    assert "dev/web" not in text


async def test_a_thread_that_does_not_answer_is_dead_and_one_that_answers_again_is_not() -> None:
    now = 0.0
    asked: list[Future[None]] = []
    slept = asyncio.Event()

    def ask(_question: Callable[[Picture], None]) -> Future[None]:
        asked.append(Future())
        return asked[-1]

    async def sleep(_seconds: float) -> None:
        slept.set()
        await asyncio.Event().wait()

    pulse = Pulse(ask, lambda: (), STUCK_AFTER, lambda: now, sleep)
    task = asyncio.create_task(pulse.run())
    await asyncio.sleep(0)
    now = STUCK_AFTER
    assert pulse.why_dead() == ()
    now += 1
    (reason,) = pulse.why_dead()
    assert reason == "the thread that writes to the kernel has not answered for 121 s"
    asked[0].set_result(None)
    async with asyncio.timeout(20):
        await slept.wait()
    assert pulse.why_dead() == ()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_a_thread_that_is_gone_is_known_at_once() -> None:
    gone: list[str] = []
    pulse = Pulse(lambda _question: Future(), lambda: gone)
    assert pulse.why_dead() == []
    gone.append("the thread that cuts connections has ended")
    assert pulse.why_dead() == gone


async def test_nobody_waits_for_an_answer_when_the_agent_ends() -> None:
    asked: list[Future[None]] = []

    def ask(_question: object) -> Future[None]:
        asked.append(Future())
        return asked[-1]

    pulse = asyncio.create_task(Pulse(ask, lambda: ()).run())
    while not asked:
        await asyncio.sleep(0)
    pulse.cancel()
    await asyncio.gather(pulse, return_exceptions=True)
    await asyncio.sleep(0)
    assert asked[0].cancelled()


async def test_a_thread_that_is_gone_ends_the_agent() -> None:
    async with asyncio.timeout(20):
        with pytest.raises(AgentError, match="the thread that cuts connections has ended"):
            await answered(["the thread that cuts connections has ended"])


async def answered(ended: list[str]) -> None:
    """Wait for a pulse of a reconciler that answers at once."""

    def ask(_question: Callable[[Picture], None]) -> Future[None]:
        answer: Future[None] = Future()
        asyncio.get_running_loop().call_soon(answer.set_result, None)
        return answer

    await Pulse(ask, lambda: ended).run()


def test_who_waits_for_a_lock_as_long_as_it_may_is_not_stuck() -> None:
    waits_for_another_podwall, families, tries = ReconcileOptions().lock_seconds, 2, 2
    for lock_wait in (0, 10, 600):
        longest = tries * (waits_for_another_podwall + families * lock_wait)
        assert stuck_after(lock_wait) > longest


def test_the_log_tells_of_lost_news_once_for_all_kinds_and_then_less_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    clock = [100.0]
    watches = [Watch("Pod"), Watch("Node")]
    log = WatchLog(watches, lambda: clock[0])
    for each in watches:
        each.be(connected=False, since=100.0, error="refused\nsomehow")
    for seconds in range(301):
        clock[0] = 100.0 + seconds
        log.look()
    lost = [each.getMessage() for each in caplog.records]
    assert lost == [
        f"no news of Pod, Node objects for {seconds} s, trying on: refused somehow"
        for seconds in (2, 30, 60, 120, 240)
    ]
    caplog.clear()
    for each in watches:
        each.be(connected=True, since=400.0, error="")
    log.look()
    log.look()
    assert [each.getMessage() for each in caplog.records] == [
        "news of Pod, Node objects arrive again"
    ]


def test_a_watch_that_is_taken_up_again_at_once_is_nothing_to_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    watch = Watch()
    log = WatchLog([watch], lambda: 101.0)
    watch.be(connected=False, since=100.0, error="it ended")
    log.look()
    watch.be(connected=True, since=101.0, error="")
    log.look()
    assert caplog.records == []
