"""As much of a cluster as one connection needs.

The thread that is asked for an explanation keeps the kernel up to date. A snapshot of a large
cluster would take it away from that for most of a second; what matters for two ends is found in
less than a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from podwall.agent.control.explaining import without_rules
from podwall.cluster.snapshot import Snapshot
from podwall.cluster.state import ClusterState
from podwall.errors import AddressError
from podwall.explain.ends import DEFAULT_NAMESPACE
from podwall.model.net import Address, parse_address
from podwall.model.objects import Pod, PodKey
from podwall.model.policy import Policy, PolicyKey


def excerpt(state: ClusterState, ends: Iterable[str]) -> Snapshot:
    """The pods that ``ends`` name, and all that decides what may pass between them.

    An end that does not say exactly which pod it means makes it the whole cluster.
    """
    pods: dict[PodKey, Pod] = {}
    addresses: set[Address] = set()
    for text in ends:
        try:
            addresses.add(parse_address(text))
        except AddressError:
            if _is_node(text):
                continue
            pod = _pod(state, text)
            if pod is None:
                return state.snapshot()
            pods[pod.key] = pod
    addresses |= {each for pod in pods.values() for each in pod.addresses}
    addresses |= {each for node in state.nodes() for each in node.addresses}
    owners = {each: key for each in addresses if (key := state.owner(each)) is not None}
    pods |= {key: pod for key in owners.values() if (pod := state.pod(key)) is not None}
    return _snapshot(state, pods, owners)


def _snapshot(
    state: ClusterState, pods: dict[PodKey, Pod], owners: dict[Address, PodKey]
) -> Snapshot:
    names = sorted({key.namespace for key in pods})
    namespaces = {name: found for name in names if (found := state.namespace(name)) is not None}
    policies = {each.key: each for each in state.policies() if each.key.namespace in names}
    return Snapshot(
        pods={key: pods[key] for key in sorted(pods)},
        namespaces=namespaces,
        policies={key: policies[key] for key in sorted(policies)},
        nodes={each.name: each for each in sorted(state.nodes(), key=lambda each: each.name)},
        owners=owners,
    )


def _is_node(text: str) -> bool:
    parts = text.strip("/").split("/")
    return parts[0] == "node" and len(parts) == 2


def _pod(state: ClusterState, text: str) -> Pod | None:
    return next((pod for key in _keys(text) if (pod := state.pod(key)) is not None), None)


def _keys(text: str) -> Iterator[PodKey]:
    """What ``text`` can stand for, as :func:`podwall.explain.ends.find_end` reads it."""
    parts = text.strip("/").split("/")
    if parts[0] == "pod" and len(parts) > 1:
        parts = parts[1:]
    if len(parts) == 2:
        yield PodKey(parts[0], parts[1])
    elif len(parts) == 1:
        yield PodKey(DEFAULT_NAMESPACE, parts[0])


def excerpts(
    state: ClusterState, pairs: Sequence[tuple[Address, Address]], refused: frozenset[PolicyKey]
) -> list[Snapshot]:
    """For each pair of addresses the pods behind them, and all that decides what may pass.

    Policies that the kernel refuses are as it enforces them. All pairs together cost one look at
    each policy of the cluster, and some microseconds each.
    """
    nodes = {each.name: each for each in sorted(state.nodes(), key=lambda each: each.name)}
    common = {address for node in nodes.values() for address in node.addresses}
    owned = [
        {each: key for each in {*pair, *common} if (key := state.owner(each)) is not None}
        for pair in pairs
    ]
    names = {key.namespace for owners in owned for key in owners.values()}
    policies: dict[str, dict[PolicyKey, Policy]] = {name: {} for name in names}
    for each in state.policies():
        if each.key.namespace in names:
            policy = without_rules(each) if each.key in refused else each
            policies[each.key.namespace][each.key] = policy
    found = []
    for owners in owned:
        pods = {key: pod for key in owners.values() if (pod := state.pod(key)) is not None}
        spaces = sorted({key.namespace for key in pods})
        found.append(
            Snapshot(
                pods=pods,
                namespaces={
                    name: space for name in spaces if (space := state.namespace(name)) is not None
                },
                policies={key: each for name in spaces for key, each in policies[name].items()},
                nodes=nodes,
                owners=owners,
            )
        )
    return found
