"""Puts the objects of manifests into the API server, as ``kubectl create`` would."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from podwall.lab.apiserver import Api, ApiError
from podwall.lab.apiserver.resources import BY_KIND, NAMESPACES, NODES, Resource, Target
from podwall.lab.apiserver.store import key_of


def load_objects(api: Api, things: Iterable[dict[str, Any]]) -> list[str]:
    """Create ``things``; what the server does not take, as ``Kind ns/name: why``.

    Namespaces come first, and those that are used but declared nowhere are made (S18). Nodes are
    left out: the lab has its own. What is there already is replaced.
    """
    refused: list[str] = []
    known = [(resource, thing) for thing in things if (resource := _resource(thing)) is not None]
    known.sort(key=lambda each: each[0] != NAMESPACES)
    for resource, thing in known:
        if resource == NODES:
            continue
        metadata = {**(thing.get("metadata") or {})}
        # They are those of another cluster, where the object came from.
        metadata.pop("resourceVersion", None)
        namespace = (metadata.get("namespace") or "default") if resource.namespaced else ""
        name = str(metadata.get("name", ""))
        target = Target(resource, namespace, name)
        try:
            if namespace and api.store[NAMESPACES].get(namespace) is None:
                api.create(Target(NAMESPACES), {"metadata": {"name": namespace}})
            if api.store[resource].get(key_of(namespace, name)) is None:
                api.create(target, {**thing, "metadata": metadata})
            else:
                metadata.pop("uid", None)
                api.update(target, {**thing, "metadata": metadata})
        except ApiError as error:
            refused.append(f"{resource.kind} {key_of(namespace, name)}: {error}")
    return refused


def _resource(thing: dict[str, Any]) -> Resource | None:
    return BY_KIND.get((str(thing.get("apiVersion")), str(thing.get("kind"))))
