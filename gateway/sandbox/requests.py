"""The request log: requests and their replies, for tests to assert on.

It holds the newest `MAX_EXCHANGES` exchanges in at most `MAX_LOG_BYTES`, of each the beginning.
Keys are never shown whole: an exchange is redacted when it is first looked at, once, and searched
only in its redacted form, since a search of the original would find out a key letter by letter.
(Redacting takes as long as answering a test key does; most exchanges are never looked at.)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

import orjson

from adapters.contract.json_values import parse_json
from gateway.sandbox.budget import ScopedStore
from gateway.sandbox.redact import redact_key, redact_keys
from gateway.tasks import Computation, TimeSlices

MAX_EXCHANGES = 3_000
MAX_LOG_BYTES = 12 * 1024 * 1024
"""Of all exchanges together, with all that is stored of each."""
MAX_PAGE_BYTES = 4 * 1024 * 1024
"""Of the exchanges in one answer."""
PIECE_BYTES = 64 * 1024
"""Of an answer, which is sent in such pieces."""
EXCHANGE_OVERHEAD_BYTES = 1_500
"""Of an exchange, beside its texts."""

MAX_BODY_BYTES = 4 * 1024
"""Of a body, and of a reply; the rest is cut off."""
MAX_QUERY_CHARACTERS = 4 * 1024
MAX_PATH_CHARACTERS = 1024
MAX_HEADER_CHARACTERS = 1024
"""Of one header's value."""
MAX_HEADERS_CHARACTERS = 8 * 1024
"""Of all headers together; further ones are left out."""
MAX_REASON_CHARACTERS = 1024
MAX_CREDENTIAL_CHARACTERS = 1024
MARGIN = 1024
"""What is stored beyond these limits until keys are redacted: one that a limit would cut in two is
still recognised."""

MAX_WAITERS = 100
"""Calls that may wait for exchanges at the same time."""
MAX_WAITERS_OF_SCOPE = 20


class TooManyWaiters(Exception):
    """No more calls can wait now."""


@dataclass(slots=True)
class Exchange:
    """One request and its reply."""

    id: int
    at: float
    """Unix time in seconds, by the sandbox's clock."""
    scope: int | None
    """None for a request without a valid key."""
    dialect: str
    """Empty for a path that no dialect has."""
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
    truncated: frozenset[str] = frozenset()
    """Names of the fields of which only the beginning is stored."""
    unredacted: tuple[str, ...] = (
        "headers", "body", "reply", "query", "path", "reason", "request_id"
    )  # fmt: skip
    """Names of the fields in which there may be keys still."""

    @property
    def size(self) -> int:
        """Bytes in memory, about. Redacted, a text may need two bytes for each character."""
        texts = (self.path, self.query, self.credential, self.reason, self.request_id)
        characters = sum(map(len, texts)) + _size_of_headers(self.headers)
        return EXCHANGE_OVERHEAD_BYTES + 2 * characters + len(self.body) + len(self.reply)

    def truncate(self, margin: int) -> None:
        """Cut what is longer than the limits allow, and `margin` more."""
        self.path = self._cut("path", self.path, MAX_PATH_CHARACTERS + margin)
        self.query = self._cut("query", self.query, MAX_QUERY_CHARACTERS + margin)
        self.body = self._cut("body", self.body, MAX_BODY_BYTES + margin)
        self.reply = self._cut("reply", self.reply, MAX_BODY_BYTES + margin)
        self.reason = self._cut("reason", self.reason, MAX_REASON_CHARACTERS + margin)
        self.credential = self._cut("credential", self.credential, MAX_CREDENTIAL_CHARACTERS)
        if _size_of_headers(self.headers) > MAX_HEADER_CHARACTERS + margin:
            self._truncate_headers(margin)

    def _truncate_headers(self, margin: int) -> None:
        kept: dict[str, str] = {}
        left = MAX_HEADERS_CHARACTERS
        for name, value in self.headers.items():
            left -= len(name) + min(len(value), MAX_HEADER_CHARACTERS)
            if left < 0:
                self.truncated |= {"headers"}
                break
            kept[name] = self._cut("headers", value, MAX_HEADER_CHARACTERS + margin)
        self.headers = kept

    def _cut(self, name: str, text: Any, limit: int) -> Any:
        if len(text) <= limit:
            return text
        self.truncated |= {name}
        return text[:limit]

    def redact_next(self) -> None:
        """Cut every key in one more field to its last four characters."""
        name, *rest = self.unredacted
        self.unredacted = tuple(rest)
        match name:
            case "headers":
                self.headers = dict(map(self._redact_header, self.headers.items()))
            case "body" | "reply":
                text = getattr(self, name).decode("utf-8", "replace")
                setattr(self, name, self._redact_text(text, name).encode())
            case _:
                setattr(self, name, self._redact_text(getattr(self, name), name))
        if not rest:
            self.credential = redact_key(self.credential)
            self.truncate(margin=0)

    def _redact_text(self, text: str, name: str = "") -> str:
        is_cut = name in self.truncated
        return redact_keys(text, self.credential, is_cut=is_cut) if text else ""

    def _redact_header(self, header: tuple[str, str]) -> tuple[str, str]:
        # together, since a name may say that the value is a key, or be one
        is_cut = len(header[1]) > MAX_HEADER_CHARACTERS
        text = redact_keys(": ".join(header), self.credential, is_cut=is_cut)
        name, _, value = text.partition(": ")
        return name, value

    def to_json(self) -> dict[str, Any]:
        """The exchange as the control API shows it, once it is redacted."""
        if self.unredacted:
            raise ValueError("an exchange is shown in its redacted form alone")
        return {
            "id": self.id,
            "at": datetime.fromtimestamp(self.at, UTC),
            "request_id": self.request_id,
            "dialect": self.dialect or None,
            "operation": self.operation,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "body": _json_or_text(self.body),
            "credential": self.credential,
            "status": self.status,
            "reply": _json_or_text(self.reply),
            "problem": self.problem or None,
            "reason": self.reason or None,
            "simulated": self.simulated or None,
            "truncated": sorted(self.truncated),
        }


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
    before: int | None = None
    """Only those with a lesser id."""
    text: str | None = None
    """A part of the redacted query or body."""

    def fits(self, e: Exchange) -> bool:
        """Whether an exchange matches, as far as that can be seen before it is redacted."""
        return (
            e.id > self.after
            and (self.before is None or e.id < self.before)
            and all(
                getattr(self, name) in (None, getattr(e, name)) for name in _FIELDS_COMPARED_EQUAL
            )
        )

    @property
    def reads_text(self) -> bool:
        """Whether the rest is decided by an exchange's redacted text."""
        return self.path is not None or self.text is not None

    def fits_text(self, e: Exchange) -> bool:
        return self.path in (None, e.path) and (
            self.text is None or self.text in e.query or self.text.encode() in e.body
        )


