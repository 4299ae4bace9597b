"""Kubernetes Events on policies in error: which, when, how often, and what stops them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pytest

from podwall.agent.report.events import BURST, MOST, QUIET, RATE, RENEW_AFTER, PolicyEvents
from podwall.agent.status import ObjectProblem
from podwall.errors import ApiConflict, ApiForbidden, ApiNotFound, ApiUnreachable
from podwall.model.objects import PodKey
from podwall.model.policy import PolicyKey

WEB = PolicyKey("dev", "web")
EVENTS = "/api/v1/namespaces/dev/events"


def problem(text: str = "spec: it is a number") -> tuple[ObjectProblem, ...]:
    return (ObjectProblem("NetworkPolicy", str(WEB), text, 0.0),)


class Api:
    """Keeps Events, and fails when told to."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.failure: Exception | None = None

    async def create(self, path: str, thing: object) -> bytes:
        self.asked.append("create")
        assert isinstance(thing, dict)
        if self.failure is not None:
            raise self.failure
        name = f"{path}/{thing['metadata']['name']}"
        if name in self.events:
            raise ApiConflict("it exists already", 409)
        self.events[name] = dict(thing)
        return b"{}"

    async def patch(self, path: str, patch: object) -> bytes:
        self.asked.append("patch")
        assert isinstance(patch, dict)
        if self.failure is not None:
            raise self.failure
        if path not in self.events:
            raise ApiNotFound("there is no such Event", 404)
        self.events[path] |= patch
        return b"{}"

    @property
    def told(self) -> list[tuple[str, int]]:
        return [(each["reason"], each["count"]) for each in self.events.values()]


class World:
    """The writer of a node, its pods, its clock and its API server."""

    def __init__(self, api: Api | None = None) -> None:
        self.api = api or Api()
        self.isolated: dict[PolicyKey, tuple[PodKey, ...]] = {WEB: (PodKey("dev", "web-0"),)}
        self.now = 1_000_000.0
        self.slept: list[float] = []
        self.outcomes: list[str] = []
        self.asked = 0
        self.blind = False
        self.writer = PolicyEvents(
            self.api,
            "worker-1",
            self._isolated,
            self.outcomes.append,
            wall=lambda: self.now,
            sleep=self._sleep,
            chance=lambda: 0.5,
        )

    async def _isolated(
        self, policies: Sequence[PolicyKey]
    ) -> dict[PolicyKey, tuple[PodKey, ...]] | None:
        self.asked += 1
        if self.blind:
            return None
        return {key: self.isolated[key] for key in policies if key in self.isolated}

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)

    async def later(self) -> None:
        """Enough time has passed to speak of the same policy again."""
        self.now += QUIET
        await self.writer.catch_up()


@pytest.fixture
def world() -> World:
    return World()


async def test_an_event_names_the_policy_the_pods_and_the_reason(world: World) -> None:
    world.writer.note(WEB, problem())
    await world.writer.catch_up()
    (event,) = world.api.events.values()
    assert event["involvedObject"] == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "namespace": "dev",
        "name": "web",
    }
    assert event["message"] == (
        "node worker-1: this policy is not enforced as written. It isolates web-0; "
        "what is wrong with it allows nothing: spec: it is a number"
    )
    assert (event["type"], event["count"]) == ("Warning", 1)
    assert event["firstTimestamp"] == "1970-01-12T13:46:40Z"
    assert world.outcomes == ["written"]


async def test_what_is_said_is_not_said_again(world: World) -> None:
    world.writer.note(WEB, problem())
    await world.writer.catch_up()
    world.writer.note(WEB, problem())
    await world.later()
    assert world.api.asked == ["create"]


async def test_an_event_that_stays_true_is_renewed_before_it_is_forgotten(world: World) -> None:
    world.writer.note(WEB, problem())
    await world.writer.catch_up()
    world.now += RENEW_AFTER
    await world.writer.catch_up()
    assert world.api.asked == ["create", "patch"]
    assert world.api.told == [("NotEnforcedAsWritten", 2)]


async def test_an_event_that_was_forgotten_is_written_anew(world: World) -> None:
    world.writer.note(WEB, problem())
    await world.writer.catch_up()
    world.api.events.clear()
    world.now += RENEW_AFTER
    await world.writer.catch_up()
    assert world.api.told == [("NotEnforcedAsWritten", 2)]


async def test_the_next_agent_of_the_node_goes_on_with_the_event_of_the_last(
    world: World,
) -> None:
    world.writer.note(WEB, problem())
    await world.writer.catch_up()
    successor = World(world.api)
    successor.now += 60
    successor.writer.note(WEB, problem())
    await successor.writer.catch_up()
    (event,) = world.api.events.values()
    assert event["lastTimestamp"] == "1970-01-12T13:47:40Z"


