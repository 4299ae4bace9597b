"""NetworkPolicies, decoded and defaulted.

A :class:`Policy` holds no optional field whose absence would mean something: an absent ``from``
became :class:`AnyPeer`, an absent ``ports`` :class:`AnyPort`, an absent ``policyTypes`` the
directions it stands for (S6, S11, S32). What could not be understood was left out by the decoder,
so that an empty ``peers`` or ``ports`` allows nobody, never everybody (S10).

The words ``subject`` (the pod that a policy selects) and ``peer`` (the other end) are used wherever
policies are meant; ``src`` and ``dst`` belong to packets (:mod:`podwall.model.flow`).
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from podwall.model.net import Cidr, PortRange, Protocol
from podwall.model.selector import Selector


class Direction(enum.Enum):
    """The two directions of a policy, seen from its subject."""

    INGRESS = "ingress"
    EGRESS = "egress"


class PolicyKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """Namespace and name of a NetworkPolicy."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class RuleId(msgspec.Struct, frozen=True, gc=False):
    """Where a rule stands: policy, direction, and index in ``spec.ingress`` or ``spec.egress``.

    It travels into the comment of every kernel rule made from it and back into explanations.
    """

    policy: PolicyKey
    direction: Direction
    index: int

    def __str__(self) -> str:
        return f"{self.policy} {self.direction.value}[{self.index}]"

    @property
    def sort_key(self) -> tuple[PolicyKey, str, int]:
        """Orders rules for deterministic output."""
        return self.policy, self.direction.value, self.index


class AnyPeer(msgspec.Struct, frozen=True, gc=False, tag="any"):
    """Every address, pods or not: ``from``/``to`` absent or empty (S11)."""

    def __str__(self) -> str:
        return "any address"


class PodPeer(msgspec.Struct, frozen=True, gc=False, tag="pods"):
    """Pods by label.

    ``namespaces`` is a selector over namespace labels, or the name of the policy's own namespace
    where the peer had no ``namespaceSelector`` (S13). ``pods`` selects within them; a peer without
    ``podSelector`` selects all (S16).
    """

    namespaces: Selector | str
    pods: Selector

    def __str__(self) -> str:
        where = (
            f"namespace {self.namespaces}"
            if isinstance(self.namespaces, str)
            else f"namespaces {self.namespaces}"
        )
        return f"pods {self.pods} in {where}"

    @property
    def sort_key(self) -> tuple[str, object, object]:
        """Orders peers for deterministic output."""
        if isinstance(self.namespaces, str):
            return "name", self.namespaces, self.pods.sort_key
        return "selector", self.namespaces.sort_key, self.pods.sort_key


class IPBlock(msgspec.Struct, frozen=True, order=True, gc=False, tag="block"):
    """The addresses of ``cidr`` that are in none of ``excepts``, which lie inside it."""

    cidr: Cidr
    excepts: tuple[Cidr, ...] = ()

    def __str__(self) -> str:
        if not self.excepts:
            return str(self.cidr)
        return f"{self.cidr} except {', '.join(map(str, self.excepts))}"


Peer: TypeAlias = AnyPeer | PodPeer | IPBlock


class AnyPort(msgspec.Struct, frozen=True, gc=False, tag="any"):
    """Every protocol, also those without ports: ``ports`` absent or empty (S32)."""

    def __str__(self) -> str:
        return "any protocol and port"


class AllPortsOf(msgspec.Struct, frozen=True, gc=False, tag="all"):
    """All ports of one protocol: a port entry without ``port`` (S33)."""

    protocol: Protocol

    def __str__(self) -> str:
        return f"{self.protocol.name} any port"


class NumberedPorts(msgspec.Struct, frozen=True, gc=False, tag="numbers"):
    """A number, or a range by ``endPort`` (S40), of one protocol."""

    protocol: Protocol
    ports: PortRange

    def __str__(self) -> str:
        return f"{self.protocol.name} {self.ports}"


class NamedPort(msgspec.Struct, frozen=True, gc=False, tag="name"):
    """A container port name; the destination pod says which number it is (S36)."""

    protocol: Protocol
    name: str

    def __str__(self) -> str:
        return f"{self.protocol.name} {self.name!r}"


Port: TypeAlias = AnyPort | AllPortsOf | NumberedPorts | NamedPort


class PolicyRule(msgspec.Struct, frozen=True, gc=False):
    """One ``ingress`` or ``egress`` entry: any of ``peers`` on any of ``ports``; none is nobody."""

    id: RuleId
    peers: tuple[Peer, ...]
    ports: tuple[Port, ...]


class Mode(enum.Enum):
    """What becomes of a policy; the value is that of the annotation :data:`MODE_ANNOTATION`.

    An audited policy isolates nothing and allows nothing: what it would deny if it were enforced is
    told, and passes (S51).
    """

    ENFORCE = "enforce"
    AUDIT = "audit"


MODE_ANNOTATION = "podwall.dev/mode"
"""The annotation of a NetworkPolicy that says its :class:`Mode`; without it, it is enforced."""


class Policy(msgspec.Struct, frozen=True, gc=False):
    """A NetworkPolicy.

    It isolates the pods that ``subject`` selects in its own namespace, in the directions of
    ``isolates``, and its rules allow. Rules of a direction that is not isolated were dropped by the
    decoder (S7). ``problems`` holds what could not be understood, one sentence each, path first.
    While it is audited by its ``mode`` it does neither.
    """

    key: PolicyKey
    subject: Selector
    isolates: tuple[Direction, ...]
    ingress: tuple[PolicyRule, ...] = ()
    egress: tuple[PolicyRule, ...] = ()
    problems: tuple[str, ...] = ()
    mode: Mode = Mode.ENFORCE

    @property
    def is_audited(self) -> bool:
        """Whether it is only told what it would do."""
        return self.mode is Mode.AUDIT

    def rules(self, direction: Direction) -> tuple[PolicyRule, ...]:
        """The rules of one direction, in the order of the manifest."""
        return self.ingress if direction is Direction.INGRESS else self.egress
