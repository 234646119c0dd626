"""The channel between the supervisor and a worker: JSON lines over a pair of sockets.

A message is an object with one member, whose name says what it is.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any, Self

import orjson

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""A report of all metrics is the longest; a hundred series take ten kilobytes."""


class Channel:
    """One end of a channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, sock: socket.socket) -> Self:
        return cls(*await asyncio.open_connection(sock=sock, limit=MAX_MESSAGE_BYTES))

    def send(self, name: str, value: Any = None) -> None:
        """Send without waiting; nothing is sent if the other end is closed."""
        if not self._writer.is_closing():
            self._writer.write(orjson.dumps({name: value}) + b"\n")

    async def messages(self) -> AsyncIterator[tuple[str, Any]]:
        """The name and the value of each message, until the other end is closed."""
        while True:
            try:
                line = await self._reader.readline()
            except (OSError, ValueError):  # the other end was killed, or is out of its mind
                return
            if not line.endswith(b"\n"):
                return
            ((name, value),) = orjson.loads(line).items()
            yield name, value

    async def aclose(self) -> None:
        """Close, once what was sent is on its way."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:  # the other end is gone
            return
