"""A reflector on a server that is well: lists, watches, and what it says of itself."""

from __future__ import annotations

import msgspec
import pytest

from podwall.agent.watch.options import Options
from podwall.cluster.events import Kind
from podwall.lab.apiserver.faults import Trouble
from podwall.lab.apiserver.server import Server, ServerOptions
from podwall.lab.apiserver.watching import WatchList
from podwall.model.objects import PodKey
from tests.unit.agent.watch.watching import HASTY, IMPATIENT, Watched, pod, until, watched

IN_PAGES = msgspec.structs.replace(IMPATIENT, watch_list=False)


@pytest.fixture(params=[IMPATIENT, IN_PAGES], ids=["watch-list", "pages"])
def options(request: pytest.FixtureRequest) -> Options:
    """Both ways to list."""
    found = request.param
    assert isinstance(found, Options)
    return found


def labels_of(found: Watched, name: str) -> object:
    pod = found.feed.snapshot.pods.get(PodKey("default", name))
    return pod and dict(pod.labels)


async def test_everything_is_listed_and_news_follow(options: Options) -> None:
    async with Server() as server:
        server.api.load([pod(f"p{number}") for number in range(8)])
        async with watched(server, options) as found:
            assert len(found.feed.pods) == found.pods.status.objects == 8
            found.put(pod("new"), pod("p1", app="web"))
            found.remove("p2")
            await until(lambda: "default/p2" not in found.feed.pods)
            assert labels_of(found, "p1") == {"app": "web"}
            assert len(found.feed.pods) == found.pods.status.objects == 8
            assert found.feed.lists(Kind.POD) == 1
            assert found.asked("watch") == 1
            assert found.asked("list") == (0 if options.watch_list else 3)


async def test_an_empty_kind_is_listed_to_its_end(options: Options) -> None:
    async with Server() as server, watched(server, options) as found:
        assert found.feed.lists(Kind.POD) == 1
        assert found.feed.pods == []


async def test_news_come_with_the_time_at_which_they_arrived() -> None:
    async with Server() as server, watched(server) as found:
        before = found.feed.received[-1]
        found.put(pod("a"), pod("b"))
        await until(lambda: len(found.feed.pods) == 2)
        assert before < found.feed.received[1] <= found.feed.received[2]


async def test_what_changes_between_pages_is_not_missed() -> None:
    """The pages are of one state, and the watch begins at that state."""
    async with Server() as server:
        server.api.load([pod(f"p{number}") for number in range(9)])
        server.faults.trouble(Trouble("list"))  # the first page comes as always
        server.faults.trouble(Trouble("list", delay=0.5))
        async with watched(server, IN_PAGES, wait=False) as found:
            await until(lambda: found.asked("list") >= 2)
            found.remove("p0")
            found.remove("p8")
            found.put(pod("p9"))
            await found.synced()
            await until(
                lambda: found.feed.pods == [f"default/p{n}" for n in range(1, 8)] + ["default/p9"]
            )


async def test_a_server_that_forbids_lists_in_watches_is_asked_for_pages_ever_after() -> None:
    async with Server() as server:
        server.faults.watch_list = WatchList.FORBIDDEN
        server.api.load([pod("a"), pod("b"), pod("c"), pod("d")])
        async with watched(server) as found:
            assert (found.asked("watch"), found.asked("list")) == (2, 2)
            server.faults.expire_watches()
            await until(lambda: found.feed.lists(Kind.POD) == 2)
            assert found.asked("list") == 4
            assert all("sendInitialEvents" not in e.query for e in list(server.asked)[1:])


async def test_a_server_that_never_heard_of_lists_in_watches_is_asked_for_pages() -> None:
    """It ignores the parameter: objects come, and never an end of the list."""
    async with Server() as server:
        server.faults.watch_list = WatchList.UNKNOWN
        server.api.load([pod("a")])
        async with watched(server, HASTY) as found:
            assert found.asked("list") == 1
            found.put(pod("b"))
            await until(lambda: len(found.feed.pods) == 2)
            server.faults.expire_watches()
            await until(lambda: found.feed.lists(Kind.POD) == 2)
            initial = [e for e in server.asked if "sendInitialEvents" in e.query]
            assert len(initial) == 2


