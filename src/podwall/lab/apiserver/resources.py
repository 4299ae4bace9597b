"""The resources that are served, and what sets them apart."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
OBJECT_FIELDS = ("metadata.name", "metadata.namespace")

_PODLIKE = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "podIPs": "ip",
    "hostIPs": "ip",
    "conditions": "type",
}
_META = {"ownerReferences": "uid", "finalizers": ""}


class Resource(msgspec.Struct, frozen=True):
    """One kind of object.

    Attributes:
        counts_generations: a change of ``spec`` counts ``metadata.generation`` up.
        fields: what a fieldSelector may name, next to name and namespace.
        merge_keys: by name of a list field, the key that tells its items apart when patches are
            merged; empty for lists of plain values. Other lists are replaced as a whole.
    """

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    counts_generations: bool = False
    fields: tuple[str, ...] = ()
    merge_keys: Mapping[str, str] = msgspec.field(default_factory=lambda: _META)

    @property
    def api_version(self) -> str:
        """The objects' ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """Path of the group and version."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"

    @property
    def qualified(self) -> str:
        """The name in messages: plural, with the group if it has one."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


PODS = Resource(
    "",
    "v1",
    "pods",
    "pod",
    "Pod",
    short_names=("po",),
    categories=("all",),
    subresources=("status", "binding"),
    counts_generations=True,
    fields=(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    merge_keys={**_META, **_PODLIKE},
)
NAMESPACES = Resource(
    "",
    "v1",
    "namespaces",
    "namespace",
    "Namespace",
    namespaced=False,
    short_names=("ns",),
    subresources=("status", "finalize"),
    fields=("status.phase",),
    merge_keys={**_META, "conditions": "type"},
)
NODES = Resource(
    "",
    "v1",
    "nodes",
    "node",
    "Node",
    namespaced=False,
    short_names=("no",),
    subresources=("status",),
    fields=("spec.unschedulable",),
    merge_keys={
        **_META,
        "taints": "key",
        "addresses": "type",
        "conditions": "type",
        "podCIDRs": "",
    },
)
EVENTS = Resource(
    "",
    "v1",
    "events",
    "event",
    "Event",
    short_names=("ev",),
    fields=(
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
)
NETWORK_POLICIES = Resource(
    "networking.k8s.io",
    "v1",
    "networkpolicies",
    "networkpolicy",
    "NetworkPolicy",
    short_names=("netpol",),
    counts_generations=True,
)


def _workload(plural: str, kind: str, short: str) -> Resource:
    return Resource(
        "apps",
        "v1",
        plural,
        kind.lower(),
        kind,
        short_names=(short,),
        categories=("all",),
        subresources=("status",) if kind == "DaemonSet" else ("status", "scale"),
        counts_generations=True,
        merge_keys={**_META, **_PODLIKE},
    )


def _rbac(plural: str, kind: str, namespaced: bool) -> Resource:
    group = "rbac.authorization.k8s.io"
    return Resource(group, "v1", plural, kind.lower(), kind, namespaced=namespaced)


RESOURCES: tuple[Resource, ...] = (
    PODS,
    NAMESPACES,
    NODES,
    EVENTS,
    Resource("", "v1", "configmaps", "configmap", "ConfigMap", short_names=("cm",)),
    Resource("", "v1", "secrets", "secret", "Secret", fields=("type",)),
    Resource("", "v1", "serviceaccounts", "serviceaccount", "ServiceAccount", short_names=("sa",)),
    Resource(
        "",
        "v1",
        "services",
        "service",
        "Service",
        short_names=("svc",),
        categories=("all",),
        subresources=("status",),
        merge_keys={**_META, "ports": "port"},
    ),
    _workload("daemonsets", "DaemonSet", "ds"),
    _workload("deployments", "Deployment", "deploy"),
    _workload("replicasets", "ReplicaSet", "rs"),
    _workload("statefulsets", "StatefulSet", "sts"),
    Resource("coordination.k8s.io", "v1", "leases", "lease", "Lease"),
    NETWORK_POLICIES,
    _rbac("clusterroles", "ClusterRole", False),
    _rbac("clusterrolebindings", "ClusterRoleBinding", False),
    _rbac("roles", "Role", True),
    _rbac("rolebindings", "RoleBinding", True),
)
BY_NAME: Mapping[tuple[str, str, str], Resource] = {
    (each.group, each.version, each.plural): each for each in RESOURCES
}
BY_KIND: Mapping[tuple[str, str], Resource] = {
    (each.api_version, each.kind): each for each in RESOURCES
}
GROUPS: Mapping[str, str] = {each.group: each.version for each in RESOURCES}


class Target(msgspec.Struct, frozen=True):
    """What a path names; an empty ``namespace`` is all of them, an empty ``name`` the list."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def parse_path(path: str) -> Target | None:
    """The resource behind a path of the API, or ``None`` if nothing is there."""
    match path.strip("/").split("/"):
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            return None
    namespace = ""
    match rest:
        case ["namespaces", found, plural, *more] if (group, version, plural) in BY_NAME:
            namespace = found
            rest = [plural, *more]
    if not 1 <= len(rest) <= 3:
        return None
    resource = BY_NAME.get((group, version, rest[0]))
    if resource is None or (namespace and not resource.namespaced):
        return None
    name, subresource = (*rest[1:], "", "")[:2]
    if (subresource and subresource not in resource.subresources) or (
        name and resource.namespaced and not namespace
    ):
        return None
    return Target(resource, namespace, name, subresource)
