"""The kubelet, with a lab that only remembers what it was told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from podwall.cluster.snapshot import Snapshot
from podwall.errors import LabError
from podwall.lab.apiserver import Api
from podwall.lab.apiserver.api import Deletion
from podwall.lab.cluster.kubelet import Kubelet
from podwall.lab.cluster.link import Link
from podwall.lab.cluster.things import node_thing
from podwall.lab.wire import decode_snapshot
from podwall.model.net import Family, parse_address, parse_cidr
from podwall.model.objects import Node
from tests.unit.lab.cluster.api import CONTAINERS, all_of, names, put, target_of

NODES = [
    Node("a", (parse_address("192.0.2.1"),), (parse_cidr("10.0.1.0/24"),)),
    Node("b", (parse_address("192.0.2.2"),), (parse_cidr("10.0.2.0/30"),)),
]


class FakeLink(Link):
    """A lab that can build anything, or for once nothing."""

    def __init__(self) -> None:
        self.told: list[Snapshot] = []
        self.refuse = 0

    async def apply(self, snapshot: str) -> None:
        await asyncio.sleep(0)
        if self.refuse:
            self.refuse -= 1
            raise LabError("no room")
        self.told.append(decode_snapshot(snapshot))

    @property
    def stands(self) -> dict[str, str]:
        return {
            str(key): ",".join(map(str, each.addresses)) for key, each in self.told[-1].pods.items()
        }


class Following:
    """A kubelet that runs."""

    def __init__(self) -> None:
        self.api = Api()
        self.api.load([node_thing(each, {}, self.api.time()) for each in NODES])
        self.link = FakeLink()
        self.kubelet = Kubelet(self.api, self.link, NODES, [Family.V4])

    async def settle(self) -> None:
        async with asyncio.timeout(10):
            await self.kubelet.idle.wait()

    async def until_gone(self, name: str) -> None:
        async with asyncio.timeout(10):
            while name in names(all_of(self.api, "Pod")):
                await asyncio.sleep(0.01)


@pytest.fixture
async def following() -> AsyncIterator[Following]:
    found = Following()
    task = asyncio.create_task(found.kubelet.run())
    await found.settle()
    yield found
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_pod_is_built_before_its_status_says_so(following: Following):
    put(following.api, "Pod", "web", spec={"containers": CONTAINERS})
    await following.settle()
    [pod] = all_of(following.api, "Pod")
    assert following.link.stands == {"default/web": "10.0.1.2"}
    assert pod["spec"]["nodeName"] == "a"
    assert pod["status"]["podIPs"] == [{"ip": "10.0.1.2"}]
    assert pod["status"]["hostIP"] == "192.0.2.1"
    assert pod["status"]["phase"] == "Running"
    assert all(each["ready"] for each in pod["status"]["containerStatuses"])


async def test_a_deleted_pod_goes_and_its_successor_is_another(following: Following):
    put(following.api, "Pod", "web", spec={"containers": CONTAINERS})
    await following.settle()
    following.api.delete(target_of("Pod", "web"))
    assert names(all_of(following.api, "Pod")) == ["web"]
    await following.until_gone("web")
    assert following.link.stands == {}
    put(following.api, "Pod", "web", spec={"containers": CONTAINERS, "nodeName": "a"})
    await following.settle()
    assert following.link.stands == {"default/web": "10.0.1.3"}


async def test_a_pod_that_is_removed_by_force_is_taken_down(following: Following):
    put(following.api, "Pod", "web", spec={"containers": CONTAINERS})
    await following.settle()
    following.api.delete(target_of("Pod", "web"), Deletion(grace=0))
    await following.settle()
    assert following.link.stands == {}


async def test_a_pod_on_the_hosts_network_has_the_nodes_address(following: Following):
    put(following.api, "Pod", "web", spec={"containers": CONTAINERS, "hostNetwork": True})
    await following.settle()
    [pod] = all_of(following.api, "Pod")
    assert pod["status"]["podIP"] == "192.0.2.1"


async def test_a_pod_that_fits_nowhere_waits_and_an_event_says_why(following: Following):
    spec = {"containers": CONTAINERS, "nodeSelector": {"disk": "ssd"}}
    put(following.api, "Pod", "web", spec=spec)
    await following.settle()
    [pod] = all_of(following.api, "Pod")
    assert pod["status"]["phase"] == "Pending"
    [event] = all_of(following.api, "Event")
    assert event["reason"] == "FailedScheduling"


async def test_a_node_without_free_addresses_keeps_pods_waiting(following: Following):
    for name in ("one", "two"):
        put(following.api, "Pod", name, spec={"containers": CONTAINERS, "nodeName": "b"})
        await following.settle()
    assert following.link.stands == {"default/one": "10.0.2.2"}
    [event] = all_of(following.api, "Event")
    assert event["message"] == "no free pod address on b"
    following.api.delete(target_of("Pod", "one"))
    await following.until_gone("one")
    await following.settle()
    assert following.link.stands == {"default/two": "10.0.2.2"}


async def test_what_cannot_be_built_is_tried_again(following: Following):
    following.link.refuse = 1
    put(following.api, "Pod", "web", spec={"containers": CONTAINERS})
    await following.settle()
    assert following.link.stands == {"default/web": "10.0.1.2"}
    [event] = all_of(following.api, "Event")
    assert (event["reason"], event["message"]) == ("FailedCreatePodSandBox", "no room")


async def test_policies_and_labels_reach_the_lab_for_its_expectations(following: Following):
    put(following.api, "NetworkPolicy", "all", "networking.k8s.io/v1", spec={"podSelector": {}})
    await following.settle()
    assert [str(key) for key in following.link.told[-1].policies] == ["default/all"]
