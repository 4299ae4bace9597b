"""Sets and their members as text for ``ipset restore``.

Every line is idempotent (``-exist``), because a batch is not atomic in the kernel: lines before a
refused one stay, and the next run sends what is still missing. Members are written as numbers only,
since ipset would ask the resolver about anything that is not an address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import assert_never

import msgspec

from podwall.dataplane.fence import set_word
from podwall.errors import CompileError
from podwall.model.net import Address, Family, Protocol
from podwall.ruleset.ir import AddressPort, IPSet, Member, Net, SetType
from podwall.ruleset.plan import MemberChange, SetStep

MAX_MEMBERS = 1_048_576
"""``maxelem`` of every set: only a bound, no memory is taken for it. It is one number for all sets
because creating a set that exists succeeds only if both have the same."""

SMALLEST_HASH = 64
"""The least number of buckets that ipset makes; 64 buckets take half a kilobyte."""

STATELESS_CUT_SECONDS = 180
"""How long the remains of a cut UDP or SCTP flow are refused: conntrack's own longest UDP time."""

LARGEST_HASH = 65_536
"""The most buckets that a new set starts with; ipset doubles them as a set grows."""

PROTOCOL_WORDS = {
    Protocol.TCP: "tcp",
    Protocol.UDP: "udp",
    Protocol.SCTP: "sctp",
}


class CutMember(msgspec.Struct, frozen=True, order=True):
    """A member of a ``hash:ip,port,ip`` set: a server, one of its ports, and a client."""

    server: Address
    protocol: Protocol
    port: int
    client: Address


def render_set_step(step: SetStep, *, emptied: bool = False) -> str:
    """One batch for ``ipset restore``: create with members, add, delete, destroy, in this order.

    ``emptied`` is for who knows that no rule of ours names the created sets yet. One of that name
    may be there all the same, kept from being destroyed by somebody else's rule; what it held must
    not be allowed anew.

    Raises:
        CompileError: a name or member that podwall must not send.
    """
    lines = [line for each in step.create for line in _create_lines(each, emptied=emptied)]
    lines += [line for change in step.add for line in _member_lines("add", change)]
    lines += [line for change in step.delete for line in _member_lines("del", change)]
    lines += [f"destroy {set_word(name)}" for name in step.destroy]
    return "".join(f"{line}\n" for line in lines)


def render_cut(name: str, members: Iterable[CutMember]) -> str:
    """One batch that puts connections into the set of cut ones.

    Those without TCP's handshake stay for a short while only: a datagram from the server's port
    looks the same whether it continues the old flow or starts one that policies allow.

    Raises:
        CompileError: a name or member that podwall must not send.
    """
    return "".join(
        f"add {set_word(name)} {_cut_text(each)}{_cut_life(each)} -exist\n" for each in members
    )


def render_release(name: str, members: Iterable[CutMember]) -> str:
    """One batch that takes connections out of the set of cut ones again.

    Raises:
        CompileError: a name or member that podwall must not send.
    """
    return "".join(f"del {set_word(name)} {_cut_text(each)} -exist\n" for each in members)


def _cut_life(member: CutMember) -> str:
    """Seconds that a member stays, where that is not the set's own time."""
    return "" if member.protocol is Protocol.TCP else f" timeout {STATELESS_CUT_SECONDS}"


def hash_size(members: int) -> int:
    """Buckets for a new set: the power of two that gives each member a bucket, within bounds."""
    size = SMALLEST_HASH
    while size < members and size < LARGEST_HASH:
        size *= 2
    return size


def _create_lines(ipset: IPSet, *, emptied: bool) -> Iterator[str]:
    timeout = "" if ipset.timeout is None else f" timeout {_timeout(ipset)}"
    yield (
        f"create {set_word(ipset.name)} {ipset.type.value} family {ipset.family.ipset_name} "
        f"hashsize {hash_size(len(ipset.members))} maxelem {MAX_MEMBERS}{timeout} -exist"
    )
    if emptied and not ipset.role.is_transient:
        yield f"flush {ipset.name}"
    members = sorted(ipset.members, key=_member_order)
    yield from _member_lines("add", MemberChange(ipset, tuple(members)))


def _timeout(ipset: IPSet) -> int:
    if ipset.timeout is None or not 1 <= ipset.timeout <= 2_147_483:
        raise CompileError(f"set {ipset.name}: timeout {ipset.timeout} is not 1 to 2147483 seconds")
    return ipset.timeout


def _member_lines(verb: str, change: MemberChange) -> Iterator[str]:
    name = set_word(change.set.name)
    for member in change.members:
        text = member_text(change.set, member)
        if verb == "add" and isinstance(member, Net) and member.nomatch:
            text += " nomatch"
        yield f"{verb} {name} {text} -exist"


def member_text(ipset: IPSet, member: Member) -> str:
    """A member as ipset prints it, without ``nomatch``.

    Raises:
        CompileError: the set's type or family cannot hold it.
    """
    match member, ipset.type:
        case Address(), SetType.HASH_IP:
            return _address(ipset.family, member)
        case Net(cidr), SetType.HASH_NET:
            if cidr.family is not ipset.family or cidr.prefix == 0:
                raise CompileError(f"set {ipset.name} cannot hold the prefix {cidr}")
            return str(Address(cidr.family, cidr.value)) if _is_host(member) else str(cidr)
        case AddressPort(address, protocol, port), SetType.HASH_IP_PORT:
            return f"{_address(ipset.family, address)},{_port(protocol, port)}"
        case _:
            raise CompileError(f"set {ipset.name} of type {ipset.type.value} got {member}")


def _is_host(member: Net) -> bool:
    return member.cidr.prefix == member.cidr.family.bits


def _cut_text(member: CutMember) -> str:
    family = member.server.family
    port = _port(member.protocol, member.port)
    return f"{_address(family, member.server)},{port},{_address(family, member.client)}"


def _address(family: Family, address: Address) -> str:
    if address.family is not family or not 0 <= address.value < 1 << family.bits:
        raise CompileError(f"{address!r} is no IPv{family.value} address")
    return str(address)


def _port(protocol: Protocol, port: int) -> str:
    if protocol not in PROTOCOL_WORDS or not 0 <= port < 65536:
        raise CompileError(f"{protocol.name} {port} is no port")
    return f"{PROTOCOL_WORDS[protocol]}:{port}"


def _member_order(member: Member) -> tuple[int, int, int, bool]:
    match member:
        case Address(_, value):
            return value, 0, 0, False
        case Net(cidr, nomatch):
            return cidr.value, cidr.prefix, 0, nomatch
        case AddressPort(address, protocol, port):
            return address.value, protocol, port, False
        case _:
            assert_never(member)
