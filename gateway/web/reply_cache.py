"""Replies written before, which need not be written again.

A dialect is pure: the same request and the same outcome object give the same bytes. Equal requests
also read as equal operations, so an operation is kept beside its reply.

The outcome of a sandbox sample follows from the request alone, so such a reply stands for any
equal request; those requests have keys of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from adapters.contract.dialect import AnyEndpoint
from adapters.contract.operations import Operation, Verify
from adapters.contract.wire import Reply, WireReply, WireRequest

MAX_ENTRIES = 10_240
EVICTED_AT_ONCE = 128
"""Oldest entries that go when there are too many."""
MAX_BYTES = 16 * 1024 * 1024
"""Of all entries together, about."""
ENTRY_OVERHEAD_BYTES = 600
"""Bytes of an entry beside its reply's body, about."""
MAX_REQUEST_BYTES = 1_024
"""Query string and body together; a larger request has no key."""
MAX_REPLY_BYTES = 4_096
"""Body of a reply that is kept."""

RequestKey: TypeAlias = bytes
"""A digest of all that reading a request may depend on."""


class CachedReply(NamedTuple):
    """An operation as it was read, and the reply to its outcome."""

    op: Operation[Any]
    outcome: object
    """None if it follows from the request."""
    reply: WireReply
    verdict: str = ""
    """Of the outcome, for the log."""

    @property
    def size_bytes(self) -> int:
        """About."""
        return ENTRY_OVERHEAD_BYTES + len(self.reply.body)


class ReplyCache:
    """Replies to verifications; the oldest go first."""

    def __init__(self) -> None:
        self._entries: dict[RequestKey, CachedReply] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def key(
        self, dialect: str, endpoint: AnyEndpoint, request: WireRequest, *, is_sample: bool
    ) -> RequestKey | None:
        """None for a request too large to be kept.

        `is_sample` says that the outcome follows from the request.
        """
        size = len(request.query_string) + len(request.body)
        if size > MAX_REQUEST_BYTES or request.body_file is not None:
            return None
        read_from = repr(
            (
                is_sample,
                dialect,
                endpoint.name,
                request.method,
                request.path,
                request.query_string,
                request.headers.get("content-type", ""),
                request.body,
            )
        )
        return blake2b(read_from.encode(), digest_size=16).digest()

    def find(self, key: RequestKey | None) -> CachedReply | None:
        return None if key is None else self._entries.get(key)

    def reply_for(
        self,
        key: RequestKey | None,
        op: Operation[Any],
        outcome: object,
        write: Callable[[], Reply],
        verdict: str = "",
    ) -> Reply:
        """The reply to `op` with `outcome`: the one that is kept, or what `write` returns.

        `outcome` is None if it follows from the request.
        """
        if key is None or not isinstance(op, Verify):
            return write()
        cached = self._entries.get(key)
        if cached is not None and cached.outcome is outcome:
            return cached.reply
        reply = write()
        if not isinstance(reply, WireReply) or len(reply.body) > MAX_REPLY_BYTES:
            return reply
        # copied, since the encoder's buffers are far larger than what is in them
        reply = replace(reply, body=bytes(memoryview(reply.body)))
        self._evict(key)
        self._entries[key] = entry = CachedReply(op, outcome, reply, verdict)
        self._bytes += entry.size_bytes
        while len(self._entries) > MAX_ENTRIES or self._bytes > MAX_BYTES:
            # many at a time: with each that went, a dictionary's first key takes longer to find
            for oldest in list(islice(self._entries, EVICTED_AT_ONCE)):
                self._evict(oldest)
        return reply

    def _evict(self, key: RequestKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size_bytes
