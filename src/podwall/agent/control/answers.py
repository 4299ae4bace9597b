"""What the agent answers over its socket, beside its status: plain frozen values.

Commands import this and none of what makes the answers.
"""

from __future__ import annotations

import msgspec

from podwall.agent.status import DeniedStatus
from podwall.dataplane.plan_text import PlanText
from podwall.model.settings import Settings


class LiveStep(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that the packet meets; ``packets`` and ``bytes`` met it since it was written."""

    chain: str
    rule: int
    matched: bool
    target: str
    to: str | None
    comment: str
    programmed: bool
    packets: int | None = None
    bytes: int | None = None


class LiveSet(msgspec.Struct, frozen=True, kw_only=True):
    """A set that is asked: whether it shall hold the packet's address, and what it holds."""

    name: str
    title: str
    type: str
    members: int
    holds: bool
    programmed: bool
    kernel_members: int | None = None


class LiveStop(msgspec.Struct, frozen=True, kw_only=True):
    """A hook of this node, and the way from there."""

    hook: str
    verdict: str
    steps: tuple[LiveStep, ...]
    sets: tuple[LiveSet, ...]


class LiveDirection(msgspec.Struct, frozen=True, kw_only=True):
    """How one direction is decided, and on which node; none if no podwall judges it.

    ``audit_reasons`` say why audited policies would deny it.
    """

    direction: str
    verdict: str
    subject: str | None
    node: str | None
    exemption: str | None
    isolated_by: tuple[str, ...]
    allowed_by: str | None
    peer: str | None
    port: str | None
    reasons: tuple[str, ...]
    audited_by: tuple[str, ...] = ()
    would_deny: bool = False
    audit_reasons: tuple[str, ...] = ()


class LiveExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """One question in one family and its answer.

    ``programmed`` is whether the kernel holds all that this connection meets; ``missing`` says what
    is not there, in words. ``rules_agree`` is whether the rules of this node do what the policies
    say: always, or podwall has a defect.
    """

    source: str
    target: str
    addresses: tuple[str, str]
    service: str
    family: str
    verdict: str
    rules_agree: bool
    egress: LiveDirection
    ingress: LiveDirection
    path: tuple[LiveStop, ...]
    programmed: bool
    missing: tuple[str, ...]


class LiveDiff(msgspec.Struct, frozen=True):
    """What differs between the kernel of ``node`` and what it shall hold."""

    node: str
    plan: PlanText


class LiveAnswer(msgspec.Struct, frozen=True):
    """Explanations, and what may make them stale: ``waiting`` events are not taken in yet."""

    node: str
    explanations: list[LiveExplanation]
    waiting: int = 0


class ClusterHead(msgspec.Struct, frozen=True):
    """What is to be known of a cluster before its objects.

    ``known`` stands for all of them as they are now, ``objects`` is how many of them follow. The
    policies are as this node enforces them: what the kernel refuses of them they do not say.
    """

    node: str
    settings: Settings
    known: str
    objects: int
    waiting: int = 0


class DropsHead(msgspec.Struct, frozen=True):
    """What is to be known before denials are told: whether they are read at all, and since when.

    ``kept`` is how many are in memory, ``overwritten`` how many were and are not any more.
    """

    node: str
    status: DeniedStatus
    kept: int
    overwritten: int = 0


class DropLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A denial, or what there is to say between two of them.

    ``denial`` is what :meth:`podwall.explain.denial.Denial.to_dict` gives. ``lost`` denials came
    before this line and are not told, since whoever reads was too slow; ``end`` is the last line of
    what is not followed.
    """

    denial: msgspec.Raw = msgspec.Raw(b"null")
    lost: int = 0
    end: bool = False


class DropPair(msgspec.Struct, frozen=True):
    """How often something was denied, counted once in some seconds for each flow.

    ``kind`` is ``deny`` or ``audit``; times are seconds since the epoch.
    """

    kind: str
    source: str
    target: str
    service: str
    direction: str
    count: int
    first: float
    last: float


class DropPairs(msgspec.Struct, frozen=True):
    """What was denied since the agent started; ``forgotten`` is the sum of what was too much."""

    node: str
    status: DeniedStatus
    pairs: tuple[DropPair, ...]
    forgotten: int = 0


class AuditedFlow(msgspec.Struct, frozen=True):
    """Something that audited policies would have denied, as :class:`DropPair` counts it.

    ``policies`` are all the audited policies that isolate the pod in this direction, together: one
    that is enforced alone isolates it as well, and the others then allow nothing.
    """

    source: str
    target: str
    service: str
    direction: str
    count: int
    first: float
    last: float
    policies: tuple[str, ...] = ()


class AuditedPolicy(msgspec.Struct, frozen=True):
    """An audited policy: since when its text is what it is, and what it would have denied.

    ``pods`` are those of this node that it selects. ``packets`` is what the kernel counted, packets
    of new connections that met the end of its rules since these were written; ``None`` if the
    policy has no rules of its own here, as where enforced policies isolate all of its pods.
    """

    policy: str
    since: float
    pods: tuple[str, ...]
    flows: tuple[AuditedFlow, ...]
    packets: int | None = None


class AuditReport(msgspec.Struct, frozen=True):
    """What the audited policies of a cluster would have denied on one node.

    ``since`` is when this node began to count, ``forgotten`` the sum of what was too much to keep.
    What is missing is in ``status``: whether the log is read now, and what was lost of it.
    """

    node: str
    since: float
    status: DeniedStatus
    policies: tuple[AuditedPolicy, ...]
    forgotten: int = 0
