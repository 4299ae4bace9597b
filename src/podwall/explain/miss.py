"""The closest that any rule came to allowing a flow, in a few words.

Right peer and wrong port, or right port and wrong peer: either is one correction away from being
allowed, so this is what people want to read. Where no rule has either right, no single rule is
close. Names, labels and lists come from users: each is escaped, and cut where it gets long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import assert_never

from podwall.cluster.snapshot import Snapshot
from podwall.explain.ends import end_at
from podwall.model.decode import escaped
from podwall.model.flow import Flow
from podwall.model.net import Protocol
from podwall.model.policy import AllPortsOf, AnyPort, Direction, NamedPort, NumberedPorts, Port
from podwall.model.selector import Operator, Requirement
from podwall.policy.decision import DirectionDecision
from podwall.policy.evaluate import peer_address
from podwall.policy.refusal import (
    InExcept,
    NameElsewhere,
    NamespaceLabels,
    NameUnresolved,
    NotAPod,
    OtherFamily,
    OtherNamespace,
    OutsideBlock,
    PeerMismatch,
    PodLabels,
    PortRefusal,
    RuleRefusal,
    UnknownNamespace,
    protocol_name,
)

MOST_NAMES = 4
"""So many policies, peers or ports are listed; the rest is counted."""

LONGEST = 100
"""Characters of one name or condition."""


def closest_miss(snapshot: Snapshot, flow: Flow, decision: DirectionDecision) -> str:
    """Why none of the rules that were asked allows ``flow``, by those that came closest.

    ``decision`` is a denial by policies, with the refusals of their rules.
    """
    rules = [rule for policy in decision.refusals for rule in policy.rules]
    peer = escaped(end_at(snapshot, peer_address(flow, decision.direction)).title)
    if not rules:
        return f"no rule allows any {decision.direction.value}"
    if right_peer := [rule for rule in rules if rule.peer is not None]:
        return _wrong_port(flow, peer, decision.direction, right_peer)
    if right_port := [rule for rule in rules if rule.port is not None and rule.peers]:
        return _wrong_peer(right_port)
    return f"no rule is about {peer} or {_protocol_and_port(flow)}"


def list_names(names: Iterable[str], most: int = MOST_NAMES) -> str:
    """Names that come from users as a list that stays short: ``a, b and 7 more``."""
    each = [cut(name) for name in dict.fromkeys(names)]
    if len(each) <= most:
        return ", ".join(each)
    return f"{', '.join(each[:most])} and {len(each) - most} more"


def cut(text: str, most: int = LONGEST) -> str:
    """``text`` escaped and not longer than ``most`` characters and a few."""
    return escaped(text if len(text) <= most else f"{text[:most]}…")


def _wrong_port(flow: Flow, peer: str, direction: Direction, rules: list[RuleRefusal]) -> str:
    refusals = [port for rule in rules for port in rule.ports]
    ports = list_names(text for each in refusals if (text := _port(each)))
    names = list_names(str(rule.rule) for rule in rules if rule.ports)
    asked = _protocol_and_port(flow)
    if not ports:
        return f"no rule for {peer} has a valid port (S10)"
    word = "from" if direction is Direction.INGRESS else "to"
    return f"no rule allows {asked} {word} {peer}; {names} allows {ports}"


def _port(refusal: PortRefusal) -> str:
    """What a port of a rule allows, and on which number a named one is."""
    match refusal.reason:
        case NameElsewhere(number=number, protocol=protocol, name=name):
            return f"{name} ({number}/{protocol.name.lower()})"
        case NameUnresolved(protocol=protocol, name=name, pod=None):
            return f"{protocol.name.lower()} port {name} (the target is no pod)"
        case NameUnresolved(protocol=protocol, name=name, pod=pod):
            return f"{protocol.name.lower()} port {name} (not declared by {pod})"
        case _:
            return port_text(refusal.port)


def port_text(port: Port) -> str:
    """A port of a rule: ``5432/tcp``, ``8000-8010/udp``, ``any tcp port``, ``http/tcp``."""
    match port:
        case AnyPort():
            return "any port"
        case AllPortsOf(protocol=protocol):
            return f"any {protocol.name.lower()} port"
        case NumberedPorts(protocol=protocol, ports=ports):
            numbers = str(ports.first)
            if ports.last != ports.first:
                numbers += f"-{ports.last}"
            return f"{numbers}/{protocol.name.lower()}"
        case NamedPort(protocol=protocol, name=name):
            return f"{name}/{protocol.name.lower()}"
        case _:
            assert_never(port)


def _wrong_peer(rules: list[RuleRefusal]) -> str:
    reasons = [(rule, refusal.reason) for rule in rules for refusal in rule.peers]
    mismatches = [reason for _rule, reason in reasons]
    wrong = list_names(_missing(mismatches))
    wishes = list_names(
        (f"{rule.rule} wants {wish}" for rule, reason in reasons if (wish := _wanted(reason))),
        most=2,
    )
    return f"no rule allows {wrong}" + (f"; {wishes}" if wishes else "")


def _missing(reasons: list[PeerMismatch]) -> Iterator[str]:
    """What the peer is that the rules do not want: the label rather than the name.

    Labels come first: a rule whose namespace is right already came closer.
    """
    yield from (text for each in reasons if (text := _pod_label(each)))
    yield from (text for each in reasons if not _pod_label(each) and (text := _peer(each)))


def _pod_label(reason: PeerMismatch) -> str:
    if not isinstance(reason, PodLabels):
        return ""
    return _label("pods", reason.requirement.key, reason.actual)


def _peer(reason: PeerMismatch) -> str:
    match reason:
        case NamespaceLabels(requirement=requirement, actual=actual):
            return _label("namespaces", requirement.key, actual, named="namespaces with ")
        case OtherNamespace(pod=pod):
            return f"pods of namespace {pod.namespace}"
        case UnknownNamespace(pod=pod):
            return f"namespace {pod.namespace}, whose labels are not known"
        case NotAPod(address=address, node=node) if node:
            return f"{address}, which is node {node}"
        case NotAPod(address=address):
            return f"{address}, which is no pod's"
        case OtherFamily(address=address):
            return f"{address}, an IPv{address.family.value} address"
        case InExcept(address=address, excluded=excluded):
            return f"{address}, in the except {excluded}"
        case OutsideBlock(address=address):
            return str(address)
        case _:
            return ""


def _label(things: str, key: str, actual: str | None, named: str = "") -> str:
    if actual is None:
        return f"{things} without label {key}"
    return f"{named}{key}={actual}"


def _wanted(reason: PeerMismatch) -> str:
    """What the rule asks for instead, where that is short."""
    match reason:
        case PodLabels(requirement=requirement):
            return _requirement(requirement)
        case NamespaceLabels(requirement=requirement):
            return f"namespaces with {_requirement(requirement)}"
        case OtherNamespace(namespace=namespace):
            return f"namespace {namespace}"
        case OutsideBlock(cidr=cidr):
            return str(cidr)
        case _:
            return ""


def _requirement(requirement: Requirement) -> str:
    match requirement.operator:
        case Operator.EXISTS:
            return f"label {requirement.key}"
        case Operator.DOES_NOT_EXIST:
            return f"no label {requirement.key}"
        case _:
            return str(requirement)


def _protocol_and_port(flow: Flow) -> str:
    name = protocol_name(flow.protocol).lower()
    ports = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)
    return f"{flow.port}/{name}" if flow.port is not None and flow.protocol in ports else name
