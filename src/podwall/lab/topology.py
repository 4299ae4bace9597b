"""What a lab consists of: its endpoints, and who is asked to reach whom.

A :class:`Topology` is made from a placed snapshot (every pod has a node and addresses) and nothing
else; it is pure. Each pod and each node has a network namespace; one more, ``outside``, is the
router between the nodes and holds the hosts outside the cluster. How they are wired together is
told by :mod:`podwall.lab.wiring`, how that becomes real by :mod:`podwall.lab.netns`.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.errors import InputError
from podwall.lab.hosts import OutsideHost, outside_hosts
from podwall.model.flow import Flow
from podwall.model.net import PORT_PROTOCOLS, Address, Family, Protocol
from podwall.model.objects import Node, Pod
from podwall.model.policy import AllPortsOf, NumberedPorts

OUTSIDE = "outside"
"""The network namespace of the router between the nodes, and of the hosts outside."""

_COMMON_PORTS = 4
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,200}\Z", re.ASCII)


class Cni(enum.Enum):
    """How the pods of a node are connected: routed through veths, or on one bridge."""

    ROUTED = "routed"
    BRIDGE = "bridge"


class Kind(enum.Enum):
    """What an endpoint is."""

    POD = "pod"
    NODE = "node"
    OUTSIDE = "outside"


class Listen(msgspec.Struct, frozen=True, order=True, gc=False):
    """A port that somebody answers on."""

    protocol: Protocol
    port: int

    def __str__(self) -> str:
        return f"{self.port}/{self.protocol.name.lower()}"


class Shape(msgspec.Struct, frozen=True):
    """How a lab is built.

    Attributes:
        families: the address families that are in use.
        cni: how the pods of a node are connected.
        hosts: addresses of hosts outside that are wanted besides those for the ipBlocks.
        ports: everybody listens on these, whatever else they listen on.
    """

    families: tuple[Family, ...] = (Family.V4,)
    cni: Cni = Cni.ROUTED
    hosts: tuple[Address, ...] = ()
    ports: tuple[Listen, ...] = ()


class Endpoint(msgspec.Struct, frozen=True):
    """Somebody who can be probed, and mostly probe others.

    ``name`` is ``namespace/pod``, ``node/NAME`` or the address of a host outside; ``addresses``
    holds one per family of the lab. Pods with ``host_network`` live in their node's namespace under
    its address: they are probed, and their node does the probing. ``title`` says what a host
    outside stands for, ``workload`` what a pod belongs to.
    """

    name: str
    kind: Kind
    netns: str
    node: str
    addresses: tuple[Address, ...]
    ports: tuple[Listen, ...]
    host_network: bool = False
    title: str = ""
    workload: str = ""

    def address(self, family: Family) -> Address | None:
        """The endpoint's address of a family, if it has one."""
        return next((each for each in self.addresses if each.family is family), None)

    @property
    def is_pod(self) -> bool:
        """Whether policies can select it: a pod with an address of its own."""
        return self.kind is Kind.POD and not self.host_network


class Topology(msgspec.Struct, frozen=True):
    """Everything a lab is built from; pods, nodes and hosts outside, each sorted by name."""

    cni: Cni
    families: tuple[Family, ...]
    pods: tuple[Pod, ...]
    nodes: tuple[Node, ...]
    endpoints: tuple[Endpoint, ...]

    def find(self, name: str) -> Endpoint | None:
        """The endpoint of that name; a bare pod name means the namespace ``default``."""
        wanted = (name, f"default/{name}", f"node/{name}")
        return next((each for word in wanted for each in self.endpoints if each.name == word), None)


class Probe(msgspec.Struct, frozen=True, gc=False):
    """The question whether ``src`` reaches ``dst``; ``port`` is None for ICMP."""

    src: Endpoint
    dst: Endpoint
    family: Family
    protocol: Protocol
    port: int | None = None

    @property
    def flow(self) -> Flow:
        """The packet that asks it."""
        return Flow(self.src_address, self.dst_address, self.protocol, self.port)

    @property
    def src_address(self) -> Address:
        """Where it comes from."""
        return _known(self.src.address(self.family))

    @property
    def dst_address(self) -> Address:
        """Where it goes."""
        return _known(self.dst.address(self.family))


