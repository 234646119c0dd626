"""What became of the sandbox's webhooks, for tests to assert on."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from gateway.sandbox.budget import ScopedStore
from gateway.sandbox.redact import redact_keys
from gateway.sandbox.requests import MAX_WAITERS, MAX_WAITERS_OF_SCOPE, TooManyWaiters

MAX_RECORDS = 1_000
MAX_RECORDS_BYTES = 2 * 1024 * 1024
"""Of all records; the oldest are forgotten first."""
RECORD_OVERHEAD_BYTES = 600


class DeliveryStatus(StrEnum):
    """How far the delivery of a webhook is."""

    WAITING = "waiting"  # for the end of its batch, or for its next attempt
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"
    DROPPED = "dropped"  # the batch was removed, or too many webhooks waited


@dataclass(slots=True, eq=False)
class DeliveryRecord:
    """One webhook, as it is shown."""

    id: int
    scope: int
    dialect: str
    batch: str
    event: str
    """The vendor's name of what it reports; empty for the end of the batch."""
    url: str
    """Without names, passwords and keys."""
    status: DeliveryStatus = DeliveryStatus.WAITING
    attempts: int = 0
    error: str = ""
    """Why the last attempt failed; empty if it did not."""
    last_attempt_at: float | None = None
    next_attempt_at: float | None = None
    """Both in Unix time by the scope's clock."""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "dialect": self.dialect,
            "batch": self.batch,
            "event": self.event,
            "url": self.url,
            "status": self.status.value,
            "attempts": self.attempts,
            "error": self.error,
            "last_attempt_at": _moment(self.last_attempt_at),
            "next_attempt_at": _moment(self.next_attempt_at),
        }


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """A filter of deliveries; None matches anything."""

    dialect: str | None = None
    batch: str | None = None
    event: str | None = None
    status: str | None = None

    def fits(self, record: DeliveryRecord) -> bool:
        return (
            self.dialect in (None, record.dialect)
            and self.batch in (None, record.batch)
            and self.event in (None, record.event)
            and self.status in (None, record.status)
        )


@dataclass(slots=True)
class DeliveryLog:
    """The records of all scopes; each scope sees only its own."""

    _records: ScopedStore[int, DeliveryRecord] = field(
        default_factory=lambda: ScopedStore(max_values=MAX_RECORDS, max_size=MAX_RECORDS_BYTES)
    )
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: Counter[int | None] = field(default_factory=Counter)
    """Calls, by scope: each looks at all records after each change."""

    def add(self, record: DeliveryRecord) -> None:
        record.url = redact_keys(record.url, "")
        size = RECORD_OVERHEAD_BYTES + 4 * len(record.url)
        self._records.put(record.scope, record.id, record, size)
        self.note_change()

    def note_change(self) -> None:
        """Let those who wait look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def find(self, scope: int | None, wanted: DeliveryFilter) -> list[DeliveryRecord]:
        """The matching records, the oldest first; for None of all scopes."""
        return [record for record in self._records.values(scope) if wanted.fits(record)]

    async def wait_for(
        self, scope: int | None, wanted: DeliveryFilter, count: int, timeout_s: float
    ) -> list[DeliveryRecord]:
        """The matching records as soon as there are `count`, or those after the time.

        Raises TooManyWaiters.
        """
        if self._waiting.total() >= MAX_WAITERS or self._waiting[scope] >= MAX_WAITERS_OF_SCOPE:
            raise TooManyWaiters
        self._waiting[scope] += 1
        try:
            return await self._wait_for(scope, wanted, count, timeout_s)
        finally:
            self._waiting -= Counter((scope,))

    async def _wait_for(
        self, scope: int | None, wanted: DeliveryFilter, count: int, timeout_s: float
    ) -> list[DeliveryRecord]:
        deadline = asyncio.get_running_loop().time() + timeout_s
        while len(found := self.find(scope, wanted)) < count:
            changed = self._changed
            try:
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
            except TimeoutError:
                return self.find(scope, wanted)
        return found

    def clear(self, scope: int | None) -> None:
        self._records.clear(scope)


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
