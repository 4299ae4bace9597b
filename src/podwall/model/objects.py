"""Pods, Namespaces and Nodes: just what enforcement needs of them.

These are decoded records, not the wire form. They are frozen and untracked by the garbage
collector, since a large cluster has hundreds of thousands of them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from podwall.model.net import Address, Cidr, Protocol


class PodKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """Namespace and name of a Pod."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ContainerPort(msgspec.Struct, frozen=True, order=True, gc=False):
    """A declared container port; ``name`` is empty where the manifest gives none."""

    name: str
    protocol: Protocol
    number: int


class Phase(enum.Enum):
    """``status.phase`` of a pod."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"

    @property
    def terminated(self) -> bool:
        """Whether all containers ended for good: the address is no longer the pod's (S21)."""
        return self in (Phase.SUCCEEDED, Phase.FAILED)


class Pod(msgspec.Struct, frozen=True, gc=False):
    """A Pod.

    ``addresses`` holds all of ``status.podIPs`` (S24), ``node`` is empty before scheduling,
    ``ports`` lists containers first, then native sidecars (S39), in manifest order.
    ``workload`` is ``Kind/name`` of the top-level owner for display, empty if there is none.
    ``created`` is ``metadata.creationTimestamp`` (RFC 3339, so texts sort by time) or empty.
    """

    key: PodKey
    uid: str = ""
    labels: Mapping[str, str] = {}
    node: str = ""
    addresses: tuple[Address, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    host_network: bool = False
    phase: Phase = Phase.RUNNING
    terminating: bool = False
    workload: str = ""
    created: str = ""


class Namespace(msgspec.Struct, frozen=True, gc=False):
    """A Namespace; ``labels`` include ``kubernetes.io/metadata.name`` (S18)."""

    name: str
    labels: Mapping[str, str] = {}


class Node(msgspec.Struct, frozen=True, gc=False):
    """A Node: every address it owns, and the ranges its pods' addresses come from."""

    name: str
    addresses: tuple[Address, ...] = ()
    pod_cidrs: tuple[Cidr, ...] = ()


NAME_LABEL = "kubernetes.io/metadata.name"
"""The label that an API server puts on every namespace (S18)."""
