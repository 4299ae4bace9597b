"""Ask the agent of this host, from a command."""

from __future__ import annotations

import math
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from podwall.agent.control.answers import ClusterHead, DropLine, DropsHead
from podwall.agent.control.words import (
    MAX_ANSWER,
    Answer,
    AskCluster,
    AskDrops,
    Request,
    socket_path,
)
from podwall.agent.lock import running_agent
from podwall.cluster.snapshot import Snapshot
from podwall.cluster.wire import Parts, decode_parts, snapshot_of
from podwall.errors import AgentError, InputError

PATIENCE = 90.0
"""Seconds; more than the agent allows itself."""

STATUS_PATIENCE = 20.0
"""Seconds for what is at hand and takes no look at the kernel."""

OTHER_WORDS = "the agent answers in words of another version: {}"

T = TypeVar("T")


def ask(state_dir: str, request: Request, expected: type[T], patience: float = PATIENCE) -> T:
    """The agent's answer to ``request``.

    Raises:
        AgentError: no agent runs here, it may not be asked, or it did not answer.
        InputError: the agent cannot make sense of what was asked.
    """
    with conversation(state_dir, request, expected, patience) as (answer, _lines):
        return answer


@contextmanager
def conversation(
    state_dir: str, request: Request, expected: type[T], patience: float = PATIENCE
) -> Iterator[tuple[T, Iterator[bytes]]]:
    """The agent's answer to ``request``, and the lines that follow it as they come.

    ``patience`` is for the answer and for each of the lines; it can be endless (``math.inf``).

    Raises:
        AgentError: no agent runs here, it may not be asked, or it did not answer; also while the
            lines are read.
        InputError: the agent cannot make sense of what was asked.
    """
    path = socket_path(state_dir)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        lines = _lines(connection, str(path), patience)
        try:
            connection.settimeout(None if math.isinf(patience) else patience)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(request) + b"\n")
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise AgentError(_absent(state_dir)) from error
        except PermissionError as error:
            raise AgentError(f"{path} is for root alone; try with sudo") from error
        except OSError as error:
            raise AgentError(f"{path}: {error.strerror or error}") from error
        yield _result(next(lines, b""), expected), lines


def _lines(connection: socket.socket, path: str, patience: float) -> Iterator[bytes]:
    """What is heard, line by line; a last one that was cut off is no line."""
    try:
        with connection.makefile("rb", 1 << 18) as heard:
            while line := heard.readline(MAX_ANSWER):
                if not line.endswith(b"\n"):
                    raise AgentError("the agent ended before it had answered")
                yield line
    except TimeoutError as error:
        raise AgentError(f"the agent did not answer within {patience:g} s") from error
    except OSError as error:
        raise AgentError(f"{path}: {error.strerror or error}") from error


def _result(line: bytes, expected: type[T]) -> T:
    try:
        answer = msgspec.json.decode(line, type=Answer)
    except msgspec.DecodeError as error:
        raise AgentError("the agent ended before it had answered") from error
    if answer.error:
        raise (InputError if answer.input else AgentError)(answer.error)
    try:
        return msgspec.json.decode(answer.result, type=expected)
    except msgspec.DecodeError as error:
        raise AgentError(OTHER_WORDS.format(error)) from error


def _absent(state_dir: str) -> str:
    path = socket_path(state_dir)
    holder = running_agent(path.parent)
    if holder is not None:
        return f"an agent runs here (process {holder}), but it does not listen on {path} (yet)"
    return (
        f"no agent runs on this host: nothing listens on {path} "
        "(--state-dir names another directory)"
    )


def ask_cluster(state_dir: str, known: str = "") -> tuple[ClusterHead, Snapshot | None]:
    """The cluster as the agent knows it; ``None`` if it is what ``known`` stands for.

    Raises:
        AgentError: no agent runs here, it may not be asked, or it did not answer.
    """
    with conversation(state_dir, AskCluster(known), ClusterHead) as (head, lines):
        if head.known == known:
            return head, None
        counted = Counter[str]()
        try:
            snapshot = snapshot_of(_counted(map(decode_parts, lines), counted))
        except msgspec.MsgspecError as error:
            raise AgentError(OTHER_WORDS.format(error)) from error
    if counted.total() != head.objects:
        raise AgentError("the agent ended before it had answered")
    return head, snapshot


def _counted(parts: Iterable[Parts], counter: Counter[str]) -> Iterator[Parts]:
    for each in parts:
        for name in each.__struct_fields__:
            counter[name] += len(getattr(each, name))
        yield each


@contextmanager
def ask_drops(
    state_dir: str, follow: bool = False, since: float | None = None
) -> Iterator[tuple[DropsHead, Iterator[DropLine]]]:
    """Denied packets by name, see :class:`~podwall.agent.control.words.AskDrops`.

    The lines end with what the agent keeps; with ``follow`` they go on until the agent ends, which
    is an error.

    Raises:
        AgentError: no agent runs here, it may not be asked, or it did not answer; also while the
            lines are read.
    """
    patience = math.inf if follow else PATIENCE
    with conversation(state_dir, AskDrops(follow, since), DropsHead, patience) as (head, lines):
        yield head, _drops(lines)


def _drops(lines: Iterable[bytes]) -> Iterator[DropLine]:
    for each in lines:
        try:
            line = msgspec.json.decode(each, type=DropLine)
        except msgspec.DecodeError as error:
            raise AgentError(OTHER_WORDS.format(error)) from error
        if line.end:
            return
        yield line
    raise AgentError("the agent has ended")