async def test_a_bookmark_before_the_end_of_the_list_tells_such_a_server_at_once() -> None:
    patient = msgspec.structs.replace(IMPATIENT, initial_silence=1000)
    async with Server() as server:
        server.faults.watch_list = WatchList.UNKNOWN
        async with watched(server, patient, wait=False) as found:
            await until(server.faults.watches)
            server.faults.send_bookmarks()
            await found.synced()
            assert found.asked("list") == 1


async def test_bookmarks_move_the_place_from_which_a_watch_goes_on() -> None:
    async with Server() as server, watched(server) as found:
        found.put({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "busy"}})
        lines = found.pods.lines
        server.faults.send_bookmarks()
        await until(lambda: found.pods.lines > lines)
        # All that is remembered is forgotten, but nothing that this watch still needs.
        server.faults.compact()
        server.faults.drop_watches()
        await until(lambda: found.asked("watch") == 2 and server.faults.watches())
        found.put(pod("a"))
        await until(lambda: found.feed.pods == ["default/a"])
        assert found.feed.lists(Kind.POD) == 1


async def test_an_ended_watch_goes_on_where_it_was() -> None:
    async with Server() as server, watched(server) as found:
        for number in range(5):
            found.put(pod(f"p{number}"))
            server.faults.drop_watches()
            found.put(pod(f"q{number}"))
            await until(lambda: len(found.feed.pods) == 2 * number + 2)  # noqa: B023
            await until(server.faults.watches)
        assert found.feed.lists(Kind.POD) == 1
        assert found.pods.status.restarts == 5
        assert found.feed.applied("p0") == 1


async def test_watches_are_asked_to_end_at_different_times() -> None:
    options = msgspec.structs.replace(IMPATIENT, shortest=300, longest=600)
    async with Server() as server, watched(server, options) as found:
        for count in range(2, 12):
            server.faults.drop_watches()
            await until(lambda: found.asked("watch") == count and server.faults.watches())  # noqa: B023
        asked = {int(e.query["timeoutSeconds"]) for e in server.asked}
        assert len(asked) > 3
        assert all(300 <= each <= 600 for each in asked)


async def test_only_this_node_is_watched() -> None:
    nodes = [
        {
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {"name": name},
            "spec": {"podCIDR": "10.0.0.0/24"},
        }
        for name in ("node-1", "node-2")
    ]
    async with Server() as server:
        server.api.load(nodes)
        async with watched(server, kinds=tuple(Kind)) as found:
            assert list(found.feed.snapshot.nodes) == ["node-1"]
            server.api.load(nodes)
            await until(
                lambda: found.feed.applied("10.0.0.0/24") or found.reflectors[Kind.NODE].lines > 2
            )
            assert list(found.feed.snapshot.nodes) == ["node-1"]
            assert sorted(found.feed.snapshot.namespaces) == [
                "default",
                "kube-node-lease",
                "kube-public",
                "kube-system",
            ]


async def test_a_status_tells_how_it_goes() -> None:
    async with Server(options=ServerOptions(bookmark_every=1000)) as server:
        async with watched(server) as found:
            status = found.pods.status
            assert (status.kind, status.listed, status.connected) == ("Pod", True, True)
            assert (status.restarts, status.relists, status.error) == (0, 0, "")
            server.faults.cut()
            await until(lambda: found.pods.status.restarts)
            await found.synced()
            server.faults.expire_watches()
            await until(lambda: found.pods.status.relists == 1)
            await found.synced()
            await server.stop()
            await until(lambda: not found.pods.status.connected)
            await until(lambda: "cannot be reached" in found.pods.status.error)
            assert found.pods.status.listed
            assert found.pods.status.since > status.since
        assert not found.pods.status.connected
