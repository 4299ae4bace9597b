"""Files of connections: the formats that people have, told apart line by line.

- what ``conntrack -L`` or ``/proc/net/nf_conntrack`` say (:mod:`podwall.learn.tracked`);
- JSON lines, as ``podwall drops -o jsonl`` prints them;
- a form to write by hand, with names as everywhere on podwall's command line and, if wanted, how
  often: ``shop/deployment/web -> data/orders-db-0 5432/tcp x12``.

A line that is none of these makes the file unusable: what is learned from half of a file would
close the other half.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.errors import InputError
from podwall.explain.ends import Service, find_end, parse_service
from podwall.learn.observed import Sighting
from podwall.learn.tracked import Unreadable, parse_listed, parse_tracked
from podwall.model.decode import shown
from podwall.model.flow import Flow
from podwall.model.net import Family, Protocol, parse_address

_PLAIN = re.compile(r"(\S+)\s+(?:->|→)\s+(\S+)\s+(\S+)(?:\s+x(\d{1,9}))?\Z")
_FOOTER = re.compile(r"conntrack v\S+ \(conntrack-tools\)")
_LISTED = re.compile(r"[46] \d{1,3} ")
_NUMBERED = re.compile(r"protocol (\d{1,3})\Z")
_MAX_FAULTS = 5
_LONGEST = 64
_LAST_PROTOCOL = 255


def read_connections(text: str, name: str, snapshot: Snapshot) -> tuple[Sighting, ...]:
    """The sightings in a file of connections called ``name``.

    Raises:
        InputError: lines cannot be read; the message names them, with their numbers.
    """
    found: list[Sighting] = []
    faults: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#") or _FOOTER.match(line):
            continue
        try:
            found.extend(_read_line(line, snapshot))
        except (Unreadable, InputError) as error:
            faults.append(f"{name}:{number}: {error}")
    if faults:
        more = f"\nand {len(faults) - _MAX_FAULTS} lines more" if len(faults) > _MAX_FAULTS else ""
        raise InputError("\n".join(faults[:_MAX_FAULTS]) + more)
    return tuple(found)


def read_list(text: str) -> tuple[Sighting, ...]:
    """The sightings in what the helper listed (:mod:`podwall.dataplane.ctnetlink`).

    Raises:
        InputError: it is not what the helper prints.
    """
    try:
        entries = [parse_listed(line) for line in text.splitlines()]
    except Unreadable as error:
        raise InputError(f"the list of connections cannot be read: {error}") from error
    return tuple(each for each in entries if each is not None)


def _read_line(line: str, snapshot: Snapshot) -> Iterator[Sighting]:
    if line.startswith("{"):
        yield _denied(line)
        return
    if match := _PLAIN.match(line):
        source, target, service, count = match.groups()
        flow = _named(snapshot, source, target, parse_service(service))
        yield Sighting(flow, count=int(count or 1))
        return
    if _LISTED.match(line):
        entry = parse_listed(line)
    elif "src=" in line:
        entry = parse_tracked(line)
    else:
        text = shown(line, 80)
        raise Unreadable(f"{text} is no connection; expected conntrack's form, JSON or 'A -> B 80'")
    if entry is not None:
        yield entry


def _named(snapshot: Snapshot, source: str, target: str, service: Service) -> Flow:
    """The flow between two ends by name, IPv4 if they share it."""
    src_end, dst_end = find_end(snapshot, source), find_end(snapshot, target)
    for family in Family:
        src, dst = src_end.address(family), dst_end.address(family)
        if src is not None and dst is not None:
            return Flow(src, dst, *_service(str(service), family))
    raise Unreadable(f"{source} and {target} share no address family")


def _denied(line: str) -> Sighting:
    """A line of ``podwall drops -o jsonl``: by address, for the pods may be others by now."""
    try:
        data: Any = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable(f"it is not JSON: {error}") from error
    fields = ("src", "dst", "service") if type(data) is dict else ()
    texts = [text for each in fields if type(text := data.get(each)) is str]
    if len(texts) < 3 or max(map(len, texts)) > _LONGEST:
        raise Unreadable("expected src, dst and service, as 'podwall drops -o jsonl' has them")
    src, dst = (parse_address(each) for each in texts[:2])
    if src.family is not dst.family:
        raise Unreadable(f"{src} and {dst} are of two address families")
    count = data.get("count", 1)
    if type(count) is not int or not 0 < count < 2**53:
        raise Unreadable("count: expected a number of connections")
    return Sighting(Flow(src, dst, *_service(texts[2], src.family)), count=count)


def _service(text: str, family: Family) -> tuple[int, int | None]:
    """Protocol number and port of ``6379/tcp``, ``icmp`` or ``protocol 47``."""
    if match := _NUMBERED.match(text):
        if int(match[1]) > _LAST_PROTOCOL:
            raise Unreadable(f"{match[1]} is no protocol, expected 0 to {_LAST_PROTOCOL}")
        return int(match[1]), None
    service = parse_service(text)
    if service.protocol is Protocol.ICMP and family is Family.V6:
        return Protocol.ICMPV6, None
    return service.protocol, service.port
