"""One end of a connection, told what to do line by line: ``send``, ``read`` or ``accept``.

    talk.py listen|connect tcp|udp ADDRESS PORT

Every line is answered by one line. A read waits for a second and says ``nothing`` if nothing came.
"""

from __future__ import annotations

import socket
import sys

WAIT = 1.0
TRIES = 5.0


def open_end(role: str, protocol: str, address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    end = socket.socket(family, kind)
    end.settimeout(TRIES)
    if role == "listen":
        end.bind((address, port))
        if protocol == "tcp":
            end.listen()
    else:
        end.connect((address, port))
    end.settimeout(WAIT)
    return end


def accept(end: socket.socket) -> socket.socket:
    end.settimeout(TRIES)
    if end.type == socket.SOCK_STREAM:
        end, _ = end.accept()
    else:
        _, peer = end.recvfrom(1000, socket.MSG_PEEK)
        end.connect(peer)
    end.settimeout(WAIT)
    return end


def main() -> None:
    role, protocol, address, port = sys.argv[1:]
    end = open_end(role, protocol, address, int(port))
    for line in sys.stdin:
        verb, _, text = line.strip().partition(" ")
        try:
            if verb == "accept":
                end = accept(end)
                answer = "accepted"
            elif verb == "send":
                end.send(text.encode())
                answer = "sent"
            elif verb == "read":
                answer = end.recv(1000).decode() or "closed"
            else:
                answer = "ready"
        except TimeoutError:
            answer = "nothing"
        except OSError as error:
            answer = f"error {error.errno}"
        print(answer, flush=True)


if __name__ == "__main__":
    main()
