"""Who is meant: from what people write to the addresses that packets carry.

``shop/web-0`` is a pod, ``deployment/web`` or ``shop/deployment/web`` a workload (its first pod
stands for it), ``node/worker-1`` a node, anything that reads as an address is that address, pod or
not. Without a namespace, ``default`` is meant; a name that only one namespace has is found there.
"""

from __future__ import annotations

import difflib

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.errors import AddressError, InputError
from podwall.model.net import Address, Family, Protocol, parse_address
from podwall.model.objects import Pod, PodKey

DEFAULT_NAMESPACE = "default"


class End(msgspec.Struct, frozen=True):
    """One end of a connection: how to call it, and its addresses (both families, pod's order)."""

    title: str
    addresses: tuple[Address, ...]
    pod: PodKey | None = None

    def address(self, family: Family) -> Address | None:
        """Its first address of one family."""
        return next((each for each in self.addresses if each.family is family), None)


def end_at(snapshot: Snapshot, address: Address) -> End:
    """The end that an address is, called by its owner if it has one."""
    pod = snapshot.owner(address)
    if pod is not None:
        return End(str(pod.key), (address,), pod.key)
    for node in snapshot.nodes.values():
        if address in node.addresses:
            return End(f"node/{node.name}", (address,))
    return End(str(address), (address,))


def find_end(snapshot: Snapshot, text: str) -> End:
    """The end that ``text`` means.

    Raises:
        InputError: nothing of that name is known; the message names what comes near.
    """
    try:
        return end_at(snapshot, parse_address(text))
    except AddressError:
        pass
    parts = text.strip("/").split("/")
    if parts[0] == "node" and len(parts) == 2:
        return _node(snapshot, parts[1])
    if parts[0] == "pod" and len(parts) > 1:
        parts = parts[1:]
    candidates = _pods_called(snapshot, parts)
    addressed = [pod for pod in candidates if pod.addresses]
    if addressed:
        return _pod_end(addressed[0], text, len(addressed))
    if candidates:
        raise InputError(f"{text}: pod {candidates[0].key} has no address yet")
    raise InputError(f"{text!r} is no pod, workload, node or address{_suggestion(snapshot, text)}")


def _node(snapshot: Snapshot, name: str) -> End:
    node = snapshot.nodes.get(name)
    if node is None or not node.addresses:
        known = ", ".join(snapshot.nodes) or "none"
        raise InputError(f"node {name!r} is not known or has no address; known: {known}")
    return End(f"node/{name}", node.addresses)


def _pods_called(snapshot: Snapshot, parts: list[str]) -> list[Pod]:
    """Pods by ``name``, ``ns/name``, ``kind/name`` or ``ns/kind/name``, best match first."""
    pods = list(snapshot.pods.values())
    if len(parts) == 2:
        exact = snapshot.pods.get(PodKey(parts[0], parts[1]))
        if exact is not None:
            return [exact]
    if len(parts) == 1:
        return _prefer_default([pod for pod in pods if pod.key.name == parts[0]])
    namespace, kind, name = (None, *parts) if len(parts) == 2 else (*parts, "", "")[:3]
    wanted = f"{kind}/{name}".lower()
    found = [
        pod
        for pod in pods
        if pod.workload.lower() == wanted and namespace in (None, pod.key.namespace)
    ]
    return _prefer_default(found) if namespace is None else found


def _prefer_default(pods: list[Pod]) -> list[Pod]:
    return sorted(pods, key=lambda pod: (pod.key.namespace != DEFAULT_NAMESPACE, pod.key))


def _pod_end(pod: Pod, text: str, count: int) -> End:
    title = str(pod.key)
    if count > 1 and pod.key.name not in text:
        title = f"{title} (one of {count} pods of {text})"
    return End(title, pod.addresses, None if pod.host_network else pod.key)


def _suggestion(snapshot: Snapshot, text: str) -> str:
    names = {str(key) for key in snapshot.pods}
    names |= {
        f"{pod.key.namespace}/{pod.workload.lower()}"
        for pod in snapshot.pods.values()
        if pod.workload
    }
    near = difflib.get_close_matches(text, sorted(names), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


class Service(msgspec.Struct, frozen=True):
    """What is asked for: an IP protocol and, where it has ports, a destination port."""

    protocol: Protocol
    port: int | None = None

    def __str__(self) -> str:
        name = self.protocol.name.lower()
        return name if self.port is None else f"{self.port}/{name}"


def parse_service(text: str) -> Service:
    """Read ``6379/tcp``, ``53/udp``, ``6379`` (TCP) or ``icmp``.

    Raises:
        InputError: the protocol is unknown or the port no number from 1 to 65535.
    """
    number, slash, protocol = text.strip().lower().partition("/")
    if not slash and not number.isdecimal():
        number, protocol = "", number
    try:
        parsed = Protocol[(protocol or "tcp").upper()]
    except KeyError:
        raise InputError(f"{text!r} is no port, as in 6379/tcp, 53/udp, 9/sctp or icmp") from None
    if parsed in (Protocol.ICMP, Protocol.ICMPV6):
        if number:
            raise InputError(f"{text!r}: ICMP has no ports")
        return Service(Protocol.ICMP)
    if not (number.isdecimal() and len(number) <= 5 and 1 <= int(number) <= 65535):
        raise InputError(f"{text!r}: the port must be a number from 1 to 65535, as in 6379/tcp")
    return Service(parsed, int(number))
