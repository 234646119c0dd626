"""Requests read and answers written before: dialects are pure, so that it need not be done twice.

A request is known by what reading it may depend on, and its reply stands as long as the outcome
is the very same object. Small ones alone are kept: the latest `MOST`, up to `MOST_BYTES` together.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from typing import Any, NamedTuple

from adapters.contract.dialect import Endpoint
from adapters.contract.operations import Operation
from adapters.contract.wire import StreamReply, WireReply, WireRequest

MAX_ENTRIES = 10_240
EVICTED_AT_ONCE = 128
"""Forgotten when there are more."""
MAX_BYTES = 16 * 1024 * 1024
"""Of replies, and what is kept beside them."""
ENTRY_OVERHEAD_BYTES = 600
"""Bytes that an entry takes besides, about."""
MAX_REQUEST_BYTES = 1_024
"""Bytes of query string and body."""
MAX_REPLY_BYTES = 4_096
"""Bytes of the body."""


RequestDigest = bytes
"""A digest of all that reading a request may depend on, which may be long."""


class CachedReply(NamedTuple):
    """A request as read, and the reply to it."""

    op: Operation
    outcome: object
    """Or what stands for all those that would be the same."""
    reply: WireReply

    @property
    def size_bytes(self) -> int:
        """In bytes, about."""
        return ENTRY_OVERHEAD_BYTES + len(self.reply.body)


class ReplyCache:
    """Remembers replies."""

    def __init__(self) -> None:
        self._entries: dict[RequestDigest, CachedReply] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def digest(
        self, dialect: str, endpoint: Endpoint[Any], request: WireRequest
    ) -> RequestDigest | None:
        """None for a request too large to be kept."""
        if len(request.query_string) + len(request.body) > MAX_REQUEST_BYTES:
            return None
        content_type = request.headers.get("content-type", "")
        asked = (dialect, endpoint.name, request.method, request.path, request.query_string)
        told = repr((*asked, content_type, request.body))
        return blake2b(told.encode(), digest_size=16).digest()

    def get(self, key: RequestDigest) -> CachedReply | None:
        return self._entries.get(key)

    def put(
        self, key: RequestDigest, op: Operation, outcome: object, reply: WireReply | StreamReply
    ) -> WireReply | StreamReply:
        """Keep a reply if it is small; the reply, or its copy that is kept."""
        if not isinstance(reply, WireReply) or len(reply.body) > MAX_REPLY_BYTES:
            return reply
        self._evict(key)
        # copied, since the encoder's buffers are far larger than what is in them
        reply = replace(reply, body=bytes(memoryview(reply.body)))
        self._entries[key] = kept = CachedReply(op, outcome, reply)
        self._bytes += kept.size_bytes
        while len(self._entries) > MAX_ENTRIES or self._bytes > MAX_BYTES:
            # many at a time: with each that went, a dictionary's first key takes longer to find
            for oldest in list(islice(self._entries, EVICTED_AT_ONCE)):
                self._evict(oldest)
        return reply

    def _evict(self, key: RequestDigest) -> None:
        kept = self._entries.pop(key, None)
        if kept is not None:
            self._bytes -= kept.size_bytes
