"""What a server says about itself: versions, groups, resources, and some OpenAPI.

Of OpenAPI there is the little that ``kubectl apply`` looks at.
"""

from __future__ import annotations

from typing import Any

from podwall.lab.apiserver.resources import GROUPS, RESOURCES, VERBS, Resource

VERSION: dict[str, Any] = {
    "major": "1",
    "minor": "35",
    "gitVersion": "v1.35.0",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2025-12-17T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
_SCALE = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def document(path: str) -> dict[str, Any] | None:
    """What is at a path (without its slashes at the ends), or ``None``."""
    match path.split("/"):
        case ["version"]:
            return VERSION
        case ["api"]:
            return legacy_versions()
        case ["apis"]:
            return groups()
        case ["api", version] if GROUPS[""] == version:
            return resources("")
        case ["apis", name] if name and name in GROUPS:
            return group(name)
        case ["apis", name, version] if GROUPS.get(name) == version:
            return resources(name)
        case ["openapi", "v3"]:
            return openapi_index()
        case ["openapi", "v3", *rest]:
            return openapi("/" + "/".join(rest))
        case _:
            return None


def legacy_versions() -> dict[str, Any]:
    """``/api``."""
    everywhere = {"clientCIDR": "0.0.0.0/0", "serverAddress": ""}
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [everywhere],
    }


def group(name: str) -> dict[str, Any]:
    """``/apis/<group>``."""
    version = {"groupVersion": f"{name}/{GROUPS[name]}", "version": GROUPS[name]}
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": name,
        "versions": [version],
        "preferredVersion": version,
    }


def groups() -> dict[str, Any]:
    """``/apis``."""
    listed = []
    for name in filter(None, GROUPS):
        found = group(name)
        del found["kind"], found["apiVersion"]
        listed.append(found)
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def resources(name: str) -> dict[str, Any]:
    """``/api/v1`` and ``/apis/<group>/<version>``."""
    listed: list[dict[str, Any]] = []
    for each in _of(name):
        listed.append(
            {
                "name": each.plural,
                "singularName": each.singular,
                "namespaced": each.namespaced,
                "kind": each.kind,
                "verbs": list(VERBS),
                "shortNames": list(each.short_names),
                "categories": list(each.categories),
            }
        )
        for subresource in each.subresources:
            listed.append(
                {
                    "name": f"{each.plural}/{subresource}",
                    "singularName": "",
                    "namespaced": each.namespaced,
                    "verbs": _verbs(subresource),
                    **_foreign_kind(each, subresource),
                }
            )
    version = f"{name}/{GROUPS[name]}" if name else GROUPS[name]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": listed,
    }


def aggregated(legacy: bool) -> dict[str, Any]:
    """All of it at once: ``/api`` and ``/apis`` for clients that accept it."""
    names = [""] if legacy else list(filter(None, GROUPS))
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": name, "creationTimestamp": None},
                "versions": [
                    {
                        "version": GROUPS[name],
                        "freshness": "Current",
                        "resources": [_aggregated_resource(each) for each in _of(name)],
                    }
                ],
            }
            for name in names
        ],
    }


def _of(group_name: str) -> list[Resource]:
    return [each for each in RESOURCES if each.group == group_name]


def _foreign_kind(resource: Resource, subresource: str) -> dict[str, str]:
    if subresource == "scale":
        return _SCALE
    return {"kind": "Binding" if subresource == "binding" else resource.kind}


def _verbs(subresource: str) -> list[str]:
    return {"binding": ["create"], "finalize": ["update"]}.get(
        subresource, ["get", "patch", "update"]
    )


def _gvk(resource: Resource, subresource: str = "") -> dict[str, str]:
    own = {"group": resource.group, "version": resource.version}
    return {**own, **_foreign_kind(resource, subresource)}


def _aggregated_resource(each: Resource) -> dict[str, Any]:
    return {
        "resource": each.plural,
        "responseKind": _gvk(each),
        "scope": "Namespaced" if each.namespaced else "Cluster",
        "singularResource": each.singular,
        "verbs": list(VERBS),
        "shortNames": list(each.short_names),
        "categories": list(each.categories),
        "subresources": [
            {
                "subresource": name,
                "responseKind": _gvk(each, name),
                "verbs": _verbs(name),
            }
            for name in each.subresources
        ],
    }


def openapi_index() -> dict[str, Any]:
    """``/openapi/v3``."""
    roots = sorted({each.root for each in RESOURCES})
    return {
        "paths": {root[1:]: {"serverRelativeURL": f"/openapi/v3{root}?hash=1"} for root in roots}
    }


def openapi(root: str) -> dict[str, Any] | None:
    """``/openapi/v3/<group and version>``: that the server validates fields itself.

    There are no schemas: without them kubectl merges by those that are built into it.
    """
    found = [each for each in RESOURCES if each.root == root]
    if not found:
        return None
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
        "paths": {_openapi_path(each): {"patch": _openapi_patch(each)} for each in found},
        "components": {"schemas": {}},
    }


def _openapi_path(each: Resource) -> str:
    middle = "/namespaces/{namespace}" if each.namespaced else ""
    return f"{each.root}{middle}/{each.plural}/{{name}}"


def _openapi_patch(each: Resource) -> dict[str, Any]:
    names = ("dryRun", "fieldManager", "fieldValidation", "force")
    return {
        "operationId": f"patch{each.kind}",
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
            for name in names
        ],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": _gvk(each),
    }
