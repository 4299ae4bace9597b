"""The oracle: the specification of NetworkPolicy, written down as plainly as it can be.

Each function below is one paragraph of the specification and names its clauses. Nothing is cached,
indexed or shared with the compiler: what this module answers about a flow and what a compiled
ruleset does to it are compared by tests, and each has to be able to catch the other. It judges for
the whole cluster at once, as if every node enforced: egress where the source is, ingress where the
destination is.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.model.flow import ConnState, Flow, Verdict
from podwall.model.net import Address
from podwall.model.objects import Node, Pod, PodKey
from podwall.model.policy import (
    AllPortsOf,
    AnyPeer,
    AnyPort,
    Direction,
    IPBlock,
    NamedPort,
    NumberedPorts,
    Peer,
    PodPeer,
    Policy,
    PolicyRule,
    Port,
)
from podwall.model.settings import Settings
from podwall.policy.decision import Decision, DirectionDecision, Exemption, PolicyRefusal
from podwall.policy.refusal import (
    InExcept,
    NameElsewhere,
    NamespaceLabels,
    NameUnresolved,
    NotAPod,
    OtherFamily,
    OtherNamespace,
    OtherProtocol,
    OutsideBlock,
    PeerMismatch,
    PeerRefusal,
    PodLabels,
    PortMismatch,
    PortOutside,
    PortRefusal,
    RuleRefusal,
    UnknownNamespace,
)

_DEFAULTS = Settings()


def evaluate(snapshot: Snapshot, flow: Flow, settings: Settings = _DEFAULTS) -> Decision:
    """Judge a flow: the source's egress and the destination's ingress, each for itself (S1, S2).

    The answer is about a cluster in which every node enforces ``snapshot`` with ``settings``; only
    its switches for S43 and S48 matter here.
    """
    return Decision(
        flow=flow,
        egress=judge(snapshot, flow, Direction.EGRESS, settings),
        ingress=judge(snapshot, flow, Direction.INGRESS, settings),
    )


def judge(
    snapshot: Snapshot, flow: Flow, direction: Direction, settings: Settings = _DEFAULTS
) -> DirectionDecision:
    """Judge one direction: exemptions first, then the isolating policies, which add up (S3).

    Audited policies do not decide. What they would do, all of them together with those that
    isolate, is said beside the verdict (S51).
    """
    subject = snapshot.owner(subject_address(flow, direction))
    together = () if subject is None else selecting_policies(snapshot, subject, direction)
    isolating = tuple(policy for policy in together if not policy.is_audited)
    audited = tuple(policy for policy in together if policy.is_audited)
    exemption = find_exemption(snapshot, flow, direction, settings)
    key = None if subject is None else subject.key
    decision = _decide(snapshot, flow, direction, key, isolating, exemption)
    if not audited:
        return decision
    return msgspec.structs.replace(
        decision,
        audited_by=tuple(policy.key for policy in audited),
        audit=None
        if exemption is not None
        else _decide(snapshot, flow, direction, key, together, None),
    )


def _decide(
    snapshot: Snapshot,
    flow: Flow,
    direction: Direction,
    subject: PodKey | None,
    isolating: tuple[Policy, ...],
    exemption: Exemption | None,
) -> DirectionDecision:
    """What ``isolating``, the policies that isolate the subject, say where nothing goes before."""
    isolated_by = tuple(policy.key for policy in isolating)
    if exemption is None and not isolating:
        exemption = Exemption.NOT_ISOLATED
    if exemption is not None:
        return DirectionDecision(
            direction=direction,
            verdict=exemption.verdict,
            subject=subject,
            exemption=exemption,
            isolated_by=isolated_by,
        )

    refusals: list[PolicyRefusal] = []
    for policy in isolating:
        refused: list[RuleRefusal] = []
        for rule in policy.rules(direction):
            refusal = refuse_rule(snapshot, rule, flow)
            if refusal is None:
                return DirectionDecision(
                    direction=direction,
                    verdict=Verdict.ALLOWED,
                    subject=subject,
                    isolated_by=isolated_by,
                    allowed_by=rule.id,
                )
            refused.append(refusal)
        refusals.append(PolicyRefusal(policy.key, direction, tuple(refused), policy.problems))
    return DirectionDecision(
        direction=direction,
        verdict=Verdict.DENIED,
        subject=subject,
        isolated_by=isolated_by,
        refusals=tuple(refusals),
    )


def subject_address(flow: Flow, direction: Direction) -> Address:
    """The end of a flow whose policies decide in ``direction``."""
    return flow.src if direction is Direction.EGRESS else flow.dst


def peer_address(flow: Flow, direction: Direction) -> Address:
    """The end of a flow that peers of rules are about in ``direction``."""
    return flow.dst if direction is Direction.EGRESS else flow.src


def isolating_policies(snapshot: Snapshot, pod: Pod, direction: Direction) -> tuple[Policy, ...]:
    """The policies that isolate ``pod`` in ``direction``, sorted by key.

    A policy selects pods of its own namespace, and isolates in the directions of its policyTypes
    even if it allows nothing at all (S1, S4, S10, S12). Pods with hostNetwork are never selected
    (S23), and an audited policy isolates nothing (S51).
    """
    return tuple(
        policy for policy in selecting_policies(snapshot, pod, direction) if not policy.is_audited
    )


def audited_policies(snapshot: Snapshot, pod: Pod, direction: Direction) -> tuple[Policy, ...]:
    """The policies that would isolate ``pod`` but are audited, sorted by key (S51)."""
    return tuple(
        policy for policy in selecting_policies(snapshot, pod, direction) if policy.is_audited
    )


def selecting_policies(snapshot: Snapshot, pod: Pod, direction: Direction) -> tuple[Policy, ...]:
    """The policies that are about ``pod`` in ``direction``, whatever their mode, sorted by key."""
    if pod.host_network:
        return ()
    return tuple(
        policy
        for _, policy in sorted(snapshot.policies.items())
        if policy.key.namespace == pod.key.namespace
        and direction in policy.isolates
        and policy.subject.matches(pod.labels)
    )


def find_exemption(
    snapshot: Snapshot, flow: Flow, direction: Direction, settings: Settings
) -> Exemption | None:
    """What decides ``direction`` before any policy is asked, if anything does."""
    subject, peer = subject_address(flow, direction), peer_address(flow, direction)
    pod = snapshot.owner(subject)
    if flow.state in (ConnState.ESTABLISHED, ConnState.RELATED):
        return Exemption.REPLY
    unknown = pod is None and is_unknown_pod(snapshot, subject) and settings.close_unknown_pods
    if pod is None and not unknown:
        return Exemption.NOT_A_POD
    if subject == peer or (pod is not None and pod == snapshot.owner(peer)):
        return Exemption.OWN_ADDRESS
    if any(peer in node.addresses for node in own_nodes(snapshot, subject)):
        if direction is Direction.INGRESS:
            return Exemption.OWN_NODE
        if not settings.judge_node_egress:
            return Exemption.NODE_EGRESS
    return Exemption.UNKNOWN_POD if unknown else None


def is_unknown_pod(snapshot: Snapshot, address: Address) -> bool:
    """Whether an address must be a pod's, by its range, but of none that is known (S48)."""
    nodes = snapshot.nodes.values()
    return (
        snapshot.owner(address) is None
        and any(address in cidr for node in nodes for cidr in node.pod_cidrs)
        and not any(address in node.addresses for node in nodes)
    )


