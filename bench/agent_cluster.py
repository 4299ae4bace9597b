"""Clusters as an API server tells them: objects as large as real ones, in real proportions.

`cluster_gen.py` writes what somebody keeps in files. What an API server sends of a pod is ten times
as much: who manages which field, volumes, tolerations, probes, conditions, container statuses. A
namespace has five Deployments of three replicas, one of them scaled, so pods share labels as they
do in clusters; a few pods belong to StatefulSets, whose labels are their own. Pods are dealt out to
nodes at random. Equal shapes give equal clusters.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from cluster_gen import (
    ENVIRONMENTS,
    POLICY_MAKERS,
    PORTS,
    TEAMS,
    TIERS,
    Object,
    Workload,
    allow_dns,
    default_deny,
    policy_object,
)

REPLICAS = 3
PODS_PER_NAMESPACE = REPLICAS * len(TIERS)
CROWD = "crowd"
APPS = 40
NAMESPACES_OF_TEAM = 25
STATEFUL = "db"
"""The tier that is a StatefulSet."""

_EPOCH = 1_700_000_000
_IPV4 = int(IPv4Address("10.128.0.0"))
_IPV6 = int(IPv6Address("fd00:10:128::"))


@dataclass(frozen=True, slots=True)
class AgentShape:
    """How large a cluster is.

    `local_pods` run on `cluster_gen.NODE`, and as many on every other node; `crowd` of the pods are
    in one namespace, `CROWD`, none of whose pods are there.
    """

    name: str
    pods: int
    policies: int
    local_pods: int
    crowd: int = 0

    @property
    def namespaces(self) -> int:
        """As many as the pods outside of the crowd need."""
        return -(-(self.pods - self.crowd) // PODS_PER_NAMESPACE)

    @property
    def nodes(self) -> int:
        """As many as have `local_pods` each."""
        return max(1, self.pods // self.local_pods)


def objects(shape: AgentShape) -> Iterator[Object]:
    """Everything in the cluster: the nodes, the namespaces, the policies, the pods."""
    rng = random.Random(shape.name)
    for index in range(shape.nodes):
        yield _node(index)
    for index in range(shape.namespaces):
        yield namespace(namespace_name(index), _team(index))
    if shape.crowd:
        yield namespace(CROWD, {})
    yield from _policies(shape, rng)
    yield from _pods(shape, rng)


def namespace_name(index: int) -> str:
    """The name of the namespace with that number."""
    return f"{TEAMS[index % len(TEAMS)]}-{ENVIRONMENTS[index // len(TEAMS) % 3]}-{index}"


def namespace(name: str, labels: dict[str, str]) -> Object:
    """A namespace."""
    meta = _metadata(name, "", 0, {"kubernetes.io/metadata.name": name, **labels})
    meta["managedFields"] = [_managed("kubectl-create", "v1", ("metadata",))]
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": meta,
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def _team(index: int) -> dict[str, str]:
    """A team has 25 namespaces however large the cluster is; policies name the first ones."""
    team, more = TEAMS[index % len(TEAMS)], index // (len(TEAMS) * NAMESPACES_OF_TEAM)
    environment = ENVIRONMENTS[index // len(TEAMS) % len(ENVIRONMENTS)]
    return {"team": f"{team}-{more}" if more else team, "environment": environment}


def _node(index: int) -> Object:
    ranges = [f"{IPv4Address(_IPV4 + index * 512)}/23", f"{IPv6Address(_IPV6 + index * 512)}/119"]
    address = str(IPv4Address(int(IPv4Address("172.16.0.1")) + index))
    meta = _metadata(f"node-{index}", "", index, {"kubernetes.io/hostname": f"node-{index}"})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": meta,
        "spec": {"podCIDR": ranges[0], "podCIDRs": ranges},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


def _workloads(shape: AgentShape) -> Iterator[Workload]:
    for index in range(shape.namespaces):
        for tier in TIERS:
            yield Workload(namespace_name(index), f"app-{index % APPS}", tier)


def _policies(shape: AgentShape, rng: random.Random) -> Iterator[Object]:
    """As many for each namespace as for the others; of each sort as many as of the others."""
    makers: tuple[Callable[[Workload, random.Random], Object], ...] = (
        *POLICY_MAKERS,
        _from_anywhere,
    )
    for index in range(shape.policies):
        space, turn = index % shape.namespaces, index // shape.namespaces
        name = namespace_name(space)
        kind = (space + turn) % (len(makers) + 2)
        if kind >= len(makers):
            policy = (default_deny, allow_dns)[kind - len(makers)](name)
        else:
            workload = Workload(name, f"app-{space % APPS}", rng.choice(TIERS))
            policy = policy_object(f"policy-{turn}", name, makers[kind](workload, rng))
        yield _with_metadata(policy, index)


def _from_anywhere(workload: Workload, rng: random.Random) -> Object:
    """Pods of one application may come in from all namespaces, as a gateway's or a monitor's do."""
    labels = {"app": f"app-{rng.randrange(APPS)}", "tier": "web"}
    peer = {"namespaceSelector": {}, "podSelector": {"matchLabels": labels}}
    return {
        "podSelector": {"matchLabels": {"app": workload.app}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [peer], "ports": [{"protocol": "TCP", "port": 9090}]}],
    }


def _with_metadata(policy: Object, index: int) -> Object:
    given = policy["metadata"]
    assert isinstance(given, dict)
    meta = _metadata(f"{given['name']}-{index}", given["namespace"], index, {})
    del meta["labels"]
    meta["managedFields"] = [_managed("argocd-controller", "networking.k8s.io/v1", ("spec",))]
    return {**policy, "metadata": meta}


def moved_pod(old: dict[str, Any], number: int) -> Object:
    """What comes in place of a pod that went: another name, uid and address, the same node."""
    address = IPv4Address(int(IPv4Address("10.64.0.0")) + number)
    addresses = [{"ip": str(address)}, {"ip": f"fd00:10:64::{number:x}"}]
    stem = old["metadata"]["name"].rpartition("-")[0]
    meta = {
        key: each
        for key, each in old["metadata"].items()
        if key not in ("uid", "resourceVersion", "creationTimestamp")
    }
    status = {**old["status"], "podIP": str(address), "podIPs": addresses}
    return {**old, "metadata": {**meta, "name": f"{stem}-m{number}"}, "status": status}


def trimmed(found: dict[str, Any]) -> Object:
    """What of a pod matters to enforcement."""
    meta, spec, status = found["metadata"], found["spec"], found["status"]
    kept = ("name", "namespace", "uid", "labels", "creationTimestamp", "deletionTimestamp")
    containers = [{"name": each["name"], "ports": each["ports"]} for each in spec["containers"]]
    return {
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"nodeName": spec["nodeName"], "containers": containers},
        "status": {"phase": status["phase"], "podIPs": status["podIPs"]},
    }


def _pods(shape: AgentShape, rng: random.Random) -> Iterator[Object]:
    # Place number n is on node n modulo the number of nodes; the node in question is number 0.
    places = [each for each in range(shape.pods) if each % shape.nodes]
    rng.shuffle(places)
    for index in range(shape.crowd):
        worker = Workload(CROWD, f"crowd-{index // 50}", "worker")
        yield pod(worker, shape.pods + index, *divmod(places.pop(), shape.nodes)[::-1])
    places += range(0, shape.pods, shape.nodes)
    rng.shuffle(places)
    for workload in _workloads(shape):
        for replica in range(min(REPLICAS, len(places))):
            place = places.pop()
            index = shape.pods - len(places) - 1
            yield pod(workload, index, place % shape.nodes, place // shape.nodes, replica)


def pod(workload: Workload, index: int, node: int, slot: int, replica: int = 0) -> Object:
    """The pod number `index`, in place number `slot` of a node."""
    digest = hashlib.sha256(f"{workload}".encode()).hexdigest()
    labels = workload.labels | {
        "app.kubernetes.io/name": workload.app,
        "app.kubernetes.io/instance": f"{workload.app}-{workload.namespace}",
    }
    if workload.tier == STATEFUL:
        owner = ("StatefulSet", f"{workload.app}-{workload.tier}")
        name = f"{owner[1]}-{replica}"
        labels |= {
            "controller-revision-hash": f"{owner[1]}-{digest[:10]}",
            "apps.kubernetes.io/pod-index": str(replica),
            "statefulset.kubernetes.io/pod-name": name,
        }
    else:
        owner = ("ReplicaSet", f"{workload.app}-{workload.tier}-{digest[:10]}")
        name = f"{owner[1]}-{hashlib.sha256(str(index).encode()).hexdigest()[:5]}"
        labels["pod-template-hash"] = digest[:10]
    born = _EPOCH + int(digest[:6], 16) + replica // 2
    meta = _metadata(name, workload.namespace, index, labels, born)
    meta["generateName"] = f"{owner[1]}-"
    meta["ownerReferences"] = [_owner(*owner, digest)]
    meta["managedFields"] = _POD_MANAGERS
    addresses = [str(IPv4Address(_IPV4 + node * 512 + slot + 2))]
    addresses.append(str(IPv6Address(_IPV6 + node * 512 + slot + 2)))
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {**_POD_SPEC, "containers": [_container(workload)], "nodeName": f"node-{node}"},
        "status": _status(addresses, node, born),
    }


def _metadata(
    name: str, namespace: str, index: int, labels: dict[str, str], born: int = 0
) -> dict[str, object]:
    digest = hashlib.md5(f"{namespace}/{name}".encode(), usedforsecurity=False).hexdigest()
    uid = f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
    meta: dict[str, object] = {
        "name": name,
        "uid": uid,
        "creationTimestamp": _stamp(born or _EPOCH + index),
        "labels": labels,
    }
    if namespace:
        meta["namespace"] = namespace
    return meta


def _stamp(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _owner(kind: str, name: str, digest: str) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "name": name,
        "uid": f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}",
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _managed(manager: str, version: str, fields: tuple[str, ...]) -> Object:
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": version,
        "time": _stamp(_EPOCH),
        "fieldsType": "FieldsV1",
        "fieldsV1": {f"f:{field}": {} for field in fields},
    }


def _fields(*names: str) -> Object:
    return {".": {}, **{f"f:{name}": {} for name in names}}


_CONDITIONS = (
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
)

_POD_MANAGERS = [
    {
        **_managed("kube-controller-manager", "v1", ()),
        "fieldsV1": {
            "f:metadata": {
                "f:generateName": {},
                "f:labels": _fields("app", "tier", "pod-template-hash"),
                "f:ownerReferences": _fields('k:{"uid":"8f3c2d1e-0000-4000-8000-000000000000"}'),
            },
            "f:spec": {
                "f:containers": {
                    'k:{"name":"main"}': _fields(
                        "env",
                        "image",
                        "imagePullPolicy",
                        "livenessProbe",
                        "name",
                        "ports",
                        "readinessProbe",
                        "resources",
                        "securityContext",
                        "terminationMessagePath",
                        "terminationMessagePolicy",
                        "volumeMounts",
                    )
                },
                **{
                    f"f:{name}": {}
                    for name in (
                        "dnsPolicy",
                        "enableServiceLinks",
                        "restartPolicy",
                        "schedulerName",
                        "securityContext",
                        "serviceAccount",
                        "serviceAccountName",
                        "terminationGracePeriodSeconds",
                    )
                },
            },
        },
    },
    {
        **_managed("kubelet", "v1", ()),
        "subresource": "status",
        "fieldsV1": {
            "f:status": {
                "f:conditions": {
                    f'k:{{"type":"{name}"}}': _fields(
                        "lastProbeTime", "lastTransitionTime", "status", "type"
                    )
                    for name in _CONDITIONS
                },
                **_fields(
                    "containerStatuses",
                    "hostIP",
                    "hostIPs",
                    "phase",
                    "podIP",
                    "podIPs",
                    "startTime",
                ),
            }
        },
    },
]

_POD_SPEC: Object = {
    "volumes": [
        {
            "name": "kube-api-access-x2x4w",
            "projected": {
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {
                        "configMap": {
                            "name": "kube-root-ca.crt",
                            "items": [{"key": "ca.crt", "path": "ca.crt"}],
                        }
                    },
                    {
                        "downwardAPI": {
                            "items": [
                                {
                                    "path": "namespace",
                                    "fieldRef": {
                                        "apiVersion": "v1",
                                        "fieldPath": "metadata.namespace",
                                    },
                                }
                            ]
                        }
                    },
                ],
                "defaultMode": 420,
            },
        }
    ],
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "serviceAccountName": "default",
    "serviceAccount": "default",
    "securityContext": {},
    "schedulerName": "default-scheduler",
    "tolerations": [
        {
            "key": f"node.kubernetes.io/{name}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 300,
        }
        for name in ("not-ready", "unreachable")
    ],
    "priority": 0,
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
}


def _container(workload: Workload) -> Object:
    ports = [
        {"name": name, "containerPort": number, "protocol": "TCP"}
        for name, number in PORTS[workload.tier]
    ]
    probe = {
        "httpGet": {"path": "/healthz", "port": ports[0]["containerPort"], "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    return {
        "name": "main",
        "image": f"registry.example/{workload.app}/{workload.tier}:1.24.3",
        "ports": ports,
        "env": [
            {"name": "LOG_LEVEL", "value": "info"},
            {"name": "DATABASE_URL", "value": f"postgres://db.{workload.namespace}:5432/app"},
            {
                "name": "POD_NAME",
                "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
            },
        ],
        "resources": {
            "limits": {"cpu": "1", "memory": "512Mi"},
            "requests": {"cpu": "100m", "memory": "256Mi"},
        },
        "volumeMounts": [
            {
                "name": "kube-api-access-x2x4w",
                "readOnly": True,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            }
        ],
        "livenessProbe": probe,
        "readinessProbe": probe,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
        },
    }


def _status(addresses: list[str], node: int, born: int) -> Object:
    began = _stamp(born)
    host = str(IPv4Address(int(IPv4Address("172.16.0.1")) + node))
    image = "registry.example/app/tier:1.24.3"
    digest = hashlib.sha256(image.encode()).hexdigest()
    return {
        "phase": "Running",
        "conditions": [
            {
                "type": name,
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": began,
            }
            for name in _CONDITIONS
        ],
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "podIP": addresses[0],
        "podIPs": [{"ip": address} for address in addresses],
        "startTime": began,
        "containerStatuses": [
            {
                "name": "main",
                "state": {"running": {"startedAt": began}},
                "lastState": {},
                "ready": True,
                "restartCount": 0,
                "image": image,
                "imageID": f"registry.example/app/tier@sha256:{digest}",
                "containerID": f"containerd://{digest[::-1]}",
                "started": True,
            }
        ],
        "qosClass": "Burstable",
    }


TINY = AgentShape("1,000 pods", pods=1_000, policies=200, local_pods=50, crowd=200)
SMALL = AgentShape("5,000 pods", pods=5_000, policies=1_000, local_pods=100, crowd=1_000)
LARGE = AgentShape("150,000 pods", pods=150_000, policies=10_000, local_pods=250, crowd=5_000)
