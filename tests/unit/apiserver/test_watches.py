"""Watches: where they begin, what they tell, and how they end."""

from __future__ import annotations

import asyncio

import pytest

from podwall.lab.apiserver.server import ServerOptions
from tests.unit.apiserver.client import ALL_PODS, PODS, Client, Json, pod, serving

WATCH_LIST = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


async def label(client: Client, name: str, value: str | None) -> None:
    patch = {"metadata": {"labels": {"app": value}}}
    kind = "application/merge-patch+json"
    code, body = await client.ask("PATCH", f"{PODS}/{name}", patch, kind)
    assert code == 200, body


async def test_a_watch_from_a_list_tells_what_came_after_it(client: Client) -> None:
    await client.make(pod("a"))
    revision = (await client.get(PODS))["metadata"]["resourceVersion"]
    await client.make(pod("b"))
    async with client.watch(f"{PODS}?resourceVersion={revision}") as stream:
        await label(client, "a", "x")
        await client.ask("DELETE", f"{PODS}/b")
        events = await stream.events(3)
    assert events == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]


@pytest.mark.parametrize("query", ["", "?resourceVersion=0"])
async def test_a_watch_from_nowhere_begins_with_what_is_there(client: Client, query: str) -> None:
    await client.make(pod("b"), pod("a"))
    async with client.watch(PODS + query) as stream:
        await client.make(pod("c"))
        assert await stream.events(3) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]


async def test_objects_in_events_have_their_kind_and_the_revision_of_the_event(
    client: Client,
) -> None:
    [made] = await client.make(pod("a"))
    async with client.watch(PODS) as stream:
        await client.ask("DELETE", f"{PODS}/a")
        added, deleted = await stream.event(), await stream.event()
    assert added["object"] == made
    assert int(deleted["object"]["metadata"]["resourceVersion"]) == (
        int(made["metadata"]["resourceVersion"]) + 1
    )


async def test_a_watch_sees_its_namespace_and_all_see_everything(client: Client) -> None:
    await client.make({"metadata": {"name": "web"}}, path="/api/v1/namespaces")
    async with client.watch(PODS) as one, client.watch(ALL_PODS) as every:
        await client.make(pod("a"), path="/api/v1/namespaces/web/pods")
        await client.make(pod("b"))
        assert await one.events(1) == [("ADDED", "b")]
        assert await every.events(2) == [("ADDED", "a"), ("ADDED", "b")]


async def test_what_starts_or_stops_to_match_is_added_or_deleted(client: Client) -> None:
    await client.make(pod("a"))
    async with client.watch(f"{PODS}?labelSelector=app%3Dx") as stream:
        await label(client, "a", "x")
        await label(client, "a", "y")
        await label(client, "a", "x")
        await label(client, "a", None)
        events = [await stream.event() for _ in range(4)]
    assert [each["type"] for each in events] == ["ADDED", "DELETED", "ADDED", "DELETED"]
    # The last state that matched, at the revision at which it did no more.
    assert events[1]["object"]["metadata"]["labels"] == {"app": "x"}
    revisions = [int(each["object"]["metadata"]["resourceVersion"]) for each in events]
    assert revisions == list(range(revisions[0], revisions[0] + 4))


async def test_a_pod_that_is_bound_appears_to_its_node(client: Client) -> None:
    async with client.watch(f"{ALL_PODS}?fieldSelector=spec.nodeName%3Dnode-1") as stream:
        await client.make(pod("a"), pod("b", node="node-2"))
        binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "node-1"}}
        await client.ask("POST", f"{PODS}/a/binding", binding)
        assert await stream.events(1) == [("ADDED", "a")]


async def test_a_watch_ends_cleanly_at_its_time_with_a_last_bookmark(client: Client) -> None:
    async with client.watch(f"{PODS}?timeoutSeconds=1&allowWatchBookmarks=true") as stream:
        events = await stream.rest()
    [bookmark] = events
    assert bookmark["type"] == "BOOKMARK"


async def test_bookmarks_come_to_who_wants_them_and_tell_the_present_revision() -> None:
    async with serving(ServerOptions(bookmark_every=0.01)) as client:
        async with client.watch(f"{PODS}?allowWatchBookmarks=true") as stream:
            await client.make({"metadata": {"name": "web"}}, path="/api/v1/namespaces")
            revision = client.server.api.store.revision
            bookmark = await stream.event()
            while bookmark["object"]["metadata"]["resourceVersion"] != str(revision):
                bookmark = await stream.event()
        # As a real one looks: a pod that no typed decoder expects.
        assert bookmark["object"] == {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": str(revision), "creationTimestamp": None},
            "spec": {"containers": None},
            "status": {},
        }


