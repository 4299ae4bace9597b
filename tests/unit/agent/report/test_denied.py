"""Kubernetes Events on policies that deny: one for each pair, and few altogether."""

from __future__ import annotations

import asyncio
import contextlib

from podwall.agent.report.denied import (
    BURST,
    MOST_POLICIES,
    MOST_REMEMBERED,
    MOST_WAITING,
    QUIET,
    RATE,
    DenialEvents,
)
from podwall.errors import ApiForbidden
from podwall.ruleset.ir import LogKind
from tests.unit.agent.denied.making import named
from tests.unit.agent.report.test_events import Api


class World:
    """The writer of a node, its clock and its API server."""

    def __init__(self) -> None:
        self.api = Api()
        self.now = 1_000_000.0
        self.outcomes: list[str] = []
        self.writer = DenialEvents(
            self.api, "worker-1", self.outcomes.append, lambda: self.now, self._sleep
        )

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_a_denial_becomes_an_event_on_the_policy_that_isolates() -> None:
    world = World()
    world.writer.note([named()])
    await world.writer.catch_up()
    ((path, event),) = world.api.events.items()
    assert path.startswith("/api/v1/namespaces/dev/events/db.")
    assert event["involvedObject"]["name"] == "db"
    assert (event["type"], event["reason"]) == ("Normal", "Denied")
    assert event["message"] == "node worker-1: dev/web → dev/db 80/tcp denied: no rule allows it"
    assert world.outcomes == ["written"]


async def test_what_an_audited_policy_would_deny_has_a_reason_of_its_own() -> None:
    world = World()
    world.writer.note([named(), named(kind=LogKind.AUDIT)])
    await world.writer.catch_up()
    assert {reason for reason, _ in world.api.told} == {"Denied", "WouldDeny"}


async def test_a_pair_that_goes_on_is_one_event_in_ten_minutes_and_counts() -> None:
    world = World()
    for _ in range(5):
        world.writer.note([named()])
        await world.writer.catch_up()
        world.now += QUIET / 5 - 1
    assert world.api.told == [("Denied", 1)]
    world.now += 10
    world.writer.note([named()])
    await world.writer.catch_up()
    assert world.api.told == [("Denied", 2)]


async def test_one_pair_on_many_ports_is_one_event() -> None:
    world = World()
    world.writer.note([named(), named(), named()])
    await world.writer.catch_up()
    assert len(world.api.events) == 1


async def test_a_scan_makes_few_events_and_those_slowly() -> None:
    world = World()
    world.writer.note([named(f"10.0.0.{number}") for number in range(10 * MOST_WAITING)])
    before = world.now
    await world.writer.catch_up()
    assert len(world.api.events) == MOST_WAITING
    assert world.now - before >= (MOST_WAITING - BURST) / RATE - 1


async def test_of_many_policies_that_isolate_a_pod_the_first_get_events() -> None:
    world = World()
    world.writer.note([named(policies=[f"dev/{letter}" for letter in "abcdefgh"])])
    await world.writer.catch_up()
    assert len(world.api.events) == MOST_POLICIES


async def test_an_unknown_pod_has_no_policy_and_no_event() -> None:
    world = World()
    world.writer.note([named(policies=())])
    await world.writer.catch_up()
    assert not world.api.events


async def test_without_the_right_it_is_not_tried_for_the_same_pair_again_and_again() -> None:
    world = World()
    world.api.failure = ApiForbidden("events is forbidden", 403)
    for _ in range(3):
        world.writer.note([named()])
        await world.writer.catch_up()
    assert world.outcomes == ["failed"]


async def test_what_is_remembered_is_bounded() -> None:
    world = World()
    for number in range(MOST_REMEMBERED + 5):
        world.now += 100
        world.writer.note([named(f"{number}")])
        await world.writer.catch_up()
    assert len(world.writer._last) == MOST_REMEMBERED


async def test_it_runs_until_it_is_cancelled() -> None:
    world = World()
    running = asyncio.create_task(world.writer.run())
    async with asyncio.timeout(20):
        for source in ("dev/a", "dev/b"):
            world.writer.note([named(source)])
            while not any(source in each["message"] for each in world.api.events.values()):
                await asyncio.sleep(0)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
