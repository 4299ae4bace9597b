"""An API server without a network, and short ways to its objects."""

from __future__ import annotations

from typing import Any

import msgspec

from podwall.lab.apiserver import Api
from podwall.lab.apiserver.resources import BY_KIND, Target

Thing = dict[str, Any]

CONTAINERS = [{"name": "main", "image": "any", "ports": [{"containerPort": 80}]}]


def put(api: Api, kind: str, name: str, api_version: str = "v1", **fields: Any) -> Thing:
    """Create an object; as it is stored."""
    target = target_of(kind, name, api_version)
    return api.create(target, {"metadata": {"name": name}, **fields}).version.decode()


def target_of(kind: str, name: str = "", api_version: str = "v1") -> Target:
    """Where an object of the namespace ``default`` is."""
    resource = BY_KIND[api_version, kind]
    return Target(resource, "default" if resource.namespaced else "", name)


def change(api: Api, kind: str, name: str, api_version: str = "v1", **spec: Any) -> None:
    """Change fields of an object's spec."""
    target = target_of(kind, name, api_version)
    thing = api.get(target).decode()
    thing["spec"].update(spec)
    api.update(target, thing)


def all_of(api: Api, kind: str, api_version: str = "v1") -> list[Thing]:
    """All objects of a kind in the namespace ``default``."""
    return [each.decode() for each in api.select(target_of(kind, "", api_version))]


def names(things: list[Thing]) -> list[str]:
    """Their names."""
    return [each["metadata"]["name"] for each in things]


def run_pods(api: Api) -> None:
    """What a kubelet says of every pod that is to run."""
    for pod in all_of(api, "Pod"):
        target = msgspec.structs.replace(
            target_of("Pod", pod["metadata"]["name"]), subresource="status"
        )
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        api.update(target, {**pod, "status": ready})
