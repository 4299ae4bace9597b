"""Writes and faults in any order: afterwards the state is that of the store.

Each seed is one history: objects come, change and go, also to come back under the same name or with
the address of another, while connections break, freeze and end, history is forgotten, requests fail
and garbage comes. ``PODWALL_SEEDS`` tries more of them.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable

import pytest

from podwall.agent.watch.wire import read_object
from podwall.cluster.events import Kind
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.lab.apiserver import Api, Store
from podwall.lab.apiserver.faults import Trouble
from podwall.lab.apiserver.resources import NAMESPACES, NETWORK_POLICIES, NODES, PODS, Resource
from podwall.lab.apiserver.server import Server
from podwall.lab.apiserver.watching import WatchList
from podwall.model.objects import Namespace, Node, Pod
from podwall.model.policy import Policy
from tests.unit.agent.watch.watching import (
    HASTY,
    HASTY_TIMEOUTS,
    NODE,
    Json,
    Watched,
    pod,
    until,
    watched,
)

SEEDS = range(int(os.environ.get("PODWALL_SEEDS", "8")))
STEPS = 60
RESOURCES: dict[Kind, Resource] = {
    Kind.POD: PODS,
    Kind.NAMESPACE: NAMESPACES,
    Kind.NODE: NODES,
    Kind.POLICY: NETWORK_POLICIES,
}


def stored(api: Api) -> Snapshot:
    """What the store holds, by way of the general decoder."""
    found = {
        kind: [
            value
            for each in api.store[resource].at(None).after()
            if (value := read_object(kind, each.body).value) is not None
        ]
        for kind, resource in RESOURCES.items()
    }
    return build_snapshot(
        pods=[each for each in found[Kind.POD] if isinstance(each, Pod)],
        namespaces=[each for each in found[Kind.NAMESPACE] if isinstance(each, Namespace)],
        policies=[each for each in found[Kind.POLICY] if isinstance(each, Policy)],
        nodes=[e for e in found[Kind.NODE] if isinstance(e, Node) and e.name == NODE],
    )


class History:
    """One run of writes and faults."""

    def __init__(self, found: Watched, seed: int) -> None:
        self.found = found
        self.chance = random.Random(seed)
        self.restarts: set[asyncio.Task[None]] = set()

    def write(self) -> None:
        chance, api = self.chance, self.found.api
        name, labels = f"o{chance.randrange(6)}", {"app": chance.choice("xyz")}
        match chance.randrange(8):
            case 0 | 1 | 2:
                address = f"10.0.0.{chance.randrange(4)}" if chance.random() < 0.8 else ""
                api.load([pod(name, address=address, **labels)])
            case 3 | 4:
                api.store.remove(PODS, f"default/{name}")
            case 5:
                spec: Json = {"podSelector": {"matchLabels": labels}}
                if chance.random() < 0.2:
                    spec["ingress"] = "none of your business"
                metadata = {"name": name, "namespace": "default"}
                head = {"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1"}
                api.load([{**head, "metadata": metadata, "spec": spec}])
            case 6:
                api.store.remove(NETWORK_POLICIES, f"default/{name}")
            case 7:
                metadata = {"name": "default", "labels": labels}
                api.load([{"kind": "Namespace", "apiVersion": "v1", "metadata": metadata}])

    def fail(self) -> None:
        faults, chance = self.found.server.faults, self.chance
        verb = chance.choice(("", "watch", "list"))
        times = chance.randrange(1, 6)
        code = chance.choice((410, 429, 500, 503, 504))
        garbage = '{"type":"MODIFIED","object":{"me'
        happenings: tuple[Callable[[], object], ...] = (
            faults.drop_watches,
            faults.expire_watches,
            faults.send_bookmarks,
            faults.send_garbage,
            faults.cut,
            faults.freeze,
            faults.compact,
            self.restart,
            lambda: faults.trouble(Trouble(verb, code=code, retry_after=0, times=times)),
            lambda: faults.trouble(Trouble(verb, cut=True, times=times)),
            lambda: faults.trouble(Trouble(verb, body=garbage, times=times)),
            lambda: faults.trouble(Trouble(verb, delay=0.02, times=times)),
            lambda: setattr(faults, "watch_list", chance.choice(tuple(WatchList))),
            lambda: setattr(faults, "expired_as_status", chance.random() < 0.5),
        )
        chance.choice(happenings)()

    def restart(self) -> None:
        if self.restarts:
            return
        faults, pause = self.found.server.faults, self.chance.random() / 50
        task = asyncio.create_task(faults.restart(pause, self.chance.random() < 0.5))
        self.restarts.add(task)
        task.add_done_callback(self.restarts.discard)


@pytest.mark.parametrize("seed", SEEDS)
async def test_after_any_writes_and_faults_the_state_is_that_of_the_store(seed: int) -> None:
    api = Api(Store(history=20), chance=random.Random(seed))
    api.load([{"kind": "Node", "apiVersion": "v1", "metadata": {"name": NODE}}])
    async with (
        Server(api) as server,
        watched(server, HASTY, tuple(Kind), wait=False, timeouts=HASTY_TIMEOUTS) as found,
    ):
        history = History(found, seed)
        for _ in range(STEPS):
            for _ in range(history.chance.randrange(4)):
                history.write()
            if history.chance.random() < 0.5:
                history.fail()
            # Something between no time at all and enough for a list.
            await asyncio.sleep(history.chance.choice((0, 0, 0.002, 0.01)))
        await until(lambda: not history.restarts)
        server.faults.clear()
        await until(
            lambda: found.feed.snapshot == stored(api),
            f"seed {seed}: {found.feed.snapshot} is {stored(api)}",
        )
        await found.synced()
        assert found.feed.snapshot == stored(api)
