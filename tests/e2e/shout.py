"""Send packets and say what became of each, in one word.

    shout.py ADDRESS tcp:PORT|udp:PORT|cast:PORT|ping|gre ...

``refused`` is a reset or an ICMP error, ``open`` a connection, ``nothing`` neither within a moment.
``cast`` is UDP without waiting for any of it.
"""

from __future__ import annotations

import socket
import struct
import sys

WAIT = 0.3
GRE = 47


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def shout(address: str, what: str) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol, _, port = what.partition(":")
    if protocol in ("ping", "gre"):
        number = {"gre": GRE, "ping": 58 if family is socket.AF_INET6 else 1}[protocol]
        echo = 128 if family is socket.AF_INET6 else 8
        # The kernel fills in ICMPv6's checksum itself.
        head = struct.pack("!BBHHH", echo, 0, 0, 1, 1)
        packet = struct.pack("!BBHHH", echo, 0, checksum(head), 1, 1)
        with socket.socket(family, socket.SOCK_RAW, number) as raw:
            raw.sendto(packet, (address, 0))
        return "sent"
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as end:
        end.settimeout(WAIT)
        try:
            end.connect((address, int(port)))
            if protocol != "tcp":
                end.send(b"x")
            if protocol == "cast":
                return "sent"
            if protocol == "udp":
                end.recv(100)
        except TimeoutError:
            return "nothing"
        except OSError:
            return "refused"
    return "open"


if __name__ == "__main__":
    print(" ".join(shout(sys.argv[1], each) for each in sys.argv[2:]))
