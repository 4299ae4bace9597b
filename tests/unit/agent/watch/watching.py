"""Reflectors at work in a test: on a server, into a cluster state."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from podwall.agent.watch.client import ApiClient, Timeouts
from podwall.agent.watch.credentials import Access
from podwall.agent.watch.identity import Identity
from podwall.agent.watch.options import Options
from podwall.agent.watch.reflector import Reflector
from podwall.agent.watch.targets import targets
from podwall.cluster.events import Applied, Event, Kind, ObjectKey, Remaining
from podwall.cluster.snapshot import Snapshot
from podwall.cluster.state import ClusterState
from podwall.lab.apiserver import Api
from podwall.lab.apiserver.resources import PODS
from podwall.lab.apiserver.server import Server
from podwall.model.decode import Problem

PATIENCE = 20
NODE = "node-1"
Json = dict[str, Any]

IMPATIENT = Options(page=3, silence=15, initial_silence=15, steady=0.05, base=0.005, cap=0.05)
"""Waits that fit a test. The order of events never depends on them."""

HASTY = msgspec.structs.replace(IMPATIENT, silence=0.3, initial_silence=0.3)
"""Gives silent connections up, which on a busy machine may also happen to others."""

QUICK = Timeouts(connect=5, answer=15, piece=15)
HASTY_TIMEOUTS = Timeouts(connect=1, answer=0.5, piece=0.5)


class Learned:
    """A feed that keeps a cluster state, and remembers what it was told."""

    def __init__(self) -> None:
        self.state = ClusterState()
        self.events: list[Event] = []
        self.problems: dict[ObjectKey, tuple[Problem, ...]] = {}
        self.received: list[float] = []

    def take(self, event: Event, received: float) -> None:
        self.events.append(event)
        self.received.append(received)
        self.state.apply(event)

    def complain(self, key: ObjectKey, problems: tuple[Problem, ...]) -> None:
        if problems:
            self.problems[key] = problems
        else:
            del self.problems[key]

    @property
    def snapshot(self) -> Snapshot:
        return self.state.snapshot()

    @property
    def pods(self) -> list[str]:
        return [str(each) for each in self.snapshot.pods]

    def lists(self, kind: Kind) -> int:
        """How often a kind was listed to the end."""
        return sum(isinstance(e, Remaining) and e.kind is kind for e in self.events)

    def applied(self, name: str) -> int:
        """How often an object of that name was told of."""
        return sum(isinstance(e, Applied) and name in str(e.object) for e in self.events)


async def until(true: Callable[[], object], why: str = "") -> None:
    """Wait until something is true; the server and the reflectors work meanwhile."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not true():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"this never came true: {why or true}") from None


class Watched:
    """A server with reflectors on it."""

    def __init__(self, server: Server, feed: Learned, reflectors: dict[Kind, Reflector]) -> None:
        self.server = server
        self.feed = feed
        self.reflectors = reflectors

    @property
    def api(self) -> Api:
        return self.server.api

    @property
    def pods(self) -> Reflector:
        return self.reflectors[Kind.POD]

    def asked(self, verb: str, plural: str = "pods") -> int:
        """How many requests there were."""
        return sum(e.verb == verb and e.resource.plural == plural for e in self.server.asked)

    def put(self, *things: Json) -> None:
        self.api.load(list(things))

    def remove(self, name: str, namespace: str = "default") -> None:
        self.api.store.remove(PODS, f"{namespace}/{name}")

    async def synced(self) -> None:
        """Wait until all is listed and connected."""
        await until(
            lambda: all(e.status.listed and e.status.connected for e in self.reflectors.values()),
            f"{[each.status for each in self.reflectors.values()]}",
        )


async def access_to(server: Server) -> Access:
    """A server that asks nobody who they are."""
    access = Access(lambda: Identity(server.url))
    await access.read()
    return access


@contextlib.asynccontextmanager
async def watched(
    server: Server,
    options: Options = IMPATIENT,
    kinds: tuple[Kind, ...] = (Kind.POD,),
    wait: bool = True,
    timeouts: Timeouts = QUICK,
) -> AsyncIterator[Watched]:
    """Run reflectors of some kinds."""
    feed = Learned()
    async with ApiClient(await access_to(server), timeouts) as client:
        reflectors = {
            each.kind: Reflector(client, each, feed, options)
            for each in targets(NODE)
            if each.kind in kinds
        }
        async with running(*reflectors.values()):
            found = Watched(server, feed, reflectors)
            if wait:
                await found.synced()
            yield found


@contextlib.asynccontextmanager
async def running(*reflectors: Reflector) -> AsyncIterator[None]:
    """Reflectors that run meanwhile; one that breaks breaks the test."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.run()) for each in reflectors]
        yield
        for task in tasks:
            task.cancel()


def pod(name: str, namespace: str = "default", address: str = "", **labels: str) -> Json:
    """A pod as a server stores it."""
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": "none"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address}] if address else []},
    }
