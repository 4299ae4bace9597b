"""A server below a path that has to be known."""

from __future__ import annotations

import pytest

from podwall.lab.apiserver.server import ServerOptions
from tests.unit.apiserver.client import PODS, Client, pod, serving


async def test_everything_is_below_the_base_path() -> None:
    async with serving(ServerOptions(base_path="/se/cret")) as client:
        assert client.server.url.endswith("/se/cret")
        assert client.server.kubeconfig()["clusters"][0]["cluster"]["server"] == client.server.url
        await client.make(pod("a"))
        assert (await client.get(f"{PODS}/a"))["metadata"]["name"] == "a"
        assert await client.fault("drop-watches") is not None
        async with client.watch(PODS) as stream:
            assert (await stream.event())["type"] == "ADDED"


@pytest.mark.parametrize("path", ["/", "/livez", "/api/v1/pods", "/faults/cut", "/se/cre/api"])
async def test_nothing_is_elsewhere(path: str) -> None:
    async with serving(ServerOptions(base_path="/se/cret")) as client:
        await client.make(pod("a"))
        root = client.server.url.removesuffix("/se/cret")
        for method in ("GET", "POST"):
            async with client.session.request(method, root + path) as answer:
                assert answer.status == 404


async def test_discovery_is_complete_below_it(client: Client) -> None:
    """Clients put the base path before these addresses themselves."""
    index = await client.get("/openapi/v3")
    assert all(
        each["serverRelativeURL"].startswith("/openapi/v3") for each in index["paths"].values()
    )
