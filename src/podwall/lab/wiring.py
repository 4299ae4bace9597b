"""How a lab is wired, as text for ``ip -batch`` in each namespace; pure.

Routed: every pod has a veth pair to its node. The node's end owns 169.254.1.1 and fe80::1, which is
the pod's default gateway, and the node routes the pod's addresses to it. No bridge, no subnet.

Bridge: the pods of a node hang on ``br0``, which owns the first free address of each of the node's
pod ranges as their gateway; pods of a node reach each other in one hop, and only br_netfilter shows
these packets to iptables.

Nodes are to ``outside`` what routed pods are to their node, with 169.254.2.1 and fe80::2. The hosts
outside are addresses of its loopback device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from podwall.errors import InputError
from podwall.lab.topology import OUTSIDE, Cni, Kind, Topology, node_netns, pod_netns
from podwall.model.net import Address, Cidr, Family
from podwall.model.objects import Node, Pod

BRIDGE = "br0"
UPLINK = "uplink"
POD_DEVICE = "eth0"

_POD_GATEWAY = {Family.V4: "169.254.1.1", Family.V6: "fe80::1"}
# Not the same: a node owns its pods' gateway, and takes no ARP request that seems to be its own.
_NODE_GATEWAY = {Family.V4: "169.254.2.1", Family.V6: "fe80::2"}
_EVERYWHERE = {Family.V4: "0.0.0.0/0", Family.V6: "::/0"}

_LEAVING = 7
"""A group of devices that has members only while these are being deleted."""

_FEW_NEIGHBOURS = 500
"""The kernel's neighbour tables hold 1024 entries for all namespaces together: net.*.gc_thresh3."""


class Script(msgspec.Struct, frozen=True):
    """Lines for ``ip -batch`` in one network namespace."""

    netns: str
    lines: tuple[str, ...]


def merge(scripts: Iterable[Script]) -> list[Script]:
    """One script per namespace, in order of first appearance."""
    by_netns: dict[str, list[str]] = {}
    for script in scripts:
        by_netns.setdefault(script.netns, []).extend(script.lines)
    return [Script(netns, tuple(lines)) for netns, lines in by_netns.items()]


def wire_nodes(topology: Topology) -> Iterator[Script]:
    """The router, the nodes and their bridges; the namespaces exist and are empty."""
    yield Script(OUTSIDE, ("link set lo up",))
    for node in topology.nodes:
        netns = node_netns(node.name)
        link = link_name("n", netns)
        gateway = _NODE_GATEWAY
        yield Script(OUTSIDE, tuple(_gateway_end(topology, link, netns, UPLINK, gateway)))
        host_end = _host_end(topology, UPLINK, node.addresses, gateway)
        yield Script(netns, ("link set lo up", *host_end))
        for address in _of_families(topology, node.addresses):
            yield Script(OUTSIDE, (f"route add {_host(address)} dev {link}",))
        if topology.cni is Cni.BRIDGE:
            yield Script(netns, tuple(_bridge(topology, node)))


def wire_hosts(addresses: Iterable[Address], verb: str = "add") -> Script:
    """Add hosts outside, or with the verb ``del`` remove them."""
    nodad = " nodad" if verb == "add" else ""
    return Script(
        OUTSIDE,
        tuple(
            f"addr {verb} {_host(each)} dev lo{nodad if each.family is Family.V6 else ''}"
            for each in addresses
        ),
    )


def wire_pods(topology: Topology, pods: Sequence[Pod]) -> Iterator[Script]:
    """Connect pods with an own namespace, which exists and is empty, to their nodes and beyond."""
    nodes = {node.name: node for node in topology.nodes}
    for pod in pods:
        yield from _wire_pod(topology, nodes[pod.node], pod)
    if topology.cni is Cni.BRIDGE:
        yield from _known_neighbours(topology)


def unwire_pods(topology: Topology, pods: Iterable[Pod]) -> Iterator[Script]:
    """Disconnect pods; what is inside their namespaces goes with these."""
    nodes: dict[str, list[str]] = {}
    for pod in pods:
        nodes.setdefault(pod.node, []).append(link_name("p", pod_netns(pod)))
        routes = (f"route del {_host(each)}" for each in _of_families(topology, pod.addresses))
        yield Script(OUTSIDE, tuple(routes))
    for node, links in nodes.items():
        # Deleted as a group they cost the kernel one wait for its readers, not one each (30 ms).
        marks = (f"link set dev {link} group {_LEAVING}" for link in links)
        yield Script(node_netns(node), (*marks, f"link del group {_LEAVING}"))


def link_name(letter: str, netns: str) -> str:
    """The device that leads into ``netns``; at most 15 characters, as the kernel wants it."""
    return letter + hashlib.blake2b(netns.encode(), digest_size=6).hexdigest()


def mac_address(netns: str) -> str:
    """The hardware address of the device inside ``netns``: fixed, unicast, locally given."""
    return "02:" + hashlib.blake2b(netns.encode(), digest_size=5).digest().hex(":")


def bridge_gateway(topology: Topology, node: Node, cidr: Cidr) -> Address:
    """The address of the node's bridge in one of its pod ranges: the first that no pod has.

    Raises:
        InputError: the range is full.
    """
    taken = {each.value for pod in topology.pods for each in pod.addresses}
    for value in range(cidr.first + 1, cidr.last + 1):
        if value not in taken:
            return Address(cidr.family, value)
    raise InputError(f"Node {node.name}: spec.podCIDRs: {cidr} has no free address for the bridge")


