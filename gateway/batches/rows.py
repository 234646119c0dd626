"""The answered rows of a batch, read page by page while they are sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import Row as SqlRow
from sqlalchemy import Select, exists, select

from adapters.contract.dialect import Dialect
from adapters.contract.jobs import Job, JobRow, JobRows, JobState
from adapters.contract.operations import ReadRows, RowsOperation
from engine.model import Checks
from gateway.batches.model import checks_from_text, rules_of
from gateway.store import Store, StoreError
from gateway.store.tables import batch_items, batch_results, batches
from gateway.verdicts.codec import decode_verification
from gateway.verdicts.owners import with_guessed_person

ROWS_PER_PAGE = 200
"""Rows read, decoded and written in one go; other requests wait as long."""


class RowReader:
    """Reads the rows of batches. Raises StoreError."""

    def __init__(self, store: Store, dialects: Mapping[str, Dialect]) -> None:
        self._store = store
        self._dialects = dialects

    def job_rows(self, job: Job, op: RowsOperation) -> JobRows:
        """Reading the rows raises StoreError if they are removed meanwhile."""
        return JobRows(job, _count_rows(job, op), self._rows(job, op))

    async def row_at(self, job: Job, position: int) -> JobRow:
        """The row with a result at a position; Raises StoreError if it is gone."""
        where = batches.c.token == job.token
        columns = (batches.c.id, batches.c.checks, batches.c.dialect)
        async with self._store.read() as connection:
            batch = (await connection.execute(select(*columns).where(where))).first()
            found = None
            if batch is not None:
                query = _rows_query(batch.id, ReadRows(job_id=job.id))
                at = batch_results.c.position == position
                found = (await connection.execute(query.where(at))).first()
        if batch is None or found is None:
            raise StoreError(self._store.where, f"a row of batch {job.id} was removed")
        guess_names = rules_of(self._dialects[batch.dialect]).shows_names
        return _decode(found, job, checks_from_text(batch.checks), guess_names=guess_names)

    async def unfinished_emails(self, job: Job, limit: int) -> list[str]:
        """Addresses without a result, at most `limit`. This reads all rows of the batch."""
        has_result = exists().where(
            batch_results.c.batch_id == batch_items.c.batch_id,
            batch_results.c.position == batch_items.c.position,
        )
        query = (
            select(batch_items.c.email)
            .join(batches, batches.c.id == batch_items.c.batch_id)
            .where(batches.c.token == job.token, ~has_result)
            .limit(limit)
        )
        async with self._store.read() as connection:
            return list(await connection.scalars(query))

    async def _rows(self, job: Job, op: RowsOperation) -> AsyncIterator[JobRow]:
        query = select(batches.c.id, batches.c.checks, batches.c.dialect)
        async with self._store.read() as connection:
            found = await connection.execute(query.where(batches.c.token == job.token))
            batch = found.first()
        if batch is None:
            return
        checks = checks_from_text(batch.checks)
        guess_names = rules_of(self._dialects[batch.dialect]).shows_names
        sent = 0
        async for page in self._pages(batch.id, op):
            for row in page:
                yield _decode(row, job, checks, guess_names=guess_names)
            sent += len(page)
        if job.state is JobState.COMPLETED and sent < _expected_rows(job, op):
            raise StoreError(self._store.where, f"rows of batch {job.id} were removed")

    async def _pages(
        self, batch_id: int, op: RowsOperation
    ) -> AsyncIterator[Sequence[SqlRow[Any]]]:
        """Each page begins after the last position of the one before: an offset is costly."""
        query = _rows_query(batch_id, op).offset(op.offset)
        position = batch_results.c.position
        left = op.limit
        while left is None or left > 0:
            page_size = ROWS_PER_PAGE if left is None else min(ROWS_PER_PAGE, left)
            async with self._store.read() as connection:
                page = (await connection.execute(query.limit(page_size))).all()
            yield page
            if len(page) < page_size:
                return
            left = None if left is None else left - len(page)
            last = page[-1].position
            after = position < last if op.reverse_order else position > last
            query = _rows_query(batch_id, op).where(after)


def _rows_query(batch_id: int, op: RowsOperation) -> Select[Any]:
    position = batch_results.c.position
    query = (
        select(
            position,
            batch_results.c.word,
            batch_results.c.answer,
            batch_items.c.email,
            batch_items.c.cells,
        )
        .join_from(
            batch_results,
            batch_items,
            (batch_items.c.batch_id == batch_results.c.batch_id)
            & (batch_items.c.position == position),
        )
        .where(batch_results.c.batch_id == batch_id)
        .order_by(position.desc() if op.reverse_order else position.asc())
    )
    if op.row_words is not None:
        query = query.where(batch_results.c.word.in_(op.row_words))
    return query


def _decode(row: SqlRow[Any], job: Job, checks: Checks, *, guess_names: bool) -> JobRow:
    """A cached answer is dated when the batch was made: a row that is older than its list is an
    error to those who audit one."""
    verification = decode_verification(row.answer, row.email, checks)
    if verification.verified_at < job.created_at:
        verification = replace(verification, verified_at=job.created_at)
    return JobRow(
        email=row.email,
        cells=tuple(orjson.loads(row.cells)) if row.cells else (),
        verification=with_guessed_person(verification) if guess_names else verification,
        word=row.word,
    )


def _count_rows(job: Job, op: RowsOperation) -> int:
    """Answered rows that have one of the wanted words."""
    if op.row_words is None:
        return job.done_count
    return sum(job.counts.get(word, 0) for word in op.row_words)


def _expected_rows(job: Job, op: RowsOperation) -> int:
    """Rows that `op` reads of them."""
    expected = max(0, _count_rows(job, op) - op.offset)
    return expected if op.limit is None else min(expected, op.limit)
