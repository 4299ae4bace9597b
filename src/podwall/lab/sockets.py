"""Sockets of a lab's network namespaces, for a process that stays outside.

A socket belongs to the network that it was made in, whoever holds it. So a child goes into the lab,
makes it there, hands it over and ends; nothing of the lab is entered by the process that asked.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from podwall import errors
from podwall.errors import LabError, PodwallError
from podwall.lab import enter, isolation, libc
from podwall.lab.isolation import Isolated

_LONGEST = 4096


def socket_in(world: Isolated, netns: str, make: Callable[[], socket.socket]) -> socket.socket:
    """A socket that ``make`` made in a network namespace of the lab.

    Raises:
        LabError: the lab has ended, or the namespace cannot be entered.
        PodwallError: what ``make`` raised.
    """
    isolation.flush_all()
    ours, theirs = socket.socketpair()
    with ours:
        child = os.fork()
        if child == 0:
            ours.close()
            os._exit(_make(world, netns, make, theirs))
        theirs.close()
        said, descriptors, _, _ = socket.recv_fds(ours, _LONGEST, 1)
    os.waitpid(child, 0)
    if descriptors:
        return socket.socket(fileno=descriptors[0])
    name, _, text = said.decode(errors="replace").partition(":")
    raise _known_error(name)(text or f"a socket of {netns} cannot be made in the lab")


def _make(
    world: Isolated, netns: str, make: Callable[[], socket.socket], answer: socket.socket
) -> int:
    """The child's whole life."""
    try:
        libc.die_with_parent(signal.SIGKILL)
        enter.enter(world, netns)
        with make() as made:
            socket.send_fds(answer, [b"."], [made.fileno()])
    except (PodwallError, OSError) as error:
        answer.send(f"{type(error).__name__}:{error}".encode()[:_LONGEST])
    return 0


def _known_error(name: str) -> type[PodwallError]:
    kind = getattr(errors, name, LabError)
    known = isinstance(kind, type) and issubclass(kind, PodwallError)
    return kind if known and kind in (LabError, errors.KernelError) else LabError