def _gateway_end(
    topology: Topology, link: str, netns: str, peer: str, gateway: Mapping[Family, str]
) -> Iterator[str]:
    """Make a veth pair into ``netns`` and let this end be the gateway."""
    mac = mac_address(netns)
    yield f"link add {link} type veth peer name {peer} netns {netns} address {mac}"
    if Family.V4 in topology.families:
        yield f"addr add {gateway[Family.V4]}/32 dev {link}"
    if Family.V6 in topology.families:
        yield f"addr add {gateway[Family.V6]}/64 dev {link} nodad"
    yield f"link set {link} up"


def _host_end(
    topology: Topology, device: str, addresses: Iterable[Address], gateway: Mapping[Family, str]
) -> Iterator[str]:
    """Give this end of a veth pair its addresses and send everything to the gateway."""
    for address in _of_families(topology, addresses):
        yield _add_address(_host(address), device, address.family)
    yield f"link set {device} up"
    for family in topology.families:
        yield f"route add {_EVERYWHERE[family]} via {gateway[family]} dev {device} onlink"


def _bridge(topology: Topology, node: Node) -> Iterator[str]:
    cidrs = [each for each in node.pod_cidrs if each.family in topology.families]
    if {each.family for each in cidrs} != set(topology.families):
        raise InputError(f"Node {node.name}: spec.podCIDRs: a bridge needs one of each family")
    yield f"link add {BRIDGE} type bridge mcast_snooping 0"
    for cidr in cidrs:
        gateway = bridge_gateway(topology, node, cidr)
        yield _add_address(f"{gateway}/{cidr.prefix}", BRIDGE, cidr.family)
    yield f"link set {BRIDGE} up"


def _wire_pod(topology: Topology, node: Node, pod: Pod) -> Iterator[Script]:
    netns = pod_netns(pod)
    link = link_name("p", netns)
    addresses = list(_of_families(topology, pod.addresses))
    if topology.cni is Cni.ROUTED:
        host_side = list(_gateway_end(topology, link, netns, POD_DEVICE, _POD_GATEWAY))
        pod_side = list(_host_end(topology, POD_DEVICE, addresses, _POD_GATEWAY))
        routed = addresses
    else:
        host_side = [
            f"link add {link} type veth peer name {POD_DEVICE} netns {netns}"
            f" address {mac_address(netns)}",
            f"link set {link} master {BRIDGE} up",
        ]
        pod_side = list(_on_bridge(topology, node, addresses))
        routed = [each for each in addresses if _range_of(node, each) is None]
        link = BRIDGE
    for address in routed:
        source = _node_source(node, address.family)
        host_side.append(f"route add {_host(address)} dev {link}{source}")
    yield Script(node_netns(node.name), tuple(host_side))
    yield Script(netns, ("link set lo up", *pod_side))
    uplink = link_name("n", node_netns(node.name))
    yield Script(
        OUTSIDE,
        tuple(
            f"route add {_host(each)} via {_node_address(node, each.family)} dev {uplink} onlink"
            for each in addresses
        ),
    )


def _on_bridge(topology: Topology, node: Node, addresses: Iterable[Address]) -> Iterator[str]:
    """The pod's end on a bridge: its addresses on the bridge's network, the bridge as gateway."""
    for address in addresses:
        cidr = _range_of(node, address)
        prefix = address.family.bits if cidr is None else cidr.prefix
        yield _add_address(f"{address}/{prefix}", POD_DEVICE, address.family)
    yield f"link set {POD_DEVICE} up"
    for family in topology.families:
        cidr = next(each for each in node.pod_cidrs if each.family is family)
        gateway = bridge_gateway(topology, node, cidr)
        yield f"route add {_EVERYWHERE[family]} via {gateway} dev {POD_DEVICE} onlink"


def _known_neighbours(topology: Topology) -> Iterator[Script]:
    """Where many pods share bridges, tell each the hardware addresses of the others.

    What pods learn themselves counts towards the kernel's limit, which is shared by all namespaces
    and which only the machine's root may raise; what they are told does not.
    """
    by_node = [
        [pod for pod in topology.pods if pod.node == node.name and not pod.host_network]
        for node in topology.nodes
    ]
    if sum(len(pods) ** 2 for pods in by_node) < _FEW_NEIGHBOURS:
        return
    for pods in by_node:
        for pod in pods:
            yield Script(
                pod_netns(pod),
                tuple(
                    f"neigh replace {address} lladdr {mac_address(pod_netns(other))}"
                    f" dev {POD_DEVICE} nud permanent"
                    for other in pods
                    if other is not pod
                    for address in _of_families(topology, other.addresses)
                ),
            )


def _of_families(topology: Topology, addresses: Iterable[Address]) -> Iterator[Address]:
    return (each for each in addresses if each.family in topology.families)


def _range_of(node: Node, address: Address) -> Cidr | None:
    return next((cidr for cidr in node.pod_cidrs if address in cidr), None)


def _add_address(text: str, device: str, family: Family) -> str:
    return f"addr add {text} dev {device}{' nodad' if family is Family.V6 else ''}"


def _host(address: Address) -> str:
    return f"{address}/{address.family.bits}"


def _node_address(node: Node, family: Family) -> Address:
    return next(each for each in node.addresses if each.family is family)


def _node_source(node: Node, family: Family) -> str:
    # Without it the kernel would take the gateway's address, which is the same on every node.
    return f" src {_node_address(node, family)}"


def endpoint_addresses(topology: Topology) -> frozenset[Address]:
    """The addresses of the hosts outside."""
    return frozenset(
        address
        for endpoint in topology.endpoints
        if endpoint.kind is Kind.OUTSIDE
        for address in endpoint.addresses
    )
