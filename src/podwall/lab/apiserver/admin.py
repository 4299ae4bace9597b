"""The faults over HTTP, for clients in other processes: ``POST /faults/<what>?...``.

``GET /faults/`` tells the revision and the open watches. Faults never hit these requests, nor the
connection on which they came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping

import msgspec
from aiohttp import web

from podwall.lab.apiserver.api import Api
from podwall.lab.apiserver.faults import LONG, Faults, Trouble
from podwall.lab.apiserver.watching import WatchList


class Admin:
    """Answers requests under ``/faults/``."""

    def __init__(self, api: Api, faults: Faults) -> None:
        self._api = api
        self._faults = faults
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, with 404 for what there is not and 400 for what makes no sense."""
        if request.method == "GET":
            return web.json_response(self._state())
        try:
            found = await self._do(request.match_info["what"], request)
        except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
            return web.json_response({"error": repr(error)}, status=400)
        if found is None:
            return web.json_response({"error": "there is no such fault"}, status=404)
        return web.json_response({**self._state(), **found})

    def _state(self) -> dict[str, object]:
        watches = [each.target.resource.plural for each in self._faults.watches()]
        return {"revision": self._api.store.revision, "watches": sorted(watches)}

    async def _do(self, what: str, request: web.Request) -> dict[str, object] | None:
        action = self._actions.get(what)
        if action is None:
            return None
        hit = action(self, request, await request.read())
        return {} if hit is None else {"hit": hit}

    def _trouble(self, _: web.Request, body: bytes) -> None:
        self._faults.trouble(msgspec.json.decode(body, type=Trouble))

    def _clear(self, _: web.Request, _body: bytes) -> None:
        self._faults.clear()

    def _drop(self, request: web.Request, _: bytes) -> int:
        return self._faults.drop_watches(request.query.get("resource", ""))

    def _expire(self, request: web.Request, _: bytes) -> int:
        return self._faults.expire_watches(request.query.get("resource", ""))

    def _bookmarks(self, request: web.Request, _: bytes) -> int:
        return self._faults.send_bookmarks(request.query.get("resource", ""))

    def _garbage(self, request: web.Request, _: bytes) -> int:
        return self._faults.send_garbage(request.query.get("resource", ""))

    def _freeze(self, request: web.Request, _: bytes) -> None:
        self._faults.freeze(spare=request.transport)

    def _cut(self, request: web.Request, _: bytes) -> None:
        self._faults.cut(spare=request.transport)

    def _restart(self, request: web.Request, _: bytes) -> None:
        pause, forget = float(request.query.get("pause", 0)), _is_on(request, "forget")
        self._start(self._faults.restart(pause, forget, spare=request.transport))

    def _compact(self, _: web.Request, _body: bytes) -> None:
        self._faults.compact()

    def _undecodable(self, request: web.Request, _: bytes) -> None:
        self._faults.store_undecodable(*_named(request, "undecodable"))

    def _long(self, request: web.Request, _: bytes) -> None:
        size = int(request.query.get("size", LONG))
        self._faults.store_long(*_named(request, "long"), size=size)

    def _store(self, _: web.Request, body: bytes) -> None:
        thing = msgspec.json.decode(body, type=dict)
        self._api.load(thing["items"] if thing["kind"] == "List" else [thing])

    def _watch_list(self, request: web.Request, _: bytes) -> None:
        self._faults.watch_list = WatchList(request.query["mode"])

    def _expired_as_status(self, request: web.Request, _: bytes) -> None:
        self._faults.expired_as_status = _is_on(request, "on")

    _actions: Mapping[str, Callable[[Admin, web.Request, bytes], int | None]] = {
        "trouble": _trouble,
        "clear": _clear,
        "drop-watches": _drop,
        "expire-watches": _expire,
        "bookmarks": _bookmarks,
        "garbage": _garbage,
        "freeze": _freeze,
        "cut": _cut,
        "restart": _restart,
        "compact": _compact,
        "undecodable": _undecodable,
        "long": _long,
        "store": _store,
        "watch-list": _watch_list,
        "expired-as-status": _expired_as_status,
    }

    def _start(self, work: Coroutine[object, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_on(request: web.Request, name: str) -> bool:
    return request.query.get(name) != "false"


def _named(request: web.Request, default: str) -> tuple[str, str]:
    return request.query.get("namespace", "default"), request.query.get("name", default)
