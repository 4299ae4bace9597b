"""From manifests to the snapshot that a lab is built from: nodes and addresses for everybody.

A lab that is up keeps the addresses it gave: whoever applies changed manifests finds the pods that
they knew where they were.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from podwall.cluster.placement import place
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.manifest import Manifests
from podwall.model.net import Family
from podwall.model.objects import Pod


def first_snapshot(manifests: Manifests, nodes: int, families: Sequence[Family]) -> Snapshot:
    """The cluster that the manifests describe, on at least ``nodes`` nodes.

    Nodes that the manifests declare or name come first, then ``node-1``, ``node-2`` and so on.

    Raises:
        InputError: the default address ranges are used up.
    """
    named = {node.name for node in manifests.nodes} | {pod.node for pod in manifests.pods}
    names = sorted(named - {""})
    number = 0
    while len(names) < nodes:
        number += 1
        if f"node-{number}" not in named:
            names.append(f"node-{number}")
    return _snapshot(manifests, manifests, names, families)


def nodes_only(snapshot: Snapshot) -> Snapshot:
    """The nodes of a cluster, still empty."""
    return build_snapshot(nodes=snapshot.nodes.values())


def next_snapshot(manifests: Manifests, old: Snapshot, families: Sequence[Family]) -> Snapshot:
    """The cluster that changed manifests describe, in a lab that stands for ``old``.

    Pods that were there keep their node and their addresses, unless the manifests state others.

    Raises:
        InputError: the default address ranges are used up.
    """
    pods = tuple(_as_before(pod, old) for pod in manifests.pods)
    kept = msgspec.structs.replace(manifests, pods=pods, nodes=tuple(old.nodes.values()))
    return _snapshot(manifests, kept, sorted(old.nodes), families)


def _as_before(pod: Pod, old: Snapshot) -> Pod:
    before = old.pods.get(pod.key)
    if before is None or pod.host_network != before.host_network:
        return pod
    return msgspec.structs.replace(
        pod,
        node=pod.node or before.node,
        addresses=pod.addresses or before.addresses,
    )


def _snapshot(
    manifests: Manifests, kept: Manifests, names: Sequence[str], families: Sequence[Family]
) -> Snapshot:
    pods, nodes = place(kept.pods, kept.nodes, node_names=names, families=families)
    return build_snapshot(pods, manifests.namespaces, manifests.policies, nodes)
