"""API objects as the parts of a cluster write them: nodes, the status of pods, Events; pure."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from podwall import __version__
from podwall.model.net import Address
from podwall.model.objects import Node

Thing = dict[str, Any]

HOST_NAME_LABEL = "kubernetes.io/hostname"


def node_thing(node: Node, labels: Mapping[str, str], now: str) -> Thing:
    """A Node that is ready."""
    ranges = [str(each) for each in node.pod_cidrs]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": {HOST_NAME_LABEL: node.name, **labels}},
        "spec": {"podCIDR": ranges[0], "podCIDRs": ranges} if ranges else {},
        "status": {
            "addresses": [
                *({"type": "InternalIP", "address": str(each)} for each in node.addresses),
                {"type": "Hostname", "address": node.name},
            ],
            "conditions": [
                _condition("Ready", now, reason="KubeletReady", message="the lab stands")
            ],
            "nodeInfo": {
                "architecture": platform.machine(),
                "bootID": "",
                "containerRuntimeVersion": f"podwall-lab://{__version__}",
                "kernelVersion": platform.release(),
                "kubeProxyVersion": "",
                "kubeletVersion": "v1.35.0",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "network namespace",
                "systemUUID": "",
            },
        },
    }


def running_status(
    pod: Thing, addresses: Sequence[Address], host: Iterable[Address], now: str
) -> Thing:
    """The status of a pod whose containers all run."""
    hosts = [str(each) for each in host]
    mine = [str(each) for each in addresses]
    spec = pod["spec"]
    return {
        **pod.get("status", {}),
        "phase": "Running",
        "conditions": [
            _condition(each, now)
            for each in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ],
        "hostIP": hosts[0],
        "hostIPs": [{"ip": each} for each in hosts],
        "podIP": mine[0],
        "podIPs": [{"ip": each} for each in mine],
        "startTime": now,
        "containerStatuses": [
            {
                "name": each.get("name", ""),
                "image": each.get("image", ""),
                "imageID": "",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
                "lastState": {},
            }
            for each in spec.get("containers") or ()
        ],
    }


def event_thing(about: Thing, reason: str, message: str, source: str, now: str) -> Thing:
    """A Warning about an object (that has its ``kind`` and ``apiVersion``)."""
    metadata = about["metadata"]
    return {
        "metadata": {
            "generateName": f"{metadata['name'][:200]}.",
            "namespace": metadata.get("namespace", "default"),
        },
        "involvedObject": {
            "kind": about["kind"],
            "apiVersion": about["apiVersion"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata["uid"],
        },
        "reason": reason,
        "message": message,
        "type": "Warning",
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": source},
        "reportingComponent": source,
    }


def _condition(kind: str, now: str, reason: str = "", message: str = "") -> Thing:
    return {
        "type": kind,
        "status": "True",
        "lastTransitionTime": now,
        "lastProbeTime": None,
        **({"reason": reason, "message": message} if reason else {}),
    }
