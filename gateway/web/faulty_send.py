"""How a reply goes out when a fault has struck its connection.

Wraps the server's `send`, so that any reply, streamed or not, can be hit. The transport comes
from an extension of the scope, which `gateway.web.server` adds; without one nothing more is sent,
and the server makes of that what it does.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from starlette.types import Message, Receive, Scope, Send

from gateway.sandbox.faults import ConnectionFault, Effects

_NO_LINGER = struct.pack("ii", 1, 0)
"""SO_LINGER on, with no time: closing sends RST."""


class ConnectionDropped(Exception):
    """The connection is gone, as was asked; there is nobody left to reply to."""


def faulty_send(send: Send, receive: Receive, scope: Scope, effects: Effects) -> Send:
    """The `send` that does to the connection what `effects` says."""
    transport = scope.get("extensions", {}).get("veriplex.connection", {}).get("transport")

    async def resetting(_: Message) -> None:
        if transport is not None:
            raw = transport.get_extra_info("socket")
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            transport.abort()
            await _wait_for_disconnect(receive)
        raise ConnectionDropped

    async def truncating(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        body = message.get("body", b"")
        if body:
            await send({**message, "body": body[: len(body) // 2], "more_body": True})
        if transport is not None:
            transport.close()
            await _wait_for_disconnect(receive)
        raise ConnectionDropped

    async def dripping(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        body, step = message.get("body", b""), effects.drip.bytes
        for start in range(0, len(body), step):
            await send({**message, "body": body[start : start + step], "more_body": True})
            await asyncio.sleep(effects.drip.every_ms / 1000)
        await send({**message, "body": b""})

    ways = {
        ConnectionFault.RESET: resetting,
        ConnectionFault.TRUNCATE: truncating,
        ConnectionFault.DRIP: dripping,
    }
    return ways[effects.connection] if effects.connection is not None else send


async def _wait_for_disconnect(receive: Receive) -> None:
    """Wait until the server has noticed, so that it does not complain of a missing reply."""
    while (await receive())["type"] != "http.disconnect":
        pass
