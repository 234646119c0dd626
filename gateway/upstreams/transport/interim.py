"""Bounds the interim replies before a reply, which aiohttp reads and stores without end.

A server that sends `100 Continue` for ever would keep the event loop busy and fill the memory. The
receiver of a webhook, which any client may name, could so stop the whole process.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

MAX_INTERIM = 20
"""Interim replies to one request (RFC 9110, section 15.2); servers send one or two."""


class BoundedReplies(ResponseHandler):
    """The protocol of a connection; it ends one with too many replies to a request."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._count = 0

    def set_response_params(self, **options: Any) -> None:
        """Begin to wait for the reply to a request."""
        self._count = 0
        super().set_response_params(**options)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a reply with its head whole, interim or not."""
        self._count += 1
        if self._count <= MAX_INTERIM + 1:
            super().feed_data(data, size)
        elif self.transport is not None:
            self.set_exception(HttpProcessingError(message="too many interim replies"))
            self.transport.abort()
