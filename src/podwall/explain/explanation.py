"""Why a flow is allowed or denied, and the way that it takes through the rules.

An :class:`Explanation` puts side by side what the oracle says about policies and what the compiled
rules do to the packet. The two never disagree; should they, the explanation says so before anything
else, because then podwall has a defect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.errors import InputError
from podwall.explain.ends import End, Service
from podwall.model.flow import Flow
from podwall.model.net import Family, Protocol
from podwall.model.policy import Direction, Peer, Port, RuleId
from podwall.model.settings import Settings
from podwall.policy.decision import Decision, DirectionDecision
from podwall.policy.evaluate import evaluate, peer_address, refuse_peer, refuse_port
from podwall.ruleset.ir import Hook, IPSet, MatchSet, Ruleset, SetRole
from podwall.ruleset.journey import Journey, StopTrace, travel
from podwall.ruleset.simulate import TraceStep


class Grant(msgspec.Struct, frozen=True):
    """What in an allowing rule meant the flow: the first peer and the first port that match."""

    rule: RuleId
    peer: Peer
    port: Port

    def __str__(self) -> str:
        return f"{self.rule}: {self.peer}, {self.port}"


class Explanation(msgspec.Struct, frozen=True):
    """One question and its whole answer.

    ``rulesets`` holds those of the nodes on the way, to look up the sets that the rules name.
    ``grants`` has one entry for each direction that a rule allows.
    """

    source: End
    target: End
    service: Service
    decision: Decision
    journey: Journey
    rulesets: dict[str, Ruleset]
    grants: tuple[Grant, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether policies and rules give the same verdict."""
        return self.journey.verdict is self.decision.verdict

    @property
    def deciding(self) -> DirectionDecision | None:
        """The direction that denies; ``None`` for an allowed flow."""
        return next((each for each in self.decision.directions if not each.allowed), None)

    def grant(self, decision: DirectionDecision) -> Grant | None:
        """What allowed a direction, if a rule did."""
        return next((each for each in self.grants if each.rule == decision.allowed_by), None)

    def sets_of(self, stop: StopTrace) -> tuple[tuple[IPSet, bool], ...]:
        """The sets that were asked at one stop, in order, and whether each answered yes.

        Those of flows that were logged are left out: they decide nothing.
        """
        rules = self.rulesets[stop.stop.node].family(self.decision.flow.src.family)
        logged = {name for name, each in rules.sets.items() if each.role is SetRole.LOGGED}
        answers: dict[str, bool] = {}
        for step in stop.trace.steps:
            for match in step.rule.matches:
                if isinstance(match, MatchSet) and match.set not in logged:
                    answers[match.set] = (step.failed != match) != match.negated
                if match == step.failed:
                    break
        return tuple((rules.sets[name], answer) for name, answer in answers.items())

    def to_dict(self) -> dict[str, object]:
        """The explanation as plain values, as ``-o json`` prints it."""
        return {
            "from": _end_dict(self.source),
            "to": _end_dict(self.target),
            "service": str(self.service),
            "family": f"ipv{self.decision.flow.src.family.value}",
            "verdict": self.decision.verdict.value,
            "rules_agree": self.agrees,
            "decided_by": None if self.deciding is None else self.deciding.direction.value,
            "egress": self._direction_dict(self.decision.egress),
            "ingress": self._direction_dict(self.decision.ingress),
            "would_deny": self.decision.would_deny,
            "path": [self._stop_dict(stop) for stop in self.journey.stops],
        }

    def _note(self, stop: StopTrace, step: TraceStep) -> str:
        rules = self.rulesets[stop.stop.node].family(self.decision.flow.src.family)
        return rules.chains[step.chain].notes.get(step.index, "")

    def _direction_dict(self, decision: DirectionDecision) -> dict[str, object]:
        grant = self.grant(decision)
        return {
            "direction": decision.direction.value,
            "verdict": decision.verdict.value,
            "subject": None if decision.subject is None else str(decision.subject),
            "exemption": None if decision.exemption is None else decision.exemption.name.lower(),
            "isolated_by": list(map(str, decision.isolated_by)),
            "allowed_by": None if decision.allowed_by is None else str(decision.allowed_by),
            "peer": None if grant is None else str(grant.peer),
            "port": None if grant is None else str(grant.port),
            "reasons": _reasons(decision),
            "audited_by": list(map(str, decision.audited_by)),
            "would_deny": decision.would_deny,
            "audit": None if decision.audit is None else _audit_dict(decision.audit),
        }

    def _stop_dict(self, stop: StopTrace) -> dict[str, object]:
        return {
            "node": stop.stop.node,
            "hook": stop.stop.hook.value,
            "verdict": stop.trace.verdict.value,
            "steps": [
                {
                    "chain": step.chain,
                    "rule": step.index + 1,
                    "matched": step.matched,
                    "target": type(step.rule.target).__name__.upper(),
                    "to": getattr(step.rule.target, "chain", None),
                    "comment": step.rule.comment or self._note(stop, step),
                }
                for step in stop.trace.steps
            ],
            "sets": [
                {
                    "name": each.name,
                    "type": each.type.value,
                    "members": len(each.members),
                    "holds": answer,
                }
                for each, answer in self.sets_of(stop)
            ],
        }


