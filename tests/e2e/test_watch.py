"""Watching a cluster: by default the lab's API server, with TLS and a kubeconfig.

``PODWALL_TEST_KUBECONFIG`` names the kubeconfig of a real cluster on which the same tests run, in a
namespace of their own that is deleted in the end. Their pods name a scheduler that does not exist,
so that nothing runs. Faults, which a real cluster cannot be told to have, are in
``tests/unit/agent/watch``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from podwall.agent.watch.client import ApiClient
from podwall.agent.watch.credentials import load_access
from podwall.agent.watch.options import Options
from podwall.agent.watch.reflector import Reflector, reflectors
from podwall.agent.watch.targets import target
from podwall.cluster.events import Kind
from podwall.errors import (
    ApiConflict,
    ApiForbidden,
    ApiInvalid,
    ApiNotFound,
    InputError,
)
from podwall.lab.apiserver.server import Server
from podwall.model.net import PortRange, Protocol
from podwall.model.objects import ContainerPort, PodKey
from podwall.model.policy import IPBlock, NumberedPorts, PolicyKey
from podwall.model.selector import selector
from tests.unit.agent.watch.secured import Authority, InProcess, Json, b64, config, secured, written
from tests.unit.agent.watch.watching import Learned, running, until

REAL = os.environ.get("PODWALL_TEST_KUBECONFIG", "")
PATIENCE = 60
NODE = {
    "kind": "Node",
    "apiVersion": "v1",
    "metadata": {"name": "node-1"},
    "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
}
WATCH_LIST, IN_PAGES = Options(), Options(watch_list=False, page=3)


class Cluster:
    """A cluster, and a namespace in it for one test."""

    def __init__(self, client: ApiClient, namespace: str, node: str) -> None:
        self.client = client
        self.namespace = namespace
        self.node = node
        self.pods = f"/api/v1/namespaces/{namespace}/pods"
        self.events = f"/api/v1/namespaces/{namespace}/events"
        self.policies = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"

    async def make_pod(self, name: str, **labels: str) -> None:
        """Create a pod, once the namespace is ready for pods."""
        thing = {
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "schedulerName": "there-is-none",
                "containers": [
                    {
                        "name": "main",
                        "image": "registry.k8s.io/pause:3.10",
                        "ports": [{"name": "web", "containerPort": 8080}],
                    }
                ],
            },
        }
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await self.client.create(self.pods, thing)
                    return
                except ApiForbidden:
                    # A namespace's service account comes a moment after it.
                    await asyncio.sleep(0.1)

    async def delete_pod(self, name: str) -> None:
        await self.client.delete(f"{self.pods}/{name}", {"gracePeriodSeconds": "0"})

    async def label(self, path: str, **labels: str | None) -> None:
        """Set labels, or take them away with ``None``."""
        await self.client.patch(path, {"metadata": {"labels": labels}})

    @contextlib.asynccontextmanager
    async def watched(
        self, kind: Kind, options: Options
    ) -> AsyncIterator[tuple[Learned, Reflector]]:
        """Follow one kind of the namespace."""
        feed = Learned()
        reflector = Reflector(self.client, target(kind, namespace=self.namespace), feed, options)
        async with running(reflector):
            await until(lambda: reflector.status.listed and reflector.status.connected)
            yield feed, reflector


@contextlib.asynccontextmanager
async def of_the_lab(home: Path) -> AsyncIterator[Path]:
    """The kubeconfig of a server of our own."""
    authority = Authority()
    async with secured(authority, "a-token") as server:
        assert isinstance(server, Server)
        server.api.load([NODE])
        cluster = {"certificate-authority-data": b64(authority.pem)}
        yield written(home, config(server.url, cluster, {"token": "a-token"}))


@contextlib.asynccontextmanager
async def of_a_real_cluster(_home: Path) -> AsyncIterator[Path]:
    yield Path(REAL)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster with a namespace for the test."""
    kubeconfig: Callable[[Path], contextlib.AbstractAsyncContextManager[Path]]
    kubeconfig = of_a_real_cluster if REAL else of_the_lab
    name = f"podwall-test-{secrets.token_hex(4)}"
    async with kubeconfig(tmp_path) as path:
        access = await load_access(path, runner=None if REAL else InProcess())
        async with ApiClient(access) as client:
            nodes = msgspec.json.decode(await client.get("/api/v1/nodes", {"limit": "1"}))
            await client.create("/api/v1/namespaces", {"metadata": {"name": name}})
            try:
                yield Cluster(client, name, nodes["items"][0]["metadata"]["name"])
            finally:
                await client.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(params=[WATCH_LIST, IN_PAGES], ids=["watch-list", "pages"])
def options(request: pytest.FixtureRequest) -> Options:
    """Both ways to list; a server without WatchList is asked for pages in either."""
    found = request.param
    assert isinstance(found, Options)
    return found


def names(feed: Learned) -> set[str]:
    return {each.name for each in feed.snapshot.pods}


