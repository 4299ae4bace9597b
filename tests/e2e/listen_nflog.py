"""The least listener of an NFLOG group: says of each packet its prefix, addresses and port.

    listen_nflog.py GROUP

Each line on standard input is answered by one line: ``ready``, or for ``next`` the next packet.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from collections.abc import Iterator

NETLINK_NETFILTER = 12
ULOG = 4
CONFIG, PACKET = ULOG << 8 | 1, ULOG << 8
CFG_CMD, CFG_MODE, CFG_TIMEOUT = 1, 2, 4
BIND, COPY_PACKET = 1, 2
PAYLOAD, PREFIX = 9, 10


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def configure(group: int, body: bytes) -> bytes:
    body = struct.pack("!BBH", 0, 0, group) + body
    return struct.pack("=IHHII", 16 + len(body), CONFIG, 1, 0, 0) + body


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x7FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def packets(end: socket.socket) -> Iterator[dict[str, object]]:
    while True:
        data = end.recv(1 << 16)
        while len(data) >= 16:
            length, kind = struct.unpack_from("=IH", data)
            if kind == PACKET:
                yield told(dict(attributes(data[20:length])))
            data = data[(length + 3) & ~3 :]


def told(found: dict[int, bytes]) -> dict[str, object]:
    packet = found[PAYLOAD]
    start = (packet[0] & 15) * 4
    return {
        "prefix": found[PREFIX].rstrip(b"\0").decode(),
        "src": socket.inet_ntoa(packet[12:16]),
        "dst": socket.inet_ntoa(packet[16:20]),
        "port": struct.unpack_from("!H", packet, start + 2)[0],
    }


def main() -> None:
    group = int(sys.argv[1])
    end = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    end.bind((0, 0))
    end.send(configure(group, attribute(CFG_CMD, bytes([BIND]))))
    end.send(configure(group, attribute(CFG_MODE, struct.pack("!IBB", 1 << 16, COPY_PACKET, 0))))
    end.send(configure(group, attribute(CFG_TIMEOUT, struct.pack("!I", 1))))
    end.settimeout(10)
    source = packets(end)
    for line in sys.stdin:
        print(json.dumps(next(source)) if line.strip() == "next" else "ready", flush=True)


if __name__ == "__main__":
    main()
