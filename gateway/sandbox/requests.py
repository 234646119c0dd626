"""The request log: requests and their replies, for tests to assert on.

A ring buffer of the newest `MAX_EXCHANGES` exchanges with at most `MAX_TOTAL_BODY_BYTES` of
bodies. Keys are never shown whole.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.sandbox.redact import redact_key, redact_keys

MAX_EXCHANGES = 3_000
MAX_TOTAL_BODY_BYTES = 8 * 1024 * 1024
"""Of all bodies together."""
MAX_BODY_BYTES = 64 * 1024
"""Of one body; the rest is cut off."""
MAX_WAITERS = 100
"""Calls that may wait for exchanges at the same time."""


@dataclass(slots=True)
class Exchange:
    """One request and its reply."""

    id: int
    at: float
    """Unix time in seconds, by the sandbox's clock."""
    scope: int | None
    """None for a request without a valid key."""
    dialect: str
    operation: str
    """The endpoint's name; empty for an unknown path."""
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    credential: str
    status: int
    reply: bytes
    problem: str
    """The `ProblemKind`; empty if there was none."""
    reason: str
    """The problem in words."""
    simulated: str
    """The word or the fault that caused the reply; empty if it was not simulated."""
    request_id: str

    def to_json(self) -> dict[str, Any]:
        """The exchange with every key cut to its last four characters."""
        return {
            "id": self.id,
            "at": datetime.fromtimestamp(self.at, UTC),
            "request_id": self.request_id,
            "dialect": self.dialect,
            "operation": self.operation,
            "method": self.method,
            "path": self._redacted(self.path),
            "query": self._redacted(self.query),
            "headers": {k: self._header(k, v) for k, v in self.headers.items()},
            "body": _json_or_text(self._redacted(self.body.decode("utf-8", "replace"))),
            "credential": redact_key(self.credential),
            "status": self.status,
            "reply": _json_or_text(self._redacted(self.reply.decode("utf-8", "replace"))),
            "problem": self.problem or None,
            "reason": self.reason or None,
            "simulated": self.simulated or None,
        }

    def _header(self, name: str, value: str) -> str:
        # with its name, which may tell that the value is a key
        return self._redacted(f"{name}: {value}").partition(": ")[2]

    def _redacted(self, text: str) -> str:
        return redact_keys(text, self.credential)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeFilter:
    """A filter of exchanges; None matches anything."""

    dialect: str | None = None
    operation: str | None = None
    method: str | None = None
    status: int | None = None
    path: str | None = None
    problem: str | None = None
    after: int = 0
    """Only those with a greater id."""
    text: str | None = None
    """A part of the query or the body."""

    def matches(self, e: Exchange) -> bool:
        return (
            e.id > self.after
            and all(
                getattr(self, name) in (None, getattr(e, name)) for name in _FIELDS_COMPARED_EQUAL
            )
            and (self.text is None or self.text in e.query or self.text.encode() in e.body)
        )


_FIELDS_COMPARED_EQUAL = tuple(
    f.name for f in fields(ExchangeFilter) if f.name not in ("after", "text")
)


class RequestLog:
    """The exchanges of all scopes; each scope sees only its own."""

    def __init__(self) -> None:
        self._ring: deque[Exchange] = deque()
        self._bytes = 0
        self._next_id = 1
        self._arrived = asyncio.Event()
        self._waiting = 0

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, exchange: Exchange) -> None:
        """Add an exchange under the next id, and remove the oldest beyond the bounds."""
        exchange.id, self._next_id = self._next_id, self._next_id + 1
        exchange.body = exchange.body[:MAX_BODY_BYTES]
        exchange.reply = exchange.reply[:MAX_BODY_BYTES]
        self._ring.append(exchange)
        self._bytes += _size(exchange)
        while len(self._ring) > MAX_EXCHANGES or self._bytes > MAX_TOTAL_BODY_BYTES:
            self._bytes -= _size(self._ring.popleft())
        if self._waiting:
            self._arrived.set()

    def find(self, scope: int | None, wanted: ExchangeFilter) -> Iterator[Exchange]:
        """The matching exchanges of a scope, for None of all scopes; newest first."""
        for exchange in reversed(self._ring):
            if scope in (None, exchange.scope) and wanted.matches(exchange):
                yield exchange

    async def wait_for(
        self, scope: int | None, wanted: ExchangeFilter, count: int, timeout_s: float
    ) -> list[Exchange]:
        """The matching exchanges, once there are `count` of them or the time is over."""
        if self._waiting >= MAX_WAITERS:
            return list(self.find(scope, wanted))
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                while len(found := list(self.find(scope, wanted))) < count:
                    self._arrived.clear()
                    await self._arrived.wait()
                return found
        except TimeoutError:
            return list(self.find(scope, wanted))
        finally:
            self._waiting -= 1

    def clear(self, scope: int | None) -> int:
        """Remove a scope's exchanges, for None all; returns their number."""
        before = len(self._ring)
        kept = [] if scope is None else [e for e in self._ring if e.scope != scope]
        self._ring = deque(kept)
        self._bytes = sum(map(_size, kept))
        return before - len(kept)


def _size(exchange: Exchange) -> int:
    return len(exchange.body) + len(exchange.reply)


def _json_or_text(text: str) -> object:
    """The parsed value of JSON objects and arrays; any other text unchanged."""
    if text[:1] in ("{", "["):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return text
