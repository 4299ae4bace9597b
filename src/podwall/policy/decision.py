"""A verdict with its reasons: what the oracle answers about one flow.

A :class:`Decision` is two independent :class:`DirectionDecision`, egress of the source and ingress
of the destination, and is allowed only if both are (S2). Each says either why no policy was asked
(:class:`Exemption`) or which policies isolate the subject and which rule lets the flow through, or,
policy by policy and rule by rule, why none does. The reasons of a single rule are in
:mod:`podwall.policy.refusal`; every value reads as a sentence with ``str()``.

A tier above or below NetworkPolicy (Admin, Baseline) becomes one more field of
:class:`DirectionDecision`: its ``verdict`` is a value of its own and not computed from the fields
of the one tier of today, so that whoever reads only the verdict need not change.
"""

from __future__ import annotations

import enum

import msgspec

from podwall.model.flow import Flow, Verdict
from podwall.model.objects import PodKey
from podwall.model.policy import Direction, PolicyKey, RuleId
from podwall.policy.refusal import RuleRefusal


class Exemption(enum.Enum):
    """Why a direction was decided without asking any policy; the value is a sentence.

    All of them allow, except :attr:`UNKNOWN_POD`.
    """

    REPLY = "it belongs to a connection that was allowed when it began (S45)"
    NOT_A_POD = "the address is no pod's, so no policy selects it (S23, S49)"
    OWN_ADDRESS = "a pod always reaches its own address (S44)"
    OWN_NODE = "a pod's own node always reaches it (S42)"
    NODE_EGRESS = "traffic of pods to their own node is not judged (S43, a switch)"
    UNKNOWN_POD = "the address is in a node's pod range but of no known pod (S48, a switch)"
    NOT_ISOLATED = "no policy isolates the pod in this direction (S1, S49)"

    @property
    def verdict(self) -> Verdict:
        """What the exemption leads to."""
        return Verdict.of(self is not Exemption.UNKNOWN_POD)


class PolicyRefusal(msgspec.Struct, frozen=True):
    """Why one isolating policy does not allow a flow: each of its rules, in order.

    ``problems`` are the parts of the policy that could not be understood; they allow nothing (S10).
    """

    policy: PolicyKey
    direction: Direction
    rules: tuple[RuleRefusal, ...]
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.rules:
            lines = [f"{self.policy} isolates and has no {self.direction.value} rules"]
        else:
            lines = list(map(str, self.rules))
        lines.extend(
            f"{self.policy} could not be understood in full: {each}" for each in self.problems
        )
        return "\n".join(lines)


class DirectionDecision(msgspec.Struct, frozen=True, kw_only=True):
    """How one direction was decided.

    Attributes:
        direction: egress is judged for the source, ingress for the destination.
        verdict: what this direction alone says.
        subject: the pod that is judged, ``None`` where the address is no known pod's.
        exemption: why no policy was asked, else ``None``.
        isolated_by: the policies that isolate the subject in this direction, sorted; also filled in
            where an exemption goes before them.
        allowed_by: the first rule that allows the flow, in the order of policies and rules.
        refusals: for a flow that isolating policies do not allow, the reasons of each of them.
        audited_by: the policies that would isolate the subject as well but are only audited,
            sorted (S51).
        audit: the same direction as if all of these were enforced too; ``None`` where there are
            none, or where an exemption goes before all policies.
    """

    direction: Direction
    verdict: Verdict
    subject: PodKey | None = None
    exemption: Exemption | None = None
    isolated_by: tuple[PolicyKey, ...] = ()
    allowed_by: RuleId | None = None
    refusals: tuple[PolicyRefusal, ...] = ()
    audited_by: tuple[PolicyKey, ...] = ()
    audit: DirectionDecision | None = None

    @property
    def allowed(self) -> bool:
        """Whether this direction has nothing against the flow."""
        return self.verdict is Verdict.ALLOWED

    @property
    def would_deny(self) -> bool:
        """Whether the flow is allowed now and were denied if audited policies were enforced."""
        return self.allowed and self.audit is not None and not self.audit.allowed

    @property
    def would_allow(self) -> bool:
        """Whether the flow is denied now and were allowed if audited policies were enforced."""
        return not self.allowed and self.audit is not None and self.audit.allowed

    def __str__(self) -> str:
        audit = f"\n  {self._audit_text()}" if self.audited_by else ""
        return f"{self._own_text()}{audit}"

    def _audit_text(self) -> str:
        audited = f"audited by {', '.join(map(str, self.audited_by))}"
        if self.audit is None:
            return audited
        return f"{audited}; enforced as well: " + str(self.audit).replace("\n", "\n  ")

    def _own_text(self) -> str:
        head = f"{self.direction.value}: {self.verdict.value}"
        if self.exemption is not None:
            return f"{head}, {self.exemption.value}"
        if self.allowed_by is not None:
            return f"{head} by {self.allowed_by}"
        lines = "\n".join(map(str, self.refusals)).splitlines()
        isolated = f"{self.subject} is isolated by {', '.join(map(str, self.isolated_by))}"
        return "\n  ".join([f"{head}, {isolated}", *lines])


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of ``flow``, and why, in both directions."""

    flow: Flow
    egress: DirectionDecision
    ingress: DirectionDecision

    @property
    def verdict(self) -> Verdict:
        """Allowed only if both directions allow (S2)."""
        return Verdict.of(self.egress.allowed and self.ingress.allowed)

    @property
    def allowed(self) -> bool:
        """Whether both directions have nothing against the flow."""
        return self.verdict is Verdict.ALLOWED

    @property
    def would_deny(self) -> bool:
        """Whether the flow is allowed now and were denied if audited policies were enforced."""
        return self.allowed and any(each.would_deny for each in self.directions)

    @property
    def directions(self) -> tuple[DirectionDecision, DirectionDecision]:
        """Both directions, in the order in which a packet meets them."""
        return self.egress, self.ingress

    def __str__(self) -> str:
        return f"{self.flow}: {self.verdict.value}\n{self.egress}\n{self.ingress}"
