"""Opens the log of denied packets where the rules are.

An NFLOG group belongs to a network namespace. On a node that is the agent's own. An agent that
programs another one, as those of the lab do, has a helper started there by the words that it starts
every tool with. The helper opens the socket, passes it on, and ends: a socket stays where it was
made, whoever holds it.

    python -P -m podwall.agent.denied.opening DESCRIPTOR GROUP
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

from podwall.dataplane.command import Runner, handed_down
from podwall.dataplane.nflog.reader import NflogReader, connect
from podwall.errors import KernelError

PATIENCE = 30.0
"""Seconds that the helper may take."""


def open_log(group: int, runner: Runner, prefix: Sequence[str]) -> NflogReader:
    """A reader of ``group``, where commands that begin with ``prefix`` run; not open yet.

    Args:
        group: the NFLOG group.
        runner: starts the helper, with the prefix.
        prefix: the words; with none of them no helper is needed.
    """
    if not prefix:
        return NflogReader(group)
    return NflogReader(group, connect=lambda number: _from_helper(number, runner))


def _from_helper(group: int, runner: Runner) -> socket.socket:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        words = (sys.executable, "-P", "-m", __name__, str(theirs.fileno()), str(group))
        with handed_down(theirs.fileno()):
            done = runner.run(words, timeout=PATIENCE)
        # What was sent waits here, also after the helper has ended.
        ours.setblocking(False)
        try:
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        except BlockingIOError:
            descriptors = []
    if not descriptors:
        said = done.stderr.strip().splitlines()
        raise KernelError(said[-1] if said else f"NFLOG group {group} cannot be opened")
    return socket.socket(fileno=descriptors[0])


def main(words: Sequence[str]) -> int:
    """Open the group, and pass it on."""
    descriptor, group = map(int, words)
    with socket.socket(fileno=descriptor) as out:
        try:
            with connect(group) as opened:
                socket.send_fds(out, [b"."], [opened.fileno()])
        except KernelError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
