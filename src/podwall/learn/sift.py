"""Which of the things that were seen a policy can and should be made for.

Connection tracking shows more than a cluster's intentions: what its host does for itself, attempts
that nobody answered, the last packets of pods that are gone. Each observation is either judged, in
both directions, or left out for one reason that is told; nothing gets lost in silence.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

import msgspec

from podwall.cluster.snapshot import Snapshot, is_usable
from podwall.learn.court import Court
from podwall.learn.observed import Observation
from podwall.model.flow import Flow
from podwall.model.net import PORT_PROTOCOLS, Address, Family, Protocol
from podwall.model.policy import Direction, Policy
from podwall.policy.decision import Decision, Exemption
from podwall.policy.evaluate import is_unknown_pod

_LINK_LOCAL = 0xFE80 >> 6


class Reason(enum.Enum):
    """Why an observation is left out; the value ends a sentence that begins with how many."""

    NO_POD = "not from or to a pod that policies can be about"
    SELF = "of pods to themselves, which are always allowed"
    OWN_NODE = "from a pod's own node, which are always allowed"
    STRAY = "to or from an address that no packet is forwarded for"
    GONE = "of pods that are no longer there"
    UNANSWERED = "never answered"
    PORTLESS = "ICMP, or another protocol without ports, for which policies have no word"
    DENIED = "denied by the policies that are there"


class LeftOut(msgspec.Struct, frozen=True):
    """An observation that no proposal is made for, and why."""

    observation: Observation
    reason: Reason


class Judged(msgspec.Struct, frozen=True):
    """An observation, and the directions in which it needs a rule that no policy has.

    ``seen`` are the directions in which policies have a say about it at all.
    """

    observation: Observation
    seen: tuple[Direction, ...]
    needs: tuple[Direction, ...]


class Sifted(msgspec.Struct, frozen=True):
    """What is kept and what is left out, in the order of the observations."""

    kept: tuple[Judged, ...]
    left_out: tuple[LeftOut, ...]


class Wanted(msgspec.Struct, frozen=True):
    """What is kept that by itself would not be: what policies deny, and what has no ports."""

    denied: bool = False
    portless: bool = False


def sift(before: Court, base: Court, observations: Iterable[Observation], wanted: Wanted) -> Sifted:
    """Judge what was seen by the policies that are there, and what it needs beside ``base``'s.

    ``base`` is the same cluster with the policies that stay.
    """
    kept: list[Judged] = []
    left_out: list[LeftOut] = []
    for each in observations:
        reason = why_unjudged(before.snapshot, each)
        if reason is not None:
            left_out.append(LeftOut(each, reason))
            continue
        decision = before.decide(each.flow)
        reason = _unwanted(each.flow, decision, wanted)
        if reason is not None:
            left_out.append(LeftOut(each, reason))
            continue
        kept.append(_judged(each, decision if base is before else base.decide(each.flow)))
    return Sifted(tuple(kept), tuple(left_out))


def why_unjudged(snapshot: Snapshot, observation: Observation) -> Reason | None:
    """Why no policy could be about an observation, whatever policies there are."""
    flow = observation.flow
    if not all(map(_is_forwarded, (flow.src, flow.dst))):
        return Reason.STRAY
    if snapshot.owner(flow.src) is None and snapshot.owner(flow.dst) is None:
        gone = any(is_unknown_pod(snapshot, each) for each in (flow.src, flow.dst))
        return Reason.GONE if gone else Reason.NO_POD
    if any(is_unknown_pod(snapshot, each) for each in (flow.src, flow.dst)):
        return Reason.GONE
    if flow.protocol in (Protocol.TCP, Protocol.SCTP) and not observation.answered:
        return Reason.UNANSWERED
    return None


def _is_forwarded(address: Address) -> bool:
    if not is_usable(address):
        return False
    return address.family is Family.V4 or address.value >> 118 != _LINK_LOCAL


def _unwanted(flow: Flow, decision: Decision, wanted: Wanted) -> Reason | None:
    exemptions = {each.exemption for each in decision.directions}
    if Exemption.OWN_ADDRESS in exemptions:
        return Reason.SELF
    if decision.ingress.exemption is Exemption.OWN_NODE:
        return Reason.OWN_NODE
    if not decision.allowed and not wanted.denied:
        return Reason.DENIED
    if flow.protocol not in PORT_PROTOCOLS and not wanted.portless:
        return Reason.PORTLESS
    return None


def _judged(observation: Observation, decision: Decision) -> Judged:
    seen: list[Direction] = []
    needs: list[Direction] = []
    for each in decision.directions:
        if each.exemption not in (None, Exemption.NOT_ISOLATED):
            continue
        seen.append(each.direction)
        if each.allowed_by is None:
            needs.append(each.direction)
    return Judged(observation, tuple(seen), tuple(needs))


def without_policies(
    snapshot: Snapshot, namespaces: Sequence[str], directions: Sequence[Direction]
) -> Snapshot:
    """The same cluster without what policies of ``namespaces`` say in ``directions``."""
    policies = {
        key: policy
        for key, found in snapshot.policies.items()
        if (policy := _stripped(found, directions) if key.namespace in namespaces else found)
    }
    return msgspec.structs.replace(snapshot, policies=policies)


def _stripped(policy: Policy, directions: Sequence[Direction]) -> Policy | None:
    isolates = tuple(each for each in policy.isolates if each not in directions)
    if not isolates:
        return None
    return msgspec.structs.replace(
        policy,
        isolates=isolates,
        ingress=policy.ingress if Direction.INGRESS in isolates else (),
        egress=policy.egress if Direction.EGRESS in isolates else (),
    )
