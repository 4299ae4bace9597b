"""A server that fails in every way: nothing is missed, and nobody is asked in a hot loop."""

from __future__ import annotations

import random
import time

import msgspec
import pytest

from podwall import errors
from podwall.agent.watch.client import ApiClient
from podwall.agent.watch.options import Options, Outside
from podwall.agent.watch.reflector import Reflector
from podwall.agent.watch.targets import target
from podwall.agent.watch.wire import parse_refusal
from podwall.cluster.events import Deleted, Kind
from podwall.lab.apiserver.faults import Trouble
from podwall.lab.apiserver.server import Server
from podwall.lab.apiserver.status import ApiError, internal_error
from podwall.model.objects import PodKey
from podwall.model.policy import Direction, PolicyKey
from podwall.model.selector import EVERYTHING
from tests.unit.agent.watch.watching import (
    HASTY,
    IMPATIENT,
    QUICK,
    Learned,
    Watched,
    access_to,
    pod,
    running,
    until,
    watched,
)

IN_PAGES = msgspec.structs.replace(IMPATIENT, watch_list=False)


async def shows(found: Watched, *names: str) -> None:
    """Wait until exactly these pods are known."""
    expected = [f"default/{each}" for each in names]
    await until(lambda: found.feed.pods == expected, f"{expected}, not {found.feed.pods}")


def short(trouble: Trouble) -> str:
    """What a trouble is called in the name of a test."""
    what = trouble.body.strip() or ("cut" if trouble.cut else trouble.code)
    return f"{trouble.verb or 'any'}-{what or 'empty'}-{trouble.times}"


# Nothing is missed


@pytest.mark.parametrize("as_status", [False, True], ids=["event", "status"])
async def test_a_forgotten_past_is_listed_anew(as_status: bool) -> None:
    """410 comes as an event of a watch, or as the answer to it."""
    async with Server() as server:
        server.api.load([pod("a"), pod("b")])
        server.faults.expired_as_status = as_status
        async with watched(server) as found:
            server.faults.trouble(Trouble("watch", delay=0.2))
            server.faults.cut()
            found.remove("a")
            found.put(pod("c"))
            server.faults.compact()
            await shows(found, "b", "c")
            assert found.feed.lists(Kind.POD) == 2
            # Nobody told that it went: the end of the list did.
            assert not any(isinstance(each, Deleted) for each in found.feed.events)
            assert found.pods.status.objects == 2


async def test_an_open_watch_that_expires_is_listed_anew() -> None:
    async with Server() as server, watched(server) as found:
        server.faults.expire_watches()
        await until(lambda: found.pods.status.relists == 1)
        found.put(pod("a"))
        await shows(found, "a")


async def test_a_connection_that_breaks_is_taken_up_where_it_was() -> None:
    async with Server() as server, watched(server) as found:
        for number in range(5):
            found.put(pod(f"p{number}"))
            server.faults.cut()
            await until(lambda: len(found.feed.pods) == number + 1)  # noqa: B023
        assert found.feed.lists(Kind.POD) == 1


async def test_a_half_open_connection_is_given_up() -> None:
    """Nothing comes, not even an end: no answer, and no bookmark either."""
    async with Server() as server, watched(server, HASTY) as found:
        server.faults.freeze()
        found.put(pod("a"))
        await shows(found, "a")
        assert found.feed.lists(Kind.POD) == 1
        assert found.pods.status.restarts


async def test_a_half_open_connection_during_a_list_is_given_up() -> None:
    async with Server() as server, watched(server, HASTY, wait=False) as found:
        await until(server.faults.watches)
        server.faults.freeze()
        found.put(pod("a"))
        await shows(found, "a")


async def test_bookmarks_alone_keep_a_connection() -> None:
    options = msgspec.structs.replace(IMPATIENT, silence=2)
    async with Server() as server, watched(server, options) as found:
        began = time.monotonic()
        while time.monotonic() < began + 2.5:
            lines = found.pods.lines
            server.faults.send_bookmarks()
            await until(lambda: found.pods.lines > lines)  # noqa: B023
        assert found.pods.status.restarts == 0


@pytest.mark.parametrize("forget", [True, False])
async def test_a_server_that_restarts_finds_us_again(forget: bool) -> None:
    async with Server() as server:
        server.api.load([pod("a"), pod("b")])
        async with watched(server) as found:
            await server.faults.restart(pause=0.2, forget=forget)
            found.remove("a")
            found.put(pod("c"))
            await shows(found, "b", "c")
            await found.synced()


async def test_garbage_on_a_watch_costs_no_news() -> None:
    """Whatever that line was to be, it comes again: the watch goes on before it."""
    async with Server() as server:
        server.api.load([pod("a"), pod("b")])
        async with watched(server) as found:
            server.faults.send_garbage()
            found.remove("a")
            found.put(pod("c"))
            await shows(found, "b", "c")
            assert found.feed.lists(Kind.POD) == 1


