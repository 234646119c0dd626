"""The request log: what clients sent and were told, for tests to assert on.

A ring: the newest `MOST` exchanges, and no more than `MOST_BYTES` of them. Keys are never
shown whole.
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
"""Of bodies, together."""
MAX_BODY_BYTES = 64 * 1024
"""Of one body; the rest of a longer one is left out."""
MAX_WAITERS = 100
"""Requests that may wait for requests at a time."""


@dataclass(slots=True)
class Exchange:
    """One request and its reply."""

    id: int
    at: float
    """Unix time in seconds, by the sandbox's clock."""
    scope: int | None
    """None if it did not come as far as a valid key."""
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
    """The `ProblemKind`, empty for none."""
    reason: str
    """What was wrong, in plain words."""
    simulated: str
    """The word, or the id of the fault, that caused it; empty if nothing did."""
    request_id: str

    def to_json(self) -> dict[str, Any]:
        """With every key cut down to its last four characters, wherever it stands."""
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
        # with its name, which may be what says that there is a key
        return self._redacted(f"{name}: {value}").partition(": ")[2]

    def _redacted(self, text: str) -> str:
        return redact_keys(text, self.credential)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeFilter:
    """Which exchanges are meant; None is any."""

    dialect: str | None = None
    operation: str | None = None
    method: str | None = None
    status: int | None = None
    path: str | None = None
    problem: str | None = None
    after: int = 0
    """Only those with a greater id."""
    text: str | None = None
    """Found in the query or the body."""

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
    """The exchanges of all keys; each scope sees its own."""

    def __init__(self) -> None:
        self._ring: deque[Exchange] = deque()
        self._bytes = 0
        self._next_id = 1
        self._arrived = asyncio.Event()
        self._waiting = 0

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, exchange: Exchange) -> None:
        """Take one in, under the next id; the oldest may have to go."""
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
        """Those that fit, newest first; of all scopes for None."""
        for exchange in reversed(self._ring):
            if scope in (None, exchange.scope) and wanted.matches(exchange):
                yield exchange

    async def wait_for(
        self, scope: int | None, wanted: ExchangeFilter, count: int, timeout_s: float
    ) -> list[Exchange]:
        """Those that fit, as soon as there are `count`, or after the time what there are."""
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
        """Forget a scope's exchanges, or all; how many there were."""
        before = len(self._ring)
        kept = [] if scope is None else [e for e in self._ring if e.scope != scope]
        self._ring = deque(kept)
        self._bytes = sum(map(_size, kept))
        return before - len(kept)


def _size(exchange: Exchange) -> int:
    return len(exchange.body) + len(exchange.reply)


def _json_or_text(text: str) -> object:
    """JSON as what it says, anything else as it is."""
    if text[:1] in ("{", "["):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return text
