"""Clusters as text, from one podwall process to another: to a lab, from an agent.

The text is JSON, and the types of the model say how it is read: nothing else is ever made from it.
A cluster goes as one :class:`Parts`, or, where it is large, as many that are put together again.
Who owns an address is not sent, since it follows from the pods (S22).

Nobody but podwall reads this, and both ends run the same version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.objects import ContainerPort, Namespace, Node, Pod
from podwall.model.policy import Policy

AT_ONCE = 500
"""So many objects go in one piece."""

_T = TypeVar("_T")


class Parts(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Some objects of a cluster, in any order."""

    namespaces: tuple[Namespace, ...] = ()
    nodes: tuple[Node, ...] = ()
    policies: tuple[Policy, ...] = ()
    pods: tuple[Pod, ...] = ()

    def pieces(self) -> Iterator[Parts]:
        """The same objects in pieces that take no time worth speaking of to encode."""
        yield Parts(self.namespaces, self.nodes)
        for policies in _slices(self.policies):
            yield Parts(policies=policies)
        for pods in _slices(self.pods):
            yield Parts(pods=pods)


def parts_of(snapshot: Snapshot) -> Parts:
    """All objects of a snapshot."""
    return Parts(
        tuple(snapshot.namespaces.values()),
        tuple(snapshot.nodes.values()),
        tuple(snapshot.policies.values()),
        tuple(snapshot.pods.values()),
    )


def snapshot_of(parts: Iterable[Parts]) -> Snapshot:
    """The snapshot of all objects in ``parts``; what pods have in common is kept once."""
    namespaces: list[Namespace] = []
    nodes: list[Node] = []
    policies: list[Policy] = []
    pods: list[Pod] = []
    shared = _Shared()
    for each in parts:
        namespaces += each.namespaces
        nodes += each.nodes
        policies += each.policies
        pods += map(shared.pod, each.pods)
    return build_snapshot(pods, namespaces, policies, nodes)


def encode_parts(parts: Parts) -> bytes:
    """One line of JSON, without its end."""
    return _encoder.encode(parts)


def decode_parts(text: bytes | str) -> Parts:
    """What :func:`encode_parts` wrote.

    Raises:
        msgspec.MsgspecError: ``text`` is something else.
    """
    return _decoder.decode(text)


class _Shared:
    """Labels, ports and names that many pods of a large cluster have alike."""

    def __init__(self) -> None:
        self._labels: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
        self._ports: dict[tuple[ContainerPort, ...], tuple[ContainerPort, ...]] = {}
        self._words: dict[str, str] = {}

    def pod(self, pod: Pod) -> Pod:
        return msgspec.structs.replace(
            pod,
            labels=self._labels.setdefault(tuple(pod.labels.items()), pod.labels),
            ports=self._ports.setdefault(pod.ports, pod.ports),
            node=self._words.setdefault(pod.node, pod.node),
            workload=self._words.setdefault(pod.workload, pod.workload),
            created=self._words.setdefault(pod.created, pod.created),
        )


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Parts)


def _slices(things: tuple[_T, ...]) -> Iterator[tuple[_T, ...]]:
    for start in range(0, len(things), AT_ONCE):
        yield things[start : start + AT_ONCE]
