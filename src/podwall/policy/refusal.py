"""Why a rule does not match a flow, as values that read as sentences.

A rule needs one of its peers and one of its ports. A :class:`RuleRefusal` holds for each half
either the first that matches or a reason for every one that does not. The reasons form two closed
unions, :data:`PeerMismatch` and :data:`PortMismatch`; whoever shows them to users may rely on
``str()``, whoever branches on them on ``match``.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from podwall.model.net import Address, Cidr, PortRange, Protocol
from podwall.model.objects import PodKey
from podwall.model.policy import Peer, Port, RuleId
from podwall.model.selector import Requirement


class OtherFamily(msgspec.Struct, frozen=True):
    """The block is of the other address family (S29)."""

    address: Address
    cidr: Cidr

    def __str__(self) -> str:
        return f"{self.address} is IPv{self.address.family}, {self.cidr} is not"


class OutsideBlock(msgspec.Struct, frozen=True):
    """The address is not in the block."""

    address: Address
    cidr: Cidr

    def __str__(self) -> str:
        return f"{self.address} is outside {self.cidr}"


class InExcept(msgspec.Struct, frozen=True):
    """The address is in the block, but in one of its excepts (S25)."""

    address: Address
    cidr: Cidr
    excluded: Cidr

    def __str__(self) -> str:
        return f"{self.address} is in {self.cidr}, but also in its except {self.excluded}"


class NotAPod(msgspec.Struct, frozen=True):
    """A selector peer, and the address is no pod's; ``node`` names its owner if a node owns it."""

    address: Address
    node: str = ""

    def __str__(self) -> str:
        if self.node:
            return (
                f"{self.address} is node {self.node}, not a pod "
                "(a pod with hostNetwork counts as its node)"
            )
        return f"{self.address} is no pod's address"


class OtherNamespace(msgspec.Struct, frozen=True):
    """A peer without namespaceSelector means the policy's own namespace (S13)."""

    pod: PodKey
    namespace: str

    def __str__(self) -> str:
        return f"pod {self.pod} is not in namespace {self.namespace}"


class UnknownNamespace(msgspec.Struct, frozen=True):
    """The labels of the pod's namespace are not known, so no namespaceSelector matches it."""

    pod: PodKey

    def __str__(self) -> str:
        return f"the labels of namespace {self.pod.namespace} of pod {self.pod} are not known"


class NamespaceLabels(msgspec.Struct, frozen=True):
    """The first requirement that the namespace fails; ``actual`` is its value for that key."""

    namespace: str
    requirement: Requirement
    actual: str | None

    def __str__(self) -> str:
        return _unmet(f"namespace {self.namespace}", self.requirement, self.actual)


class PodLabels(msgspec.Struct, frozen=True):
    """The first requirement that the pod fails; ``actual`` is its value for that key."""

    pod: PodKey
    requirement: Requirement
    actual: str | None

    def __str__(self) -> str:
        return _unmet(f"pod {self.pod}", self.requirement, self.actual)


PeerMismatch: TypeAlias = (
    OtherFamily
    | OutsideBlock
    | InExcept
    | NotAPod
    | OtherNamespace
    | UnknownNamespace
    | NamespaceLabels
    | PodLabels
)


class OtherProtocol(msgspec.Struct, frozen=True):
    """The packet is of another IP protocol; ``actual`` is its number."""

    wanted: Protocol
    actual: int

    def __str__(self) -> str:
        return f"the protocol is {protocol_name(self.actual)}, not {self.wanted.name}"


class PortOutside(msgspec.Struct, frozen=True):
    """The protocol fits, the destination port is not in the range."""

    protocol: Protocol
    ports: PortRange
    actual: int | None

    def __str__(self) -> str:
        first, last = self.ports.first, self.ports.last
        wanted = str(first) if first == last else f"in {first} to {last}"
        return f"{self.protocol.name} port {self.actual} is not {wanted}"


class NameUnresolved(msgspec.Struct, frozen=True):
    """The destination pod declares no such port, or the destination is no pod (``None``; S37)."""

    protocol: Protocol
    name: str
    pod: PodKey | None

    def __str__(self) -> str:
        port = f"{self.protocol.name} port named {self.name!r}"
        if self.pod is None:
            return f"the destination is no pod, so it has no {port}"
        return f"pod {self.pod} declares no {port}"


class NameElsewhere(msgspec.Struct, frozen=True):
    """The name is another number on the destination pod (S36)."""

    protocol: Protocol
    name: str
    pod: PodKey
    number: int
    actual: int | None

    def __str__(self) -> str:
        return (
            f"{self.name!r} is {self.protocol.name} port {self.number} on pod {self.pod}, "
            f"not {self.actual}"
        )


PortMismatch: TypeAlias = OtherProtocol | PortOutside | NameUnresolved | NameElsewhere


class PeerRefusal(msgspec.Struct, frozen=True):
    """A peer of a rule and why it does not match."""

    peer: Peer
    reason: PeerMismatch

    def __str__(self) -> str:
        return f"not {self.peer}: {self.reason}"


class PortRefusal(msgspec.Struct, frozen=True):
    """A port of a rule and why it does not match."""

    port: Port
    reason: PortMismatch

    def __str__(self) -> str:
        return f"not {self.port}: {self.reason}"


class RuleRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why one rule does not match.

    ``peer`` and ``port`` are the first that match, ``None`` where none does; then ``peers`` or
    ``ports`` hold a reason for each. Both ``None`` and empty: nothing there could be understood
    (S10). At least one of ``peer`` and ``port`` is ``None``.
    """

    rule: RuleId
    peer: Peer | None = None
    peers: tuple[PeerRefusal, ...] = ()
    port: Port | None = None
    ports: tuple[PortRefusal, ...] = ()

    def __str__(self) -> str:
        reasons: list[str] = []
        if self.peer is None:
            reasons.extend(map(str, self.peers or ("it has no valid peer (S10)",)))
        if self.port is None:
            reasons.extend(map(str, self.ports or ("it has no valid port (S10)",)))
        return f"{self.rule}: {'; '.join(reasons)}"


def protocol_name(number: int) -> str:
    """The name of an IP protocol number, ``protocol 47`` for those without one here."""
    try:
        return Protocol(number).name
    except ValueError:
        return f"protocol {number}"


def _unmet(thing: str, requirement: Requirement, actual: str | None) -> str:
    if actual is None:
        return f"{thing} has no label {requirement.key}, wanted is {requirement}"
    return f"{thing} has {requirement.key}={actual}, wanted is {requirement}"
