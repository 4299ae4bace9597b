"""What requests say: bodies in JSON, YAML and protobuf, and the options of verbs."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml
from aiohttp import web

from podwall.lab.apiserver import protobuf, status
from podwall.lab.apiserver.api import Deletion
from podwall.lab.apiserver.fields import unknown_fields
from podwall.lab.apiserver.resources import Target

JSON = "application/json"
YAML_TYPES = ("application/yaml", "application/apply-patch+yaml")


def is_dry_run(request: web.Request) -> bool:
    """Whether nothing shall be stored."""
    return request.query.get("dryRun") == "All"


async def read_body(request: web.Request) -> Any:
    """What a request says, in whichever of the formats.

    Raises:
        ApiError: it is in none of them.
    """
    data = await request.read()
    kind = request.content_type
    if kind == protobuf.MEDIA_TYPE:
        try:
            return protobuf.decode(data)
        except (ValueError, KeyError, IndexError) as error:
            raise status.unsupported_media_type((JSON, YAML_TYPES[0])) from error
    known = kind == JSON or kind.endswith("+json") or kind in YAML_TYPES
    # Clients that send nothing else than JSON may leave the header away.
    if not known and "Content-Type" in request.headers:
        raise status.unsupported_media_type((JSON, YAML_TYPES[0]))
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        if kind not in YAML_TYPES:
            raise status.bad_request(f"the object provided is unrecognized: {error}") from error
    try:
        return yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise status.bad_request(f"error decoding YAML: {error}") from error


def known_fields(request: web.Request, target: Target, body: Any) -> tuple[Any, list[str]]:
    """``body`` without the fields that its kind does not have, and what to say of these.

    Raises:
        ApiError: there are such fields, and the client wants them to be an error.
    """
    if not isinstance(body, dict) or target.subresource == "binding":
        return body, []
    validation = request.query.get("fieldValidation", "Warn")
    words = [f'unknown field "{each}"' for each in unknown_fields(target.resource, body)]
    if words and validation == "Strict":
        kind, version = target.resource.kind, target.resource.version
        raise status.bad_request(
            f'{kind} in version "{version}" cannot be handled as a {kind}: '
            f"strict decoding error: {', '.join(words)}"
        )
    return body, words if validation == "Warn" else []


async def read_deletion(request: web.Request) -> Deletion:
    """The options of a deletion, from its body and its query."""
    options = (await read_body(request) if request.can_read_body else None) or {}
    grace = options.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
    wanted = options.get("preconditions") or {}
    return Deletion(
        grace=None if grace is None else int(grace),
        uid=wanted.get("uid") or "",
        revision=wanted.get("resourceVersion") or "",
        dry_run="All" in (options.get("dryRun") or []) or is_dry_run(request),
    )
