"""The control socket: answers this node's root, and nobody else, while the agent runs.

Its file is for the owner alone, and the kernel is asked who is at the other end. Requests are small
and few at a time, and a connection that says nothing is closed: whatever is done to the socket, the
agent goes on enforcing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import msgspec

from podwall.agent.control.words import MAX_REQUEST, Answer, Request
from podwall.errors import InputError, PodwallError

log = logging.getLogger(__name__)

MOST_AT_ONCE = 8
"""So many connections are served at a time; others are told to come back."""

PATIENCE = 5.0
"""Seconds that a connection may take to say what it wants, and to take in the answer."""

MOST_FOLLOWERS = 4
"""So many connections are served beside them whose answers have no end."""

FOLLOWERS_PATIENCE = 600.0
"""Seconds that one of these may take in nothing; what comes meanwhile is not kept for it."""

LONGEST = 60.0
"""Seconds after which a question that the reconciler has no time for is given up."""

_CREDENTIALS = struct.Struct("3i")

Answerer = Callable[[Request], Awaitable[object]]
"""Finds the answer: a value, or a :class:`Stream`."""


class Stream(msgspec.Struct, frozen=True):
    """An answer that goes on: a value, then lines of JSON as the other end takes them in.

    It is broken off after ``longest`` seconds; ``None`` is for lines that have no end. ``lines``
    are closed then, and also when the other end has gone.
    """

    head: object
    lines: AsyncGenerator[bytes, None]
    longest: float | None = LONGEST


class ControlServer:
    """Serves a socket at ``path``; :meth:`start` and :meth:`stop` bracket its life."""

    def __init__(self, path: Path, answer: Answerer, patience: float = PATIENCE) -> None:
        self._path = path
        self._answer = answer
        self._patience = patience
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._followers = 0

    async def start(self) -> None:
        """Listen. A socket that a dead agent left is replaced; the agent's lock is held.

        Raises:
            InputError: there can be no socket at the path.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._path.unlink(missing_ok=True)
            # The mode is right from the first moment on, not only after a chmod.
            before = os.umask(0o177)
            try:
                listener.bind(str(self._path))
            finally:
                os.umask(before)
            self._server = await asyncio.start_unix_server(
                self._accept, sock=listener, limit=MAX_REQUEST
            )
        except OSError as error:
            listener.close()
            reason = error.strerror or str(error)
            raise InputError(f"control socket {self._path}: {reason}") from error

    async def stop(self) -> None:
        """Listen no more, break connections, and remove the socket."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
            for each in self._serving:
                each.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer, stream = await self._respond(reader, writer)
            await self._write(writer, msgspec.json.encode(answer), self._patience)
            if stream is not None and stream.longest is None:
                await self._follow(stream, reader, writer)
            elif stream is not None:
                async with asyncio.timeout(stream.longest):
                    await self._pass_on(stream, writer, self._patience)
            writer.close()
            async with asyncio.timeout(self._patience):
                await writer.wait_closed()
        except (TimeoutError, OSError) as error:
            log.debug("a control connection broke: %r", error)
        finally:
            # Whoever takes in nothing must not hold up the end of the agent.
            writer.transport.abort()

    async def _follow(
        self, stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass lines on until the other end has gone, also if there are none for a long time."""
        self._followers += 1
        passing = asyncio.create_task(self._pass_on(stream, writer, FOLLOWERS_PATIENCE))
        gone = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait((passing, gone), return_when=asyncio.FIRST_COMPLETED)
            if passing.done():
                passing.result()
        finally:
            self._followers -= 1
            passing.cancel()
            gone.cancel()
            await asyncio.gather(passing, gone, return_exceptions=True)

    async def _pass_on(self, stream: Stream, writer: asyncio.StreamWriter, patience: float) -> None:
        async with aclosing(stream.lines) as lines:
            async for line in lines:
                await self._write(writer, line, patience)

    async def _write(self, writer: asyncio.StreamWriter, line: bytes, patience: float) -> None:
        writer.write(line + b"\n")
        async with asyncio.timeout(patience):
            await writer.drain()

    async def _respond(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[Answer, Stream | None]:
        try:
            # First of all: closing a socket with something unread would take the answer back.
            async with asyncio.timeout(self._patience):
                line = await reader.readuntil(b"\n")
        except (asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            return _refused(f"expected one line of JSON, at most {MAX_REQUEST} bytes"), None
        if not _is_trusted(writer):
            return _refused("only root may ask"), None
        if len(self._serving) - self._followers > MOST_AT_ONCE:
            return Answer(error=f"{MOST_AT_ONCE} others are asking already, try again"), None
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _refused(f"the request is not understood: {error}"), None
        return await self._result(request)

    async def _result(self, request: Request) -> tuple[Answer, Stream | None]:
        try:
            async with asyncio.timeout(LONGEST):
                result = await self._answer(request)
            stream = result if isinstance(result, Stream) else None
            value = result if stream is None else stream.head
            if stream and stream.longest is None and self._followers >= MOST_FOLLOWERS:
                await stream.lines.aclose()
                return Answer(error=f"{MOST_FOLLOWERS} others are following already"), None
            return Answer(msgspec.Raw(msgspec.json.encode(value, enc_hook=str))), stream
        except TimeoutError:
            error = f"the agent is too busy to answer within {LONGEST:g} s"
        except InputError as wrong:
            return _refused(str(wrong)), None
        except PodwallError as failure:
            error = str(failure)
        except Exception:
            log.exception("a question could not be answered: %s", type(request).__name__)
            error = "the agent failed to answer: see its log"
        return Answer(error=error), None


def _refused(error: str) -> Answer:
    """What to say to a mistake of the asker's."""
    return Answer(error=error, input=True)


def _is_trusted(writer: asyncio.StreamWriter) -> bool:
    """Whether the other end is root or the agent's own user."""
    connection: socket.socket = writer.get_extra_info("socket")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(raw)
    return user in (0, os.geteuid())
