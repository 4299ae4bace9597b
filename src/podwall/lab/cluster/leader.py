"""The life of the process that leads a lab: start everything, say so, and go on.

Until the command that started the lab has heard that all is up, its end is the end of the lab: a
cluster that nobody was told about shall not stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec
from aiohttp import web

from podwall.errors import LabError
from podwall.lab.apiserver.server import Server, ServerOptions
from podwall.lab.cluster.agents import Agent
from podwall.lab.cluster.config import OVERVIEW, Config, Overview, Up
from podwall.lab.cluster.kubelet import Kubelet
from podwall.lab.cluster.link import Link
from podwall.lab.cluster.loading import load_objects
from podwall.lab.cluster.things import node_thing
from podwall.lab.cluster.workloads import Workloads
from podwall.lab.messages import Progress, Reply, Result
from podwall.lab.state import KUBECONFIG
from podwall.lab.wire import decode_snapshot
from podwall.model.net import Family

_Say: TypeAlias = Callable[[Reply], None]

_POLL = 0.1
_UP_WITHIN = 60.0


class Leader:
    """Leads one lab.

    Args:
        config: what to lead.
        holder: a connection to the lab's holder, which ends with it.
        home: a directory where the kubeconfig and logs go.
    """

    def __init__(self, config: Config, holder: socket.socket, home: int) -> None:
        self._config = config
        self._holder = holder
        self._home = home
        self._nodes = tuple(decode_snapshot(config.nodes).nodes.values())
        options = ServerOptions(base_path=f"/{secrets.token_urlsafe(24)}", kubelet_delay=None)
        self._server = Server(options=options)
        self._agents: list[Agent] = []

    async def lead(self, caller: socket.socket) -> None:
        """Start everything, tell ``caller`` of it, and go on for good once it has heard."""
        reader, writer = await asyncio.open_unix_connection(sock=caller.dup())

        def say(reply: Reply) -> None:
            writer.write(msgspec.json.encode(reply) + b"\n")

        self._server.pages[OVERVIEW] = self._overview
        async with self._server, asyncio.TaskGroup() as tasks:
            start = tasks.create_task(self._start(tasks, say))
            heard = tasks.create_task(reader.readline())
            await asyncio.wait([start, heard], return_when=asyncio.FIRST_COMPLETED)
            if not start.done():
                raise LabError("the command that started the lab is gone")
            say(Result(msgspec.Raw(msgspec.json.encode(start.result()))))
            await writer.drain()
            if not await heard:
                raise LabError("the command that started the lab is gone")
            writer.close()

    async def _start(self, tasks: asyncio.TaskGroup, say: _Say) -> Up:
        api, config = self._server.api, self._config
        now = api.time()
        api.load(
            [node_thing(each, config.node_labels.get(each.name, {}), now) for each in self._nodes]
        )
        refused = load_objects(api, config.objects)
        kubeconfig = self._write_kubeconfig()
        families = tuple(map(Family, config.families))
        kubelet = Kubelet(api, await Link.over(self._holder), self._nodes, families)
        tasks.create_task(kubelet.run())
        tasks.create_task(Workloads(api).run())
        if config.agents:
            self._agents = [
                Agent(each.name, kubeconfig, config.agent_options, self._open_log)
                for each in self._nodes
            ]
        for agent in self._agents:
            tasks.create_task(agent.run())
        try:
            async with asyncio.timeout(_UP_WITHIN):
                while not await self._is_up(kubelet, say):
                    await asyncio.sleep(_POLL)
        except TimeoutError as error:
            raise LabError(await self._what_is_missing(kubelet)) from error
        return Up(self._server.url, tuple(refused))

    async def _is_up(self, kubelet: Kubelet, say: _Say) -> bool:
        running, pods = kubelet.counts
        if not kubelet.idle.is_set():
            say(Progress(running, pods, "starting pods"))
            return False
        ready = sum([(await each.state()).ready for each in self._agents])
        say(Progress(ready, len(self._agents), "starting agents"))
        return ready == len(self._agents)

    async def _what_is_missing(self, kubelet: Kubelet) -> str:
        running, pods = kubelet.counts
        states = [await each.state() for each in self._agents]
        waiting = [f"agent of {each.node}: {each.why_not}" for each in states if not each.ready]
        missing = "; ".join([*waiting, *([f"{running} of {pods} pods run"] * (running < pods))])
        return f"the cluster did not come up within {_UP_WITHIN:g} s: {missing}"

    async def _overview(self, _: web.Request) -> web.StreamResponse:
        agents = await asyncio.gather(*(each.state() for each in self._agents))
        value = Overview(self._server.url, tuple(agents))
        return web.Response(body=msgspec.json.encode(value), content_type="application/json")

    def _write_kubeconfig(self) -> bytes:
        config = self._server.kubeconfig(name=f"podwall-lab-{self._config.name}")
        text = json.dumps(config, indent=2)
        with self._created(KUBECONFIG, os.O_TRUNC) as descriptor:
            os.write(descriptor, text.encode())
        return text.encode()

    def _open_log(self, name: str) -> int:
        return self._open(name, os.O_APPEND)

    @contextlib.contextmanager
    def _created(self, name: str, how: int) -> Iterator[int]:
        descriptor = self._open(name, how)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, name: str, how: int) -> int:
        # The directory's path need not exist here, where /run is another.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags | how, 0o600, dir_fd=self._home)
