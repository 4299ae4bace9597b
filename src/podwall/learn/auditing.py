"""Whether audited policies can be enforced, judged on connections that were seen.

All audited policies of a pod are judged together, beside those that are enforced: that is what
enforcing all of them would do (S51). So a connection that they would deny counts against each of
them, and each is told apart only by the pods and the direction that it is about.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Callable, Iterable, Mapping

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.explain.ends import Service, end_at
from podwall.learn.court import Court
from podwall.learn.observed import Observation
from podwall.learn.sift import Reason, why_unjudged
from podwall.learn.units import workload_title
from podwall.model.flow import Flow
from podwall.model.net import PORT_PROTOCOLS, Protocol
from podwall.model.objects import Pod, PodKey
from podwall.model.policy import Direction, PolicyKey
from podwall.model.settings import Settings
from podwall.policy.evaluate import audited_policies


class Safety(enum.Enum):
    """Whether enforcing an audited policy is safe; the value is how it is said."""

    SAFE = "safe"
    UNSAFE = "not safe"
    UNKNOWN = "not known yet"


class WouldDeny(msgspec.Struct, frozen=True):
    """A connection between two workloads that would be denied.

    ``first`` and ``last`` are seconds since the epoch, or ``None`` where the source tells no times.
    ``example`` names two ends, for ``podwall explain``.
    """

    source: str
    target: str
    service: str
    direction: Direction
    count: int
    example: tuple[str, str]
    first: float | None = None
    last: float | None = None


class Evidence(msgspec.Struct, frozen=True):
    """What is known of an audited policy.

    Attributes:
        policy: its key.
        pods: the pods that it is about.
        together: the other audited policies that it is judged with.
        seen: how many connections were seen that it was asked about and would not deny.
        denied: what it would deny, together with the others; the most frequent first.
    """

    policy: PolicyKey
    pods: tuple[PodKey, ...] = ()
    together: tuple[PolicyKey, ...] = ()
    seen: int = 0
    denied: tuple[WouldDeny, ...] = ()

    @property
    def safety(self) -> Safety:
        """Not safe if anything would be denied, and not known as long as nothing was seen."""
        if self.denied:
            return Safety.UNSAFE
        return Safety.SAFE if self.seen or not self.pods else Safety.UNKNOWN


def audit(
    snapshot: Snapshot,
    observations: Iterable[Observation],
    settings: Settings = Settings(),
    told: Iterable[tuple[PolicyKey, WouldDeny]] = (),
) -> tuple[Evidence, ...]:
    """The evidence for each audited policy, by key.

    ``told`` is what somebody else saw that they would deny, such as the agent's log. It saw the
    same connections, as far as both looked: of two counts the greater one holds, not their sum.
    """
    court = Court(snapshot, settings)
    evidence = _subjects(court)
    seen = dict.fromkeys(evidence, 0)
    denied: dict[PolicyKey, list[WouldDeny]] = {key: [] for key in evidence}
    for each in observations:
        # Who was never answered loses nothing when nobody may ask any more.
        if why_unjudged(snapshot, each) is not None:
            continue
        decision = court.decide(each.flow)
        for direction in decision.directions if decision.allowed else ():
            for key in direction.audited_by if direction.audit is not None else ():
                if direction.would_deny:
                    denied[key].append(_named(snapshot, each, direction.direction))
                else:
                    seen[key] += each.count
    logged: dict[PolicyKey, list[WouldDeny]] = {key: [] for key in evidence}
    for key, flow in told:
        if key in logged:
            logged[key].append(flow)
    return tuple(
        msgspec.structs.replace(
            each,
            seen=seen[key],
            denied=_ordered(_merged([*_summed(denied[key]), *_summed(logged[key])], max)),
        )
        for key, each in evidence.items()
    )


def count_gone(snapshot: Snapshot, observations: Iterable[Observation]) -> int:
    """How many connections say nothing, because nobody knows any more who their pods were."""
    return sum(each.count for each in observations if why_unjudged(snapshot, each) is Reason.GONE)


def _subjects(court: Court) -> dict[PolicyKey, Evidence]:
    """Whom each audited policy is about, and with which others it is judged."""
    snapshot = court.snapshot
    audited = [key for key, policy in snapshot.policies.items() if policy.is_audited]
    pods: dict[PolicyKey, dict[PodKey, None]] = {key: {} for key in audited}
    together: dict[PolicyKey, set[PolicyKey]] = {key: set() for key in audited}
    for pod in snapshot.pods.values() if audited else ():
        if pod.phase.terminated:
            continue
        narrow = court.narrowed(pod.key.namespace)
        for direction in Direction:
            keys = [each.key for each in audited_policies(narrow, pod, direction)]
            for key in keys:
                pods[key][pod.key] = None
                together[key].update(keys)
    return {
        key: Evidence(key, tuple(pods[key]), tuple(sorted(together[key] - {key})))
        for key in audited
    }


def _named(snapshot: Snapshot, observation: Observation, direction: Direction) -> WouldDeny:
    flow = observation.flow
    source, target = (end_at(snapshot, each) for each in (flow.src, flow.dst))
    return WouldDeny(
        source=workload_of(snapshot, source.title),
        target=workload_of(snapshot, target.title),
        service=_service_text(flow),
        direction=direction,
        count=observation.count,
        example=(source.title, target.title),
    )


def _service_text(flow: Flow) -> str:
    if flow.protocol in PORT_PROTOCOLS:
        return str(Service(Protocol(flow.protocol), flow.port))
    if flow.protocol in (Protocol.ICMP, Protocol.ICMPV6):
        return "icmp"
    return f"protocol {flow.protocol}"


def workload_of(snapshot: Snapshot, name: str) -> str:
    """What the pod called ``name`` (``ns/name``) belongs to; any other name is itself."""
    pod: Pod | None = snapshot.pods.get(PodKey(*name.split("/"))) if name.count("/") == 1 else None
    return name if pod is None else f"{pod.key.namespace}/{workload_title(pod)}"


def _summed(flows: Iterable[WouldDeny]) -> list[WouldDeny]:
    """Connections between the same workloads on the same port as one."""
    return _merged(flows, operator.add)


def _merged(flows: Iterable[WouldDeny], count: Callable[[int, int], int]) -> list[WouldDeny]:
    found: dict[tuple[object, ...], WouldDeny] = {}
    for each in flows:
        key = each.source, each.target, each.service, each.direction
        known = found.get(key)
        found[key] = each if known is None else _both(known, each, count)
    return list(found.values())


def _ordered(flows: Iterable[WouldDeny]) -> tuple[WouldDeny, ...]:
    """The most frequent first."""
    return tuple(
        sorted(
            flows, key=lambda each: (-each.count, each.source, each.target, _service_order(each))
        )
    )


def _both(one: WouldDeny, other: WouldDeny, count: Callable[[int, int], int]) -> WouldDeny:
    times = [each for each in (one.first, other.first) if each is not None]
    ends = [each for each in (one.last, other.last) if each is not None]
    return msgspec.structs.replace(
        one,
        count=count(one.count, other.count),
        example=min(one.example, other.example),
        first=min(times, default=None),
        last=max(ends, default=None),
    )


def _service_order(flow: WouldDeny) -> tuple[str, str, str]:
    return flow.service.rpartition("/")[2], flow.service.zfill(9), flow.direction.value


def unsafe_first(evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """What needs work first, then what needs time, then what is done."""
    order: Mapping[Safety, int] = {Safety.UNSAFE: 0, Safety.UNKNOWN: 1, Safety.SAFE: 2}
    return tuple(sorted(evidence, key=lambda each: (order[each.safety], each.policy)))