class Outcome(enum.IntEnum):
    """What became of a probe."""

    ANSWERED = 1
    SILENT = 2
    REFUSED = 3
    MISDIRECTED = 4

    @property
    def reached(self) -> bool:
        """Whether the packet got there; an answer from somebody else is never right."""
        return self in (Outcome.ANSWERED, Outcome.MISDIRECTED)


class Selection(msgspec.Struct, frozen=True):
    """Which probes are wanted: names of endpoints, and ports; None is all of them.

    ICMP, which has no port, is asked where ``ports`` is None or ``icmp`` is set.
    """

    sources: frozenset[str] | None = None
    targets: frozenset[str] | None = None
    ports: frozenset[Listen] | None = None
    icmp: bool = False


EVERYTHING = Selection()
"""All probes."""


def plan_topology(snapshot: Snapshot, shape: Shape) -> Topology:
    """The lab for a placed snapshot.

    Pods that are terminated, or have no address of these families or none that is still theirs,
    are not built.

    Raises:
        InputError: a pod's node is not there, a node has no address in a family, or a wanted host
            has the address of a pod or node.
    """
    families = shape.families
    pods = tuple(_pods_with_addresses(snapshot, families))
    nodes = tuple(snapshot.nodes.values())
    for node in nodes:
        for family in families:
            if not any(each.family is family for each in node.addresses):
                raise InputError(f"Node {node.name}: no IPv{family} address")
    world = tuple(sorted({*world_ports(snapshot, pods), *shape.ports}))
    endpoints = [_pod_endpoint(snapshot, pod, shape, world) for pod in pods]
    endpoints.extend(_node_endpoint(node, pods, families, world) for node in nodes)
    endpoints.extend(
        Endpoint(
            name=str(host.address),
            kind=Kind.OUTSIDE,
            netns=OUTSIDE,
            node="",
            addresses=(host.address,),
            ports=world,
            title=host.title,
        )
        for host in _hosts(snapshot, shape)
    )
    return Topology(shape.cni, families, pods, nodes, tuple(endpoints))


def world_ports(snapshot: Snapshot, pods: Iterable[Pod]) -> tuple[Listen, ...]:
    """The ports of whoever declares none: nodes, hosts outside, and pods without container ports.

    These are the numbers in egress rules, which are meant for them, the four ports that most pods
    declare, and at least one port of every protocol that somebody declares or a rule names.
    """
    declared = Counter(
        Listen(port.protocol, port.number) for pod in pods for port in frozenset(pod.ports)
    )
    ranked = sorted(declared, key=lambda each: (-declared[each], each))
    ports = {*_egress_numbers(snapshot), *ranked[:_COMMON_PORTS]}
    for protocol in PORT_PROTOCOLS:
        if any(each.protocol is protocol for each in ports):
            continue
        first = next((each for each in ranked if each.protocol is protocol), None)
        if first is not None:
            ports.add(first)
        elif protocol in _named_protocols(snapshot):
            ports.add(Listen(protocol, 7))
    return tuple(sorted(ports or {Listen(Protocol.TCP, 80)}))


def pod_netns(pod: Pod) -> str:
    """The namespace of a pod; hostNetwork pods live in their node's."""
    if pod.host_network:
        return node_netns(pod.node)
    return _file_name(f"{pod.key.namespace}.{pod.key.name}")


def node_netns(name: str) -> str:
    """The namespace of a node; no pod's is named so, since ``_`` is in no Kubernetes name."""
    return _file_name(f"node_{name}")


def _file_name(name: str) -> str:
    """``name``, or where it cannot be a file and a word in ip's scripts, one made from its hash."""
    if _PLAIN.match(name):
        return name
    return "_" + hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


def all_probes(topology: Topology, selection: Selection = EVERYTHING) -> Iterator[Probe]:
    """Every question that a policy can have an influence on: those with a pod at one end."""
    for src in topology.endpoints:
        if src.host_network or (
            selection.sources is not None and src.name not in selection.sources
        ):
            continue
        for dst in topology.endpoints:
            if selection.targets is not None and dst.name not in selection.targets:
                continue
            if src.is_pod or dst.is_pod:
                yield from _probes(topology, src, dst, selection)


