"""Starts the process that leads a lab (:mod:`podwall.lab.cluster`), and asks it later.

It is a program of its own rather than a fork, for it lives long and needs little of what the
command line has loaded. Until it says that all is up the lab is the command's: whatever ends one
ends the other.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec

from podwall.errors import LabError
from podwall.lab import enter, state
from podwall.lab.client import Lab
from podwall.lab.cluster.config import OVERVIEW, Config, Overview, Up
from podwall.lab.messages import Failure, Progress, Reply, Result, Started
from podwall.lab.world import Progress as Report

_NEEDED = ("aiohttp", "kubernetes_asyncio", "prometheus_client")
_ANSWER_WITHIN = 10.0


def check_installed() -> None:
    """See whether everything that a lab with an API server needs is there.

    Raises:
        LabError: something is not.
    """
    missing = [each for each in _NEEDED if importlib.util.find_spec(each) is None]
    if missing:
        raise LabError(
            f"a lab with agents needs the Python package {missing[0].replace('_', '-')}, which "
            "comes with podwall's extra [agent]; in a checkout: scripts/setup agent"
        )


def lead(lab: Lab, config: Config, progress: Report) -> Up:
    """Start the leader of a lab that was built to be led, and wait until all is up.

    Raises:
        LabError: something did not start; the message says what, and where the log is.
    """
    home = state.log_path(state.kubeconfig_path(lab.name).parent)
    ours, theirs = socket.socketpair()
    with (
        contextlib.closing(ours),
        contextlib.closing(theirs),
        contextlib.closing(lab.detach()) as holder,
        _opened(home.parent, os.O_RDONLY | os.O_DIRECTORY) as directory,
        _opened(home, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as log,
    ):
        descriptors = {"holder": holder.fileno(), "caller": theirs.fileno(), "home": directory}
        words = (f"--{name}={number}" for name, number in descriptors.items())
        argv = [sys.executable, "-P", "-m", "podwall.lab.cluster", *words]
        enter.launch(lab.world, argv, os.environ, list(descriptors.values()), log)
        theirs.close()
        try:
            ours.sendall(msgspec.json.encode(config) + b"\n")
            with ours.makefile("rb") as lines:
                up = _listen(lines, progress, home)
            # From here on the cluster stays.
            ours.sendall(b"\n")
        except OSError as error:
            raise LabError(f"the lab's cluster ended before it was up{_end_of(home)}") from error
    return up


def overview(name: str) -> Overview:
    """What the leader of a lab knows: where its API server is, how its agents are.

    Raises:
        LabError: it does not answer.
    """
    path = state.kubeconfig_path(name)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        config = msgspec.json.decode(path.read_bytes())
        url = config["clusters"][0]["cluster"]["server"]
        with opener.open(url + OVERVIEW, timeout=_ANSWER_WITHIN) as answer:
            return msgspec.json.decode(answer.read(), type=Overview)
    except (OSError, msgspec.DecodeError) as error:
        # urllib wraps what failed; what wraps it says less.
        cause = getattr(error, "reason", error)
        why = getattr(cause, "strerror", None) or cause
        raise LabError(f"the API server of the lab {name!r} does not answer: {why}") from error


def _listen(lines: Iterator[bytes], progress: Report, log: Path) -> Up:
    for line in lines:
        reply: Reply = msgspec.json.decode(line, type=Reply)
        match reply:
            case Started():
                pass
            case Progress(done=done, total=total, label=label):
                progress(done, total, label)
            case Failure(text=text):
                raise LabError(f"{text}{_end_of(log)}")
            case Result(value=value):
                return msgspec.json.decode(value, type=Up)
    raise LabError(f"the lab's cluster ended before it was up{_end_of(log)}")


def _end_of(log: Path) -> str:
    """The last lines of a log that is about to be removed."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
    except OSError:
        return ""
    return "".join(f"\n  {each}" for each in lines)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
