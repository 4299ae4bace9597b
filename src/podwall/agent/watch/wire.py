"""Bytes of the API server to values: pages of lists, lines of watches, and the objects in them.

Objects stay bytes until they are read one by one, so that one which is broken breaks nothing else.
Nothing here raises for what an object holds: what cannot be read is told as a problem. Of a policy
that cannot be read there is at least its name, and it isolates its whole namespace (S10).
"""

from __future__ import annotations

from typing import Any, assert_never

import msgspec

from podwall.agent.watch.typed import read_pod
from podwall.agent.watch.words import printable
from podwall.cluster.events import ClusterObject, Kind, ObjectKey
from podwall.cluster.state import key_of
from podwall.errors import (
    ApiConflict,
    ApiExpired,
    ApiFailed,
    ApiForbidden,
    ApiGarbled,
    ApiInvalid,
    ApiNotFound,
    ApiRefused,
    ApiThrottled,
    ApiUnauthorized,
)
from podwall.model.decode import (
    Decoded,
    Problem,
    decode_namespace,
    decode_node,
    decode_pod,
    decode_policy,
)
from podwall.model.objects import Pod
from podwall.model.policy import Policy

INITIAL_END = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends the list at the beginning of a watch."""

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_REFUSALS: dict[int, type[ApiRefused]] = {
    400: ApiInvalid,
    401: ApiUnauthorized,
    403: ApiForbidden,
    404: ApiNotFound,
    409: ApiConflict,
    410: ApiExpired,
    422: ApiInvalid,
    429: ApiThrottled,
}


class ListMeta(msgspec.Struct, frozen=True, rename={"version": "resourceVersion"}):
    """Metadata of a page: the state it is taken from, and how to go on."""

    version: str = ""
    continue_: str | None = msgspec.field(default=None, name="continue")


class Page(msgspec.Struct, frozen=True):
    """One page of a list; its items are still bytes."""

    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class WatchLine(msgspec.Struct, frozen=True):
    """One line of a watch: ``ADDED``, ``MODIFIED``, ``DELETED``, ``BOOKMARK`` or ``ERROR``."""

    type: str
    object: msgspec.Raw


class Bookmark(msgspec.Struct, frozen=True):
    """How far a watch has come, and whether that is the end of the list at its beginning."""

    version: str
    ends_initial: bool


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What there is to know of an object.

    ``key`` is ``None`` if it has no name to speak of, ``value`` if nothing could be made of it;
    ``uid`` is a pod's, ``version`` its resourceVersion, empty where there is none.
    """

    key: ObjectKey | None
    value: ClusterObject | None
    problems: tuple[Problem, ...] = ()
    version: str = ""
    uid: str = ""


class _BookmarkMeta(msgspec.Struct):
    resourceVersion: str  # noqa: N815
    annotations: dict[str, str] | None = None


class _Bookmark(msgspec.Struct):
    metadata: _BookmarkMeta


class _HeadMeta(msgspec.Struct):
    name: str
    namespace: str | None = None
    uid: str | None = None
    resourceVersion: str | None = None  # noqa: N815


class _Head(msgspec.Struct):
    metadata: _HeadMeta


_page = msgspec.json.Decoder(Page)
_line = msgspec.json.Decoder(WatchLine)
_bookmark = msgspec.json.Decoder(_Bookmark)
_head = msgspec.json.Decoder(_Head)


def parse_page(body: bytes) -> Page:
    """A page of a list.

    Raises:
        ApiGarbled: it is none.
    """
    try:
        page = _page.decode(body)
    except _UNREADABLE as error:
        raise _garbled("a list", error) from error
    if not page.metadata.version:
        raise ApiGarbled("a list of the API server has no resourceVersion")
    return page


def parse_line(line: bytes) -> WatchLine:
    """A line of a watch.

    Raises:
        ApiGarbled: it is none.
    """
    try:
        return _line.decode(line)
    except _UNREADABLE as error:
        raise _garbled("a line of a watch", error) from error


