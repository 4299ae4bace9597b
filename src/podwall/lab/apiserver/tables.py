"""Objects as rows, which is how ``kubectl get`` asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from podwall.lab.apiserver.resources import Resource
from podwall.lab.apiserver.store import Object

NONE = "<none>"


class Column(msgspec.Struct, frozen=True):
    """A column; ``cell`` takes it from an object, ``wide`` ones are for ``-o wide`` only."""

    name: str
    cell: Callable[[Object], object]
    wide: bool = False
    form: str = ""


def definitions(resource: Resource) -> list[dict[str, object]]:
    """The columns of a resource, as a Table declares them."""
    return [
        {
            "name": each.name,
            "type": "string",
            "format": each.form,
            "description": each.name,
            "priority": int(each.wide),
        }
        for each in _columns(resource)
    ]


def cells(resource: Resource, thing: Object) -> list[object]:
    """One object's row."""
    return [_safely(each, thing) for each in _columns(resource)]


def _safely(column: Column, thing: Object) -> object:
    try:
        return column.cell(thing)
    except (AttributeError, KeyError, TypeError, ValueError):
        # Somebody stored a thing that is not what it should be; the list is still shown.
        return "<invalid>"


def human_age(text: str | None, now: datetime | None = None) -> str:
    """How long ago, as kubectl writes it."""
    if not text:
        return "<unknown>"
    then = datetime.fromisoformat(text)
    seconds = int(((now or datetime.now(UTC)) - then).total_seconds())
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y"


def selector_text(selector: Mapping[str, Any]) -> str:
    """A label selector, as kubectl shows it."""
    parts = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for each in selector.get("matchExpressions") or []:
        match each["operator"]:
            case "Exists":
                parts.append(each["key"])
            case "DoesNotExist":
                parts.append(f"!{each['key']}")
            case operator:
                parts.append(f"{each['key']} {operator.lower()} ({','.join(each['values'])})")
    return ",".join(parts) or NONE


def _spec(thing: Object) -> dict[str, Any]:
    return thing.get("spec") or {}


def _status(thing: Object) -> dict[str, Any]:
    return thing.get("status") or {}


def _pod_ready(thing: Object) -> str:
    states = _status(thing).get("containerStatuses") or []
    return f"{sum(bool(s.get('ready')) for s in states)}/{len(_spec(thing)['containers'])}"


def _pod_status(thing: Object) -> str:
    if thing["metadata"].get("deletionTimestamp"):
        return "Terminating"
    phase = _status(thing).get("reason") or _status(thing).get("phase") or "Unknown"
    return "Completed" if phase == "Succeeded" else str(phase)


def _restarts(thing: Object) -> str:
    states = _status(thing).get("containerStatuses") or []
    return str(sum(s.get("restartCount", 0) for s in states))


def _node_status(thing: Object) -> str:
    ready = [c for c in _status(thing).get("conditions") or [] if c["type"] == "Ready"]
    word = "Unknown" if not ready else "Ready" if ready[0]["status"] == "True" else "NotReady"
    return word + (",SchedulingDisabled" if _spec(thing).get("unschedulable") else "")


def _node_roles(thing: Object) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = thing["metadata"].get("labels") or {}
    return ",".join(sorted(k[len(prefix) :] for k in labels if k.startswith(prefix))) or NONE


def _node_info(field: str) -> Callable[[Object], str]:
    return lambda thing: (_status(thing).get("nodeInfo") or {}).get(field) or "<unknown>"


def _node_address(kind: str) -> Callable[[Object], str]:
    def cell(thing: Object) -> str:
        listed = _status(thing).get("addresses") or []
        return next((each["address"] for each in listed if each["type"] == kind), NONE)

    return cell


def _event_source(thing: Object) -> str:
    source = thing.get("source") or {}
    return ", ".join(filter(None, (source.get("component"), source.get("host"))))


def _event_object(thing: Object) -> str:
    about = thing["involvedObject"]
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}"