def _probes(
    topology: Topology, src: Endpoint, dst: Endpoint, selection: Selection
) -> Iterator[Probe]:
    for family in topology.families:
        if src.address(family) is None or dst.address(family) is None:
            continue
        for listen in dst.ports:
            if selection.ports is None or listen in selection.ports:
                yield Probe(src, dst, family, listen.protocol, listen.port)
        if selection.ports is None or selection.icmp:
            icmp = Protocol.ICMP if family is Family.V4 else Protocol.ICMPV6
            yield Probe(src, dst, family, icmp)


def _pods_with_addresses(snapshot: Snapshot, families: Sequence[Family]) -> Iterator[Pod]:
    """The pods to build, each with just the addresses that are still its own (S22)."""
    for pod in snapshot.pods.values():
        if pod.phase.terminated:
            continue
        if pod.host_network:
            if pod.node:
                yield pod
            continue
        owned = tuple(a for a in snapshot.owned_addresses(pod) if a.family in families)
        if owned:
            yield msgspec.structs.replace(pod, addresses=owned)


def _pod_endpoint(
    snapshot: Snapshot, pod: Pod, shape: Shape, world: tuple[Listen, ...]
) -> Endpoint:
    node = snapshot.nodes.get(pod.node)
    if node is None:
        raise InputError(f"Pod {pod.key}: spec.nodeName: {pod.node!r} is no node of the lab")
    own = node.addresses if pod.host_network else pod.addresses
    addresses = _one_per_family(own, shape.families)
    declared = {Listen(port.protocol, port.number) for port in pod.ports}
    return Endpoint(
        name=str(pod.key),
        kind=Kind.POD,
        netns=pod_netns(pod),
        node=pod.node,
        addresses=addresses,
        ports=tuple(sorted(declared.union(shape.ports))) if declared or pod.host_network else world,
        host_network=pod.host_network,
        workload=pod.workload,
    )


def _node_endpoint(
    node: Node, pods: Iterable[Pod], families: Sequence[Family], world: tuple[Listen, ...]
) -> Endpoint:
    theirs = {
        Listen(port.protocol, port.number)
        for pod in pods
        if pod.host_network and pod.node == node.name
        for port in pod.ports
    }
    return Endpoint(
        name=f"node/{node.name}",
        kind=Kind.NODE,
        netns=node_netns(node.name),
        node=node.name,
        addresses=_one_per_family(node.addresses, families),
        ports=tuple(sorted({*world, *theirs})),
    )


def _hosts(snapshot: Snapshot, shape: Shape) -> list[OutsideHost]:
    found = outside_hosts(snapshot, shape.families, shape.hosts)
    used = {*snapshot.owners, *(a for node in snapshot.nodes.values() for a in node.addresses)}
    for address in shape.hosts:
        if address in used:
            raise InputError(f"{address} cannot be a host outside: a pod or a node has it")
    wanted = (OutsideHost(each, "as wanted") for each in dict.fromkeys(shape.hosts))
    return sorted((*found, *wanted), key=lambda host: host.address)


def _one_per_family(
    addresses: Sequence[Address], families: Sequence[Family]
) -> tuple[Address, ...]:
    found = (next((a for a in addresses if a.family is family), None) for family in families)
    return tuple(each for each in found if each is not None)


def _egress_numbers(snapshot: Snapshot) -> Iterator[Listen]:
    for policy in snapshot.policies.values():
        for rule in policy.egress:
            for port in rule.ports:
                if isinstance(port, NumberedPorts):
                    yield Listen(port.protocol, port.ports.first)
                    yield Listen(port.protocol, port.ports.last)


def _named_protocols(snapshot: Snapshot) -> set[Protocol]:
    return {
        port.protocol
        for policy in snapshot.policies.values()
        for rule in (*policy.ingress, *policy.egress)
        for port in rule.ports
        if isinstance(port, NumberedPorts | AllPortsOf)
    }


def _known(address: Address | None) -> Address:
    if address is None:
        raise InputError("a probe between endpoints that share no address family")
    return address
