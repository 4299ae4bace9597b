"""Ask the agent of this host, from a command."""

from __future__ import annotations

import socket
from typing import TypeVar

import msgspec

from podwall.agent.control.words import MAX_ANSWER, Answer, Request, socket_path
from podwall.agent.lock import running_agent
from podwall.errors import AgentError, InputError

PATIENCE = 90.0
"""Seconds; more than the agent allows itself."""

STATUS_PATIENCE = 20.0
"""Seconds for what is at hand and takes no look at the kernel."""

T = TypeVar("T")


def ask(state_dir: str, request: Request, expected: type[T], patience: float = PATIENCE) -> T:
    """The agent's answer to ``request``.

    Raises:
        AgentError: no agent runs here, it may not be asked, or it did not answer.
        InputError: the agent cannot make sense of what was asked.
    """
    answer = _exchange(state_dir, request, patience)
    if answer.error:
        raise (InputError if answer.input else AgentError)(answer.error)
    try:
        return msgspec.json.decode(answer.result, type=expected)
    except msgspec.DecodeError as error:
        raise AgentError(f"the agent answers in words of another version: {error}") from error


def _exchange(state_dir: str, request: Request, patience: float) -> Answer:
    path = socket_path(state_dir)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(patience)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(request) + b"\n")
            received = _read(connection)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise AgentError(_absent(state_dir)) from error
    except PermissionError as error:
        raise AgentError(f"{path} is for root alone; try with sudo") from error
    except TimeoutError as error:
        raise AgentError(f"the agent did not answer within {patience:g} s") from error
    except OSError as error:
        raise AgentError(f"{path}: {error.strerror or error}") from error
    try:
        return msgspec.json.decode(received, type=Answer)
    except msgspec.DecodeError as error:
        raise AgentError("the agent ended before it had answered") from error


def _read(connection: socket.socket) -> bytes:
    received = bytearray()
    while len(received) <= MAX_ANSWER:
        piece = connection.recv(1 << 16)
        if not piece:
            break
        received += piece
    return bytes(received)


def _absent(state_dir: str) -> str:
    path = socket_path(state_dir)
    holder = running_agent(path.parent)
    if holder is not None:
        return f"an agent runs here (process {holder}), but it does not listen on {path} (yet)"
    return (
        f"no agent runs on this host: nothing listens on {path} "
        "(--state-dir names another directory)"
    )