def _service_ports(thing: Object) -> str:
    ports = _spec(thing).get("ports") or []
    return ",".join(f"{p['port']}/{p.get('protocol', 'TCP')}" for p in ports) or NONE


def _replicas(thing: Object) -> str:
    return f"{_status(thing).get('readyReplicas', 0)}/{_spec(thing).get('replicas', 1)}"


def _number(field: str) -> Callable[[Object], int]:
    return lambda thing: int(_status(thing).get(field, 0))


_NAME = Column("Name", lambda thing: thing["metadata"]["name"], form="name")
_AGE = Column("Age", lambda thing: human_age(thing["metadata"].get("creationTimestamp")))
_COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "Pod": (
        _NAME,
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _restarts),
        _AGE,
        Column("IP", lambda thing: _status(thing).get("podIP") or NONE, wide=True),
        Column("Node", lambda thing: _spec(thing).get("nodeName") or NONE, wide=True),
        Column("Nominated Node", lambda _: NONE, wide=True),
        Column("Readiness Gates", lambda _: NONE, wide=True),
    ),
    "Namespace": (_NAME, Column("Status", lambda thing: _status(thing).get("phase", "")), _AGE),
    "Node": (
        _NAME,
        Column("Status", _node_status),
        Column("Roles", _node_roles),
        _AGE,
        Column("Version", _node_info("kubeletVersion")),
        Column("Internal-IP", _node_address("InternalIP"), wide=True),
        Column("External-IP", _node_address("ExternalIP"), wide=True),
        Column("OS-Image", _node_info("osImage"), wide=True),
        Column("Kernel-Version", _node_info("kernelVersion"), wide=True),
        Column("Container-Runtime", _node_info("containerRuntimeVersion"), wide=True),
    ),
    "NetworkPolicy": (
        _NAME,
        Column("Pod-Selector", lambda thing: selector_text(_spec(thing).get("podSelector") or {})),
        _AGE,
    ),
    "Event": (
        Column("Last Seen", lambda thing: human_age(thing.get("lastTimestamp"))),
        Column("Type", lambda thing: thing.get("type", "")),
        Column("Reason", lambda thing: thing.get("reason", "")),
        Column("Object", _event_object),
        Column("Subobject", lambda thing: thing["involvedObject"].get("fieldPath", ""), wide=True),
        Column("Source", _event_source, wide=True),
        Column("Message", lambda thing: thing.get("message", "").strip()),
        Column("First Seen", lambda thing: human_age(thing.get("firstTimestamp")), wide=True),
        Column("Count", lambda thing: str(thing.get("count", 1)), wide=True),
        Column("Name", lambda thing: thing["metadata"]["name"], wide=True, form="name"),
    ),
    "ConfigMap": (_NAME, Column("Data", lambda thing: len(thing.get("data") or {})), _AGE),
    "Service": (
        _NAME,
        Column("Type", lambda thing: _spec(thing).get("type", "")),
        Column("Cluster-IP", lambda thing: _spec(thing).get("clusterIP") or NONE),
        Column("External-IP", lambda _: NONE),
        Column("Port(s)", _service_ports),
        _AGE,
    ),
    "Deployment": (
        _NAME,
        Column("Ready", _replicas),
        Column("Up-to-date", _number("updatedReplicas")),
        Column("Available", _number("availableReplicas")),
        _AGE,
    ),
    "ReplicaSet": (
        _NAME,
        Column("Desired", lambda thing: _spec(thing).get("replicas", 1)),
        Column("Current", _number("replicas")),
        Column("Ready", _number("readyReplicas")),
        _AGE,
    ),
    "StatefulSet": (_NAME, Column("Ready", _replicas), _AGE),
    "DaemonSet": (
        _NAME,
        Column("Desired", _number("desiredNumberScheduled")),
        Column("Current", _number("currentNumberScheduled")),
        Column("Ready", _number("numberReady")),
        _AGE,
    ),
}


def _columns(resource: Resource) -> tuple[Column, ...]:
    return _COLUMNS.get(resource.kind, (_NAME, _AGE))
