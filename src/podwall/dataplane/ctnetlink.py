"""List and delete connection tracking entries, over netlink. A program of its own.

    python -I -S ctnetlink.py list                  one line for each entry
    python -I -S ctnetlink.py among < addresses     only those with one of these at an end
    python -I -S ctnetlink.py seen                  the same as list, and which nobody answered
    python -I -S ctnetlink.py delete < handles      deletes exactly these, says how many there were

It is started like any other tool, so that the lab can start it inside the namespace of a node, and
uses nothing but the standard library. It takes the place of ``conntrack -D``, which walks the whole
table for every entry that it deletes: 45 ms each where the table has 262,144 buckets, so 10,000
entries would take minutes. Here the kernel finds an entry by its tuple: 10,000 in 0.2 s.

A line of ``list`` has these fields: family (4 or 6), protocol number, source, destination and ports
of the original direction, the same four of the reply direction, and the handle. A port that a
protocol does not have is 0. The handle is opaque: it holds the original tuple as the kernel wrote
it, the zone and the id, so that an entry that took the place of the listed one is not hit. A line
of ``seen`` ends in one word more, ``unreplied``, if nothing came back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator

_NETLINK_NETFILTER = 12
_GET = 1 << 8 | 1
_DELETE = 1 << 8 | 2
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_REQUEST = 0x1
_ACK = 0x4
_DUMP = 0x300
_INTERRUPTED = 0x10
_NESTED = 0x8000

_TUPLE_ORIG = 1
_TUPLE_REPLY = 2
_STATUS = 3
_ID = 12
_ZONE = 18
_TUPLE_IP = 1
_TUPLE_PROTO = 2
_PROTO_NUM = 1
_PROTO_SRC_PORT = 2
_PROTO_DST_PORT = 3

_FAMILIES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 6}
_ADDRESS_ATTRIBUTES: dict[int, tuple[int, int]] = {
    socket.AF_INET: (1, 2),
    socket.AF_INET6: (3, 4),
}
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER = 1 << 18
_BATCH = 64
_ATTEMPTS = 10
_FEW = 16
_SEEN_REPLY = 1 << 1


class NetlinkError(Exception):
    """The kernel refused a request."""


class _Interrupted(Exception):
    """The table changed under a dump in such a way that entries may be missing."""


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes of one level, by type without flags."""
    found = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += length + 3 & ~3
    return found


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def describe(family: int, message: bytes) -> str | None:
    """The line for one entry; ``None`` for one that is neither IPv4 nor IPv6."""
    if family not in _FAMILIES:
        return None
    found = attributes(message)
    original = _tuple_words(family, found.get(_TUPLE_ORIG, b""))
    reply = _tuple_words(family, found.get(_TUPLE_REPLY, b""))
    if original is None or reply is None:
        return None
    zone = found.get(_ZONE, b"").hex() or "-"
    identity = found.get(_ID, b"").hex() or "-"
    handle = f"{family}/{zone}/{identity}/{found[_TUPLE_ORIG].hex()}"
    protocol, *ends = original
    return " ".join([str(_FAMILIES[family]), protocol, *ends, *reply[1:], handle])


def is_unreplied(message: bytes) -> bool:
    """Whether nothing came back yet for an entry."""
    status = attributes(message).get(_STATUS, b"")
    return not int.from_bytes(status, "big") & _SEEN_REPLY


def _tuple_words(family: int, data: bytes) -> list[str] | None:
    parts = attributes(data)
    addresses = attributes(parts.get(_TUPLE_IP, b""))
    protocol = attributes(parts.get(_TUPLE_PROTO, b""))
    source, destination = (addresses.get(kind) for kind in _ADDRESS_ATTRIBUTES[family])
    if source is None or destination is None or _PROTO_NUM not in protocol:
        return None
    return [
        str(protocol[_PROTO_NUM][0]),
        socket.inet_ntop(family, source),
        socket.inet_ntop(family, destination),
        str(int.from_bytes(protocol.get(_PROTO_SRC_PORT, b"\0"), "big")),
        str(int.from_bytes(protocol.get(_PROTO_DST_PORT, b"\0"), "big")),
    ]


def delete_request(handle: str) -> bytes:
    """The netlink message that deletes the entry of a handle.

    Raises:
        ValueError: the text is no handle.
    """
    family, zone, identity, original = handle.split("/")
    body = struct.pack("=BBH", int(family), 0, 0)
    body += attribute(_TUPLE_ORIG | _NESTED, bytes.fromhex(original))
    if zone != "-":
        body += attribute(_ZONE, bytes.fromhex(zone))
    if identity != "-":
        body += attribute(_ID, bytes.fromhex(identity))
    return _message(_DELETE, _REQUEST | _ACK, body)


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