def own_nodes(snapshot: Snapshot, address: Address) -> tuple[Node, ...]:
    """The node that a pod's address is on (S42, S43): a known pod's node, else by pod range."""
    pod = snapshot.owner(address)
    if pod is not None:
        return tuple(node for node in snapshot.nodes.values() if node.name == pod.node)
    return tuple(
        node for node in snapshot.nodes.values() if any(address in cidr for cidr in node.pod_cidrs)
    )


def refuse_rule(snapshot: Snapshot, rule: PolicyRule, flow: Flow) -> RuleRefusal | None:
    """Why ``rule`` does not allow ``flow``, or ``None`` if it does.

    One of its peers and one of its ports must match; a rule without any allows nobody (S10), since
    the decoder has turned what was absent or empty into "any" (S5, S11, S32).
    """
    address = peer_address(flow, rule.id.direction)
    peers: list[PeerRefusal] = []
    matching_peer: Peer | None = None
    for peer in rule.peers:
        peer_mismatch = refuse_peer(snapshot, peer, address)
        if peer_mismatch is None:
            matching_peer, peers = peer, []
            break
        peers.append(PeerRefusal(peer, peer_mismatch))

    ports: list[PortRefusal] = []
    matching_port: Port | None = None
    for port in rule.ports:
        port_mismatch = refuse_port(snapshot, port, flow)
        if port_mismatch is None:
            matching_port, ports = port, []
            break
        ports.append(PortRefusal(port, port_mismatch))

    if matching_peer is not None and matching_port is not None:
        return None
    return RuleRefusal(
        rule=rule.id,
        peer=matching_peer,
        peers=tuple(peers),
        port=matching_port,
        ports=tuple(ports),
    )


