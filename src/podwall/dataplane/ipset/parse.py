"""What ``ipset save`` printed, as data.

Only sets whose names podwall gives are read; the rest are other programs'. What ipset adds by
itself (bucketsize, initval, counters, timeouts of members) says nothing about the meaning of a set
and is skipped. Members that podwall never writes are handed back as text, to be removed.

ipset prints names as they are, and other programs' names may hold spaces: ``PW4-p-a b`` is a set of
its own, not ``PW4-p-a``. Only the line that creates a set tells, since it holds one word that is a
type; the members of a set follow this line.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

import msgspec

from podwall.dataplane.fence import OUR_SET
from podwall.dataplane.ipset.render import PROTOCOL_WORDS, CutMember
from podwall.errors import AddressError
from podwall.model.net import Address, Cidr, Family, host_cidr, parse_address, parse_cidr
from podwall.ruleset.ir import AddressPort, IPSet, Member, Net, SetRole, SetType
from podwall.ruleset.names import set_role

_PROTOCOLS = {word: protocol for protocol, word in PROTOCOL_WORDS.items()}
_TYPES = {each.value: each for each in SetType}
_ANY_TYPE = re.compile(r"(hash|bitmap|list):\S+\Z", re.ASCII)


class Stray(msgspec.Struct, frozen=True):
    """A member of a set of ours that podwall never writes, as the tool printed it."""

    set: str
    text: str


class SavedSets(msgspec.Struct, frozen=True):
    """Our sets by name, in sorted order, and the members that could not be read.

    A set of a type that podwall does not use is in neither: see ``foreign``, names of ours that
    something else took. ``cut`` is what the sets of cut connections hold.
    """

    sets: Mapping[str, IPSet] = {}
    strays: tuple[Stray, ...] = ()
    foreign: tuple[str, ...] = ()
    cut: tuple[CutMember, ...] = ()

    def of_family(self, family: Family) -> dict[str, IPSet]:
        """The sets whose names say that they are of this family."""
        prefix = f"PW{family.value}-"
        return {name: each for name, each in self.sets.items() if name.startswith(prefix)}


class _Header(msgspec.Struct, frozen=True):
    type: SetType
    family: Family
    role: SetRole
    timeout: int | None


def parse_save(text: str) -> SavedSets:
    """Read the output of ``ipset save``."""
    headers: dict[str, _Header] = {}
    members: dict[str, set[Member]] = {}
    strays: list[Stray] = []
    foreign: list[str] = []
    cut: list[CutMember] = []
    current = ""
    for line in text.split("\n"):
        words = line.split(" ")
        if words[0] == "create":
            current = our_set(line)
            if not current:
                continue
            header = _header(words)
            if header is None:
                foreign.append(current)
            else:
                headers[current] = header
                members[current] = set()
        elif words[0] == "add" and len(words) > 2 and words[1] == current and current in headers:
            header = headers[words[1]]
            # What is in such a set changes by itself and is never compared.
            if header.role.is_transient:
                cut += _cut_members(words[2]) if header.role is SetRole.CUT else []
                continue
            member = _member(header, words[2], "nomatch" in _flags(words))
            if member is None:
                strays.append(Stray(words[1], words[2]))
            else:
                members[words[1]].add(member)
    return SavedSets(
        {name: _set(name, headers[name], members[name]) for name in sorted(headers)},
        tuple(strays),
        tuple(foreign),
        tuple(cut),
    )


def our_set(line: str) -> str:
    """The name of the set that a ``create`` line makes, if it is one that podwall gives."""
    words = line.split(" ")
    types = [bool(_ANY_TYPE.match(word)) for word in words[2:]]
    ours = types[:1] == [True] and sum(types) == 1 and bool(OUR_SET.match(words[1]))
    return words[1] if ours else ""


def _flags(words: list[str]) -> list[str]:
    """The options of an ``add`` line, up to a comment, which may hold any words."""
    return words[3 : words.index("comment")] if "comment" in words[3:] else words[3:]


def _set(name: str, header: _Header, members: set[Member]) -> IPSet:
    return IPSet(
        name=name,
        type=header.type,
        family=header.family,
        role=header.role,
        members=frozenset(members),
        timeout=header.timeout,
    )


def _header(words: list[str]) -> _Header | None:
    """The meaning of a ``create`` line; ``None`` for a set that podwall cannot have made."""
    role = set_role(words[1])
    kind = _TYPES.get(words[2])
    options = dict(itertools.pairwise(words[3:]))
    if role is None or kind is None or "netmask" in options or "bitmask" in options:
        return None
    family = Family.V6 if options.get("family") == Family.V6.ipset_name else Family.V4
    timeout = options.get("timeout", "")
    return _Header(kind, family, role, int(timeout) if timeout.isdecimal() else None)


def _member(header: _Header, text: str, nomatch: bool) -> Member | None:
    try:
        member = _read_member(header.type, text, nomatch)
    except (AddressError, ValueError, KeyError):
        return None
    return member if member is not None and _family(member) is header.family else None


def _read_member(kind: SetType, text: str, nomatch: bool) -> Member | None:
    match kind:
        case SetType.HASH_IP:
            return parse_address(text)
        case SetType.HASH_NET:
            return Net(_cidr(text), nomatch)
        case SetType.HASH_IP_PORT:
            address, _, port = text.partition(",")
            word, _, number = port.partition(":")
            return AddressPort(parse_address(address), _PROTOCOLS[word], int(number))
        case SetType.HASH_IP_PORT_IP:
            return None


def _cut_members(text: str) -> list[CutMember]:
    """The cut connection that a member stands for; nothing for what podwall never writes."""
    try:
        server, port, client = text.split(",")
        word, _, number = port.partition(":")
        protocol = _PROTOCOLS[word]
        return [CutMember(parse_address(server), protocol, int(number), parse_address(client))]
    except (AddressError, ValueError, KeyError):
        return []


def _cidr(text: str) -> Cidr:
    """A block; one of a single address is printed without its prefix length."""
    return parse_cidr(text) if "/" in text else host_cidr(parse_address(text))


def _family(member: Member) -> Family:
    match member:
        case Address(family):
            return family
        case Net(cidr):
            return cidr.family
        case AddressPort(address):
            return address.family
