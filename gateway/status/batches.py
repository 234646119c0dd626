"""Batches that do not get on, and webhooks that are not delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from adapters.contract.jobs import JobState
from gateway.store import Store
from gateway.store.tables import batch_chunks, batches, webhooks

STUCK_AFTER_S = 900.0
"""A chunk that is due for so long, and that no worker has."""
MAX_STUCK = 5
FAILED_ATTEMPTS = 3
"""Of a webhook, from which it is mentioned."""


@dataclass(frozen=True, slots=True)
class StuckBatch:
    """A batch whose next chunk nobody verifies."""

    public_id: str
    rows: int
    left: int
    waits_s: float


@dataclass(frozen=True, slots=True)
class UndeliveredWebhooks:
    """Webhooks that wait for their next attempt."""

    failing: int
    """With several failed attempts."""
    last_word: str
    """Of the latest of them: a status, or an error."""


async def stuck_batches(store: Store, now: float) -> Sequence[StuckBatch]:
    """Those that have waited longest. Raises StoreError."""
    is_free = (batch_chunks.c.lease_until.is_(None)) | (batch_chunks.c.lease_until < now)
    due_at = func.min(batch_chunks.c.due_at)
    query = (
        select(batches.c.public_id, batches.c.rows, batches.c.done, due_at.label("due_at"))
        .join_from(batches, batch_chunks, batches.c.id == batch_chunks.c.batch_id)
        .where(batches.c.state == JobState.RUNNING, is_free)
        .where(batch_chunks.c.due_at < now - STUCK_AFTER_S)
        .group_by(batches.c.public_id, batches.c.rows, batches.c.done)
        .order_by(due_at)
        .limit(MAX_STUCK)
    )
    return [
        StuckBatch(row.public_id, row.rows, row.rows - row.done, now - row.due_at)
        for row in await store.fetch_all(query)
    ]


async def undelivered_webhooks(store: Store) -> UndeliveredWebhooks:
    """Raises StoreError."""
    failing = webhooks.c.attempts >= FAILED_ATTEMPTS
    (count,) = await store.fetch_all(
        select(func.count().label("count")).select_from(webhooks).where(failing)
    )
    last = await store.fetch_all(
        select(webhooks.c.last_word).where(failing).order_by(webhooks.c.id.desc()).limit(1)
    )
    return UndeliveredWebhooks(count[0], last[0].last_word if last else "")
