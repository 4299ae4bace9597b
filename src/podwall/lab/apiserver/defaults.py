"""What the server fills in when an object is created or replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from podwall.lab.apiserver.resources import Resource
from podwall.lab.apiserver.store import Object

NAME_LABEL = "kubernetes.io/metadata.name"
_FIRST_STATUS: Mapping[str, Object] = {
    "Pod": {"phase": "Pending", "qosClass": "BestEffort"},
    "Namespace": {"phase": "Active"},
    "Service": {"loadBalancer": {}},
}


def fill_in(resource: Resource, thing: Object) -> None:
    """Fill in the defaults of ``thing``, in place."""
    _DEFAULTS.get(resource.kind, _nothing)(thing)


def begin(resource: Resource, thing: Object) -> None:
    """Set the status that a new object has, in place."""
    if resource.kind in _FIRST_STATUS:
        thing["status"] = dict(_FIRST_STATUS[resource.kind])
    elif "status" in resource.subresources and resource.kind != "Node":
        # Nodes keep theirs: a kubelet creates its node with a status.
        thing["status"] = {}


def _nothing(_: Object) -> None:
    pass


def _items(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _section(thing: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = thing.get(name)
    return value if isinstance(value, dict) else {}


def _pod(thing: Object) -> None:
    spec = thing.setdefault("spec", {})
    if not isinstance(spec, dict):
        return
    for field, value in {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
    }.items():
        spec.setdefault(field, value)
    for container in _items(spec.get("containers")) + _items(spec.get("initContainers")):
        container.setdefault("resources", {})
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("imagePullPolicy", "IfNotPresent")
        for port in _items(container.get("ports")):
            port.setdefault("protocol", "TCP")


def _namespace(thing: Object) -> None:
    labels = thing["metadata"].setdefault("labels", {})
    labels[NAME_LABEL] = thing["metadata"]["name"]
    thing.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])


def _network_policy(thing: Object) -> None:
    spec = thing.setdefault("spec", {})
    if not isinstance(spec, dict):
        return
    spec.setdefault("podSelector", {})
    for section in ("ingress", "egress"):
        for rule in _items(spec.get(section)):
            for port in _items(rule.get("ports")):
                port.setdefault("protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _service(thing: Object) -> None:
    spec = thing.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in _items(spec.get("ports")):
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))


def _replicated(thing: Object) -> None:
    spec = thing.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _pod(_section(spec, "template"))


def _deployment(thing: Object) -> None:
    _replicated(thing)
    thing["spec"].setdefault("strategy", {"type": "RollingUpdate"})


def _stateful_set(thing: Object) -> None:
    _replicated(thing)
    thing["spec"].setdefault("updateStrategy", {"type": "RollingUpdate"})
    thing["spec"].setdefault("podManagementPolicy", "OrderedReady")


def _daemon_set(thing: Object) -> None:
    spec = thing.setdefault("spec", {})
    _pod(_section(spec, "template"))
    spec.setdefault("updateStrategy", {"type": "RollingUpdate"})


_DEFAULTS: Mapping[str, Callable[[Object], None]] = {
    "Pod": _pod,
    "Namespace": _namespace,
    "NetworkPolicy": _network_policy,
    "Service": _service,
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "ReplicaSet": _replicated,
    "DaemonSet": _daemon_set,
}
