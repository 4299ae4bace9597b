"""Egress isolation that forgets name resolution, the most common way to break an application.

Whoever isolates egress and allows some of it usually wants names to resolve, which takes UDP 53
and, for long answers, TCP 53. Policies add up, so one policy may allow it for the pods of another.
Packets are judged after DNAT (S31): where the DNS pods listen on another port than their Service,
that port counts too.
"""

from __future__ import annotations

from collections.abc import Iterator

from podwall.check.cover import implies
from podwall.check.finding import Check, Note, Severity
from podwall.check.places import names_of
from podwall.check.world import DNS_NAMES, World
from podwall.model.net import Protocol
from podwall.model.objects import Pod
from podwall.model.policy import (
    AllPortsOf,
    AnyPort,
    Direction,
    Mode,
    NamedPort,
    NumberedPorts,
    Policy,
    Port,
)

DNS_PORT = 53


def egress_without_dns(policy: Policy, world: World) -> Iterator[Note]:
    """Selected pods may reach something, but no DNS server."""
    # A policy that allows no egress at all is meant as a default; others open what is needed.
    if not any(rule.peers and rule.ports for rule in policy.egress):
        return
    missing_udp = _without(policy, world, Protocol.UDP)
    if missing_udp is not None:
        yield Note(
            "spec.egress",
            f"egress is isolated and no rule allows UDP 53{_for(missing_udp)}: names will not "
            "resolve. Allow UDP and TCP 53 to the cluster's DNS.",
        )
        return
    missing_tcp = _without(policy, world, Protocol.TCP)
    if missing_tcp is not None:
        yield Note(
            "spec.egress",
            f"DNS is allowed by UDP 53 but not by TCP 53{_for(missing_tcp)}: long answers are "
            "asked for again by TCP.",
            Severity.INFO,
        )


def _for(pods: tuple[Pod, ...]) -> str:
    return f" for {names_of(pods)}" if pods else ""


def _without(policy: Policy, world: World, protocol: Protocol) -> tuple[Pod, ...] | None:
    """The selected pods that may not reach port 53; ``None`` if all may.

    Empty if the policy selects no pod now, and no policy of its namespace allows it to any.
    """
    helpers = world.remember(_helpers, (policy.key.namespace, protocol, policy.mode))
    if any(implies(policy.subject, each.subject) for each in helpers):
        return None
    subjects = world.subjects(policy)
    missing = tuple(
        pod for pod in subjects if not any(each.subject.matches(pod.labels) for each in helpers)
    )
    if not subjects:
        # Which of the others select the same pods only pods could tell.
        return None if helpers else ()
    return missing or None


def _helpers(question: tuple[str, Protocol, Mode], world: World) -> tuple[Policy, ...]:
    """The policies of a namespace that allow DNS by one protocol.

    Audited policies are judged as if all of them were enforced (S51).
    """
    namespace, protocol, mode = question
    return tuple(
        each
        for each in world.policies(namespace)
        if Direction.EGRESS in each.isolates
        and mode in (each.mode, Mode.AUDIT)
        and allows_dns(each, world, protocol)
    )


def allows_dns(policy: Policy, world: World, protocol: Protocol) -> bool:
    """Whether some egress rule of ``policy`` allows port 53 of ``protocol`` to somebody."""
    return any(
        bool(rule.peers) and any(_is_dns(port, world, protocol) for port in rule.ports)
        for rule in policy.egress
    )


def _is_dns(port: Port, world: World, protocol: Protocol) -> bool:
    if isinstance(port, AnyPort):
        return True
    if port.protocol is not protocol:
        return False
    match port:
        case AllPortsOf():
            return True
        case NamedPort():
            return port.name in DNS_NAMES
        case NumberedPorts():
            return any(number in port.ports for number in (DNS_PORT, *world.dns_ports))


DNS_CHECKS = (
    Check(
        code="egress-without-dns",
        clause="S35",
        severity=Severity.WARNING,
        explains="Pods that may reach something but not port 53 by UDP and TCP resolve no names.",
        run=egress_without_dns,
        needs_pods=False,
    ),
)