GARBAGE = {
    "no object": b'{"type":"ADDED"}\n',
    "an object that is none": b'{"type":"BOOKMARK","object":[]}\n',
    "a bookmark of nothing": b'{"type":"BOOKMARK","object":{"metadata":{}}}\n',
    "an unknown type": b'{"type":"RENAMED","object":{}}\n',
    "no text": b"\xff\xfe\n",
    "nothing but brackets": b"[" * 100_000 + b"\n",
    "an error that is none": b'{"type":"ERROR","object":7}\n',
    "an error without a code": b'{"type":"ERROR","object":{"kind":"Status"}}\n',
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_lines_that_make_no_sense_cost_no_news(name: str) -> None:
    async with Server() as server, watched(server) as found:
        for each in server.faults.watches():
            each.send(GARBAGE[name])
        found.put(pod("a"))
        await shows(found, "a")
        assert found.pods.status.restarts == 1


async def test_a_deletion_of_nobody_knows_whom_is_listed_anew() -> None:
    async with Server() as server:
        server.api.load([pod("a")])
        async with watched(server) as found:
            for each in server.faults.watches():
                each.send(b'{"type":"DELETED","object":{"metadata":{"resourceVersion":"9"}}}\n')
            await until(lambda: found.feed.lists(Kind.POD) == 2)
            await shows(found, "a")


async def test_garbage_in_place_of_a_list_is_asked_for_again() -> None:
    async with Server() as server:
        server.api.load([pod("a")])
        bodies = ('{"kind":"PodLi', "[]", '{"metadata":{},"items":[]}', '{"items":null}')
        for body in bodies:
            server.faults.trouble(Trouble("list", body=body))
        async with watched(server, IN_PAGES) as found:
            await shows(found, "a")
            assert found.asked("list") == len(bodies) + 1


async def test_a_line_may_be_as_long_as_an_object_is_large() -> None:
    async with Server() as server, watched(server) as found:
        server.faults.store_long(name="long", size=3 << 19)
        await shows(found, "long")
        assert found.pods.status.restarts == 0
        server.faults.expire_watches()
        await until(lambda: found.feed.lists(Kind.POD) == 2)
        await shows(found, "long")


@pytest.mark.parametrize("options", [IMPATIENT, IN_PAGES], ids=["watch-list", "pages"])
async def test_an_odd_object_is_reported_and_the_rest_goes_on(options: Options) -> None:
    key = PodKey("default", "undecodable")
    async with Server() as server:
        server.faults.store_undecodable()
        server.api.load([pod("a")])
        async with watched(server, options) as found:
            texts = [str(each) for each in found.feed.problems[key]]
            assert any(each.startswith("spec.containers:") for each in texts)
            found.put(pod("z"))
            await shows(found, "a", "undecodable", "z")
            found.put(pod("undecodable"))
            await until(lambda: not found.feed.problems)
            server.faults.store_undecodable()
            await until(lambda: found.feed.problems)
            found.remove("undecodable")
            await until(lambda: not found.feed.problems)
            await shows(found, "a", "z")


async def test_what_was_wrong_with_objects_that_went_while_nobody_watched_is_forgotten() -> None:
    async with Server() as server:
        server.faults.store_undecodable()
        async with watched(server) as found:
            assert found.feed.problems
            await server.stop()
            found.remove("undecodable")
            server.faults.compact()
            await server.start()
            await until(lambda: not found.feed.problems)
            await shows(found)


BEYOND = "1e999"  # JSON, and no number that a parser can hold


async def test_an_object_that_cannot_be_read_keeps_what_was_known_of_it() -> None:
    line = '{"type":"MODIFIED","object":{"metadata":{"name":"a","namespace":"default",'
    line += f'"resourceVersion":"50"}},"spec":{{"hostNetwork":{BEYOND}}}}}}}\n'
    async with Server() as server:
        server.api.load([pod("a", app="web")])
        async with watched(server) as found:
            for each in server.faults.watches():
                each.send(line.encode())
            await until(lambda: found.feed.problems)
            [problem] = found.feed.problems[PodKey("default", "a")]
            assert "it cannot be read" in str(problem)
            [known] = found.feed.snapshot.pods.values()
            assert known.labels == {"app": "web"}


async def test_s10_a_policy_that_cannot_be_read_isolates() -> None:
    key = PolicyKey("default", "p")
    line = '{"type":"ADDED","object":{"metadata":{"name":"p","namespace":"default"},'
    line += f'"spec":{{"podSelector":{BEYOND}}}}}}}\n'
    async with Server() as server, watched(server, kinds=(Kind.POLICY,)) as found:
        for each in server.faults.watches():
            each.send(line.encode())
        await until(lambda: found.feed.problems)
        policy = found.feed.snapshot.policies[key]
        assert policy.subject == EVERYTHING
        assert policy.isolates == tuple(Direction)
        assert policy.ingress == policy.egress == ()


async def test_an_object_without_a_name_is_reported_and_skipped() -> None:
    nameless = '{"metadata":{"labels":{}}}'
    body = f'{{"metadata":{{"resourceVersion":"5"}},"items":[{nameless}, 7]}}'
    async with Server() as server:
        server.faults.trouble(Trouble("list", body=body))
        async with watched(server, IN_PAGES) as found:
            assert found.feed.pods == []
            assert [str(each) for each in found.feed.problems] == ["/(unnamed)"]
            server.faults.expire_watches()
            await until(lambda: not found.feed.problems)


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble("watch", code=500, times=3),
        Trouble("watch", code=503, times=3),
        Trouble("watch", code=504, times=6),
        Trouble("watch", code=400, times=6),
        Trouble("watch", code=429, retry_after=0, times=3),
        Trouble("watch", cut=True, times=3),
        Trouble("watch", body="\n", times=3),
        Trouble("watch", body='{"type":"ADDED","object":{"ki', times=6),
        Trouble(code=500, times=6),
        Trouble(cut=True, times=6),
    ],
    ids=short,
)
@pytest.mark.parametrize("options", [IMPATIENT, IN_PAGES], ids=["watch-list", "pages"])
async def test_requests_that_fail_are_tried_again(options: Options, trouble: Trouble) -> None:
    async with Server() as server:
        server.api.load([pod("a"), pod("b")])
        async with watched(server, options) as found:
            server.faults.trouble(trouble)
            server.faults.drop_watches()
            found.remove("a")
            found.put(pod("c"))
            await shows(found, "b", "c")
            await found.synced()