_FIELDS_COMPARED_EQUAL = ("dialect", "operation", "method", "status", "problem")
FILTER_NAMES = frozenset(field.name for field in fields(ExchangeFilter))


@dataclass(slots=True, eq=False)
class _Waiter:
    """A call that waits for matching exchanges."""

    scope: int | None
    wanted: ExchangeFilter
    missing: int
    """How many have yet to come."""
    unchecked: deque[int]
    """Ids of exchanges that may match."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class RequestLog:
    """The exchanges of all scopes; each scope sees only its own."""

    def __init__(self, slices: TimeSlices) -> None:
        """Searching and showing take turns with the other computations in `slices`."""
        self._slices = slices
        self._exchanges: ScopedStore[int, Exchange] = ScopedStore(
            max_values=MAX_EXCHANGES, max_size=MAX_LOG_BYTES
        )
        self._next_id = 1
        self._waiters: dict[int | None, list[_Waiter]] = {}

    def __len__(self) -> int:
        return len(self._exchanges)

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return self._exchanges.size

    @property
    def scopes(self) -> list[int]:
        """Those of the keys that have exchanges."""
        return self._exchanges.scopes

    def add(self, exchange: Exchange) -> None:
        """Add an exchange under the next id, and remove older ones beyond the bounds."""
        exchange.id, self._next_id = self._next_id, self._next_id + 1
        exchange.truncate(MARGIN)
        self._exchanges.put(exchange.scope, exchange.id, exchange, exchange.size)
        if self._waiters:
            for scope in {exchange.scope, None}:
                for waiter in self._waiters.get(scope, ()):
                    if waiter.wanted.fits(exchange):
                        waiter.unchecked.append(exchange.id)
                        waiter.arrived.set()

    def get(self, scope: int | None, exchange_id: int) -> Exchange | None:
        """A scope's exchange by its id; for None that of any scope."""
        exchange = self._exchanges.get(exchange_id)
        return exchange if exchange is not None and scope in (None, exchange.scope) else None

    async def find(
        self, scope: int | None, wanted: ExchangeFilter, *, limit: int | None = None
    ) -> tuple[list[int], bool]:
        """The ids of a scope's matching exchanges, for None of all scopes; newest first.

        At most `limit` that fit into one answer, and whether there are more. An exchange may be
        removed at any time, so that its id leads nowhere.
        """
        found: list[int] = []
        size = 0
        async with self._slices.computing(scope) as computation:
            for exchange_id in reversed(self._exchanges.keys(scope)):
                if computation.is_over:
                    await computation.pause()
                exchange = self._exchanges.get(exchange_id)
                if exchange is None or not await _matches(wanted, exchange, computation):
                    continue
                size += exchange.size
                if limit is not None and (len(found) == limit or (found and size > MAX_PAGE_BYTES)):
                    return found, True
                found.append(exchange_id)
        return found, False

    async def show(self, exchange: Exchange) -> dict[str, Any]:
        """The exchange as JSON."""
        async with self._slices.computing(exchange.scope) as computation:
            await _redact(exchange, computation)
            return exchange.to_json()

    async def render(
        self, scope: int | None, ids: list[int], *, more: bool
    ) -> AsyncIterator[bytes]:
        """A JSON object with the exchanges, in pieces. Those removed meanwhile are left out."""
        piece = bytearray(b'{"requests":[')
        separator = b""
        left = iter(ids)
        finished = False
        while not finished:
            async with self._slices.computing(scope) as computation:
                finished = True
                for exchange_id in left:
                    if computation.is_over:
                        await computation.pause()
                    # looked up, not held: a client that reads slowly would keep it in memory
                    exchange = self.get(scope, exchange_id)
                    if exchange is None:
                        continue
                    await _redact(exchange, computation)
                    piece += separator + orjson.dumps(exchange.to_json())
                    separator = b","
                    if len(piece) > PIECE_BYTES:
                        finished = False
                        break
            if finished:
                piece += b'],"more":true}' if more else b'],"more":false}'
            yield bytes(piece)
            piece.clear()

    def waiting_in(self, scope: int | None) -> int:
        """How many calls wait for exchanges of a scope."""
        return len(self._waiters.get(scope, ()))

    async def wait_for(
        self, scope: int | None, wanted: ExchangeFilter, count: int, timeout_s: float
    ) -> int:
        """Wait until `count` matching exchanges have come; returns how many have at the end.

        Those in the log count. Each exchange is looked at once. Raises TooManyWaiters.
        """
        waiting = sum(map(len, self._waiters.values()))
        if waiting >= MAX_WAITERS or self.waiting_in(scope) >= MAX_WAITERS_OF_SCOPE:
            raise TooManyWaiters
        waiter = _Waiter(scope, wanted, count, deque(self._exchanges.keys(scope)))
        self._waiters.setdefault(scope, []).append(waiter)
        try:
            await self._check(waiter)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    while waiter.missing > 0:
                        await waiter.arrived.wait()
                        waiter.arrived.clear()
                        await self._check(waiter)
        finally:
            self._waiters[scope].remove(waiter)
            if not self._waiters[scope]:
                del self._waiters[scope]
        return count - waiter.missing

    async def _check(self, waiter: _Waiter) -> None:
        """Count the matching exchanges among those that are unchecked."""
        async with self._slices.computing(waiter.scope) as computation:
            while waiter.unchecked and waiter.missing > 0:
                if computation.is_over:
                    await computation.pause()
                exchange = self._exchanges.get(waiter.unchecked.popleft())
                if exchange is not None and await _matches(waiter.wanted, exchange, computation):
                    waiter.missing -= 1

    def clear(self, scope: int | None) -> int:
        """Remove a scope's exchanges, for None all; returns their number."""
        return self._exchanges.clear(scope)


async def _matches(wanted: ExchangeFilter, exchange: Exchange, computation: Computation) -> bool:
    if not wanted.fits(exchange):
        return False
    if not wanted.reads_text:
        return True
    await _redact(exchange, computation)
    return wanted.fits_text(exchange)


async def _redact(exchange: Exchange, computation: Computation) -> None:
    """Redact an exchange, if it is not yet; a field of the worst text takes some milliseconds."""
    while exchange.unredacted:
        if computation.is_over:
            await computation.pause()
        else:
            exchange.redact_next()


def _size_of_headers(headers: dict[str, str]) -> int:
    return sum(map(len, headers)) + sum(map(len, headers.values()))


def _json_or_text(text: bytes) -> object:
    """The parsed value of JSON objects and arrays; any other text unchanged."""
    if text[:1] in (b"{", b"["):
        try:
            return parse_json(text)
        except ValueError:
            pass
    return text.decode("utf-8", "ignore")  # the last character may be cut in two
