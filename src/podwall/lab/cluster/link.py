"""The leader's connection to the holder: one request at a time, and an end that ends the lab."""

from __future__ import annotations

import asyncio
import socket

import msgspec

from podwall.errors import LabError
from podwall.lab.messages import Apply, Failure, Progress, Reply, Result, Started

_LONGEST_REPLY = 1 << 24


class Link:
    """Tells the holder what shall stand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, connection: socket.socket) -> Link:
        """A link over a connected socket."""
        return cls(*await asyncio.open_unix_connection(sock=connection, limit=_LONGEST_REPLY))

    async def apply(self, snapshot: str) -> None:
        """Have the lab become a snapshot (:mod:`podwall.lab.wire`).

        Raises:
            LabError: something could not be built; what could be, stands.
        """
        self._writer.write(msgspec.json.encode(Apply(snapshot, probe=False)) + b"\n")
        await self._writer.drain()
        while True:
            line = await self._reader.readline()
            if not line:
                raise LabError("the lab has ended")
            reply: Reply = msgspec.json.decode(line, type=Reply)
            match reply:
                case Started() | Progress():
                    pass
                case Failure(text=text):
                    raise LabError(text)
                case Result():
                    return
