"""Ends a batch before all of its rows are verified."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Row, delete, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract.batch_rules import BatchRules
from adapters.contract.jobs import JobState
from adapters.contract.problems import Problem, ProblemKind
from gateway.accounts.ledger import LedgerEntry, book_entries
from gateway.store import Store
from gateway.store.tables import batch_chunks, batches


async def cancel_batch(
    connection: AsyncConnection, store: Store, batch: Row[Any], rules: BatchRules, now: datetime
) -> int:
    """Cancel a batch whose row is locked, and refund the rows without a result or a free one.

    Its chunks are deleted, so that workers that hold one lose their lease and write nothing more.
    Returns the refunded credits. Raises `Problem` (`JOB_STATE`) if it has ended already.
    """
    state = JobState(batch.state)
    if state.is_final:
        raise Problem(ProblemKind.JOB_STATE, job_state=state)
    await connection.execute(delete(batch_chunks).where(batch_chunks.c.batch_id == batch.id))
    # in proportion: of rows without a result it is not known which ones are billed
    undone = batch.rows - batch.done
    refund: int = batch.charged_units * undone // batch.rows if batch.rows else 0
    counts: dict[str, int] = orjson.loads(batch.counts)
    free = counts.get(rules.refund_word, 0) if rules.refund_word else 0
    refund = min(refund + free, batch.charged_units)
    kept_s = rules.retention_s(batch.total)
    await connection.execute(
        update(batches)
        .where(batches.c.id == batch.id)
        .values(
            state=JobState.CANCELLED,
            finished_at=now,
            charged_units=batch.charged_units - refund,
            rows_until=None if kept_s is None else now.timestamp() + kept_s,
        )
    )
    if refund:
        entry = LedgerEntry(batch.account_id, batch.charged_month, -refund)
        await book_entries(connection, store, [entry])
    return refund
