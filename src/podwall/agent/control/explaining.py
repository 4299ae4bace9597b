"""Why a connection passes this node or not, and whether the kernel already does it so.

The decision comes from the oracle, the way from the rules that the kernel shall hold, and beside
each chain and set stands what the kernel holds: whether it is the same, and how many packets met
the rule. Only this node's rules are known here; what another node judges is said, not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from podwall.agent.control.answers import (
    LiveDirection,
    LiveExplanation,
    LiveSet,
    LiveStep,
    LiveStop,
)
from podwall.cluster.snapshot import Snapshot
from podwall.dataplane.counters import CountedRule
from podwall.explain.ends import find_end, parse_service
from podwall.explain.explanation import Explanation, explain
from podwall.model.flow import Flow
from podwall.model.net import Address, Family
from podwall.model.policy import Direction, Policy, PolicyKey
from podwall.model.settings import Settings
from podwall.policy.decision import DirectionDecision
from podwall.ruleset.ir import FamilyRules, IPSet, Member, Ruleset
from podwall.ruleset.journey import StopTrace
from podwall.ruleset.plan import Observed, ObservedFamily
from podwall.ruleset.simulate import TraceStep

Counters = Mapping[str, Sequence[CountedRule]]

REFUSED = "the kernel refuses its rules, so only its isolation is enforced"
NOT_AUDITED = "the kernel refuses its rules, so it is not audited"


class View(msgspec.Struct, frozen=True):
    """What a node's agent knows, wants and finds in the kernel at one moment.

    ``counters`` reads the kernel's counters of a family, ``refused`` are policies that the kernel
    would not take.
    """

    node: str
    settings: Settings
    snapshot: Snapshot
    ruleset: Ruleset
    refused: frozenset[PolicyKey]
    observed: Observed
    counters: Callable[[Family], Counters]


def explain_live(view: View, source: str, target: str, service: str) -> list[LiveExplanation]:
    """Explain a connection in each family that both ends have, IPv4 first.

    Raises:
        InputError: an end or the service is not understood, or they share no family.
        KernelError: the counters cannot be read.
    """
    snapshot = _as_enforced(view.snapshot, view.refused)
    elsewhere = Ruleset(FamilyRules(Family.V4), FamilyRules(Family.V6))
    explanations = explain(
        snapshot,
        find_end(snapshot, source),
        find_end(snapshot, target),
        parse_service(service),
        lambda node: view.ruleset if node == view.node else elsewhere,
        view.settings,
    )
    return [_live(view, each) for each in explanations]


def _as_enforced(snapshot: Snapshot, refused: frozenset[PolicyKey]) -> Snapshot:
    """The cluster with policies as the kernel took them: a refused one only isolates (S10)."""
    found = {key: snapshot.policies[key] for key in refused if key in snapshot.policies}
    if not found:
        return snapshot
    reduced = {key: without_rules(policy) for key, policy in found.items()}
    return msgspec.structs.replace(snapshot, policies={**snapshot.policies, **reduced})


def without_rules(policy: Policy) -> Policy:
    """A policy whose rules the kernel refuses, as it is enforced (S10); or not audited (S51)."""
    return msgspec.structs.replace(
        policy,
        isolates=() if policy.is_audited else policy.isolates,
        ingress=(),
        egress=(),
        problems=(*policy.problems, NOT_AUDITED if policy.is_audited else REFUSED),
    )


def _live(view: View, explanation: Explanation) -> LiveExplanation:
    flow = explanation.decision.flow
    evidence = _Evidence(view, flow.src.family)
    stops = [each for each in explanation.journey.stops if each.stop.node == view.node]
    path = tuple(_stop(evidence, explanation, each) for each in stops)
    places = {
        Direction.EGRESS: _judging_node(view.snapshot, flow.src),
        Direction.INGRESS: _judging_node(view.snapshot, flow.dst),
    }
    here = [each for each in explanation.decision.directions if places[each.direction] == view.node]
    shown = [
        _direction(explanation, each, places[each.direction])
        for each in explanation.decision.directions
    ]
    return LiveExplanation(
        source=explanation.source.title,
        target=explanation.target.title,
        addresses=(str(flow.src), str(flow.dst)),
        service=str(explanation.service),
        family=f"ipv{flow.src.family.value}",
        verdict=explanation.decision.verdict.value,
        rules_agree=all(each.allowed for each in here)
        == all(each.verdict == "allowed" for each in path),
        egress=shown[0],
        ingress=shown[1],
        path=path,
        programmed=not evidence.missing,
        missing=tuple(evidence.missing),
    )


def _judging_node(snapshot: Snapshot, address: Address) -> str | None:
    """The node whose rules judge what ``address`` sends and gets, if it stands for a pod."""
    owner = snapshot.owner(address)
    if owner is not None:
        return owner.node or None
    for node in snapshot.nodes.values():
        if address in node.addresses:
            return None
        if any(address in cidr for cidr in node.pod_cidrs):
            return node.name
    return None


def _direction(
    explanation: Explanation, decision: DirectionDecision, node: str | None
) -> LiveDirection:
    grant = explanation.grant(decision)
    return LiveDirection(
        direction=decision.direction.value,
        verdict=decision.verdict.value,
        subject=None if decision.subject is None else str(decision.subject),
        node=node,
        exemption=None if decision.exemption is None else decision.exemption.value,
        isolated_by=tuple(map(str, decision.isolated_by)),
        allowed_by=None if decision.allowed_by is None else str(decision.allowed_by),
        peer=None if grant is None else str(grant.peer),
        port=None if grant is None else str(grant.port),
        reasons=_reasons(decision),
        audited_by=tuple(map(str, decision.audited_by)),
        would_deny=decision.would_deny,
        audit_reasons=_reasons(decision.audit) if decision.would_deny and decision.audit else (),
    )


def _reasons(decision: DirectionDecision) -> tuple[str, ...]:
    return tuple(line for each in decision.refusals for line in str(each).splitlines())


def _stop(evidence: _Evidence, explanation: Explanation, stop: StopTrace) -> LiveStop:
    evidence.hook(stop)
    flow = explanation.decision.flow
    return LiveStop(
        hook=stop.stop.hook.value,
        verdict=stop.trace.verdict.value,
        steps=tuple(evidence.step(each) for each in stop.trace.steps),
        sets=tuple(
            evidence.set(each, holds, flow)
            for each, holds in explanation.sets_of(stop)
            # What is in a set of flows that were cut or logged comes and goes by itself.
            if not each.role.is_transient
        ),
    )


class _Evidence:
    """Holds what the kernel holds against what it shall hold, in one family."""

    def __init__(self, view: View, family: Family) -> None:
        self.missing: list[str] = []
        self._desired: FamilyRules = view.ruleset.family(family)
        self._observed: ObservedFamily = view.observed.family(family)
        self._counters = view.counters(family)

    def hook(self, stop: StopTrace) -> None:
        """Note it if a built-in chain does not lead to us first of all."""
        root = self._desired.hooks.get(stop.stop.hook)
        jumps = self._observed.hooks.get(stop.stop.hook, ())
        first = jumps[0] if jumps else None
        if root and not (first and first.plain and first.index == 0 and first.chain == root):
            self._note(f"{stop.stop.hook.value} does not lead to {root} first of all")

    def step(self, step: TraceStep) -> LiveStep:
        """A rule on the way."""
        desired = self._desired.chains[step.chain].rules
        programmed = self._observed.chains.get(step.chain) == desired
        if not programmed:
            there = "differs" if step.chain in self._observed.chains else "is not there"
            self._note(f"chain {step.chain} {there}")
        counted = self._counted(step) if programmed else None
        notes = self._desired.chains[step.chain].notes
        return LiveStep(
            chain=step.chain,
            rule=step.index + 1,
            matched=step.matched,
            target=type(step.rule.target).__name__.upper(),
            to=getattr(step.rule.target, "chain", None),
            comment=step.rule.comment or notes.get(step.index, ""),
            programmed=programmed,
            packets=None if counted is None else counted.packets,
            bytes=None if counted is None else counted.bytes,
        )

    def set(self, ipset: IPSet, holds: bool, flow: Flow) -> LiveSet:
        """A set that is asked on the way."""
        observed = self._observed.sets.get(ipset.name)
        members = None if observed is None else observed.members
        programmed = members == ipset.members
        if not programmed:
            self._note(f"set {ipset.name} {'; '.join(_differences(ipset, members, flow))}")
        return LiveSet(
            name=ipset.name,
            title=ipset.title,
            type=ipset.type.value,
            members=len(ipset.members),
            holds=holds,
            programmed=programmed,
            kernel_members=None if members is None else len(members),
        )

    def _counted(self, step: TraceStep) -> CountedRule | None:
        rules = self._counters.get(step.chain, ())
        return rules[step.index] if step.index < len(rules) else None

    def _note(self, what: str) -> None:
        if what not in self.missing:
            self.missing.append(what)


def _differences(ipset: IPSet, observed: frozenset[Member] | None, flow: Flow) -> Iterator[str]:
    if observed is None:
        yield "is not there"
        return
    for word, members in (
        ("lacks", ipset.members - observed),
        ("should not hold", observed - ipset.members),
    ):
        # The packet's own addresses first: they decide.
        ordered = sorted(members, key=lambda each: (each not in (flow.src, flow.dst), str(each)))
        if ordered:
            more = f" and {len(ordered) - 1} more" if len(ordered) > 1 else ""
            yield f"{word} {_member_text(ordered[0])}{more}"


def _member_text(member: Member) -> str:
    cidr = getattr(member, "cidr", None)
    if cidr is not None:
        return str(cidr)
    address = getattr(member, "address", None)
    return str(member if address is None else address)