async def test_a_version_that_the_server_cannot_cope_with_is_given_up() -> None:
    """Its data was restored from a backup: what we saw is yet to come for it."""
    async with Server() as server, watched(server) as found:
        server.faults.trouble(Trouble("watch", code=504, times=IMPATIENT.fruitless))
        server.faults.drop_watches()
        await until(lambda: found.feed.lists(Kind.POD) == 2)


@pytest.mark.parametrize("code", [429, 503])
async def test_a_server_that_is_merely_busy_is_not_asked_for_a_list(code: int) -> None:
    async with Server() as server, watched(server) as found:
        times = 2 * IMPATIENT.fruitless
        server.faults.trouble(Trouble("watch", code=code, retry_after=0, times=times))
        server.faults.drop_watches()
        await until(lambda: found.asked("watch") == times + 2)
        await found.synced()
        assert found.feed.lists(Kind.POD) == 1


async def test_an_error_on_a_watch_is_no_reason_to_list() -> None:
    async with Server() as server, watched(server) as found:
        for each in server.faults.watches():
            each.fail(internal_error("etcd"))
        found.put(pod("a"))
        await shows(found, "a")
        assert found.feed.lists(Kind.POD) == 1


async def test_pages_that_expire_are_begun_anew_and_at_last_asked_for_in_one() -> None:
    async with Server() as server:
        server.api.load([pod(f"p{number}") for number in range(7)])
        for _ in range(2):
            server.faults.trouble(Trouble("list"))
            server.faults.trouble(Trouble("list", code=410))
        async with watched(server, IN_PAGES) as found:
            await shows(found, *(f"p{number}" for number in range(7)))
            lists = [each.query.get("limit") for each in server.asked if each.verb == "list"]
            assert lists == ["3", "3", "3", "3", None]


# Nobody is asked in a hot loop


class Sleeper:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


FOREVER = [
    Trouble(code=500, times=-1),
    Trouble(code=503, times=-1),
    Trouble(code=429, retry_after=0, times=-1),
    Trouble(code=401, times=-1),
    Trouble(code=403, times=-1),
    Trouble(code=404, times=-1),
    Trouble(code=410, times=-1),
    Trouble(code=422, times=-1),
    Trouble(cut=True, times=-1),
    Trouble(body="\n", times=-1),
    Trouble(body="{}", times=-1),
    Trouble(body='{"type":"ADDED","object":{"ki', times=-1),
    Trouble("watch", code=410, times=-1),
    Trouble("watch", code=500, times=-1),
    Trouble("watch", body="\n", times=-1),
    Trouble("watch", body='{"type":"ERROR","object":{"code":410}}\n', times=-1),
    Trouble("watch", body='{"type":"ERROR","object":{"code":500}}\n', times=-1),
]
ATTEMPTS = 20


