"""The forms in which objects are sent: as they are, as rows of a Table, or their metadata only.

Lists are put together from bytes that are kept, since a list of 150,000 pods is encoded often and
never changed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

import msgspec

from podwall.lab.apiserver import tables
from podwall.lab.apiserver.listing import Page
from podwall.lab.apiserver.resources import Resource
from podwall.lab.apiserver.store import Object, Stored

_EMPTY_HALVES: Mapping[str, Object] = {
    "Pod": {"spec": {"containers": None}, "status": {}},
    "Namespace": {"spec": {}, "status": {}},
    "Node": {
        "spec": {},
        "status": {
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
            "nodeInfo": {
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kernelVersion": "",
                "osImage": "",
                "containerRuntimeVersion": "",
                "kubeletVersion": "",
                "kubeProxyVersion": "",
                "operatingSystem": "",
                "architecture": "",
            },
        },
    },
    "NetworkPolicy": {"spec": {"podSelector": {}}},
    "Event": {"involvedObject": {}, "source": {}},
}


class Kind(enum.Enum):
    """How objects look."""

    OBJECT = "object"
    TABLE = "Table"
    METADATA = "PartialObjectMetadata"


class Form(msgspec.Struct, frozen=True):
    """What a client accepts; ``include`` is the part of the object that a table's row carries."""

    kind: Kind = Kind.OBJECT
    include: str = "Metadata"


def parse_form(accept: str, query: Mapping[str, str]) -> Form:
    """The first form that an Accept header asks for and that is served."""
    for part in accept.split(","):
        words = {word.strip() for word in part.split(";")}
        if "application/json" not in words:
            continue
        if "as=Table" in words:
            return Form(Kind.TABLE, query.get("includeObject") or "Metadata")
        if words & {"as=PartialObjectMetadata", "as=PartialObjectMetadataList"}:
            return Form(Kind.METADATA)
        break
    return Form()


def one(resource: Resource, version: Stored, form: Form) -> bytes:
    """One object."""
    return thing(resource, version.body, version.revision, form)


def thing(
    resource: Resource, body: bytes, revision: int, form: Form, headings: bool = True
) -> bytes:
    """One object from its body; a watch's later tables go without their ``headings``."""
    match form.kind:
        case Kind.OBJECT:
            return _typed(resource.kind, resource.api_version, body)
        case Kind.METADATA:
            return msgspec.json.encode(_metadata_only(msgspec.json.decode(body)))
        case Kind.TABLE:
            return _table(resource, {"resourceVersion": str(revision)}, [body], form, headings)


def page(resource: Resource, found: Page, form: Form) -> bytes:
    """A list."""
    bodies = [version.body for version in found.versions]
    match form.kind:
        case Kind.TABLE:
            return _table(resource, found.metadata, bodies, form, True) + b"\n"
        case Kind.METADATA:
            kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
            bodies = [
                msgspec.json.encode(_metadata_only(msgspec.json.decode(each))) for each in bodies
            ]
        case Kind.OBJECT:
            kind, api_version = f"{resource.kind}List", resource.api_version
    head = b'{"metadata":' + msgspec.json.encode(found.metadata) + b',"items":['
    return _typed(kind, api_version, head) + b",".join(bodies) + b"]}\n"


def bookmark(resource: Resource, revision: int, form: Form, initial: bool = False) -> bytes:
    """The object of a bookmark: empty but for its revision, and odd in the way real ones are."""
    metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    body = msgspec.json.encode({"metadata": metadata, **_EMPTY_HALVES.get(resource.kind, {})})
    if form.kind is Kind.TABLE:
        row_part = Form(Kind.TABLE, form.include)
        return _table(resource, {"resourceVersion": str(revision)}, [body], row_part, False)
    return thing(resource, body, revision, form)


def _typed(kind: str, api_version: str, body: bytes) -> bytes:
    return f'{{"kind":"{kind}","apiVersion":"{api_version}",'.encode() + body[1:]


def _metadata_only(full: Object) -> Object:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": full["metadata"],
    }


def _table(
    resource: Resource,
    metadata: Mapping[str, object],
    bodies: Iterable[bytes],
    form: Form,
    headings: bool,
) -> bytes:
    rows: list[Object] = []
    for body in bodies:
        full: Object = msgspec.json.decode(body)
        row: Object = {"cells": tables.cells(resource, full)}
        if form.include == "Object":
            row["object"] = msgspec.Raw(_typed(resource.kind, resource.api_version, body))
        elif form.include == "Metadata":
            row["object"] = _metadata_only(full)
        rows.append(row)
    return msgspec.json.encode(
        {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "columnDefinitions": tables.definitions(resource) if headings else None,
            "rows": rows,
        }
    )
