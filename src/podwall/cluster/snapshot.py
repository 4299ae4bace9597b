"""A frozen view of the cluster: the only input of the oracle and of the compiler.

A snapshot is equal to another one when the clusters are equal, whatever the order in which their
objects became known. It settles one question that needs all pods at once: who owns an address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from podwall.model.net import Address, Family
from podwall.model.objects import Namespace, Node, Pod, PodKey
from podwall.model.policy import Policy, PolicyKey


class Snapshot(msgspec.Struct, frozen=True, weakref=True):
    """Pods, namespaces, policies and nodes by key, in sorted order, and the owner of each address.

    ``owners`` maps an address to the pod that it stands for as subject and as peer. Pods with
    ``hostNetwork`` and terminated pods own none (S21, S23).
    """

    pods: Mapping[PodKey, Pod] = {}
    namespaces: Mapping[str, Namespace] = {}
    policies: Mapping[PolicyKey, Policy] = {}
    nodes: Mapping[str, Node] = {}
    owners: Mapping[Address, PodKey] = {}

    def owner(self, address: Address) -> Pod | None:
        """The pod that ``address`` belongs to, if any."""
        key = self.owners.get(address)
        return None if key is None else self.pods[key]

    def owned_addresses(self, pod: Pod) -> tuple[Address, ...]:
        """The addresses of ``pod`` that no other pod took over, in the pod's order."""
        return tuple(each for each in pod.addresses if self.owners.get(each) == pod.key)


def build_snapshot(
    pods: Iterable[Pod] = (),
    namespaces: Iterable[Namespace] = (),
    policies: Iterable[Policy] = (),
    nodes: Iterable[Node] = (),
) -> Snapshot:
    """Sort the objects and settle address ownership; of objects with equal keys the last counts."""
    by_key = {pod.key: pod for pod in pods}
    sorted_pods = {key: by_key[key] for key in sorted(by_key)}
    by_name = {each.name: each for each in namespaces}
    policies_by_key = {each.key: each for each in policies}
    nodes_by_name = {each.name: each for each in nodes}
    return Snapshot(
        pods=sorted_pods,
        namespaces={name: by_name[name] for name in sorted(by_name)},
        policies={key: policies_by_key[key] for key in sorted(policies_by_key)},
        nodes={name: nodes_by_name[name] for name in sorted(nodes_by_name)},
        owners=address_owners(sorted_pods.values()),
    )


def address_owners(pods: Iterable[Pod]) -> dict[Address, PodKey]:
    """Which pod each address stands for.

    Addresses are re-used, and for a while two pods can claim one (S22): the pod that is not
    terminating wins, then the one created later, then the greater name, so that the answer does not
    depend on the order in which pods became known.
    """
    owners: dict[Address, Pod] = {}
    for pod in pods:
        for address in claimed_addresses(pod):
            rival = owners.get(address)
            if rival is None or claim_rank(rival) < claim_rank(pod):
                owners[address] = pod
    return {address: pod.key for address, pod in owners.items()}


def claimed_addresses(pod: Pod | None) -> tuple[Address, ...]:
    """The addresses that ``pod`` can own: none with hostNetwork or once terminated (S21, S23)."""
    if pod is None or pod.host_network or pod.phase.terminated:
        return ()
    return tuple(filter(is_usable, pod.addresses))


def is_usable(address: Address) -> bool:
    """Whether a pod can have ``address``: not unspecified, loopback, multicast or broadcast.

    No packet between pods carries the others, and ipset refuses some of them as members.
    """
    if address.family is Family.V4:
        first = address.value >> 24
        return first not in (0, 127) and (first < 224 or 240 <= first < 255)
    return address.value > 1 and address.value >> 120 != 255


def claim_rank(pod: Pod) -> tuple[bool, str, PodKey]:
    """Orders pods that claim one address; the greatest owns it."""
    return not pod.terminating, pod.created, pod.key