@pytest.mark.parametrize("trouble", FOREVER, ids=short)
@pytest.mark.parametrize("watch_list", [True, False], ids=["watch-list", "pages"])
async def test_trouble_without_end_is_met_with_ever_longer_waits(
    watch_list: bool, trouble: Trouble
) -> None:
    sleeper = Sleeper()
    outside = Outside(sleeper.clock, sleeper.clock, sleeper.sleep, random.Random(1))
    options = Options(watch_list=watch_list)
    async with Server() as server, ApiClient(await access_to(server), QUICK) as client:
        server.faults.trouble(trouble)
        reflector = Reflector(client, target(Kind.POD), Learned(), options, outside)
        async with running(reflector):
            await until(lambda: len(sleeper.slept) >= ATTEMPTS)
            requests = len(server.asked)
        # No attempt is more than a list and a watch, and after each one there is a wait.
        assert requests <= 2 * (len(sleeper.slept) + 1)
        assert min(sleeper.slept) >= options.base / 2
        ends_cleanly = "\n" in trouble.body and "ERROR" not in trouble.body
        longest = options.steady if ends_cleanly else options.cap / 2
        assert min(sleeper.slept[8:]) >= min(longest, options.cap / 2)
        assert max(sleeper.slept) <= options.cap * 1.5


async def test_a_server_that_is_away_is_met_with_ever_longer_waits() -> None:
    sleeper = Sleeper()
    outside = Outside(sleeper.clock, sleeper.clock, sleeper.sleep, random.Random(1))
    async with Server() as server, ApiClient(await access_to(server), QUICK) as client:
        await server.stop()
        reflector = Reflector(client, target(Kind.POD), Learned(), Options(), outside)
        async with running(reflector):
            await until(lambda: len(sleeper.slept) >= ATTEMPTS)
            assert "cannot be reached" in reflector.status.error
        assert min(sleeper.slept[8:]) >= Options().cap / 2


async def test_the_server_says_how_long_to_wait() -> None:
    sleeper = Sleeper()
    outside = Outside(sleeper.clock, sleeper.clock, sleeper.sleep, random.Random(1))
    async with Server() as server, ApiClient(await access_to(server), QUICK) as client:
        server.faults.trouble(Trouble(code=429, retry_after=47))
        server.faults.trouble(Trouble(code=503, retry_after=7_000))
        reflector = Reflector(client, target(Kind.POD), Learned(), Options(), outside)
        async with running(reflector):
            await until(lambda: reflector.status.listed)
        first, second = sleeper.slept
        assert 47 <= first <= 60
        # Nobody is left without news for two hours for a slip of a server.
        assert 300 <= second <= 400


async def test_a_watch_that_stood_for_a_while_is_followed_by_the_next_at_once() -> None:
    """Servers end watches every few minutes; nobody waits then, and earlier trouble is past."""
    sleeper = Sleeper()
    outside = Outside(sleeper.clock, sleeper.clock, sleeper.sleep, random.Random(1))
    async with Server() as server, ApiClient(await access_to(server), QUICK) as client:
        server.faults.trouble(Trouble(code=500, times=6))
        feed = Learned()
        reflector = Reflector(client, target(Kind.POD), feed, Options(), outside)
        async with running(reflector):
            await until(lambda: reflector.status.connected)
            assert len(sleeper.slept) == 6
            for _ in range(3):
                watches = server.faults.watches()
                sleeper.now += 60
                server.faults.drop_watches()
                await until(lambda: set(server.faults.watches()) - set(watches))  # noqa: B023
                assert reflector.status.connected
            assert len(sleeper.slept) == 6
            sleeper.now += 60
            server.faults.cut()
            await until(lambda: len(sleeper.slept) == 7)
            assert sleeper.slept[6] <= Options().base * 1.5


def test_every_status_has_an_error_of_its_kind() -> None:
    kinds = {
        400: errors.ApiInvalid,
        401: errors.ApiUnauthorized,
        403: errors.ApiForbidden,
        404: errors.ApiNotFound,
        405: errors.ApiRefused,
        409: errors.ApiConflict,
        410: errors.ApiExpired,
        422: errors.ApiInvalid,
        429: errors.ApiThrottled,
        500: errors.ApiFailed,
        503: errors.ApiFailed,
    }
    for code, kind in kinds.items():
        found = parse_refusal(b"no JSON", code)
        assert type(found) is kind
        assert str(found) == f"status {code}"
    body = msgspec.json.encode(ApiError(409, "Conflict", "\x1b[31mred" + "x" * 9999).body)
    found = parse_refusal(body)
    assert (type(found), found.reason) == (errors.ApiConflict, "Conflict")
    assert str(found).startswith("409 Conflict: \\x1b[31mred")
    assert len(str(found)) < 600
