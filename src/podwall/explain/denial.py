"""What a logged packet was, in the words of people: who, to whom, and what stands against it.

The kernel says that it dropped a packet, and which; a :class:`Denial` says why. The rule that
dropped it is not asked: what the oracle says of the same flow is the reason, since rules and
policies agree. Policies can have changed in the moment between the packet and the question. Then
the denial is ``stale``: it was one, and the policies of now would let the flow pass.

A packet is dropped once, by the first direction that denies it. With audit mode a packet passes,
and both directions can have something against it; the kernel tells of such a flow once, so each of
them is a denial of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.explain.ends import end_at
from podwall.explain.miss import closest_miss, list_names
from podwall.model.decode import escaped
from podwall.model.flow import Flow, Verdict
from podwall.model.net import Address, Cidr, Family, Protocol
from podwall.model.policy import Direction, PolicyKey
from podwall.model.settings import Settings
from podwall.policy.decision import DirectionDecision
from podwall.policy.evaluate import evaluate, own_nodes, subject_address
from podwall.ruleset.ir import LogKind

_LINK_LOCAL = Cidr(Family.V6, 0xFE80 << 112, 10)
_ALL_ON_LINK = Cidr(Family.V6, 0xFF02 << 112, 16)

_STALE = {
    LogKind.DENY: "the policies of now allow it; they have changed, or the rules are about to",
    LogKind.AUDIT: "the audited policies of now would allow it, or are no longer audited",
}


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """A packet that was denied, or that audited policies would deny, by name.

    Attributes:
        time: when, in seconds since the epoch.
        kind: denied, or only told of by audited policies.
        source: the pod, node or address that it came from.
        target: where it went.
        service: what was asked for: ``6379/tcp``, ``icmp``, ``protocol 47``.
        src, dst: the addresses.
        source_workload, target_workload: what owns the pods, as in ``shop/deployment/web``; empty
            where there is none.
        direction: egress of the source, or ingress of the target.
        subject: the pod whose policies decided; empty where the address is no known pod's.
        namespace: that of the subject, or empty.
        isolated_by: the policies that isolate the subject; with ``audit`` the audited ones.
        reason: one sentence.
        verdict_now: what the enforced policies of now say of the whole flow.
        stale: whether the policies of now have nothing against it any more.
    """

    time: float
    kind: LogKind
    source: str
    target: str
    service: str
    src: Address
    dst: Address
    source_workload: str
    target_workload: str
    direction: Direction
    subject: str
    namespace: str
    isolated_by: tuple[PolicyKey, ...]
    reason: str
    verdict_now: Verdict
    stale: bool = False

    def __str__(self) -> str:
        verb = "denied" if self.kind is LogKind.DENY else "would be denied"
        return f"{self.source} → {self.target} {self.service} {verb}: {self.reason}"

    def to_dict(self) -> dict[str, object]:
        """Plain values, as ``-o json`` and the control socket have them."""
        return {
            "time": self.time,
            "kind": self.kind.value,
            "source": self.source,
            "target": self.target,
            "service": self.service,
            "src": str(self.src),
            "dst": str(self.dst),
            "source_workload": self.source_workload,
            "target_workload": self.target_workload,
            "direction": self.direction.value,
            "subject": self.subject,
            "namespace": self.namespace,
            "isolated_by": list(map(str, self.isolated_by)),
            "reason": self.reason,
            "verdict_now": self.verdict_now.value,
            "stale": self.stale,
        }


def name_packet(
    snapshot: Snapshot,
    flow: Flow,
    kind: LogKind,
    time: float,
    settings: Settings = Settings(),
    node: str = "",
) -> tuple[Denial, ...]:
    """What a logged packet was: one denial, or two where audited policies of both ends object.

    None where it is housekeeping of a link: pods on a bridge tell each other by ICMPv6 which groups
    they listen to. That is dropped like all that is link-local, and nobody misses it.

    Args:
        snapshot: the cluster, or as much of it as is about the two ends.
        flow: the packet.
        kind: what it was logged as.
        time: when, in seconds since the epoch.
        settings: the switches of the node that logged it.
        node: that node; only what it judges can have been the reason. Empty is any, and so is one
            that is not known to judge either end.
    """
    if flow.protocol == Protocol.ICMPV6 and _local(flow.src) and flow.dst in _ALL_ON_LINK:
        return ()
    decision = evaluate(snapshot, flow, settings)
    here = [each for each in decision.directions if _judges(snapshot, flow, each, node)]
    judged = here or list(decision.directions)
    case = _Case(snapshot, flow, kind, time, decision.verdict)
    audited = kind is LogKind.AUDIT
    objecting = [each for each in judged if (each.would_deny if audited else not each.allowed)]
    if not objecting:
        return (case.stale(judged),)
    if audited:
        return tuple(map(case.audited, objecting))
    return (case.denied(objecting[0]),)


def service_text(protocol: int, port: int | None) -> str:
    """A protocol and port as everywhere here: ``53/udp``, ``icmp``, ``protocol 47``."""
    try:
        name = Protocol(protocol).name.lower()
    except ValueError:
        return f"protocol {protocol}"
    return name if port is None else f"{port}/{name}"


def why_denied(snapshot: Snapshot, flow: Flow, decision: DirectionDecision) -> str:
    """One sentence on a direction that denies: who isolates, and what came closest to allowing."""
    if decision.exemption is None:
        return _isolation(snapshot, flow, decision, "is isolated")
    address = subject_address(flow, decision.direction)
    nodes = own_nodes(snapshot, address)
    names = " and ".join(f"node {escaped(each.name)}" for each in nodes)
    return f"{address} is in the pod range of {names}, and no known pod has it (S48)"


def _judges(snapshot: Snapshot, flow: Flow, decision: DirectionDecision, node: str) -> bool:
    """Whether a node is the one that judges a direction."""
    subject = subject_address(flow, decision.direction)
    return not node or any(each.name == node for each in own_nodes(snapshot, subject))


class _Case(msgspec.Struct, frozen=True):
    """A packet, and what is asked about it."""

    snapshot: Snapshot
    flow: Flow
    kind: LogKind
    time: float
    verdict: Verdict

    def denied(self, decision: DirectionDecision) -> Denial:
        """It was denied by what denies it now."""
        isolated_by = decision.isolated_by if decision.exemption is None else ()
        return self._told(decision, isolated_by, why_denied(self.snapshot, self.flow, decision))

    def audited(self, decision: DirectionDecision) -> Denial:
        """It would be denied by audited policies, which were told of."""
        audit = decision.audit or decision
        reason = _isolation(self.snapshot, self.flow, audit, "would be isolated")
        return self._told(decision, decision.audited_by, reason)

    def stale(self, judged: list[DirectionDecision]) -> Denial:
        """What is left to say where no policy has anything against the flow any more."""
        link_local = next((each for each in (self.flow.src, self.flow.dst) if _local(each)), None)
        if self.kind is LogKind.DENY and link_local is not None:
            reason = f"{link_local} is link-local, and no such address is forwarded (S48)"
            return self._told(judged[-1], (), reason)
        best = max(judged, key=lambda each: (len(self._policies(each)), each.subject is not None))
        told = self._told(best, self._policies(best), _STALE[self.kind])
        return msgspec.structs.replace(told, stale=True)

    def _policies(self, decision: DirectionDecision) -> tuple[PolicyKey, ...]:
        return decision.isolated_by if self.kind is LogKind.DENY else decision.audited_by

    def _told(
        self, decision: DirectionDecision, isolated_by: tuple[PolicyKey, ...], reason: str
    ) -> Denial:
        subject, flow = decision.subject, self.flow
        return Denial(
            time=self.time,
            kind=self.kind,
            source=escaped(end_at(self.snapshot, flow.src).title),
            target=escaped(end_at(self.snapshot, flow.dst).title),
            service=service_text(flow.protocol, flow.port),
            src=flow.src,
            dst=flow.dst,
            source_workload=_workload(self.snapshot, flow.src),
            target_workload=_workload(self.snapshot, flow.dst),
            direction=decision.direction,
            subject="" if subject is None else escaped(str(subject)),
            namespace="" if subject is None else escaped(subject.namespace),
            isolated_by=isolated_by,
            reason=reason,
            verdict_now=self.verdict,
        )


def _workload(snapshot: Snapshot, address: Address) -> str:
    pod = snapshot.owner(address)
    if pod is None or not pod.workload:
        return ""
    kind, _, name = pod.workload.partition("/")
    return escaped(f"{pod.key.namespace}/{kind.lower()}/{name}")


def _isolation(snapshot: Snapshot, flow: Flow, decision: DirectionDecision, verb: str) -> str:
    subject = escaped(str(decision.subject))
    policies = list_names(map(str, decision.isolated_by))
    miss = "; ".join(_parts(snapshot, flow, decision))
    return f"{decision.direction.value} of {subject} {verb} by {policies}; {miss}"


def _parts(snapshot: Snapshot, flow: Flow, decision: DirectionDecision) -> Iterator[str]:
    yield closest_miss(snapshot, flow, decision)
    broken = [str(each.policy) for each in decision.refusals if each.problems]
    if broken:
        yield f"parts of {list_names(broken)} could not be understood and allow nothing (S10)"


def _local(address: Address) -> bool:
    return address in _LINK_LOCAL
