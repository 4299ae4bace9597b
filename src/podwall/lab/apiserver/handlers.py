"""HTTP requests to verbs, and verbs' outcomes to HTTP."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from podwall.lab.apiserver import discovery, forms, listing, status
from podwall.lab.apiserver.api import Api
from podwall.lab.apiserver.bodies import (
    JSON,
    is_dry_run,
    known_fields,
    read_body,
    read_deletion,
)
from podwall.lab.apiserver.faults import Faults
from podwall.lab.apiserver.resources import Resource, Target, parse_path
from podwall.lab.apiserver.scales import read_scale, write_scale
from podwall.lab.apiserver.store import Stored
from podwall.lab.apiserver.watching import Watch

ZIP_FROM = 128 * 1024
# Deleting one of these answers with what it was, the others with a Status.
RETURNED_KINDS = ("Pod", "Namespace", "ServiceAccount", "Service")

_log = logging.getLogger(__name__)


class Asked(msgspec.Struct, frozen=True):
    """A request for a resource, as authorisation sees it."""

    verb: str
    resource: Resource
    subresource: str
    namespace: str
    name: str
    query: Mapping[str, str]
    user_agent: str


class Handlers:
    """Answers requests for everything but ``/faults/``."""

    def __init__(
        self, api: Api, faults: Faults, tokens: tuple[str, ...], bookmark_every: float
    ) -> None:
        self.asked: deque[Asked] = deque(maxlen=10_000)
        self._api = api
        self._faults = faults
        self._tokens = tokens
        self._bookmark_every = bookmark_every

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; errors become Status objects."""
        try:
            self._authenticate(request)
            return await self._dispatch(request)
        except status.ApiError as error:
            return _failure(error)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            _log.exception("%s %s", request.method, request.path_qs)
            return _failure(status.internal_error(repr(error)))

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        target = parse_path(_path(request))
        if target is None:
            return self._about(request)
        verb = _verb(request, target)
        self.asked.append(
            Asked(
                verb,
                target.resource,
                target.subresource,
                target.namespace,
                target.name,
                dict(request.query),
                request.headers.get("User-Agent", ""),
            )
        )
        if answer := await self._in_trouble(request, verb, target.resource.plural):
            return answer
        if target.subresource == "scale":
            return await self._scale(request, target, verb)
        return await self._verbs[verb](self, request, target)

    async def _in_trouble(
        self, request: web.Request, verb: str, plural: str
    ) -> web.StreamResponse | None:
        trouble = self._faults.next_trouble(verb, plural)
        if trouble is None:
            return None
        if trouble.delay:
            await asyncio.sleep(trouble.delay)
        if trouble.cut and request.transport is not None:
            request.transport.abort()
            return web.Response()
        if trouble.error is not None:
            raise trouble.error
        return web.Response(text=trouble.body, content_type=JSON) if trouble.body else None

    def _authenticate(self, request: web.Request) -> None:
        if not self._tokens or _path(request) in ("/livez", "/readyz", "/healthz"):
            return
        if request.transport is not None and request.transport.get_extra_info("peercert"):
            return
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not any(
            hmac.compare_digest(token.encode(), each.encode()) for each in self._tokens
        ):
            raise status.unauthorized()

    def _about(self, request: web.Request) -> web.StreamResponse:
        """What is not a resource: discovery, versions, health."""
        if trouble := self._faults.next_trouble("get", "discovery"):
            raise trouble.error or status.internal_error("the server is told to fail")
        whole = "as=APIGroupDiscoveryList" in request.headers.get("Accept", "").split(",")[0]
        path = _path(request).strip("/")
        if path in ("livez", "readyz", "healthz"):
            return web.Response(text="ok")
        if path in ("api", "apis") and whole:
            body = msgspec.json.encode(discovery.aggregated(legacy=path == "api"))
            return web.Response(body=body, headers={"Content-Type": discovery.AGGREGATED})
        found = discovery.document(path)
        if found is None:
            return web.Response(status=404, text="404 page not found\n")
        return web.Response(body=msgspec.json.encode(found), content_type=JSON)

    async def _get(self, request: web.Request, target: Target) -> web.StreamResponse:
        return self._answer(request, target.resource, self._api.get(target))

    async def _list(self, request: web.Request, target: Target) -> web.StreamResponse:
        page = listing.list_page(self._api.store, target, request.query)
        body = forms.page(target.resource, page, _form(request))
        response = web.Response(body=body, content_type=JSON)
        if len(body) > ZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
            response.enable_compression(web.ContentCoding.gzip)
        return response

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        faults, form = self._faults, _form(request)
        if target.name:
            raise status.method_not_allowed()
        watch = Watch(
            self._api.store,
            target,
            request.query,
            form,
            faults.watch_list,
            self._bookmark_every,
        )
        try:
            watch.start()
        except status.ApiError as error:
            if error.code != 410 or faults.expired_as_status:
                raise
            watch.fail(error)
        response = web.StreamResponse(headers={"Content-Type": JSON})
        faults.opened(watch)
        try:
            await response.prepare(request)
            async for chunk in watch.chunks():
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            pass  # the client left, or was cut off
        finally:
            watch.close()
            faults.closed(watch)
        return response

    async def _scale(self, request: web.Request, target: Target, verb: str) -> web.StreamResponse:
        if verb == "get":
            return web.json_response(read_scale(self._api, target))
        body, dry_run = await read_body(request), is_dry_run(request)
        patch = verb == "patch"
        return web.json_response(write_scale(self._api, target, body, patch=patch, dry_run=dry_run))

    async def _create(self, request: web.Request, target: Target) -> web.StreamResponse:
        thing, warnings = known_fields(request, target, await read_body(request))
        outcome = self._api.create(target, thing, is_dry_run(request))
        if target.subresource == "binding":
            return web.json_response(_success(), status=201)
        return self._answer(request, target.resource, outcome.version, 201, warnings)

    async def _update(self, request: web.Request, target: Target) -> web.StreamResponse:
        thing, warnings = known_fields(request, target, await read_body(request))
        outcome = self._api.update(target, thing, is_dry_run(request))
        return self._answer(request, target.resource, outcome.version, warnings=warnings)

    async def _patch(self, request: web.Request, target: Target) -> web.StreamResponse:
        patch, warnings = known_fields(request, target, await read_body(request))
        outcome = self._api.patch(
            target,
            patch,
            request.content_type,
            manager=request.query.get("fieldManager", ""),
            force=request.query.get("force") == "true",
            dry_run=is_dry_run(request),
        )
        code = 201 if outcome.created else 200
        return self._answer(request, target.resource, outcome.version, code, warnings)

    async def _delete(self, request: web.Request, target: Target) -> web.StreamResponse:
        version, gone = self._api.delete(target, await read_deletion(request))
        if not gone or target.resource.kind in RETURNED_KINDS:
            return self._answer(request, target.resource, version)
        details = {"name": version.name, "kind": target.resource.plural}
        if target.resource.group:
            details["group"] = target.resource.group
        details["uid"] = version.decode()["metadata"]["uid"]
        return web.json_response({**_success(), "details": details})

    async def _delete_all(self, request: web.Request, target: Target) -> web.StreamResponse:
        selection = listing.parse_selection(target, request.query)
        options = await read_deletion(request)
        found = self._api.select(target, selection.labels, selection.fields)
        for each in found:
            one = msgspec.structs.replace(target, namespace=each.namespace, name=each.name)
            self._api.delete(one, options)
        page = listing.Page(self._api.store.revision, found)
        return web.Response(
            body=forms.page(target.resource, page, _form(request)), content_type=JSON
        )

    def _answer(
        self,
        request: web.Request,
        resource: Resource,
        version: Stored,
        code: int = 200,
        warnings: Sequence[str] = (),
    ) -> web.Response:
        body = forms.one(resource, version, _form(request)) + b"\n"
        headers = CIMultiDict(("Warning", f"299 - {json.dumps(each)}") for each in warnings)
        return web.Response(body=body, status=code, content_type=JSON, headers=headers)

    _verbs: Mapping[
        str, Callable[[Handlers, web.Request, Target], Awaitable[web.StreamResponse]]
    ] = {
        "get": _get,
        "list": _list,
        "watch": _watch,
        "create": _create,
        "update": _update,
        "patch": _patch,
        "delete": _delete,
        "deletecollection": _delete_all,
    }


def _path(request: web.Request) -> str:
    """The path below the server's base path."""
    return f"/{request.match_info['path']}"


def _verb(request: web.Request, target: Target) -> str:
    match request.method, bool(target.name):
        case "GET" | "HEAD", _ if request.query.get("watch") in ("true", "1"):
            return "watch"
        case "GET" | "HEAD", True:
            return "get"
        case "GET" | "HEAD", False:
            return "list"
        case "POST", named if named == (target.subresource == "binding"):
            return "create"
        case "PUT", True:
            return "update"
        case "PATCH", True:
            return "patch"
        case "DELETE", True if not target.subresource:
            return "delete"
        case "DELETE", False:
            return "deletecollection"
        case _:
            raise status.method_not_allowed()


def _form(request: web.Request) -> forms.Form:
    return forms.parse_form(request.headers.get("Accept", ""), request.query)


def _success() -> dict[str, object]:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


def _failure(error: status.ApiError) -> web.Response:
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return web.json_response(error.body, status=error.code, headers=headers)
