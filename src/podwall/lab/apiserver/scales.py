"""The ``scale`` of workloads: a small object of its own that says how many replicas there are."""

from __future__ import annotations

from typing import Any

from podwall.lab.apiserver import status
from podwall.lab.apiserver.api import Api
from podwall.lab.apiserver.patches import merge
from podwall.lab.apiserver.resources import Target
from podwall.lab.apiserver.store import Object
from podwall.lab.apiserver.tables import NONE, selector_text

KIND = {"kind": "Scale", "apiVersion": "autoscaling/v1"}
_OWN = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def read_scale(api: Api, target: Target) -> Object:
    """The scale of a workload."""
    thing = api.get(target).decode()
    spec = thing.get("spec") or {}
    text = selector_text(spec.get("selector") or {})
    return {
        **KIND,
        "metadata": {each: thing["metadata"].get(each, "") for each in _OWN},
        "spec": {"replicas": spec.get("replicas", 1)},
        "status": {
            "replicas": (thing.get("status") or {}).get("replicas", 0),
            "selector": "" if text == NONE else text,
        },
    }


def write_scale(api: Api, target: Target, body: Any, *, patch: bool, dry_run: bool) -> Object:
    """Replace or merge into the scale of a workload; the scale as it is then.

    Raises:
        ApiError: there is no such workload, or no such number of replicas.
    """
    wanted = merge(read_scale(api, target), body) if patch else body
    try:
        replicas = wanted["spec"].get("replicas", 0)
        revision = (wanted.get("metadata") or {}).get("resourceVersion", "")
    except (AttributeError, KeyError, TypeError) as error:
        raise status.bad_request("the body of the request is no Scale") from error
    if type(replicas) is not int or replicas < 0:
        cause = status.invalid_value(
            "spec.replicas", replicas, "must be greater than or equal to 0"
        )
        raise status.invalid(target.resource, target.name, [cause])
    thing = api.get(target).decode()
    thing["spec"]["replicas"] = replicas
    if revision:
        thing["metadata"]["resourceVersion"] = revision
    api.update(target, thing, dry_run)
    return read_scale(api, target)
