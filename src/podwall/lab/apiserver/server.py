"""The server: an :class:`Api` behind a socket, and its connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
import weakref
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from podwall.errors import LabError
from podwall.lab.apiserver import status
from podwall.lab.apiserver.admin import Admin
from podwall.lab.apiserver.api import Api, Deletion
from podwall.lab.apiserver.faults import Faults
from podwall.lab.apiserver.handlers import Asked, Handlers
from podwall.lab.apiserver.resources import PODS, Target


class ServerOptions(msgspec.Struct, frozen=True):
    """How to serve.

    Attributes:
        port: 0 takes a free one, which is kept over restarts.
        base_path: what all paths begin with, such as ``/a/b``; nothing else is answered. One that
            cannot be guessed keeps out those who don't know the kubeconfig, without TLS, which
            kubectl wants before it shows a token.
        tokens: bearer tokens that are let in; without any, everybody is. Client certificates that
            ``tls`` accepts are let in as well.
        tls: serve HTTPS with it.
        bookmark_every: seconds between the bookmarks of a watch.
        kubelet_delay: seconds until a deleted pod that runs on a node is gone; ``None`` leaves
            that to somebody who plays the kubelet.
    """

    host: str = "127.0.0.1"
    port: int = 0
    base_path: str = ""
    tokens: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None
    bookmark_every: float = 60
    kubelet_delay: float | None = 0


class Server:
    """Serves an :class:`Api`; a context manager, in whose event loop all of it happens.

    ``pages`` are answers to other paths; they are looked at when the server starts.
    """

    def __init__(self, api: Api | None = None, options: ServerOptions | None = None) -> None:
        self.api = api or Api()
        self.options = options or ServerOptions()
        self.faults = Faults(self.api, self)
        self.pages: dict[str, Handler] = {}
        self._handlers = Handlers(
            self.api, self.faults, self.options.tokens, self.options.bookmark_every
        )
        self._port = self.options.port
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._socket: socket.socket | None = None
        self._frozen: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Where the server is reached."""
        scheme = "http" if self.options.tls is None else "https"
        return f"{scheme}://{self.options.host}:{self._port}{self.options.base_path}"

    @property
    def asked(self) -> tuple[Asked, ...]:
        """The last requests for resources, oldest first."""
        return tuple(self._handlers.asked)

    async def start(self) -> None:
        """Listen."""
        admin = Admin(self.api, self.faults)
        app = web.Application(middlewares=[self._freezing], client_max_size=1 << 30)
        base = self.options.base_path
        app.router.add_route("*", base + "/faults/{what:.*}", admin.handle)
        for path, answer in self.pages.items():
            app.router.add_get(base + path, answer)
        app.router.add_route("*", base + "/{path:.*}", self._handlers.handle)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=3600,
            shutdown_timeout=0.5,
            max_line_size=64 * 1024,
            max_field_size=64 * 1024,
        )
        await self._runner.setup()
        self.api.on_termination = self._terminate
        await self._listen()

    async def stop(self) -> None:
        """Break all connections and listen no more."""
        if self._runner is not None:
            await self._refuse()
            self.cut()
            await self._runner.cleanup()
            self._runner = None

    def kubeconfig(
        self, token: str = "", ca_file: str = "", name: str = "apiserver"
    ) -> dict[str, Any]:
        """A kubeconfig with which clients find the server; JSON is YAML enough for them."""
        cluster: dict[str, str] = {"server": self.url}
        if ca_file:
            cluster["certificate-authority"] = ca_file
        context = {"cluster": name, "user": name, "namespace": "default"}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token} if token else {}}],
            "contexts": [{"name": name, "context": context}],
            "current-context": name,
        }

    def freeze(self, spare: object = None) -> None:
        """See :class:`podwall.lab.apiserver.faults.Connections`."""
        self._frozen.update(each for each in self._transports() if each is not spare)

    def cut(self, spare: object = None) -> None:
        """See :class:`podwall.lab.apiserver.faults.Connections`."""
        for transport in self._transports():
            if transport is not spare:
                transport.abort()

    async def restart(self, pause: float, spare: object = None) -> None:
        """See :class:`podwall.lab.apiserver.faults.Connections`."""
        await self._refuse()
        self.cut(spare)
        await asyncio.sleep(pause)
        await self._listen()

    async def _refuse(self) -> None:
        """Take no connections any more; those taken just now are known when this returns."""
        if self._site is None or self._socket is None:
            return
        # asyncio loses a connection that was accepted when its server closes before that became a
        # transport, and never closes it. So accept no more, let those become some, and then close.
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        for _ in range(5):
            await asyncio.sleep(0)
        await self._site.stop()
        self._site = self._socket = None

    async def _listen(self) -> None:
        if self._runner is None:
            raise LabError("the API server is not running")
        options = self.options
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        self._socket = socket.create_server((options.host, self._port), family=family)
        self._site = web.SockSite(self._runner, self._socket, ssl_context=options.tls)
        await self._site.start()
        self._port = self._socket.getsockname()[1]

    def _transports(self) -> list[asyncio.Transport]:
        if self._runner is None or self._runner.server is None:
            return []
        connections = self._runner.server.connections
        return [each.transport for each in connections if each.transport is not None]

    @web.middleware
    async def _freezing(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        await self._hang_if_frozen(request)
        response = await handler(request)
        await self._hang_if_frozen(request)
        return response

    async def _hang_if_frozen(self, request: web.Request) -> None:
        if request.transport in self._frozen:
            # Ends when the client gives up and closes, or the server stops.
            await asyncio.Event().wait()

    def _terminate(self, namespace: str, name: str, uid: str) -> None:
        if self.options.kubelet_delay is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(self.options.kubelet_delay, self._remove_pod, namespace, name, uid)

    def _remove_pod(self, namespace: str, name: str, uid: str) -> None:
        try:
            self.api.delete(Target(PODS, namespace, name), Deletion(grace=0, uid=uid))
        except status.ApiError as error:
            # Somebody was faster, or put another pod in its place.
            if error.code not in (404, 409):
                raise
