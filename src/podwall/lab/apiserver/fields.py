"""Which fields objects have, for telling of misspelt ones: all that people commonly write by hand.

A schema is a mapping of the fields to their schemas, a list of one schema for lists, or ``ANY`` for
what is not looked into: maps of labels, values, and the far corners of a pod.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from podwall.lab.apiserver.resources import Resource
from podwall.lab.apiserver.store import Object

Schema: TypeAlias = "Mapping[str, Schema] | list[Schema] | None"

ANY: Schema = None


def unknown_fields(resource: Resource, thing: Object) -> list[str]:
    """The paths of fields that objects of the kind do not have; they are removed from ``thing``.

    ``thing`` may be a patch as well: what begins with ``$`` tells how to merge.
    """
    schema = _SCHEMAS.get(resource.kind)
    return list(_prune(thing, schema, "")) if schema is not None else []


def _prune(value: Any, schema: Schema, path: str) -> Iterator[str]:
    if isinstance(schema, list):
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from _prune(item, schema[0], f"{path}[{index}]")
    elif schema is not None and isinstance(value, dict):
        for field in list(value):
            where = f"{path}.{field}" if path else field
            if field in schema:
                yield from _prune(value[field], schema[field], where)
            elif not field.startswith("$"):
                del value[field]
                yield where


def _all(words: str, **known: Schema) -> dict[str, Schema]:
    return {**dict.fromkeys(words.split(), ANY), **known}


_METADATA = _all(
    "name generateName namespace labels annotations uid resourceVersion generation selfLink "
    "creationTimestamp deletionTimestamp deletionGracePeriodSeconds finalizers managedFields",
    ownerReferences=[_all("apiVersion kind name uid controller blockOwnerDeletion")],
)
_SELECTOR = _all("matchLabels", matchExpressions=[_all("key operator values")])
_PORTS: Schema = [_all("protocol port endPort")]
_PEERS: Schema = [
    {
        "podSelector": _SELECTOR,
        "namespaceSelector": _SELECTOR,
        "ipBlock": _all("cidr except"),
    }
]
_CONTAINER = _all(
    "args command env envFrom image imagePullPolicy lifecycle livenessProbe name readinessProbe "
    "resizePolicy resources restartPolicy restartPolicyRules securityContext startupProbe stdin "
    "stdinOnce targetContainerName terminationMessagePath terminationMessagePolicy tty "
    "volumeDevices volumeMounts workingDir",
    ports=[_all("containerPort hostIP hostPort name protocol")],
)
_POD_SPEC = _all(
    "activeDeadlineSeconds affinity automountServiceAccountToken dnsConfig dnsPolicy "
    "enableServiceLinks hostAliases hostIPC hostNetwork hostPID hostUsers hostname "
    "hostnameOverride imagePullSecrets nodeName nodeSelector os overhead preemptionPolicy priority "
    "priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName "
    "schedulerName schedulingGates securityContext serviceAccount serviceAccountName "
    "setHostnameAsFQDN shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations "
    "topologySpreadConstraints volumes workloadRef",
    containers=[_CONTAINER],
    initContainers=[_CONTAINER],
    ephemeralContainers=[_CONTAINER],
)
_TEMPLATE: Schema = {"metadata": _METADATA, "spec": _POD_SPEC}
_REPLICATED = "replicas minReadySeconds revisionHistoryLimit progressDeadlineSeconds"


def _kind(spec: Schema) -> dict[str, Schema]:
    return _all("kind apiVersion status", metadata=_METADATA, spec=spec)


_SCHEMAS: Mapping[str, Schema] = {
    "Namespace": _kind(_all("finalizers")),
    "Pod": _kind(_POD_SPEC),
    "NetworkPolicy": _kind(
        _all(
            "policyTypes",
            podSelector=_SELECTOR,
            ingress=[{"from": _PEERS, "ports": _PORTS}],
            egress=[{"to": _PEERS, "ports": _PORTS}],
        )
    ),
    "Deployment": _kind(
        _all(f"{_REPLICATED} paused strategy", selector=_SELECTOR, template=_TEMPLATE)
    ),
    "ReplicaSet": _kind(_all("replicas minReadySeconds", selector=_SELECTOR, template=_TEMPLATE)),
    "DaemonSet": _kind(
        _all(
            "minReadySeconds revisionHistoryLimit updateStrategy",
            selector=_SELECTOR,
            template=_TEMPLATE,
        )
    ),
    "StatefulSet": _kind(
        _all(
            f"{_REPLICATED} ordinals persistentVolumeClaimRetentionPolicy podManagementPolicy "
            "serviceName updateStrategy volumeClaimTemplates",
            selector=_SELECTOR,
            template=_TEMPLATE,
        )
    ),
}