def parse_bookmark(raw: msgspec.Raw) -> Bookmark:
    """The object of a ``BOOKMARK`` line.

    Raises:
        ApiGarbled: it is none.
    """
    try:
        metadata = _bookmark.decode(raw).metadata
    except _UNREADABLE as error:
        raise _garbled("a bookmark", error) from error
    if not metadata.resourceVersion:
        # A watch without one begins anywhere, and what was deleted meanwhile would stay.
        raise ApiGarbled("a bookmark of the API server has no resourceVersion")
    return Bookmark(
        metadata.resourceVersion, (metadata.annotations or {}).get(INITIAL_END) == "true"
    )


def parse_refusal(
    body: bytes | msgspec.Raw, code: int = 0, retry_after: float | None = None
) -> ApiRefused:
    """The error that a Status object tells of, or, if ``body`` is none, the HTTP status ``code``.

    ``retry_after`` is the header's; the object's own counts where there is none.
    """
    try:
        found: Any = msgspec.json.decode(body)
    except _UNREADABLE:
        found = None
    status = found if isinstance(found, dict) else {}
    if not code:
        code = status["code"] if type(status.get("code")) is int else 500
    if retry_after is None:
        retry_after = _asked(status)
    reason = status["reason"] if isinstance(status.get("reason"), str) else ""
    words = status["message"] if isinstance(status.get("message"), str) else ""
    kind = _REFUSALS.get(code, ApiFailed if code >= 500 else ApiRefused)
    reason, words = printable(reason), printable(words)
    detail = ": ".join(each for each in (reason, words) if each)
    return kind(f"{code} {detail}" if detail else f"status {code}", code, reason, retry_after)


def _asked(status: dict[str, Any]) -> float | None:
    details = status.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    return float(seconds) if type(seconds) is int and 0 < seconds < 10**6 else None


def _garbled(what: str, error: Exception) -> ApiGarbled:
    return ApiGarbled(f"{what} of the API server makes no sense: {printable(str(error))}")


def read_object(kind: Kind, raw: bytes | msgspec.Raw) -> Reading:
    """One object of a kind, whatever it holds."""
    if kind is Kind.POD and (fast := read_pod(raw)) is not None:
        return Reading(fast.pod.key, fast.pod, (), fast.version, fast.pod.uid)
    try:
        data = msgspec.json.decode(raw)
    except _UNREADABLE as error:
        return _read_head(kind, raw, error)
    return _read_data(kind, data)


def _read_data(kind: Kind, data: Any) -> Reading:
    """What the general decoder makes of an object."""
    decoded: Decoded[Any]
    match kind:
        case Kind.POD:
            decoded = decode_pod(data)
        case Kind.NAMESPACE:
            decoded = decode_namespace(data)
        case Kind.NODE:
            decoded = decode_node(data)
        case Kind.POLICY:
            decoded = decode_policy(data)
        case _:
            assert_never(kind)
    value: ClusterObject | None = decoded.value
    uid = value.uid if isinstance(value, Pod) else ""
    key = None if value is None else key_of(value)
    return Reading(key, value, decoded.problems, _version_of(data), uid)


def _version_of(data: Any) -> str:
    metadata = data.get("metadata") if isinstance(data, dict) else None
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    return version if isinstance(version, str) else ""


def _read_head(kind: Kind, raw: bytes | msgspec.Raw, error: Exception) -> Reading:
    """An object that is no JSON through and through: its name may still be told."""
    problem = Problem((), f"it cannot be read: {printable(str(error))}")
    try:
        meta = _head.decode(raw).metadata
    except _UNREADABLE:
        return Reading(None, None, (problem,))
    names = {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid}
    # A spec that is no mapping: such a policy closes both directions.
    rest = _read_data(kind, {"metadata": names, "spec": ""})
    value = None
    if isinstance(rest.value, Policy):
        value = msgspec.structs.replace(rest.value, problems=(str(problem),))
    return Reading(rest.key, value, (problem,), meta.resourceVersion or "", rest.uid)
