"""HTTP for those who watch over the agent: ``/livez``, ``/readyz`` and ``/metrics``.

Alive is an agent that makes progress: kubelet restarts one that does not. Ready is one by whose
rules traffic is judged as the cluster is now: without an API server an agent goes on enforcing what
it knows, alive and not ready. Whoever opens connections and leaves them open shuts nobody out: the
oldest of too many are closed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence

from aiohttp import web

from podwall.agent.config.fields import Listen
from podwall.agent.report.metrics import CONTENT_TYPE
from podwall.errors import InputError

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 64
"""So many are open at a time on one address. Each takes a file, which programs need that write to
the kernel, and there is no end to how long one may say nothing."""

Reasons = Callable[[], Sequence[str]]
"""What keeps it from being so, in words; nothing if it is so."""


class Web:
    """The HTTP endpoints.

    Args:
        why_dead: what says that the agent makes no progress.
        why_not_ready: what says that traffic is not judged by an up-to-date picture.
        metrics: renders the metrics.
    """

    def __init__(
        self, why_dead: Reasons, why_not_ready: Reasons, metrics: Callable[[], bytes]
    ) -> None:
        self._why_dead = why_dead
        self._why_not_ready = why_not_ready
        self._metrics = metrics
        self._runners: list[web.ServerRunner] = []

    async def start(self, listen: Listen | None, metrics: Listen | None) -> tuple[str, ...]:
        """Serve everything on ``listen``, and only the metrics on ``metrics``; says where.

        Raises:
            InputError: an address cannot be listened on.
        """
        where: list[str] = []
        if listen is not None:
            where += await self._serve("listen", listen, full=True)
        if metrics is not None:
            where += await self._serve("metrics-listen", metrics, full=False)
        return tuple(where)

    async def stop(self) -> None:
        """Close all connections."""
        for runner in self._runners:
            await runner.cleanup()

    async def _serve(self, setting: str, listen: Listen, *, full: bool) -> list[str]:
        pages: dict[str, Callable[[], web.Response]] = {"/metrics": self._get_metrics}
        if full:
            pages["/livez"] = lambda: _answer("alive", self._why_dead())
            pages["/readyz"] = lambda: _answer("ready", self._why_not_ready())

        async def respond(request: web.BaseRequest) -> web.Response:
            page = pages.get(request.path)
            if page is None:
                return web.Response(status=404, text="there is no such page\n")
            if request.method not in ("GET", "HEAD"):
                return web.Response(status=405, headers={"Allow": "GET, HEAD"})
            return page()

        server = _Server(respond, access_log=None, keepalive_timeout=75)
        runner = web.ServerRunner(server, shutdown_timeout=0.2)
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, listen.host or None, listen.port).start()
        except OSError as error:
            # The event loop puts the address and more into the text that goes with the number.
            why = os.strerror(error.errno) if error.errno else error
            raise InputError(f"{setting} {listen}: {why}") from error
        return sorted({str(Listen(host, port)) for host, port, *_ in runner.addresses})

    def _get_metrics(self) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": CONTENT_TYPE})


class _Server(web.Server):
    """Keeps a bounded number of connections, the newest."""

    def __call__(self) -> web.RequestHandler:
        for each in self.connections[: 1 - MOST_CONNECTIONS]:
            if each.transport is not None:
                each.transport.abort()
        return super().__call__()


def _answer(word: str, reasons: Sequence[str]) -> web.Response:
    if not reasons:
        return web.Response(text=f"{word}\n")
    lines = "".join(f"{each}\n" for each in reasons)
    return web.Response(status=503, text=f"not {word}:\n{lines}")