def _connect() -> socket.socket:
    connection = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    connection.bind((0, 0))
    return connection


def _answers(connection: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """Messages from the kernel: type, flags and payload."""
    while True:
        data = connection.recv(_BUFFER)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, flags, _, _ = _HEADER.unpack_from(data, offset)
            yield kind, flags, data[offset + _HEADER.size : offset + length]
            offset += length + 3 & ~3


def packed(texts: Iterable[str]) -> frozenset[bytes]:
    """Addresses as they stand in the kernel's messages.

    Raises:
        OSError: a text is no address.
    """
    families = ((each, socket.AF_INET6 if ":" in each else socket.AF_INET) for each in texts)
    return frozenset(socket.inet_pton(family, each) for each, family in families)


def list_entries(among: frozenset[bytes] | None = None, *, seen: bool = False) -> list[str]:
    """A line for each entry of both families; of those with none of the addresses, maybe not.

    With ``seen`` the lines of those that nobody answered say so.

    A dump that the kernel could not finish consistently is taken again, a bounded number of times:
    an entry that is missing would be a connection that is not cut.

    Raises:
        NetlinkError: the kernel does not give them all.
    """
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(_Interrupted):
            return _dump(among, seen)
    raise NetlinkError(f"the list of entries was interrupted {_ATTEMPTS} times")


def _concerns(payload: bytes, among: frozenset[bytes]) -> bool:
    """Whether an address is at one of the four ends that an entry has in its two directions.

    Few are looked for in the message as it is, which also finds a port, a number or a mark that
    looks like one: it is quick, and whoever asked looks again.
    """
    if len(among) <= _FEW:
        return any(each in payload for each in among)
    found = attributes(payload[4:])
    for kind in (_TUPLE_ORIG, _TUPLE_REPLY):
        addresses = attributes(attributes(found.get(kind, b"")).get(_TUPLE_IP, b""))
        if not among.isdisjoint(addresses.values()):
            return True
    return False


def _dump(among: frozenset[bytes] | None, seen: bool) -> list[str]:
    lines = []
    with _connect() as connection:
        body = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
        connection.send(_message(_GET, _REQUEST | _DUMP, body))
        for kind, flags, payload in _answers(connection):
            if flags & _INTERRUPTED:
                raise _Interrupted
            if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                # Both end a dump and tell how it went; the number is 0 or a negative errno.
                number = _error_number(payload)
                if number == -errno.EINTR:
                    raise _Interrupted
                if number:
                    raise NetlinkError(os.strerror(-number))
                break
            if among is not None and not _concerns(payload, among):
                continue
            line = describe(payload[0], payload[4:])
            if line is not None:
                unreplied = seen and is_unreplied(payload[4:])
                lines.append(f"{line} unreplied" if unreplied else line)
    return lines


def delete_entries(handles: Iterable[str]) -> int:
    """Delete entries; how many there still were.

    Raises:
        NetlinkError: the kernel refuses for another reason than that the entry is gone.
        ValueError: a text is no handle.
    """
    requests = [delete_request(handle) for handle in handles]
    deleted = 0
    with _connect() as connection:
        for start in range(0, len(requests), _BATCH):
            batch = requests[start : start + _BATCH]
            connection.send(b"".join(batch))
            answers = _answers(connection)
            deleted += sum(_check(next(answers)[2]) for _ in batch)
    return deleted


def _check(payload: bytes) -> bool:
    """Whether a request was fulfilled; an entry that is gone is no error."""
    number = _error_number(payload)
    if number in (-errno.ENOENT, -errno.ESTALE):
        return False
    if number:
        raise NetlinkError(os.strerror(-number))
    return True


def _error_number(payload: bytes) -> int:
    (number,) = struct.unpack_from("=i", payload)
    return int(number)


def main(words: list[str]) -> int:
    """Do what the command line says; 0 on success, 1 if the kernel refused, 2 for misuse."""
    try:
        if words == ["list"]:
            sys.stdout.writelines(f"{line}\n" for line in list_entries())
        elif words == ["among"]:
            entries = list_entries(packed(sys.stdin.read().split()))
            sys.stdout.writelines(f"{line}\n" for line in entries)
        elif words == ["seen"]:
            sys.stdout.writelines(f"{line}\n" for line in list_entries(seen=True))
        elif words == ["delete"]:
            sys.stdout.write(f"{delete_entries(sys.stdin.read().split())}\n")
        else:
            sys.stderr.write("usage: ctnetlink.py list | among | seen | delete\n")
            return 2
    except (NetlinkError, OSError) as error:
        sys.stderr.write(f"connection tracking: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
