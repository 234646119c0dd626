"""Deletes expired rows, deleted batches, and uploads that were never completed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, func, select, update

from adapters.contract.dialect import Dialect
from gateway.batches.model import InternalState, rules_of
from gateway.store import Store, StoreError
from gateway.store.tables import (
    batch_chunks,
    batch_days,
    batch_items,
    batch_results,
    batches,
    vendor_lists,
    webhooks,
)

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 60.0
ROWS_PER_DELETE = 5_000
"""Rows deleted in one transaction; it bounds how long other writers wait."""
UPLOAD_TIMEOUT = timedelta(hours=1)
"""An upload that has not been acknowledged for longer was abandoned."""
DAILY_COUNTS_KEPT = timedelta(days=2)


class Sweeper:
    """Deletes what clients cannot see any more, and returns the space to the file system."""

    def __init__(
        self, store: Store, dialects: Mapping[str, Dialect], *, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._dialects = dialects
        self._clock = clock

    async def sweep_logged(self) -> None:
        """Sweep; it is tried again later if the database fails."""
        try:
            await self.sweep()
        except StoreError as exc:
            log.warning("sweep.failed", extra={"error": str(exc)})

    async def sweep(self) -> int:
        """Delete what is due; returns the number of batches."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        async with self._store.read() as connection:
            expired = (await connection.execute(self._expired_query(now))).all()
        for batch in expired:
            with_batch = (
                batch.state in tuple(InternalState)
                or rules_of(self._dialects[batch.dialect]).delete_with_rows
            )
            await self._delete(batch, with_batch=with_batch)
        if expired:
            async with self._store.write() as connection:
                await connection.execute(
                    delete(batch_days).where(
                        batch_days.c.day < (now - DAILY_COUNTS_KEPT).date().isoformat()
                    )
                )
            await self._store.reclaim()
        return len(expired)

    def _expired_query(self, now: datetime) -> Any:
        abandoned = (batches.c.state == InternalState.STORING) & (
            batches.c.created_at < now - UPLOAD_TIMEOUT
        )
        expired = (batches.c.rows_until <= self._clock()) & batches.c.rows_gone.is_(False)
        return select(batches).where(
            (batches.c.state == InternalState.DELETED) | abandoned | expired
        )

    async def _delete(self, batch: Row[Any], *, with_batch: bool) -> None:
        """Delete the rows, and the batch itself if `with_batch`."""
        this = batches.c.id == batch.id
        async with self._store.write() as connection:
            await connection.execute(
                update(batches)
                .where(this)
                .values(state=InternalState.DELETED if with_batch else batch.state, rows_gone=True)
            )
        async with self._store.write() as connection:
            await connection.execute(
                delete(vendor_lists).where(vendor_lists.c.batch_id == batch.id)
            )
        for table in (batch_results, batch_items):
            async with self._store.read() as connection:
                last = await connection.scalar(
                    select(func.max(table.c.position)).where(table.c.batch_id == batch.id)
                )
            for start in range(0, -1 if last is None else last + 1, ROWS_PER_DELETE):
                async with self._store.write() as connection:
                    await connection.execute(
                        delete(table).where(
                            table.c.batch_id == batch.id,
                            table.c.position >= start,
                            table.c.position < start + ROWS_PER_DELETE,
                        )
                    )
        if with_batch:
            async with self._store.write() as connection:
                await connection.execute(
                    delete(batch_chunks).where(batch_chunks.c.batch_id == batch.id)
                )
                # one with a body reports the deletion itself
                await connection.execute(
                    delete(webhooks).where(
                        webhooks.c.batch_id == batch.id, webhooks.c.body.is_(None)
                    )
                )
                await connection.execute(delete(batches).where(this))