async def test_bookmarks_do_not_come_unasked(client: Client) -> None:
    async with client.watch(PODS) as stream:
        assert client.server.faults.send_bookmarks() == 1
        await client.make(pod("a"))
        assert await stream.events(1) == [("ADDED", "a")]


async def test_a_watch_from_a_forgotten_revision_gets_an_event_that_says_so(
    client: Client,
) -> None:
    await client.make(pod("a"), pod("b"))
    client.server.faults.compact()
    revision = client.server.api.store.revision
    async with client.watch(f"{PODS}?resourceVersion={revision - 1}") as stream:
        assert stream.response.status == 200
        assert await stream.rest() == [
            {
                "type": "ERROR",
                "object": {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "metadata": {},
                    "status": "Failure",
                    "message": f"too old resource version: {revision - 1} ({revision})",
                    "reason": "Expired",
                    "code": 410,
                },
            }
        ]


async def test_or_a_status_where_it_is_told_to(client: Client) -> None:
    await client.make(pod("a"), pod("b"))
    client.server.faults.compact()
    client.server.faults.expired_as_status = True
    code, body = await client.ask("GET", f"{PODS}?watch=true&resourceVersion=1")
    assert (code, body["reason"]) == (410, "Expired")


async def test_an_open_watch_outlives_compaction(client: Client) -> None:
    async with client.watch(PODS) as stream:
        await client.make(pod("a"))
        client.server.faults.compact()
        await client.make(pod("b"))
        assert await stream.events(2) == [("ADDED", "a"), ("ADDED", "b")]


async def test_a_watch_list_ends_its_beginning_with_a_marked_bookmark(client: Client) -> None:
    await client.make(pod("a"), pod("b"))
    revision = client.server.api.store.revision
    async with client.watch(f"{PODS}?{WATCH_LIST}") as stream:
        assert await stream.events(2) == [("ADDED", "a"), ("ADDED", "b")]
        bookmark = await stream.event()
        await client.make(pod("c"))
        assert await stream.events(1) == [("ADDED", "c")]
    assert bookmark["type"] == "BOOKMARK"
    metadata: Json = bookmark["object"]["metadata"]
    assert metadata["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert metadata["resourceVersion"] == str(revision)


async def test_a_watch_list_can_be_had_without_its_beginning(client: Client) -> None:
    await client.make(pod("a"))
    query = WATCH_LIST.replace("true", "false", 1)
    async with client.watch(f"{PODS}?{query}") as stream:
        await client.make(pod("b"))
        assert await stream.events(1) == [("ADDED", "b")]


async def test_a_server_may_forbid_watch_lists(client: Client) -> None:
    await client.fault("watch-list?mode=forbidden")
    code, body = await client.ask("GET", f"{PODS}?watch=true&{WATCH_LIST}")
    assert (code, body["reason"]) == (422, "Invalid")
    assert "sendInitialEvents is forbidden for watch" in body["message"]


async def test_an_old_server_does_not_know_watch_lists(client: Client) -> None:
    await client.make(pod("a"))
    await client.fault("watch-list?mode=unknown")
    async with client.watch(f"{PODS}?{WATCH_LIST}") as stream:
        await client.make(pod("b"))
        assert await stream.events(2) == [("ADDED", "a"), ("ADDED", "b")]


async def test_a_watch_list_needs_its_match_rule(client: Client) -> None:
    code, body = await client.ask("GET", f"{PODS}?watch=true&sendInitialEvents=true")
    assert (code, body["reason"]) == (422, "Invalid")
    assert "requires setting resourceVersionMatch to NotOlderThan" in body["message"]


async def test_tables_are_watched_with_headings_once(client: Client) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    await client.make(pod("a"))
    async with client.watch(PODS, Accept=accept) as stream:
        await client.make(pod("b"))
        first, second = await stream.event(), await stream.event()
    assert first["object"]["kind"] == "Table"
    assert first["object"]["columnDefinitions"][0]["name"] == "Name"
    assert second["object"]["columnDefinitions"] is None
    assert second["object"]["rows"][0]["cells"][0] == "b"


async def test_many_watches_see_the_same_order(client: Client) -> None:
    async def follow() -> list[tuple[str, str]]:
        async with client.watch(ALL_PODS) as stream:
            opened.release()
            return await stream.events(200)

    opened = asyncio.Semaphore(0)
    watches = [asyncio.create_task(follow()) for _ in range(5)]
    for _ in watches:
        await opened.acquire()
    for index in range(100):
        await client.make(pod(f"p{index}"))
        await client.ask("DELETE", f"{PODS}/p{index}")
    seen = await asyncio.gather(*watches)
    assert all(each == seen[0] for each in seen)
    assert len(seen[0]) == 200
