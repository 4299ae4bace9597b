"""Where a command gets the connections from that were seen: files, a lab's nodes, or this host.

Connection tracking remembers a connection for as long as it lasts and a while longer, so one look
shows the last minutes, and looking again every few seconds misses next to nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from podwall.api import Cluster
from podwall.cli.output import progress
from podwall.dataplane.command import SystemRunner, check
from podwall.dataplane.conntrack import SEEN
from podwall.errors import InputError
from podwall.learn.observed import Collection, Observation, Sighting
from podwall.learn.reading import read_connections, read_list

if TYPE_CHECKING:
    from podwall.lab.client import Lab

_DURATION = re.compile(r"(\d{1,6})([smhd]?)\Z")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_PAUSE = 5.0
_MOST_BYTES = 1 << 30


class Watched(msgspec.Struct, frozen=True):
    """What was seen, where (``lab default``), and for how many seconds, if that is known."""

    observations: tuple[Observation, ...]
    where: str
    seconds: float | None = None


def add_connections(parser: argparse.ArgumentParser) -> None:
    """``--connections FILE`` and ``--for TIME``."""
    group = parser.add_argument_group("what was seen")
    group.add_argument(
        "--connections",
        action="append",
        default=[],
        metavar="FILE",
        help="connections that were seen: what 'conntrack -L' or 'podwall drops -o jsonl' prints, "
        "or lines like 'shop/web-0 -> shop/db-0 5432/tcp'; - for standard input; may be repeated "
        "(default with --lab and --live: the connection tracking of the nodes, or of this one)",
    )
    group.add_argument(
        "--for",
        dest="seconds",
        type=duration,
        default=0,
        metavar="TIME",
        help="with --lab and --live: keep looking for so long, as in 30s, 10m or 2h",
    )


def duration(text: str) -> int:
    """Seconds of a text like ``90``, ``30s``, ``10m``, ``2h`` or ``1d``."""
    match = _DURATION.match(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time, as in 30s, 10m or 2h")
    return int(match[1]) * _SECONDS[match[2]]


def has_connections(args: argparse.Namespace) -> bool:
    """Whether there is anything to learn from."""
    return bool(args.connections) or args.lab is not None or args.live


def check_connections(args: argparse.Namespace) -> None:
    """See that the options go together, before anything is read.

    Raises:
        InputError: they do not.
    """
    if (args.files + args.connections).count("-") > 1:
        raise InputError("standard input can be read once: only one of the names may be -")
    if args.seconds and (args.connections or not has_connections(args)):
        raise InputError("--for is about the connections of nodes, as with --lab and --live")


def watched(args: argparse.Namespace, cluster: Cluster) -> Watched:
    """The connections that are meant.

    Raises:
        InputError: a file cannot be read, or none is named.
        LabError: the lab ended.
        KernelError: this host's table cannot be read.
    """
    if args.connections:
        collection = Collection()
        for name in args.connections:
            called = "<stdin>" if name == "-" else name
            collection.add(read_connections(_read(name), called, cluster.snapshot))
        return Watched(collection.observations(), ", ".join(args.connections))
    if args.lab is not None:
        # Who only reads files does not pay for the lab.
        from podwall.lab import client  # noqa: PLC0415

        with contextlib.closing(client.find(args.lab)) as lab:
            nodes = lab.status().nodes
            found = watch(lambda: _of_lab(lab, nodes), args.seconds)
        return Watched(found, f"lab {args.lab}", args.seconds)
    if args.live:
        return Watched(watch(_of_host, args.seconds), "this node", args.seconds)
    raise InputError("no connections to learn from: name a file by --connections")


def watch(
    look: Callable[[], Iterable[Sighting]],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Observation, ...]:
    """Look once, and again until ``seconds`` have passed."""
    collection = Collection()
    start = clock()
    with progress("looking") as tell:
        while True:
            collection.add(look())
            passed = clock() - start
            tell(int(min(passed, seconds)), int(seconds))
            if passed >= seconds:
                return collection.observations()
            sleep(min(_PAUSE, seconds - passed))


def _of_lab(lab: Lab, nodes: Iterable[str]) -> Iterable[Sighting]:
    for node in nodes:
        yield from read_list(lab.output_of(f"node/{node}", SEEN))


def _of_host() -> Iterable[Sighting]:
    return read_list(check(SEEN, SystemRunner().run(SEEN)))


def _read(name: str) -> str:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from error
    if len(data) > _MOST_BYTES:
        # What is learned from a part would close the rest.
        raise InputError(f"{name}: it has more than {_MOST_BYTES} bytes, name it in parts")
    return data.decode("utf-8", "backslashreplace")
