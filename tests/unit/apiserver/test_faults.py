"""A server that fails when it is told to, in each way, and is well again after it."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from podwall.lab.apiserver.faults import LONG, Trouble
from tests.unit.apiserver.client import ALL_PODS, PODS, Client, pod


async def test_watches_are_dropped_cleanly(client: Client) -> None:
    await client.make(pod("a"))
    async with client.watch(PODS) as pods, client.watch("/api/v1/nodes") as nodes:
        assert await pods.events(1) == [("ADDED", "a")]
        assert (await client.fault("drop-watches?resource=pods"))["hit"] == 1
        assert await pods.line() == b""
        assert len(client.server.faults.watches()) == 1
        client.server.faults.drop_watches()
        assert await nodes.rest() == []


async def test_connections_break_without_a_word(client: Client) -> None:
    async with client.watch(PODS) as stream:
        await client.fault("cut")
        with pytest.raises(aiohttp.ClientError):
            await stream.line()
    await client.make(pod("a"))


async def test_a_frozen_connection_says_nothing_and_does_not_end(client: Client) -> None:
    async with client.watch(PODS) as stream:
        await client.fault("freeze")
        await client.make(pod("a"))
        reading = asyncio.create_task(stream.response.content.readline())
        # A whole conversation on another connection, in which the frozen one would have spoken.
        async with client.watch(PODS) as other:
            assert await other.events(1) == [("ADDED", "a")]
        assert not reading.done()
        reading.cancel()


async def test_requests_on_a_frozen_connection_hang(client: Client) -> None:
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.get(client.server.url + PODS) as response:
            await response.read()
        client.server.faults.freeze()
        hanging = asyncio.create_task(session.get(client.server.url + PODS))
        assert (await client.ask("GET", PODS, Connection="close"))[0] == 200
        assert not hanging.done()
        hanging.cancel()


async def test_throttled_requests_are_told_when_to_come_back(client: Client) -> None:
    await client.fault("trouble", {"verb": "list", "code": 429, "retry_after": 7, "times": 2})
    assert (await client.ask("POST", PODS, pod("a")))[0] == 201
    for _ in range(2):
        async with client.session.get(client.server.url + PODS) as response:
            assert response.status == 429
            assert response.headers["Retry-After"] == "7"
            body = await response.json()
    assert body["reason"] == "TooManyRequests"
    assert body["details"] == {"retryAfterSeconds": 7}
    assert (await client.ask("GET", PODS))[0] == 200


async def test_a_server_fails_until_it_is_cleared(client: Client) -> None:
    client.server.faults.trouble(Trouble(resource="pods", code=500, times=-1))
    for _ in range(3):
        code, body = await client.ask("GET", PODS)
        assert (code, body["reason"]) == (500, "InternalError")
    assert (await client.ask("GET", "/api/v1/nodes"))[0] == 200
    await client.fault("clear")
    assert (await client.ask("GET", PODS))[0] == 200


async def test_an_answer_can_be_slow(client: Client) -> None:
    client.server.faults.trouble(Trouble(resource="pods", delay=30))
    slow = asyncio.create_task(client.ask("GET", PODS))
    while not any(each.resource.plural == "pods" for each in client.server.asked):
        assert (await client.ask("GET", "/api/v1/nodes"))[0] == 200
    assert not slow.done()
    slow.cancel()
    assert (await client.ask("GET", PODS))[0] == 200


async def test_an_answer_can_be_a_broken_connection(client: Client) -> None:
    client.server.faults.trouble(Trouble(verb="create", cut=True))
    with pytest.raises(aiohttp.ClientError):
        await client.ask("POST", PODS, pod("a"))
    assert (await client.get(PODS))["items"] == []


async def test_an_answer_can_be_garbage(client: Client) -> None:
    await client.fault("trouble", {"body": '{"kind":"PodLi'})
    with pytest.raises(json.JSONDecodeError):
        await client.ask("GET", PODS)


async def test_a_line_of_a_watch_can_be_garbage(client: Client) -> None:
    async with client.watch(PODS) as stream:
        assert (await client.fault("garbage"))["hit"] == 1
        await client.make(pod("a"))
        with pytest.raises(json.JSONDecodeError):
            await stream.event()
        assert await stream.events(1) == [("ADDED", "a")]


async def test_an_object_can_be_undecodable(client: Client) -> None:
    await client.make(pod("a"))
    async with client.watch(PODS) as stream:
        await client.fault("undecodable?name=odd")
        assert await stream.events(2) == [("ADDED", "a"), ("ADDED", "odd")]
    odd = (await client.get(PODS))["items"][1]
    assert odd["metadata"]["labels"] == {"app": 7}
    assert odd["spec"]["containers"] == "none"
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    assert len((await client.get(PODS, Accept=accept))["rows"]) == 2
    assert (await client.ask("DELETE", f"{PODS}/odd"))[0] == 200


async def test_a_line_can_be_very_long(client: Client) -> None:
    async with client.watch(PODS) as stream:
        await client.fault("long")
        line = await stream.line()
    assert len(line) > LONG > 512 * 1024


async def test_an_open_watch_can_expire(client: Client) -> None:
    async with client.watch(PODS) as stream:
        await client.fault("expire-watches")
        [event] = await stream.rest()
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_a_watch_on_which_nothing_happens_has_bookmarks_only(client: Client) -> None:
    async with client.watch(f"{ALL_PODS}?allowWatchBookmarks=true") as stream:
        first = (await client.fault("bookmarks"))["revision"]
        await client.make({"metadata": {"name": "web"}}, path="/api/v1/namespaces")
        await client.fault("bookmarks")
        events = [await stream.event() for _ in range(2)]
    assert [each["type"] for each in events] == ["BOOKMARK", "BOOKMARK"]
    revisions = [int(each["object"]["metadata"]["resourceVersion"]) for each in events]
    assert revisions == [first, first + 1]


async def test_a_restart_breaks_everything_and_keeps_objects_and_revisions(
    client: Client,
) -> None:
    await client.make(pod("a"), pod("b"))
    revision = client.server.api.store.revision
    url = client.server.url
    async with client.watch(PODS) as stream:
        await stream.events(2)
        await client.server.faults.restart()
        with pytest.raises(aiohttp.ClientError):
            await stream.line()
    assert client.server.url == url
    found = await client.get(PODS)
    assert found["metadata"]["resourceVersion"] == str(revision)
    # It comes back with an empty cache: the past is forgotten.
    async with client.watch(f"{PODS}?resourceVersion={revision - 1}") as stream:
        [event] = await stream.rest()
    assert event["object"]["code"] == 410
    async with client.watch(f"{PODS}?resourceVersion={revision}") as stream:
        await client.make(pod("c"))
        assert await stream.events(1) == [("ADDED", "c")]


async def test_a_server_that_is_down_refuses_connections(client: Client) -> None:
    restarting = asyncio.create_task(client.server.faults.restart(pause=1))
    await asyncio.sleep(0)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(client.server.url + PODS)
    await restarting
    assert (await client.ask("GET", PODS))[0] == 200


async def test_a_restart_can_be_asked_for_over_http(client: Client) -> None:
    async with client.watch(PODS) as stream:
        await client.fault("restart")
        with pytest.raises(aiohttp.ClientError):
            await stream.line()


async def test_the_admin_tells_the_revision_and_the_open_watches(client: Client) -> None:
    async with client.watch(PODS), client.watch("/api/v1/nodes"):
        state = await client.get("/faults/")
    assert state["watches"] == ["nodes", "pods"]
    assert state["revision"] == client.server.api.store.revision


async def test_faults_that_there_are_not_are_refused(client: Client) -> None:
    assert (await client.ask("POST", "/faults/earthquake"))[0] == 404
    assert (await client.ask("POST", "/faults/watch-list?mode=often"))[0] == 400
    assert (await client.ask("POST", "/faults/trouble", {"code": "many"}))[0] == 400


async def test_a_watch_whose_client_left_is_forgotten(client: Client) -> None:
    async with client.watch(PODS):
        assert len(client.server.faults.watches()) == 1
    async with asyncio.timeout(10):
        while client.server.faults.watches():
            await asyncio.sleep(0)
