"""The batches of all accounts, for the operator of the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import LargeBinary, String, cast, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

from adapters.contract.dialect import Dialect
from adapters.contract.jobs import BatchEntry, Job, JobRows, JobState
from adapters.contract.operations import ReadRows
from adapters.contract.problems import Problem, ProblemKind
from engine.model import Verdict
from gateway.batches.cancelling import cancel_batch
from gateway.batches.model import InternalState, rules_of
from gateway.batches.records import BatchRecords
from gateway.store import Store
from gateway.store.tables import accounts, batch_items, batch_results, batches
from gateway.verdicts.codec import verdict_prefix

STATES_SHOWN = tuple(JobState)
_SUMMARY = (
    batches.c.id,
    batches.c.public_id,
    batches.c.dialect,
    batches.c.account_id,
    batches.c.key_id,
    batches.c.key_label,
    batches.c.state,
    batches.c.created_at,
    batches.c.started_at,
    batches.c.finished_at,
    batches.c.total,
    batches.c.rows,
    batches.c.done,
    batches.c.name,
    batches.c.charged_units,
    accounts.c.owner_email,
)


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """One batch of any account."""

    id: int
    """In the database; clients know it by `job_id`."""
    job_id: str
    dialect: Dialect
    account_id: int
    owner_email: str
    key_id: int
    key_label: str
    state: JobState
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    total: int
    rows: int
    done: int
    name: str
    charged: int
    """Credits."""

    @property
    def may_be_cancelled(self) -> bool:
        return not self.state.is_final

    @property
    def may_be_deleted(self) -> bool:
        return self.state.is_final or self.state is JobState.READY


class BatchOversight:
    """Every method may raise StoreError."""

    def __init__(
        self,
        store: Store,
        records: BatchRecords,
        dialects: Mapping[str, Dialect],
        *,
        clock: Callable[[], float],
        on_work: Callable[[], None],
        on_deleted: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_work` is called when workers have another batch to choose, `on_deleted` when rows
        of a deleted batch are left."""
        self._store = store
        self._records = records
        self._dialects = dialects
        self._clock = clock
        self._on_work = on_work
        self._on_deleted = on_deleted

    async def find_page(
        self, words: str, states: Sequence[JobState], *, offset: int, limit: int
    ) -> tuple[list[BatchSummary], int]:
        """The batches in one of the states whose name, id, key or owner has `words`, the newest
        first; and how many there are."""
        where: list[ColumnElement[bool]] = [batches.c.state.in_(states or STATES_SHOWN)]
        if words:
            where.append(_has(words))
        owned = batches.outerjoin(accounts, accounts.c.id == batches.c.account_id)
        query = (
            select(*_SUMMARY)
            .select_from(owned)
            .where(*where)
            .order_by(batches.c.id.desc())
            .offset(offset)
            .limit(limit)
        )
        count = select(func.count()).select_from(owned).where(*where)
        async with self._store.read() as connection:
            found = [self._summary(row) for row in await connection.execute(query)]
            total = int(await connection.scalar(count) or 0)
        return [each for each in found if each is not None], total

    async def find(self, batch_id: int) -> tuple[BatchSummary, Job]:
        """Raises `Problem` (`JOB_UNKNOWN`)."""
        owned = batches.outerjoin(accounts, accounts.c.id == batches.c.account_id)
        query = select(*_SUMMARY).select_from(owned).where(batches.c.id == batch_id)
        async with self._store.read() as connection:
            row = (await connection.execute(query)).first()
        known = await self._records.find_by_id(batch_id)
        summary = None if row is None else self._summary(row)
        if summary is None or known is None:
            raise Problem(ProblemKind.JOB_UNKNOWN)
        return summary, known[1]

    def _summary(self, row: Any) -> BatchSummary | None:
        """None for a batch of a dialect that is not spoken any more."""
        dialect = self._dialects.get(row.dialect)
        if dialect is None or row.state in tuple(InternalState):
            return None
        return BatchSummary(
            row.id,
            row.public_id,
            dialect,
            row.account_id,
            row.owner_email or "",
            row.key_id or 0,
            row.key_label or "",
            JobState(row.state),
            row.created_at,
            row.started_at,
            row.finished_at,
            row.total,
            row.rows,
            row.done,
            row.name,
            row.charged_units,
        )

    async def row_words(self, batch_id: int) -> list[tuple[str, int]]:
        """The vendor's words for the rows with a result, with their numbers; the most first."""
        count = func.count()
        query = (
            select(batch_results.c.word, count)
            .where(batch_results.c.batch_id == batch_id)
            .group_by(batch_results.c.word)
            .order_by(count.desc(), batch_results.c.word)
        )
        async with self._store.read() as connection:
            return [(word, number) for word, number in await connection.execute(query)]

    def read_rows(
        self, job: Job, *, words: frozenset[str] | None, offset: int, limit: int | None
    ) -> JobRows:
        """Rows with a result. Reading them raises StoreError if they are deleted meanwhile."""
        op = ReadRows(job_id=job.id, row_words=words, offset=offset, limit=limit)
        return self._records.job_rows(job, op)

    async def count_unknown(self, batch_id: int, limit: int) -> int:
        """Rows with the verdict unknown, at most `limit`."""
        query = select(batch_results.c.position).where(*_is_unknown(batch_id)).limit(limit)
        async with self._store.read() as connection:
            count = select(func.count()).select_from(query.subquery())
            return int(await connection.scalar(count) or 0)

    async def unknown_entries(self, batch_id: int, limit: int) -> list[BatchEntry]:
        """The list's part of these rows, in their order."""
        query = (
            select(batch_items.c.email, batch_items.c.cells)
            .join_from(
                batch_results,
                batch_items,
                (batch_items.c.batch_id == batch_results.c.batch_id)
                & (batch_items.c.position == batch_results.c.position),
            )
            .where(*_is_unknown(batch_id))
            .order_by(batch_results.c.position)
            .limit(limit)
        )
        return [
            BatchEntry(row.email, tuple(orjson.loads(row.cells)) if row.cells else ())
            for row in await self._store.fetch_all(query)
        ]

    async def delete(self, batch_id: int) -> None:
        """Delete a batch that has ended. Raises `Problem`."""
        await self._records.delete_by_id(batch_id)
        self._on_deleted()

    async def cancel(self, batch_id: int) -> int:
        """End a batch; returns the refunded credits. Raises `Problem`."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        async with self._store.write() as connection:
            query = select(batches).where(batches.c.id == batch_id).with_for_update()
            row = (await connection.execute(query)).first()
            if row is None or row.state in tuple(InternalState):
                raise Problem(ProblemKind.JOB_UNKNOWN)
            rules = rules_of(self._dialects[row.dialect])
            refund = await cancel_batch(connection, self._store, row, rules, now)
        self._on_work()
        return refund


def _is_unknown(batch_id: int) -> tuple[ColumnElement[bool], ...]:
    begins = verdict_prefix(Verdict.UNKNOWN)
    answer = func.substr(batch_results.c.answer, 1, len(begins), type_=LargeBinary)
    return batch_results.c.batch_id == batch_id, answer == begins


def _has(words: str) -> ColumnElement[bool]:
    pattern = f"%{words.replace('/', '//').replace('%', '/%').replace('_', '/_')}%"
    columns = (
        batches.c.name,
        batches.c.public_id,
        batches.c.key_label,
        batches.c.dialect,
        accounts.c.owner_email,
        cast(batches.c.account_id, String),
    )
    return or_(*(column.ilike(pattern, escape="/") for column in columns))