async def test_pods_that_are_there_come_change_and_go(cluster: Cluster, options: Options) -> None:
    for number in range(7):
        await cluster.make_pod(f"old-{number}", app="old")
    async with cluster.watched(Kind.POD, options) as (feed, reflector):
        assert names(feed) == {f"old-{number}" for number in range(7)}
        assert reflector.status.objects == 7
        await cluster.make_pod("new", app="new")
        await until(lambda: "new" in names(feed))
        await cluster.label(f"{cluster.pods}/new", app="newer", tier="front")
        key = PodKey(cluster.namespace, "new")
        await until(lambda: feed.snapshot.pods[key].labels == {"app": "newer", "tier": "front"})
        found = feed.snapshot.pods[key]
        assert found.ports == (ContainerPort("web", Protocol.TCP, 8080),)
        assert (found.node, found.addresses, found.terminating) == ("", (), False)
        await cluster.delete_pod("old-3")
        await until(lambda: "old-3" not in names(feed))
        assert len(names(feed)) == reflector.status.objects == 7
        assert feed.problems == {}


async def test_a_pod_of_the_same_name_is_another_one(cluster: Cluster) -> None:
    await cluster.make_pod("a")
    async with cluster.watched(Kind.POD, WATCH_LIST) as (feed, _):
        key = PodKey(cluster.namespace, "a")
        first = feed.snapshot.pods[key].uid
        await cluster.delete_pod("a")
        await cluster.make_pod("a")
        await until(lambda: key in feed.snapshot.pods and feed.snapshot.pods[key].uid != first)


async def test_policies_are_what_was_written(cluster: Cluster, options: Options) -> None:
    spec: Json = {
        "podSelector": {"matchLabels": {"app": "db"}},
        "ingress": [
            {
                "from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
                "ports": [{"port": 5432, "endPort": 5440}],
            }
        ],
    }
    await cluster.client.create(cluster.policies, {"metadata": {"name": "db"}, "spec": spec})
    async with cluster.watched(Kind.POLICY, options) as (feed, _):
        policy = feed.snapshot.policies[PolicyKey(cluster.namespace, "db")]
        assert policy.subject == selector({"app": "db"})
        [rule] = policy.ingress
        assert rule.ports == (NumberedPorts(Protocol.TCP, PortRange(5432, 5440)),)
        [block] = rule.peers
        assert isinstance(block, IPBlock)
        assert str(block) == "10.0.0.0/8 except 10.1.0.0/16"
        await cluster.client.patch(f"{cluster.policies}/db", {"spec": {"ingress": None}})
        await until(lambda: not feed.snapshot.policies[policy.key].ingress)
        await cluster.client.delete(f"{cluster.policies}/db")
        await until(lambda: policy.key not in feed.snapshot.policies)


async def test_watches_that_the_server_ends_lose_nothing(cluster: Cluster) -> None:
    """They are asked to end each second."""
    brief = Options(shortest=1, longest=1, steady=0.1, base=0.01, cap=0.1)
    async with cluster.watched(Kind.POD, brief) as (feed, reflector):
        number = 0
        while reflector.status.restarts < 3:
            await cluster.make_pod(f"p{number}")
            number += 1
            await asyncio.sleep(0.1)
        await until(lambda: names(feed) == {f"p{each}" for each in range(number)})
        assert feed.lists(Kind.POD) == 1


async def test_an_agent_knows_its_node_and_all_namespaces(cluster: Cluster) -> None:
    feed = Learned()
    found = reflectors(cluster.client, feed, cluster.node)
    path = f"/api/v1/namespaces/{cluster.namespace}"
    async with running(*found):
        await until(lambda: all(each.status.listed for each in found))
        assert list(feed.snapshot.nodes) == [cluster.node]
        assert feed.snapshot.nodes[cluster.node].addresses
        namespace = feed.snapshot.namespaces[cluster.namespace]
        assert namespace.labels["kubernetes.io/metadata.name"] == cluster.namespace
        await cluster.label(path, team="blue")
        await until(lambda: "team" in feed.snapshot.namespaces[cluster.namespace].labels)
        await cluster.label(path, team=None)
        await until(lambda: "team" not in feed.snapshot.namespaces[cluster.namespace].labels)


async def test_a_name_that_is_none_is_not_asked_for(cluster: Cluster) -> None:
    with pytest.raises(InputError, match='"a,b" is not the name of a node'):
        reflectors(cluster.client, Learned(), "a,b")


async def test_refusals_have_a_type_of_their_own(cluster: Cluster) -> None:
    client = cluster.client
    with pytest.raises(ApiNotFound, match=r'404 NotFound: pods "none" not found'):
        await client.get(f"{cluster.pods}/none")
    await cluster.make_pod("a")
    with pytest.raises(ApiConflict, match="409 AlreadyExists"):
        await cluster.make_pod("a")
    bad = {"podSelector": {}, "ingress": [{"ports": [{"port": 70_000}]}]}
    with pytest.raises(ApiInvalid, match="422 Invalid"):
        await client.create(cluster.policies, {"metadata": {"name": "a"}, "spec": bad})
    with pytest.raises(ApiInvalid, match="400 BadRequest"):
        await client.get(cluster.pods, {"fieldSelector": "spec.nonsense=1"})


async def test_events_are_written_and_counted_up(cluster: Cluster) -> None:
    event = {
        "metadata": {"name": "db.podwall"},
        "involvedObject": {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "namespace": cluster.namespace,
            "name": "db",
        },
        "reason": "CannotEnforce",
        "message": "the kernel would not take it",
        "type": "Warning",
        "count": 1,
        "source": {"component": "podwall"},
    }
    await cluster.client.create(cluster.events, event)
    path = f"{cluster.events}/db.podwall"
    changed = msgspec.json.decode(await cluster.client.patch(path, {"count": 2}))
    assert (changed["count"], changed["message"]) == (2, event["message"])
