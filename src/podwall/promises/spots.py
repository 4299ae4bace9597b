"""The addresses that an end of a promise means, in a cluster as it is.

A block has more addresses than can be asked about, but a policy can only tell apart those that lie
in other blocks of the cluster, and pods and nodes by what they are. So one address stands for each
stretch that no boundary cuts, and the answer for it is that for all of the stretch.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator

import msgspec

from podwall.cluster.snapshot import Snapshot, is_usable
from podwall.errors import InputError
from podwall.model.net import Address, Cidr, Family, parse_cidr
from podwall.model.objects import Pod, PodKey
from podwall.model.policy import IPBlock
from podwall.promises.model import Anyone, Block, LabelledPods, OneNode, OnePod, Who, Workload

_UNUSED = tuple(map(parse_cidr, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "::/127", "ff00::/8")))
"""Where no packet between two hosts comes from or goes to."""

_EVERYWHERE = {Family.V4: parse_cidr("0.0.0.0/0"), Family.V6: parse_cidr("::/0")}


class Spot(msgspec.Struct, frozen=True):
    """One address of an end, and how to call it.

    ``pod`` is the pod that owns it; a pod with hostNetwork owns none, its address is its node's.
    ``wide`` is whether the end meant a whole block, of which this happens to be a part.
    """

    title: str
    address: Address
    pod: PodKey | None = None
    wide: bool = False


def find_spots(snapshot: Snapshot, who: Who) -> tuple[Spot, ...]:
    """Every address that ``who`` means, by pod and then in the pod's order.

    Raises:
        InputError: nobody is meant; the message says why, and what comes near.
    """
    match who:
        case OnePod():
            return _of_pods(snapshot, _pod(snapshot, who), str(who))
        case Workload():
            return _of_pods(snapshot, _workload(snapshot, who), str(who))
        case LabelledPods():
            return _of_pods(snapshot, _labelled(snapshot, who), str(who))
        case OneNode():
            return _of_node(snapshot, who)
        case Block():
            return tuple(_of_block(snapshot, who.cidr))
        case Anyone():
            used = {address.family for address in snapshot.owners}
            blocks = (_EVERYWHERE[family] for family in sorted(used or {Family.V4}))
            return tuple(spot for block in blocks for spot in _of_block(snapshot, block))


def _pod(snapshot: Snapshot, who: OnePod) -> list[Pod]:
    pod = snapshot.pods.get(who.key)
    if pod is None:
        near = _near(str(who.key), map(str, snapshot.pods))
        raise InputError(f"there is no pod {who.key}{near}")
    return [pod]


def _workload(snapshot: Snapshot, who: Workload) -> list[Pod]:
    wanted = f"{who.kind}/{who.name}".lower()
    found = [
        pod
        for pod in snapshot.pods.values()
        if pod.key.namespace == who.namespace and pod.workload.lower() == wanted
    ]
    if not found:
        known = {
            f"{pod.key.namespace}/{pod.workload.lower()}"
            for pod in snapshot.pods.values()
            if pod.workload
        }
        raise InputError(f"no pod belongs to {who}{_near(str(who), known)}")
    return found


def _labelled(snapshot: Snapshot, who: LabelledPods) -> list[Pod]:
    if isinstance(who.namespaces, str):
        if who.namespaces not in snapshot.namespaces:
            near = _near(who.namespaces, snapshot.namespaces)
            raise InputError(f"there is no namespace {who.namespaces}{near}")
        namespaces = {who.namespaces}
    else:
        selector = who.namespaces
        namespaces = {
            each.name for each in snapshot.namespaces.values() if selector.matches(each.labels)
        }
        if not namespaces:
            raise InputError(f"no namespace has {selector}")
    found = [
        pod
        for pod in snapshot.pods.values()
        if pod.key.namespace in namespaces and who.pods.matches(pod.labels)
    ]
    if not found:
        raise InputError(f"there are no {who}")
    return found


def _of_pods(snapshot: Snapshot, pods: list[Pod], meant: str) -> tuple[Spot, ...]:
    found = [spot for pod in pods for spot in _of_pod(snapshot, pod)]
    if not found:
        raise InputError(f"{meant} has no address (yet)")
    return tuple(found)


def _of_pod(snapshot: Snapshot, pod: Pod) -> Iterator[Spot]:
    if pod.phase.terminated:
        return
    if pod.host_network:
        for address in pod.addresses:
            yield Spot(f"{pod.key} (hostNetwork, as node {pod.node})", address)
    else:
        for address in snapshot.owned_addresses(pod):
            yield Spot(str(pod.key), address, pod.key)


def _of_node(snapshot: Snapshot, who: OneNode) -> tuple[Spot, ...]:
    node = snapshot.nodes.get(who.name)
    if node is None:
        raise InputError(f"there is no node {who.name}{_near(who.name, snapshot.nodes)}")
    if not node.addresses:
        raise InputError(f"node {who.name} has no address")
    return tuple(Spot(str(who), address) for address in node.addresses)


def _of_block(snapshot: Snapshot, cidr: Cidr) -> Iterator[Spot]:
    alone = cidr.prefix == cidr.family.bits
    nodes = {each: node for node in snapshot.nodes.values() for each in node.addresses}
    for first, following in itertools.pairwise(sorted(_edges(snapshot, cidr, nodes))):
        # The lowest address of a block often looks like the block itself.
        address = Address(cidr.family, first + 1 if following - first > 2 else first)
        if not (alone or is_usable(address)):
            continue
        pod = snapshot.owner(address)
        if pod is not None:
            yield Spot(str(pod.key), address, pod.key, wide=not alone)
        elif address in nodes:
            yield Spot(f"node/{nodes[address].name}", address, wide=not alone)
        else:
            yield Spot(str(address), address, wide=not alone)


def _edges(snapshot: Snapshot, cidr: Cidr, nodes: Iterable[Address]) -> set[int]:
    """Where stretches begin, and the end of the last one."""
    edges = {cidr.first, cidr.last + 1}
    for block in (*_UNUSED, *boundaries(snapshot)):
        if block.family is cidr.family:
            edges |= {block.first, block.last + 1}
    for address in itertools.chain(snapshot.owners, nodes):
        if address.family is cidr.family:
            edges |= {address.value, address.value + 1}
    return {each for each in edges if cidr.first <= each <= cidr.last + 1}


def boundaries(snapshot: Snapshot) -> Iterator[Cidr]:
    """The blocks by which the cluster tells addresses apart: those of policies, and pod ranges."""
    for policy in snapshot.policies.values():
        for rule in (*policy.ingress, *policy.egress):
            for peer in rule.peers:
                if isinstance(peer, IPBlock):
                    yield peer.cidr
                    yield from peer.excepts
    for node in snapshot.nodes.values():
        yield from node.pod_cidrs


def _near(text: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(text, sorted(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""