def refuse_peer(snapshot: Snapshot, peer: Peer, address: Address) -> PeerMismatch | None:
    """Why ``peer`` does not mean ``address``, or ``None`` if it does."""
    match peer:
        case AnyPeer():
            return None
        case IPBlock():
            return refuse_block(peer, address)
        case PodPeer():
            return refuse_pod_peer(snapshot, peer, address)
        case _:
            assert_never(peer)


def refuse_block(block: IPBlock, address: Address) -> PeerMismatch | None:
    """Blocks are about addresses, whoever owns them (S30), of their own family only (S29)."""
    if address.family is not block.cidr.family:
        return OtherFamily(address, block.cidr)
    if address not in block.cidr:
        return OutsideBlock(address, block.cidr)
    for excluded in block.excepts:
        if address in excluded:
            return InExcept(address, block.cidr, excluded)
    return None


def refuse_pod_peer(snapshot: Snapshot, peer: PodPeer, address: Address) -> PeerMismatch | None:
    """Selector peers are about pods: the namespace and the labels must match (S13 to S17, S23)."""
    pod = snapshot.owner(address)
    if pod is None:
        return NotAPod(address, _node_name(snapshot, address))
    if isinstance(peer.namespaces, str):
        if pod.key.namespace != peer.namespaces:
            return OtherNamespace(pod.key, peer.namespaces)
    else:
        namespace = snapshot.namespaces.get(pod.key.namespace)
        # Pods can become known before their namespace: unknown labels match nothing, not even {}.
        if namespace is None:
            return UnknownNamespace(pod.key)
        for requirement in peer.namespaces.requirements:
            if not requirement.matches(namespace.labels):
                actual = namespace.labels.get(requirement.key)
                return NamespaceLabels(namespace.name, requirement, actual)
    for requirement in peer.pods.requirements:
        if not requirement.matches(pod.labels):
            return PodLabels(pod.key, requirement, pod.labels.get(requirement.key))
    return None


def refuse_port(snapshot: Snapshot, port: Port, flow: Flow) -> PortMismatch | None:
    """Why ``port`` does not mean the destination port of ``flow``, or ``None`` if it does."""
    if isinstance(port, AnyPort):
        return None
    if flow.protocol != port.protocol:
        return OtherProtocol(port.protocol, flow.protocol)
    match port:
        case AllPortsOf():
            return None
        case NumberedPorts():
            if flow.port is None or flow.port not in port.ports:
                return PortOutside(port.protocol, port.ports, flow.port)
            return None
        case NamedPort():
            return refuse_named_port(snapshot, port, flow)
        case _:
            assert_never(port)


def refuse_named_port(snapshot: Snapshot, port: NamedPort, flow: Flow) -> PortMismatch | None:
    """A name is looked up on the destination pod, in both directions (S36, S37).

    The first declared port with this name and protocol counts. A destination that is no pod has no
    named ports, whatever peer allowed its address.
    """
    pod = snapshot.owner(flow.dst)
    if pod is None:
        return NameUnresolved(port.protocol, port.name, None)
    for declared in pod.ports:
        if declared.name == port.name and declared.protocol is port.protocol:
            if declared.number == flow.port:
                return None
            return NameElsewhere(port.protocol, port.name, pod.key, declared.number, flow.port)
    return NameUnresolved(port.protocol, port.name, pod.key)


def _node_name(snapshot: Snapshot, address: Address) -> str:
    names = (node.name for node in snapshot.nodes.values() if address in node.addresses)
    return next(names, "")