async def test_another_problem_is_another_event(world: World) -> None:
    world.writer.note(WEB, problem())
    await world.writer.catch_up()
    world.writer.note(WEB, problem("spec: it is a list"))
    await world.later()
    assert len(world.api.events) == 2


async def test_a_mended_policy_gets_an_event_that_says_so(world: World) -> None:
    world.writer.note(WEB, problem())
    await world.writer.catch_up()
    world.writer.note(WEB, ())
    await world.later()
    await world.later()
    assert world.api.told == [("NotEnforcedAsWritten", 1), ("EnforcedAsWritten", 1)]


async def test_nothing_is_written_on_a_policy_that_is_gone(world: World) -> None:
    world.writer.note(WEB, problem())
    await world.writer.catch_up()
    world.writer.note(WEB, ())
    del world.isolated[WEB]
    await world.later()
    assert world.api.told == [("NotEnforcedAsWritten", 1)]


async def test_a_policy_without_pods_here_waits_until_it_has_some(world: World) -> None:
    world.isolated[WEB] = ()
    world.writer.note(WEB, problem())
    await world.writer.catch_up()
    assert world.api.asked == []
    world.isolated[WEB] = (PodKey("dev", "web-1"),)
    await world.later()
    assert world.api.told == [("NotEnforcedAsWritten", 1)]


async def test_other_objects_and_policies_without_a_name_get_no_event(world: World) -> None:
    world.writer.note(PodKey("dev", "web-0"), problem())
    world.writer.note(PolicyKey("", "(unnamed)"), problem())
    await world.writer.catch_up()
    assert world.api.asked == []


@pytest.mark.parametrize("failure", [ApiUnreachable("gone"), ApiForbidden("no", 403)])
async def test_what_could_not_be_written_is_tried_again(
    world: World, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world.writer.note(WEB, problem())
    world.api.failure = failure
    await world.writer.catch_up()
    await world.later()
    assert world.outcomes == ["failed", "failed"]
    world.api.failure = None
    await world.later()
    assert world.outcomes == ["failed", "failed", "written"]
    told = 1 if isinstance(failure, ApiForbidden) else 2
    assert len(caplog.records) == told


async def test_an_event_fits_into_what_the_api_takes(world: World) -> None:
    long = PolicyKey("dev", "a" * 253)
    world.isolated[long] = tuple(PodKey("dev", f"{'b' * 240}-{each}") for each in range(9))
    world.writer.note(long, problem("x\n" * 10_000))
    await world.writer.catch_up()
    (event,) = world.api.events.values()
    assert len(event["message"]) <= 1024
    assert event["message"].isprintable()
    assert len(event["metadata"]["name"]) <= 253


async def test_few_policies_are_followed_however_many_are_in_error(world: World) -> None:
    for each in range(3 * MOST):
        key = PolicyKey("dev", f"p{each}")
        world.isolated[key] = (PodKey("dev", "web-0"),)
        world.writer.note(key, problem())
    await world.writer.catch_up()
    assert len(world.api.events) == MOST
    assert sum(world.slept) >= (MOST - BURST) / RATE


async def test_who_changes_a_policy_again_and_again_gets_few_events(world: World) -> None:
    for each in range(100):
        world.writer.note(WEB, problem(f"number {each}") if each % 2 else ())
        await world.writer.catch_up()
        world.now += 1
    assert len(world.outcomes) <= (world.now - 1_000_000) / QUIET + 1


async def test_the_writer_waits_a_moment_of_its_own_and_then_writes(world: World) -> None:
    task = asyncio.create_task(world.writer.run())
    world.writer.note(WEB, problem())
    async with asyncio.timeout(20):
        while not world.api.events:
            await asyncio.sleep(0)
    assert world.slept[0] == 1.0
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_what_nobody_can_tell_at_the_start_is_asked_again_soon(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podwall.agent.report.events.QUIET", 0.01)
    world.blind = True
    task = asyncio.create_task(world.writer.run())
    world.writer.note(WEB, problem())
    async with asyncio.timeout(20):
        while world.asked < 3:
            await asyncio.sleep(0.001)
        world.blind = False
        while not world.api.events:
            await asyncio.sleep(0.001)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_an_event_of_before_is_not_forgotten_while_nobody_can_tell(world: World) -> None:
    world.writer.note(WEB, problem())
    await world.writer.catch_up()
    world.blind = True
    await world.later()
    world.blind = False
    world.writer.note(WEB, ())
    await world.later()
    assert world.api.told == [("NotEnforcedAsWritten", 1), ("EnforcedAsWritten", 1)]
