"""Errors as the API words them: Status objects.

Clients branch on ``code`` and ``reason`` and people read ``message``, so all three are the real
server's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from podwall.lab.apiserver.resources import Resource


class Cause(msgspec.Struct, frozen=True):
    """One thing that is wrong with an object: which field, and why."""

    reason: str
    message: str
    field: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def required(field: str, detail: str = "") -> Cause:
    """A field that has to be there and is not."""
    return Cause("FieldValueRequired", "Required value" + (detail and f": {detail}"), field)


def invalid_value(field: str, value: object, detail: str) -> Cause:
    """A field whose value cannot be."""
    shown = msgspec.json.encode(value).decode()
    return Cause("FieldValueInvalid", f"Invalid value: {shown}: {detail}", field)


def unsupported(field: str, value: object, supported: Sequence[str]) -> Cause:
    """A field whose value is none of those there are."""
    shown, listed = (msgspec.json.encode(each).decode() for each in (value, list(supported)))
    words = listed.strip("[]").replace(",", ", ")
    message = f"Unsupported value: {shown}: supported values: {words}"
    return Cause("FieldValueNotSupported", message, field)


def forbidden_value(field: str, detail: str) -> Cause:
    """A field that may not be set, or not be changed."""
    return Cause("FieldValueForbidden", f"Forbidden: {detail}", field)


class ApiError(Exception):
    """An answer that is not a success."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details
        self.metadata = metadata or {}

    @property
    def body(self) -> dict[str, Any]:
        """The Status object."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": str(self),
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return {**status, "code": self.code}

    @property
    def retry_after(self) -> int | None:
        """Seconds that the client is asked to wait."""
        seconds = (self.details or {}).get("retryAfterSeconds")
        return seconds if isinstance(seconds, int) else None


def _details(resource: Resource, name: str) -> dict[str, Any]:
    group = {"group": resource.group} if resource.group else {}
    return {"name": name, **group, "kind": resource.plural}


def not_found(resource: Resource, name: str) -> ApiError:
    """There is no such object."""
    message = f'{resource.qualified} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(resource, name))


def forbidden(resource: Resource, name: str, why: str) -> ApiError:
    """It is not to be done to this object, whoever asks."""
    message = f'{resource.qualified} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, _details(resource, name))


def already_exists(resource: Resource, name: str) -> ApiError:
    """The name is taken."""
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(resource, name))


def conflict(
    resource: Resource,
    name: str,
    why: str = "the object has been modified; "
    "please apply your changes to the latest version and try again",
) -> ApiError:
    """The object is not what the writer took it for."""
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(resource, name))


def apply_conflict(conflicts: Sequence[tuple[str, str]]) -> ApiError:
    """Other managers own what a server-side apply wants to change: pairs of manager and field."""
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"', "field": field}
        for manager, field in conflicts
    ]
    shown = "; ".join(f'conflict with "{manager}": {field}' for manager, field in conflicts)
    count = "1 conflict" if len(conflicts) == 1 else f"{len(conflicts)} conflicts"
    return ApiError(409, "Conflict", f"Apply failed with {count}: {shown}", {"causes": causes})


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
    """The object cannot be stored as it is."""
    shown = str(causes[0]) if len(causes) == 1 else f"[{', '.join(map(str, causes))}]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details = {**_details(resource, name), "kind": resource.kind}
    details["causes"] = [msgspec.to_builtins(each) for each in causes]
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {shown}', details)


def invalid_options(field: str, why: str) -> ApiError:
    """Query parameters that do not go together."""
    cause = forbidden_value(field, why)
    details = {
        "group": "meta.k8s.io",
        "kind": "ListOptions",
        "causes": [msgspec.to_builtins(cause)],
    }
    message = f'ListOptions.meta.k8s.io "" is invalid: {cause}'
    return ApiError(422, "Invalid", message, details)


def bad_request(message: str) -> ApiError:
    """The request makes no sense."""
    return ApiError(400, "BadRequest", message)


def method_not_allowed() -> ApiError:
    """The resource has no such verb."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})


def unsupported_media_type(accepted: Sequence[str]) -> ApiError:
    """A body in a form that is not understood."""
    message = (
        "the body of the request was in an unknown format - "
        f"accepted media types include: {', '.join(accepted)}"
    )
    return ApiError(415, "UnsupportedMediaType", message)


def unauthorized() -> ApiError:
    """Nobody that is known here."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def too_many_requests(seconds: int) -> ApiError:
    """The server is busy; come back later."""
    message = "too many requests, please try again later."
    return ApiError(429, "TooManyRequests", message, {"retryAfterSeconds": seconds})


def internal_error(why: str) -> ApiError:
    """Something broke."""
    details = {"causes": [{"message": why}]}
    message = f"Internal error occurred: {why}"
    return ApiError(500, "InternalError", message, details)


def expired_watch(asked: int, oldest: int) -> ApiError:
    """The changes since then are forgotten."""
    return ApiError(410, "Expired", f"too old resource version: {asked} ({oldest})")


def expired_list(token: str | None) -> ApiError:
    """The state that a page was to be taken from is forgotten.

    ``token`` goes on with the list in the present state, which may not be consistent with the pages
    before; ``None`` where a resourceVersion was asked for by number.
    """
    if token is None:
        return ApiError(410, "Expired", "The resourceVersion for the provided list is too old.")
    message = (
        "The provided continue parameter is too old to display a consistent list result. "
        "You can start a new list without the continue parameter, or use the continue token in "
        "this response to retrieve the remainder of the results. Continuing with the provided "
        "token results in an inconsistent list - objects that were created, modified, or deleted "
        "between the time the first chunk was returned and now may show up in the list."
    )
    return ApiError(410, "Expired", message, metadata={"continue": token})


def too_large_revision(asked: int, current: int) -> ApiError:
    """A resourceVersion that is not there yet; real servers have it after a restart of theirs."""
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return ApiError(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})
