"""What the agent answers over its socket, beside its status: plain frozen values.

Commands import this and none of what makes the answers.
"""

from __future__ import annotations

import msgspec

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
    """How one direction is decided, and on which node; none if no podwall judges it."""

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
