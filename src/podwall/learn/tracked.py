"""Lines of connection tracking: the tables of ``conntrack -L`` and of /proc, and podwall's own.

    tcp      6 431999 ESTABLISHED src=10.244.0.2 dst=10.96.0.7 sport=40112 dport=80 \
             src=10.244.0.9 dst=10.244.0.2 sport=8080 dport=40112 [ASSURED] mark=0 use=1

The first four ends are the connection as its client asked for it, the second four the answer. So
who opened it is the first ``src``, and the server that DNAT chose is the second ``src`` with its
``sport``: a Service's address never stands in a proposal, nor does the address that a masqueraded
client had outside. ``conntrack -L``, ``-o extended``, ``/proc/net/nf_conntrack`` and the lines of
``conntrack -E`` differ in what comes before, which is skipped.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from podwall.errors import AddressError
from podwall.learn.observed import Sighting
from podwall.model.flow import Flow
from podwall.model.net import PORT_PROTOCOLS, parse_address

_FIELD = re.compile(r"(src|dst|sport|dport|id)=(\S{1,64})")
_PROTOCOL = re.compile(r"(?:^|\s)[a-z][a-z0-9-]{0,15}\s+(\d{1,3})\s")
_FAMILY = re.compile(r"(?:^|\s)ipv[46]\s+\d+(?=\s)")
_HELPER_WORDS = 11
_LAST_PORT = 65535
_LAST_PROTOCOL = 255

UNREPLIED = "unreplied"
"""What a line of the helper ends with if nothing came back."""


class Unreadable(Exception):
    """A line that says nothing about a connection; the text says why."""


class _Ends(NamedTuple):
    src: str
    dst: str
    sport: str
    dport: str
    id: str


def parse_tracked(line: str) -> Sighting | None:
    """Read a line of a connection tracking table; ``None`` for what no policy is about.

    That is what has port 0 or an address that no pod can have.

    Raises:
        Unreadable: it is none.
    """
    original, reply = _tuples(line)
    protocol = _protocol(line)
    client = original.sport if protocol in PORT_PROTOCOLS else original.id
    answered = "[UNREPLIED]" not in line
    return _sighting(protocol, original.src, client, reply.src, reply.sport, answered)


def parse_listed(line: str) -> Sighting | None:
    """Read a line of :mod:`podwall.dataplane.ctnetlink`'s list, as :func:`parse_tracked` does.

    Raises:
        Unreadable: it is none.
    """
    words = line.split(" ")
    if len(words) not in (_HELPER_WORDS, _HELPER_WORDS + 1) or not words[1].isdecimal():
        raise Unreadable("it is no entry of a connection tracking table")
    _, text, src, _, sport, _, reply_src, _, reply_sport, *_ = words
    protocol = _number(text)
    if protocol > _LAST_PROTOCOL:
        raise Unreadable(f"{protocol} is no protocol, expected 0 to {_LAST_PROTOCOL}")
    return _sighting(protocol, src, sport, reply_src, reply_sport, words[-1] != UNREPLIED)


def _sighting(
    protocol: int, src: str, client: str, dst: str, port: str, answered: bool
) -> Sighting | None:
    has_ports = protocol in PORT_PROTOCOLS
    number = _number(port) if has_ports else None
    if number is not None and not 0 < number <= _LAST_PORT:
        return None
    try:
        flow = Flow(parse_address(src), parse_address(dst), protocol, number)
    except AddressError:
        return None
    if flow.src.family is not flow.dst.family:
        return None
    return Sighting(flow, _number(client), answered=answered)


def _tuples(line: str) -> tuple[_Ends, _Ends]:
    """The two directions of an entry: each begins with its ``src``."""
    found: list[dict[str, str]] = []
    for name, value in _FIELD.findall(line):
        if name == "src":
            found.append({})
        if found:
            found[-1].setdefault(name, value)
    if len(found) != 2 or not all({"src", "dst"} <= each.keys() for each in found):
        raise Unreadable("expected src= and dst= of both directions")
    first, second = (
        _Ends(*(each.get(name, "0") for name in ("src", "dst", "sport", "dport", "id")))
        for each in found
    )
    return first, second


def _protocol(line: str) -> int:
    head = _FAMILY.sub("", line.partition("src=")[0])
    match = _PROTOCOL.search(head)
    if match is None or int(match[1]) > _LAST_PROTOCOL:
        raise Unreadable("expected a protocol and its number, as in 'tcp 6'")
    return int(match[1])


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) <= 10 else 0