def explain(
    snapshot: Snapshot,
    source: End,
    target: End,
    service: Service,
    ruleset_of: Callable[[str], Ruleset],
    settings: Settings = Settings(),
) -> tuple[Explanation, ...]:
    """Explain a connection in each family that both ends have, IPv4 first.

    Raises:
        InputError: the two ends have no address of one family in common.
    """
    explanations = []
    for family in Family:
        src, dst = source.address(family), target.address(family)
        if src is None or dst is None:
            continue
        protocol = service.protocol
        if protocol is Protocol.ICMP and family is Family.V6:
            protocol = Protocol.ICMPV6
        flow = Flow(src, dst, protocol, service.port)
        rulesets: dict[str, Ruleset] = {}

        def remember(node: str, known: dict[str, Ruleset] = rulesets) -> Ruleset:
            if node not in known:
                known[node] = ruleset_of(node)
            return known[node]

        decision = evaluate(snapshot, flow, settings)
        journey = travel(snapshot, flow, remember)
        grants = tuple(_grants(snapshot, decision))
        explanations.append(
            Explanation(source, target, service, decision, journey, rulesets, grants)
        )
    if not explanations:
        raise InputError(
            f"{source.title} and {target.title} have no addresses of one family: "
            f"{_addresses(source)} and {_addresses(target)}"
        )
    return tuple(explanations)


def _grants(snapshot: Snapshot, decision: Decision) -> Iterator[Grant]:
    for each in decision.directions:
        if each.allowed_by is None:
            continue
        rules = snapshot.policies[each.allowed_by.policy].rules(each.direction)
        rule = next(known for known in rules if known.id == each.allowed_by)
        address = peer_address(decision.flow, each.direction)
        yield Grant(
            rule.id,
            next(peer for peer in rule.peers if refuse_peer(snapshot, peer, address) is None),
            next(port for port in rule.ports if refuse_port(snapshot, port, decision.flow) is None),
        )


def hook_story(hook: Hook, node: str) -> str:
    """What a hook is, in words."""
    match hook:
        case Hook.FORWARD:
            return f"forwarded by node {node}"
        case Hook.INPUT:
            return f"arrives at node {node} itself"
        case Hook.OUTPUT:
            return f"starts on node {node} itself"


def _reasons(decision: DirectionDecision) -> list[str]:
    return [line for refusal in decision.refusals for line in str(refusal).splitlines()]


def _audit_dict(audit: DirectionDecision) -> dict[str, object]:
    """What a direction would be if audited policies were enforced."""
    return {
        "verdict": audit.verdict.value,
        "isolated_by": list(map(str, audit.isolated_by)),
        "allowed_by": None if audit.allowed_by is None else str(audit.allowed_by),
        "reasons": _reasons(audit),
    }


def _addresses(end: End) -> str:
    return ", ".join(map(str, end.addresses)) or "no address"


def _end_dict(end: End) -> dict[str, object]:
    return {
        "name": end.title,
        "pod": None if end.pod is None else str(end.pod),
        "addresses": list(map(str, end.addresses)),
    }


def judged_end(direction: Direction) -> str:
    """Whose policies decide in a direction."""
    return "the source" if direction is Direction.EGRESS else "the destination"
