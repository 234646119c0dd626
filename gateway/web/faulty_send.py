"""Connection faults of the sandbox, applied to a reply on its way out.

Each fault is a wrapper of the ASGI `send`, so it works for any reply, streamed or not. Breaking a
connection takes its transport, which `gateway.web.server` puts into the scope. Under another ASGI
server the reply ends where the fault strikes, and what the client sees then is up to that server.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Protocol

from starlette.types import Message, Receive, Scope, Send

from gateway.sandbox.faults import ConnectionFault, Effects

CONNECTION_EXTENSION = "veriplex.connection"
"""Extension of the ASGI scope that holds the connection's `transport`."""

NO_LINGER = struct.pack("ii", 1, 0)
"""SO_LINGER on with a time of 0 seconds: closing the socket sends RST."""


class ConnectionDropped(Exception):
    """The fault has closed the connection: the rest of the reply has no receiver."""


def faulty_send(send: Send, receive: Receive, scope: Scope, effects: Effects) -> Send:
    """`send` with the connection fault of `effects`, if there is one."""
    if effects.connection is None:
        return send
    return FAULTY_SENDS[effects.connection](send, ClientConnection(scope, receive), effects)


class ClientConnection:
    """A client's connection, to be ended before a reply is whole; nothing without a transport."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        extension = scope.get("extensions", {}).get(CONNECTION_EXTENSION, {})
        self._transport: asyncio.Transport | None = extension.get("transport")
        self._receive = receive

    def is_closed(self) -> bool:
        return self._transport is not None and self._transport.is_closing()

    async def reset(self) -> None:
        if self._transport is None:
            return
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self._transport.abort()
        await self._wait_until_closed()

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            await self._wait_until_closed()

    async def _wait_until_closed(self) -> None:
        # otherwise the server would log that the reply is missing
        while (await self._receive())["type"] != "http.disconnect":
            pass


class _FaultySend(Protocol):
    """A `send` with a fault. Raises `ConnectionDropped` once the connection is closed."""

    def __init__(self, send: Send, connection: ClientConnection, effects: Effects) -> None: ...

    async def __call__(self, message: Message) -> None: ...


class _ResettingSend:
    """Resets the connection in place of a reply."""

    def __init__(self, send: Send, connection: ClientConnection, effects: Effects) -> None:
        self._connection = connection

    async def __call__(self, message: Message) -> None:
        await self._connection.reset()
        raise ConnectionDropped


class _TruncatingSend:
    """Sends the head and half of the first piece of the body, then closes the connection."""

    def __init__(self, send: Send, connection: ClientConnection, effects: Effects) -> None:
        self._send = send
        self._connection = connection

    async def __call__(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        body = message.get("body", b"")
        if body:
            await self._send({**message, "body": body[: len(body) // 2], "more_body": True})
        await self._connection.close()
        raise ConnectionDropped


class _DrippingSend:
    """Sends the body a few bytes at a time, with a pause after each."""

    def __init__(self, send: Send, connection: ClientConnection, effects: Effects) -> None:
        self._send = send
        self._step_bytes = effects.drip.bytes
        self._pause_s = effects.drip.every_ms / 1000

    async def __call__(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        body = message.get("body", b"")
        for start in range(0, len(body), self._step_bytes):
            piece = body[start : start + self._step_bytes]
            await self._send({**message, "body": piece, "more_body": True})
            await asyncio.sleep(self._pause_s)
        await self._send({**message, "body": b""})


FAULTY_SENDS: Mapping[ConnectionFault, type[_FaultySend]] = {
    ConnectionFault.RESET: _ResettingSend,
    ConnectionFault.TRUNCATE: _TruncatingSend,
    ConnectionFault.DRIP: _DrippingSend,
}
