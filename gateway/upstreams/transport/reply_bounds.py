"""Bounds what aiohttp receives for one request, of which only the body has a limit elsewhere.

A server that sends interim replies, chunk extensions or padded chunk sizes for ever would keep the
event loop busy until the request times out, and interim replies fill the memory, too. The receiver
of a webhook, which any client may name, could so slow the whole process down.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import set_exception

MAX_INTERIM = 20
"""Interim replies to one request (RFC 9110, section 15.2); servers send one or two."""
MAX_UNREAD_BYTES = 256 * 1024
"""Of a reply whose body nobody reads."""
HEAD_BYTES = 256 * 1024
"""Of the heads of interim replies and of the reply, which aiohttp bounds by line and number."""
FRAMING = 2
"""Received octets to those of the body: chunks have a few octets around them."""

max_body_bytes: ContextVar[int] = ContextVar("max_body_bytes", default=MAX_UNREAD_BYTES)
"""Of the request that the task sends."""


class TooMuchReceivedError(aiohttp.ClientPayloadError):
    """More than the reply to a request may have."""


class BoundedReplies(ResponseHandler):
    """The protocol of a connection; it ends one on which too much comes for a request."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._heads_left = 0
        self._bytes_left = MAX_UNREAD_BYTES

    def set_response_params(self, **options: Any) -> None:
        """Begin to wait for the reply to a request."""
        self._heads_left = MAX_INTERIM + 1
        self._bytes_left = HEAD_BYTES + FRAMING * max_body_bytes.get()
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Take what came, as far as the reply may be that long."""
        self._bytes_left -= len(data)
        if self._bytes_left >= 0:
            super().data_received(data)
        else:
            self._end()

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a reply with its head whole, interim or not."""
        self._heads_left -= 1
        if self._heads_left >= 0:
            super().feed_data(data, size)
        else:
            self._end()

    def _end(self) -> None:
        if self.transport is None:
            return
        exc = TooMuchReceivedError("too much was received")
        self.set_exception(exc)
        if self._payload is not None:
            set_exception(self._payload, exc)
        self.transport.abort()
