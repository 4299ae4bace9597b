"""Lists: pages of one consistent state."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import msgspec

from podwall.lab.apiserver import status
from podwall.lab.apiserver.resources import Target
from podwall.lab.apiserver.selectors import Test, parse_fields, parse_labels
from podwall.lab.apiserver.store import Compacted, Store, Stored


class Selection(msgspec.Struct, frozen=True):
    """Which objects of a resource are meant."""

    prefix: str
    labels: Test
    fields: Test
    partial: bool

    def takes(self, version: Stored) -> bool:
        """Whether an object is one of them."""
        return (
            version.key.startswith(self.prefix)
            and self.labels(version.labels)
            and self.fields(version.fields)
        )


def parse_selection(target: Target, query: Mapping[str, str]) -> Selection:
    """What a path and its query parameters select.

    Raises:
        ApiError: a selector cannot be parsed, or names a field that is not selectable (400).
    """
    labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
    return Selection(
        prefix=f"{target.namespace}/" if target.namespace else "",
        labels=parse_labels(labels),
        fields=parse_fields(fields, target.resource),
        partial=bool(labels or fields),
    )


class Page(msgspec.Struct, frozen=True):
    """One page: objects as they were at ``revision``, and how to go on."""

    revision: int
    versions: list[Stored]
    token: str = ""
    remaining: int | None = None

    @property
    def metadata(self) -> dict[str, object]:
        """ListMeta."""
        metadata: dict[str, object] = {"resourceVersion": str(self.revision)}
        if self.token:
            metadata["continue"] = self.token
        if self.remaining is not None:
            metadata["remainingItemCount"] = self.remaining
        return metadata


class Token(msgspec.Struct, frozen=True):
    """What a continue token says: the state (-1: whichever there is), and the last key."""

    rv: int
    start: str
    v: str = "meta.k8s.io/v1"

    def encode(self) -> str:
        """The token as clients hold it; it means nothing to them."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).rstrip(b"=").decode()


def decode_token(text: str) -> Token:
    """The token in a query.

    Raises:
        ApiError: it is none of ours (400).
    """
    try:
        return msgspec.json.decode(
            base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=Token
        )
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise status.bad_request(f"continue key is not valid: {error}") from error


def parse_revision(text: str) -> int | None:
    """A resourceVersion of a query, ``None`` if it is not given.

    Raises:
        ApiError: it is no number (400).
    """
    if not text:
        return None
    if not text.isdecimal():
        raise status.bad_request(f"Invalid value: {text!r}: invalid resourceVersion")
    return int(text)


def list_page(store: Store, target: Target, query: Mapping[str, str]) -> Page:
    """One page of a list.

    Without ``limit``, and with ``resourceVersion=0``, which real servers answer from their cache
    without pages, it holds everything.

    Raises:
        ApiError: the query makes no sense (400), its state is forgotten (410) or yet to come (504).
    """
    selection = parse_selection(target, query)
    limit = int(query.get("limit") or 0)
    revision = parse_revision(query.get("resourceVersion", ""))
    exact = query.get("resourceVersionMatch") == "Exact"
    start, at = "", store.revision
    if text := query.get("continue", ""):
        if revision:
            raise status.bad_request(
                "specifying resource version is not allowed when using continue"
            )
        token = decode_token(text)
        start, at = token.start, store.revision if token.rv < 0 else token.rv
    elif revision is not None:
        if revision > store.revision:
            raise status.too_large_revision(revision, store.revision)
        if exact and revision:
            at = revision
        if revision == 0:
            limit = 0
    try:
        view = store[target.resource].at(None if at == store.revision else at, selection.prefix)
    except Compacted:
        token_now = Token(-1, start).encode() if start else None
        raise status.expired_list(token_now) from None
    versions: list[Stored] = []
    for version in view.after(start):
        if not selection.takes(version):
            continue
        if limit and len(versions) == limit:
            # One more is there, so there is another page.
            last = versions[-1].key
            remaining = None if selection.partial else view.count_after(last)
            return Page(at, versions, Token(at, last).encode(), remaining)
        versions.append(version)
    return Page(at, versions)
