"""A plain client of the API server, for its tests: no retries, no cleverness."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from podwall.lab.apiserver.server import Server, ServerOptions

PODS = "/api/v1/namespaces/default/pods"
ALL_PODS = "/api/v1/pods"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
PATIENCE = 10
Json = dict[str, Any]


def pod(name: str, node: str = "", **labels: str) -> Json:
    """A pod that a server takes."""
    spec: Json = {"containers": [{"name": "main", "image": "none"}]}
    if node:
        spec["nodeName"] = node
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


class Stream:
    """An open watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def line(self) -> bytes:
        """The next line, empty at the end."""
        async with asyncio.timeout(PATIENCE):
            return await self.response.content.readline()

    async def event(self) -> Json:
        """The next event."""
        event: Json = json.loads(await self.line())
        return event

    async def events(self, count: int) -> list[tuple[str, str]]:
        """The next events, as their type and their object's name."""
        found = [await self.event() for _ in range(count)]
        return [(each["type"], each["object"]["metadata"]["name"]) for each in found]

    async def rest(self) -> list[Json]:
        """All events until the watch ends."""
        async with asyncio.timeout(PATIENCE):
            text = await self.response.content.read()
        return [json.loads(line) for line in text.splitlines()]


class Client:
    """Requests to one server."""

    def __init__(self, session: aiohttp.ClientSession, server: Server) -> None:
        self.session = session
        self.server = server

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        kind: str = "application/json",
        **headers: str,
    ) -> tuple[int, Json]:
        """Send a request; status and body."""
        data = None if body is None else json.dumps(body)
        sent = {"Content-Type": kind, **headers} if data else headers
        async with (
            asyncio.timeout(PATIENCE),
            self.session.request(
                method, self.server.url + path, data=data, headers=sent
            ) as response,
        ):
            return response.status, await response.json(content_type=None)

    async def get(self, path: str, **headers: str) -> Json:
        """A body that is there."""
        code, body = await self.ask("GET", path, **headers)
        assert code == 200, body
        return body

    async def make(self, *things: Json, path: str = PODS) -> list[Json]:
        """Create objects that the server must take."""
        made = []
        for thing in things:
            code, body = await self.ask("POST", path, thing)
            assert code == 201, body
            made.append(body)
        return made

    async def fault(self, what: str, body: object = None) -> Json:
        """Tell the server to fail."""
        code, answer = await self.ask("POST", f"/faults/{what}", body)
        assert code == 200, answer
        return answer

    @contextlib.asynccontextmanager
    async def watch(self, path: str, **headers: str) -> AsyncIterator[Stream]:
        """Open a watch."""
        separator = "&" if "?" in path else "?"
        address = f"{self.server.url}{path}{separator}watch=true"
        async with self.session.get(address, headers=headers) as response:
            yield Stream(response)


@contextlib.asynccontextmanager
async def serving(options: ServerOptions | None = None) -> AsyncIterator[Client]:
    """A server and a client of it."""
    async with (
        Server(options=options) as server,
        aiohttp.ClientSession(read_bufsize=1 << 21) as session,
    ):
        yield Client(session, server)


def names(found: Json) -> list[str]:
    """The names in a list."""
    return [each["metadata"]["name"] for each in found["items"]]
