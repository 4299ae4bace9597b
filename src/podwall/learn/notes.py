"""The comments on a proposal: what each rule was seen for, for whoever reviews it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from podwall.cluster.snapshot import Snapshot
from podwall.explain.ends import Service, end_at
from podwall.learn.blocks import Block
from podwall.learn.proposal import Proposed
from podwall.learn.rules import Draft, Party, service_order
from podwall.learn.units import Unit
from podwall.manifest.written import Notes
from podwall.model.net import Address, Cidr, Family, PortRange, Protocol, merge_ports, parse_address
from podwall.model.policy import Direction
from podwall.model.selector import Operator

_MOST_PARTIES = 12
_MOST_PORTS = 12
_DYNAMIC = 20
_WORDS = {Direction.INGRESS: "from", Direction.EGRESS: "to"}
_DNS = 53
_METADATA = frozenset(map(parse_address, ("169.254.169.254", "fd00:ec2::254")))
# A block as wide as this was not learned from clients of one network.
_WIDE = {Family.V4: 8, Family.V6: 32}


def notes_of(proposed: Proposed, snapshot: Snapshot) -> Notes:
    """The comments on one proposed policy."""
    return Notes(
        head=tuple(_head(proposed)),
        rules={
            (direction, index): tuple(_rule_notes(proposed, direction, draft, snapshot))
            for direction, drafts in proposed.drafts.items()
            for index, draft in enumerate(drafts)
        },
    )


def _head(proposed: Proposed) -> Iterable[str]:
    unit = proposed.unit
    if proposed.drafts:
        were = "was" if proposed.connections == 1 else "were"
        count = counted(proposed.connections, "connection")
        yield f"{unit.title}: for {count} that {were} seen."
    else:
        closed = " and ".join(each.value for each in proposed.policy.isolates)
        verb = "is" if len(proposed.policy.isolates) == 1 else "are"
        yield f"{unit.title}: nothing was seen that needs a rule, so {closed} {verb} closed."
    if len(unit.workloads) > 1:
        yield "Labels do not tell these workloads apart, so they share a policy."
    if not unit.selector.requirements:
        yield "Its pods have no label to select them by, so this is about the whole namespace."
    elif all(each.operator is Operator.DOES_NOT_EXIST for each in unit.selector.requirements):
        yield "Its pods have no label of their own: they are selected by one that others have."
    for direction in proposed.policy.isolates if proposed.drafts else ():
        if direction not in proposed.drafts:
            yield f"No {direction.value} was seen that needs a rule: it is closed."


def _rule_notes(
    proposed: Proposed, direction: Direction, draft: Draft, snapshot: Snapshot
) -> Iterable[str]:
    word = _WORDS[direction]
    for party in draft.parties[:_MOST_PARTIES]:
        count = sum(count for (each, _), count in draft.counts.items() if each == party)
        target = party.unit if direction is Direction.EGRESS else proposed.unit
        services = [service for each, service in draft.counts if each == party]
        ports = ports_text(services, target, snapshot)
        yield f"{word} {_party_text(party, snapshot)}: {ports}, {counted(count, 'connection')}"
    if len(draft.parties) > _MOST_PARTIES:
        yield f"and {len(draft.parties) - _MOST_PARTIES} more"
    yield from _hints(direction, draft)


def _party_text(party: Party, snapshot: Snapshot) -> str:
    if party.unit is not None:
        return party.unit.title
    assert party.block is not None  # noqa: S101 - a party is one or the other
    block = party.block
    if len(block.seen) == 1 and block.others == 0:
        return _address_text(block.seen[0], snapshot)
    seen = counted(len(block.seen), "address", "addresses")
    rest = f"which holds {block.others:,} more" if block.others else "all of it"
    return f"{seen} in {block.cidr}, {rest}"


def _address_text(address: Address, snapshot: Snapshot) -> str:
    title = end_at(snapshot, address).title
    return title if title == str(address) else f"{title} ({address})"


def ports_text(services: Iterable[Service | None], target: Unit | None, snapshot: Snapshot) -> str:
    """``8080/tcp (http), 9100/tcp``; the names are those that the pods of ``target`` give them."""
    words: list[str] = []
    ranges: dict[Protocol, list[PortRange]] = {}
    names: dict[tuple[Protocol, PortRange], str] = {}
    for service in sorted(services, key=service_order):
        if service is None or service.port is None:
            words.append("everything (ICMP was seen)")
            continue
        single = PortRange(service.port, service.port)
        ranges.setdefault(service.protocol, []).append(single)
        names[service.protocol, single] = port_name(service, target, snapshot)
    for protocol, found in ranges.items():
        for each in merge_ports(found):
            name = names.get((protocol, each), "")
            text = str(each).replace(":", "-") + f"/{protocol.name.lower()}"
            words.append(f"{text} ({name})" if name else text)
    if len(words) > _MOST_PORTS:
        words = [*words[:_MOST_PORTS], f"{len(words) - _MOST_PORTS} more"]
    return ", ".join(words)


def port_name(service: Service, target: Unit | None, snapshot: Snapshot) -> str:
    """What the pods of ``target`` call a port, or what everybody does."""
    keys = () if target is None else target.pods
    names = {
        port.name
        for key in keys
        for port in snapshot.pods[key].ports
        if port.number == service.port and port.protocol is service.protocol and port.name
    }
    if names:
        return min(names)
    return "dns" if service.port == _DNS and service.protocol is not Protocol.SCTP else ""


def _hints(direction: Direction, draft: Draft) -> Iterable[str]:
    dns = {each.protocol for each in draft.services if each is not None and each.port == _DNS}
    if Protocol.UDP in dns and Protocol.TCP not in dns and direction is Direction.EGRESS:
        yield "DNS: 53/tcp was not seen and is not allowed; long answers come over it."
    blocks = [party.block for party in draft.parties if party.block is not None]
    if any(_is_metadata(each) for each in blocks) and direction is Direction.EGRESS:
        yield "169.254.169.254 is where clouds hand out credentials: should this workload ask?"
    if wide := [each.cidr for each in blocks if each.cidr.prefix <= _WIDE[each.cidr.family]]:
        yield f"{_listed(wide)} is so wide that everybody may be meant: cidr {_everybody(wide)}."
    ports = {each for each in draft.services if each is not None}
    if len(ports) >= _DYNAMIC:
        yield f"{len(ports)} ports were seen: if the server chooses them, allow its whole range."


def _is_metadata(block: Block) -> bool:
    return not _METADATA.isdisjoint(block.seen)


def _listed(cidrs: Sequence[Cidr]) -> str:
    return ", ".join(map(str, cidrs))


def _everybody(cidrs: Sequence[Cidr]) -> str:
    return " and ".join(
        "0.0.0.0/0" if each is Family.V4 else "::/0"
        for each in sorted({cidr.family for cidr in cidrs})
    )


def counted(count: int, word: str, words: str = "") -> str:
    """``1 connection``, ``1,204 connections``."""
    return f"{count:,} {word if count == 1 else words or word + 's'}"
