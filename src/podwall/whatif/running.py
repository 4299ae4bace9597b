"""What becomes of running pods when their manifests change.

A manifest says what a pod is to be like, and the running cluster where it is. So a pod that is
there already takes labels and ports from the manifest and keeps its name, node and addresses; what
the manifest has more becomes new pods, what it has less goes away. Pods of a workload are matched
in the order of their names, since a running cluster gives them names of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from podwall.cluster.placement import place
from podwall.cluster.snapshot import Snapshot
from podwall.model.net import Family
from podwall.model.objects import Node, Pod, PodKey

_DAEMON_SET = "DaemonSet/"


def overlaid_nodes(before: Mapping[str, Node], given: Iterable[Node]) -> dict[str, Node]:
    """Nodes with ``given`` in place of those of the same name; what one leaves open is kept."""
    nodes = dict(before)
    for node in given:
        old = nodes.get(node.name, node)
        nodes[node.name] = Node(
            node.name, node.addresses or old.addresses, node.pod_cidrs or old.pod_cidrs
        )
    return nodes


def overlaid_pods(
    before: Snapshot, given: Iterable[Pod], nodes: Mapping[str, Node]
) -> tuple[dict[PodKey, Pod], dict[str, Node]]:
    """The pods of a cluster with ``given`` laid over them, and the nodes that they are on then.

    Raises:
        InputError: there are no addresses left for new pods.
    """
    pods = dict(before.pods)
    new: list[Pod] = []
    for (namespace, workload), wanted in _by_workload(given).items():
        if not workload:
            for pod in wanted:
                _lay_over(pods, new, pods.get(pod.key), pod)
            continue
        running = sorted(
            (
                each
                for each in before.pods.values()
                if each.workload == workload and each.key.namespace == namespace
            ),
            key=lambda pod: pod.key,
        )
        # Of a DaemonSet there is one on each node, however many its manifest makes.
        on_each = workload.startswith(_DAEMON_SET) and running
        described = wanted[:1] * len(running) if on_each else wanted
        for index, pod in enumerate(described):
            _lay_over(pods, new, running[index] if index < len(running) else None, pod)
        for pod in running[len(described) :]:
            del pods[pod.key]
    if not new:
        return pods, dict(nodes)
    return _placed(before, pods, new, nodes)


def _by_workload(given: Iterable[Pod]) -> dict[tuple[str, str], list[Pod]]:
    found: dict[tuple[str, str], list[Pod]] = {}
    for pod in sorted(given, key=lambda pod: pod.key):
        found.setdefault((pod.key.namespace, pod.workload), []).append(pod)
    return found


def _lay_over(pods: dict[PodKey, Pod], new: list[Pod], old: Pod | None, pod: Pod) -> None:
    if old is None:
        new.append(pod)
        return
    # A pod cannot move into or out of its node's network: that is another pod.
    moved = pod.host_network is not old.host_network and not pod.addresses
    pods[old.key] = msgspec.structs.replace(
        pod,
        key=old.key,
        uid=pod.uid or old.uid,
        node=pod.node or old.node,
        addresses=() if moved else pod.addresses or old.addresses,
        created=pod.created or old.created,
    )
    if moved:
        new.append(pods.pop(old.key))


def _placed(
    before: Snapshot, pods: dict[PodKey, Pod], new: list[Pod], nodes: Mapping[str, Node]
) -> tuple[dict[PodKey, Pod], dict[str, Node]]:
    """Give the new ones nodes and addresses, as manifests get them."""
    families = tuple(each for each in Family if any(a.family is each for a in before.owners))
    taken = {pod.key for pod in new}
    everyone = [each for each in pods.values() if each.key not in taken]
    placed, places = place([*everyone, *new], nodes.values(), families=families or (Family.V4,))
    known = {each.key for each in everyone}
    found = {each.key: each for each in everyone}
    found |= {each.key: each for each in placed if each.key not in known}
    return found, {each.name: each for each in places}
