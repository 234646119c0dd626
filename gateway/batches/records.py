"""Batches in the database: submitting, showing, starting and deleting them.

A submitted batch is stored in several transactions, and clients cannot see it before the last one,
which also charges and acknowledges it: all or nothing. Every method may raise StoreError.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import orjson
from sqlalchemy import Row as SqlRow
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract.batch_rules import (
    DUPLICATE,
    BatchRules,
    ChargeTime,
    IdSource,
    JobEvent,
)
from adapters.contract.dialect import Dialect
from adapters.contract.jobs import Job, JobPage, JobRow, JobRows, JobState
from adapters.contract.operations import (
    AmendJob,
    DeleteJob,
    ListJobs,
    RowsOperation,
    StartJob,
    SubmitJob,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.kit.timed_tokens import parse_timed_token, token_for_links
from gateway.accounts.caller import Caller, Charge, InsufficientCredits
from gateway.accounts.ledger import LedgerEntry, book_entries
from gateway.batches.cancelling import cancel_batch
from gateway.batches.intake import CHUNK_SIZE, Intake
from gateway.batches.model import (
    BYTES_PER_POSITION,
    InternalState,
    checks_to_text,
    pack_positions,
    rules_of,
)
from gateway.batches.outbox import add_event
from gateway.batches.rows import RowReader
from gateway.cluster.embedded import EmbeddedDispatch
from gateway.cluster.ports import Dispatch
from gateway.store import Store, StoreError
from gateway.store.tables import (
    batch_chunks,
    batch_days,
    batch_items,
    batches,
)

log = logging.getLogger(__name__)

MAX_URL_CHARACTERS = 2_000
"""Of a webhook's URL; servers and proxies seldom take longer ones (RFC 9110 section 4.1)."""
MAX_NAME_CHARACTERS = 1_000
"""Of a batch."""
MAX_COLUMN_NAME_CHARACTERS = 1_000

DUE_AT_ONCE = 0.0
"""Due time of chunks that may be claimed. It is not the current time, since a clock may be set
back."""
DUE_WHEN_STARTED = 1e15
"""Due time, in Unix seconds, of the chunks of a batch that is not started."""
PREPARATION_CHUNK = 0
"""Number of the chunk that prepares a batch; the others count from 1."""

IDS_PER_QUERY = 500

_INTERNAL_STATES = tuple(InternalState)
_NOT_STARTED = (JobState.PREPARING, JobState.READY)
_UNDER_WAY = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)


class Billing(Protocol):
    """Charges for a batch in the transaction that acknowledges it."""

    async def charge_in_transaction(
        self, connection: AsyncConnection, caller: Caller, units: int
    ) -> Charge: ...


class BatchRecords:
    """The batches of one database, which several processes may have open."""

    def __init__(
        self,
        store: Store,
        billing: Billing,
        dialects: Mapping[str, Dialect],
        *,
        clock: Callable[[], float],
        randbelow: Callable[[int], int],
        base_url: Callable[[], str],
        chunk_size: Callable[[Caller], int] = lambda _: CHUNK_SIZE,
        dispatch: Dispatch | None = None,
    ) -> None:
        """`randbelow` must be unpredictable; `base_url` returns the URL of this server.

        `chunk_size` returns how many addresses of a caller make one chunk.
        """
        self._store = store
        self._billing = billing
        self._dialects = dialects
        self._clock = clock
        self._randbelow = randbelow
        self._base_url = base_url
        self._chunk_size = chunk_size
        self._dispatch = dispatch or EmbeddedDispatch()
        self._rows = RowReader(store, dialects)

    # -- submitting ----------------------------------------------------------------------

    async def submit(self, dialect: Dialect, caller: Caller, op: SubmitJob) -> Job:
        """Store and charge a batch; it is on disk when this returns.

        Raises `Problem`, and any exception of `op.entries`; nothing is stored then.
        """
        _check_texts(op)
        rules = rules_of(dialect)
        chunk_size = self._chunk_size(caller)
        intake = Intake(
            op.entries,
            merge=rules.merge_duplicates,
            mark=rules.marks_duplicates,
            chunk_size=chunk_size,
        )
        token = f"{self._randbelow(16**32):032x}"
        new_batch = self._new_batch_values(dialect, caller, op, token)
        stored = False
        try:
            while True:
                new_rows, more = await asyncio.to_thread(intake.next_rows)

                async def store_rows(
                    connection: AsyncConnection,
                    is_first: bool = not stored,
                    new_rows: list[dict[str, Any]] = new_rows,
                    more: bool = more,
                ) -> int:
                    if is_first:
                        await connection.execute(insert(batches).values(new_batch))
                    found = await connection.scalar(
                        select(batches.c.id).where(batches.c.token == token)
                    )
                    assert found is not None
                    batch_id = int(found)
                    rows = [{"batch_id": batch_id, **row} for row in new_rows]
                    await self._store.insert_rows(connection, batch_items, rows)
                    if not more:
                        await self._acknowledge(connection, dialect, caller, op, intake, batch_id)
                    return batch_id

                batch_id = await self._store.transact(store_rows)
                stored = True
                if not more:
                    job = await self._find_job(batches.c.id == batch_id)
                    _log_created(batch_id, job, dialect, caller)
                    return job
        except BaseException:
            if stored:
                with contextlib.suppress(StoreError):
                    await self._discard(token)
            raise

    def _new_batch_values(
        self, dialect: Dialect, caller: Caller, op: SubmitJob, token: str
    ) -> dict[str, Any]:
        return {
            "public_id": token,  # until it is acknowledged
            "dialect": dialect.name,
            "account_id": caller.account_id,
            "key_id": caller.key_id,
            "key_label": caller.key_label,
            "state": InternalState.STORING,
            "created_at": self._now(),
            "total": 0,
            "rows": 0,
            "valid": 0,
            "done": 0,
            "counts": "{}",
            "start": op.start and not op.is_sample,
            "retries": op.retry_greylisted,
            "checks": checks_to_text(op.checks),
            "refresh": op.refresh,
            "name": op.name,
            "headers": orjson.dumps(op.headers).decode(),
            "options": orjson.dumps(op.options).decode(),
            "webhook_url": op.webhook_url,
            "token": token,
            "allowance": caller.allowance,
            "charged_units": 0,
            "turn": 0,
            "rows_gone": False,
        }

    async def _acknowledge(
        self,
        connection: AsyncConnection,
        dialect: Dialect,
        caller: Caller,
        op: SubmitJob,
        intake: Intake,
        batch_id: int,
    ) -> None:
        rules = rules_of(dialect)
        values: dict[str, Any] = {
            "public_id": rules.new_id(IdSource(batch_id, self._randbelow)),
            "total": intake.total,
            "rows": intake.rows,
            "valid": intake.valid,
        }
        if intake.duplicates:
            values["counts"] = orjson.dumps({DUPLICATE: intake.duplicates}).decode()
        await self._check_limits(connection, caller, op, rules)
        if op.failure:
            values |= {"state": JobState.FAILED, "finished_at": self._now()}
            await connection.execute(update(batches).where(batches.c.id == batch_id).values(values))
            await self._report(connection, batch_id, JobEvent.FAILED)
            return
        is_begun = op.start and not op.is_sample and rules.counters_before_start is None
        if rules.charged_at is ChargeTime.SUBMIT or is_begun:
            values |= await self._charge(
                connection,
                caller,
                payable=intake.count_of(rules.must_cover_unit),
                units=intake.count_of(rules.billed_unit),
            )
        if rules.counters_before_start is not None:
            values["state"], due_at = JobState.PREPARING, DUE_WHEN_STARTED
            await connection.execute(
                insert(batch_chunks),
                [_chunk_values(batch_id, PREPARATION_CHUNK, b"", DUE_AT_ONCE)],
            )
            await self._dispatch.due(connection, DUE_AT_ONCE)
            await self._dispatch.due_first(connection)
        elif is_begun:
            due_at = self._clock() + op.delay_s if op.delay_s else DUE_AT_ONCE
            values["state"] = JobState.QUEUED
        else:
            values["state"], due_at = JobState.READY, DUE_WHEN_STARTED
        chunks = [
            _chunk_values(batch_id, number, positions, due_at)
            for number, positions in enumerate(intake.chunks(), PREPARATION_CHUNK + 1)
        ]
        if chunks:
            await self._store.insert_rows(connection, batch_chunks, chunks)
        if chunks and due_at != DUE_WHEN_STARTED:
            await self._dispatch.due(connection, due_at, len(chunks))
        if chunks and due_at == DUE_AT_ONCE:
            await self._dispatch.due_first(connection)
        await connection.execute(update(batches).where(batches.c.id == batch_id).values(values))
        await self._report(connection, batch_id, JobEvent.SUBMITTED)
        if values["state"] == JobState.QUEUED:
            await self._report(connection, batch_id, JobEvent.STARTED)
        elif op.start and op.is_sample:
            await self._begin_sample(connection, batch_id)

    async def _report(
        self, connection: AsyncConnection, batch_id: int, event: JobEvent, job: Job | None = None
    ) -> None:
        """Store the webhooks of an event; with `job`, their bodies too."""
        batch = (await connection.execute(select(batches).where(batches.c.id == batch_id))).one()
        dialect = self._dialects[batch.dialect]
        await add_event(connection, self._dispatch, batch, dialect, event, self._clock(), job=job)

    async def _check_limits(
        self, connection: AsyncConnection, caller: Caller, op: SubmitJob, rules: BatchRules
    ) -> None:
        plan = caller.plan
        if plan.batches_waiting is not None and rules.charged_at is ChargeTime.START:
            await self._lock_limits(connection, caller)
            waiting = await self._count_batches(connection, caller, _NOT_STARTED)
            if waiting >= plan.batches_waiting:
                raise Problem(ProblemKind.BATCHES_WAITING, limit=plan.batches_waiting)
        if op.start:
            await self._check_running(connection, caller)
        if plan.batches_per_day is not None:
            await self._count_today(connection, caller, plan.batches_per_day)

    async def _lock_limits(self, connection: AsyncConnection, caller: Caller) -> None:
        """Keep others from submitting or starting batches of the same account until the end."""
        await self._store.lock(connection, f"batches:{caller.account_id}")

    async def _check_running(self, connection: AsyncConnection, caller: Caller) -> None:
        most = caller.plan.batches_running
        if most is None:
            return
        await self._lock_limits(connection, caller)
        if await self._count_batches(connection, caller, _UNDER_WAY) >= most:
            raise Problem(ProblemKind.BATCHES_RUNNING, limit=most)

    async def _count_batches(
        self, connection: AsyncConnection, caller: Caller, states: Sequence[JobState]
    ) -> int:
        found = await connection.scalar(
            select(func.count()).where(*_belongs_to(caller), batches.c.state.in_(states))
        )
        return int(found or 0)

    async def _count_today(self, connection: AsyncConnection, caller: Caller, most: int) -> None:
        now = self._now()
        key = {
            "account_id": caller.account_id,
            "dialect": caller.dialect,
            "day": now.date().isoformat(),
        }
        adding = self._store.insert(batch_days).values(**key, count=1)
        count = await connection.scalar(
            adding.on_conflict_do_update(
                index_elements=list(key), set_={"count": batch_days.c.count + 1}
            ).returning(batch_days.c.count)
        )
        if int(count or 0) > most:
            midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
            raise Problem(
                ProblemKind.BATCHES_SPENT,
                limit=most,
                retry_after_s=max(1, int((midnight - now).total_seconds())),
            )

    async def _charge(
        self, connection: AsyncConnection, caller: Caller, *, payable: int, units: int
    ) -> dict[str, Any]:
        """Charge `units` if the credits suffice for `payable`. Raises `Problem`."""
        try:
            charge = await self._billing.charge_in_transaction(
                connection, caller, max(payable, units)
            )
        except InsufficientCredits as exc:
            raise Problem(ProblemKind.NO_CREDITS, used=exc.used, limit=exc.limit) from exc
        if charge.units > units:
            refund = LedgerEntry(charge.account_id, charge.month, units - charge.units)
            await book_entries(connection, self._store, [refund])
        return {"charged_month": charge.month, "charged_units": min(charge.units, units)}

    async def _discard(self, token: str) -> None:
        """Mark a batch that was not acknowledged as deleted."""
        async with self._store.write() as connection:
            await connection.execute(
                update(batches).where(batches.c.token == token).values(state=InternalState.DELETED)
            )

    # -- showing -------------------------------------------------------------------------

    async def show(self, caller: Caller, job_id: str) -> Job:
        """Raises `Problem` (`JOB_UNKNOWN`)."""
        job = await self._find_job(*_belongs_to(caller), batches.c.public_id == job_id)
        if job.state is not JobState.RUNNING:
            return job
        return replace(job, postponed_count=await self._count_postponed(job))

    async def _count_postponed(self, job: Job) -> int:
        """Rows in chunks of their own, since they were refused for now."""
        query = (
            select(func.sum(func.length(batch_chunks.c.positions)))
            .join_from(batch_chunks, batches, batches.c.id == batch_chunks.c.batch_id)
            .where(batches.c.token == job.token, batch_chunks.c.attempt > 0)
        )
        async with self._store.read() as connection:
            return int(await connection.scalar(query) or 0) // BYTES_PER_POSITION

    async def show_many(self, caller: Caller, job_ids: Sequence[str]) -> tuple[Job, ...]:
        """The batches that exist, each once, in the order of `job_ids`."""
        ids = tuple(dict.fromkeys(job_ids))
        found: dict[str, Job] = {}
        for start in range(0, len(ids), IDS_PER_QUERY):
            some = ids[start : start + IDS_PER_QUERY]
            jobs = await self._find_jobs(
                select(batches).where(*_belongs_to(caller), batches.c.public_id.in_(some))
            )
            found |= {job.id: job for job in jobs}
        return tuple(found[job_id] for job_id in ids if job_id in found)

    async def list_page(self, caller: Caller, op: ListJobs) -> JobPage:
        order = batches.c.id.asc() if op.oldest_first else batches.c.id.desc()
        mine = (*_belongs_to(caller), *_listed(op))
        jobs = await self._find_jobs(
            select(batches)
            .where(*mine)
            .order_by(order)
            .offset((op.page - 1) * op.per_page)
            .limit(op.per_page)
        )
        async with self._store.read() as connection:
            total = await connection.scalar(select(func.count()).where(*mine))
        return JobPage(tuple(jobs), int(total or 0))

    async def find_by_token(self, dialect: Dialect, token: str) -> Job:
        """Raises `Problem` (`JOB_UNKNOWN`), also for a token that has expired."""
        timed = None
        named = batches.c.token == token
        if rules_of(dialect).is_public:
            named = batches.c.public_id == token
        elif rules_of(dialect).link_lifetime_s is not None:
            timed = parse_timed_token(token)
            if timed is None:
                raise Problem(ProblemKind.JOB_UNKNOWN)
            named = batches.c.public_id == timed.job_id
        job = await self._find_job(
            named, batches.c.dialect == dialect.name, batches.c.state.not_in(_INTERNAL_STATES)
        )
        if timed is not None and not timed.is_valid(dialect.name, job.token, self._clock()):
            raise Problem(ProblemKind.JOB_UNKNOWN)
        return job

    async def find_by_id(self, batch_id: int) -> tuple[Dialect, Job] | None:
        """A batch and its dialect, for the workers; None if it does not exist."""
        async with self._store.read() as connection:
            row = (
                await connection.execute(
                    select(batches).where(
                        batches.c.id == batch_id, batches.c.state.not_in(_INTERNAL_STATES)
                    )
                )
            ).first()
        if row is None:
            return None
        return self._dialects[row.dialect], self._to_job(row)

    def dialect(self, name: str) -> Dialect:
        return self._dialects[name]

    async def row_at(self, job: Job, position: int) -> JobRow:
        """The row with a result at a position. Raises StoreError if it is gone."""
        return await self._rows.row_at(job, position)

    def job_rows(self, job: Job, op: RowsOperation) -> JobRows:
        """The rows with a result. Reading them raises StoreError if they are deleted meanwhile."""
        return self._rows.job_rows(job, op)

    async def unfinished_emails(self, job: Job, limit: int) -> list[str]:
        """Addresses without a result, at most `limit`. This reads all rows of the batch."""
        return await self._rows.unfinished_emails(job, limit)

    # -- changing ------------------------------------------------------------------------

    async def start(self, caller: Caller, op: StartJob) -> Job:
        """Start and charge a batch that is ready, or its sample. Raises `Problem`."""
        async with self._store.write() as connection:
            row = await self._lock_batch(connection, caller, op.job_id)
            if row.state != JobState.READY:
                raise Problem(ProblemKind.JOB_STATE, job_state=row.state)
            await self._check_running(connection, caller)
            if op.is_sample and row.done:  # it has had one
                raise Problem(ProblemKind.JOB_STATE, job_state=row.state)
            values: dict[str, Any] = {"options": _with_options(row, op.options)}
            if not op.is_sample:
                charge = await self._charge(connection, caller, payable=row.valid, units=row.valid)
                values |= {"state": JobState.QUEUED, "start": True, **charge}
                await make_chunks_due(connection, self._dispatch, row.id)
            await connection.execute(update(batches).where(batches.c.id == row.id).values(values))
            if op.is_sample:
                await self._begin_sample(connection, row.id)
            else:
                await self._report(connection, row.id, JobEvent.STARTED)
        return await self.show(caller, op.job_id)

    async def _begin_sample(self, connection: AsyncConnection, batch_id: int) -> None:
        """Have rows from all over the batch verified, in a chunk of their own.

        Nothing is charged, and `start` stays false: by that the queue knows a sample.
        """
        batch = (await connection.execute(select(batches).where(batches.c.id == batch_id))).one()
        size_of = rules_of(self._dialects[batch.dialect]).sample_size
        assert size_of is not None
        size = size_of(batch.rows)
        spread = range(0, batch.rows, max(batch.rows // max(size, 1), 1))[:size]
        found = await connection.scalars(
            select(batch_items.c.position)
            .where(
                batch_items.c.batch_id == batch_id,
                batch_items.c.position.in_(spread),
                batch_items.c.duplicate_of.is_(None),
            )
            .order_by(batch_items.c.position)
        )
        last = await connection.scalar(
            select(func.max(batch_chunks.c.number)).where(batch_chunks.c.batch_id == batch_id)
        )
        number = max(int(last or 0), PREPARATION_CHUNK) + 1
        chunk = _chunk_values(batch_id, number, pack_positions(tuple(found)), DUE_AT_ONCE)
        await connection.execute(insert(batch_chunks), [chunk])
        await self._dispatch.due(connection, DUE_AT_ONCE)
        await self._dispatch.due_first(connection)
        values = {"state": JobState.RUNNING, "started_at": self._now()}
        await connection.execute(update(batches).where(batches.c.id == batch_id).values(values))
        await self._report(connection, batch_id, JobEvent.SAMPLE_STARTED)

    async def amend(self, caller: Caller, op: AmendJob) -> Job:
        """Change the options of a batch. Raises `Problem`."""
        async with self._store.write() as connection:
            row = await self._lock_batch(connection, caller, op.job_id)
            if row.state not in op.states:
                raise Problem(ProblemKind.JOB_STATE, job_state=row.state)
            await connection.execute(
                update(batches)
                .where(batches.c.id == row.id)
                .values(options=_with_options(row, op.options))
            )
            await self._report(connection, row.id, JobEvent.AMENDED)
        return await self.show(caller, op.job_id)

    async def delete(self, caller: Caller, op: DeleteJob) -> Job:
        """Delete a batch that is not being verified, or any. Raises `Problem`."""
        job = await self.show(caller, op.job_id)
        async with self._store.write() as connection:
            row = await self._lock_batch(connection, caller, op.job_id)
            await self._delete(connection, row, job, at_any_time=op.at_any_time)
        return job

    async def delete_by_id(self, batch_id: int) -> Job:
        """Delete a batch of any account that is not being verified. Raises `Problem`."""
        known = await self.find_by_id(batch_id)
        async with self._store.write() as connection:
            query = select(batches).where(batches.c.id == batch_id).with_for_update()
            row = (await connection.execute(query)).first()
            if known is None or row is None or row.state in _INTERNAL_STATES:
                raise Problem(ProblemKind.JOB_UNKNOWN)
            await self._delete(connection, row, known[1], at_any_time=False)
        return known[1]

    async def _delete(
        self, connection: AsyncConnection, row: SqlRow[Any], job: Job, *, at_any_time: bool
    ) -> None:
        state = JobState(row.state)
        is_over = state.is_final or state is JobState.READY
        if not is_over and not at_any_time:
            raise Problem(ProblemKind.JOB_STATE, job_state=state)
        if not is_over:
            rules = rules_of(self._dialects[row.dialect])
            await cancel_batch(connection, self._store, row, rules, self._now())
        await connection.execute(
            update(batches).where(batches.c.id == row.id).values(state=InternalState.DELETED)
        )
        await connection.execute(delete(batch_chunks).where(batch_chunks.c.batch_id == row.id))
        await self._report(connection, row.id, JobEvent.DELETED, job)

    async def cancel(self, caller: Caller, job_id: str) -> Job:
        """End a batch before all of its rows are verified. Raises `Problem`."""
        async with self._store.write() as connection:
            row = await self._lock_batch(connection, caller, job_id)
            rules = rules_of(self._dialects[row.dialect])
            await cancel_batch(connection, self._store, row, rules, self._now())
        return await self.show(caller, job_id)

    async def _lock_batch(
        self, connection: AsyncConnection, caller: Caller, job_id: str
    ) -> SqlRow[Any]:
        found = await connection.execute(
            select(batches)
            .where(*_belongs_to(caller), batches.c.public_id == job_id)
            .with_for_update()
        )
        row = found.first()
        if row is None:
            raise Problem(ProblemKind.JOB_UNKNOWN)
        return row

    # -- helpers -------------------------------------------------------------------------

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    async def _find_job(self, *where: Any) -> Job:
        jobs = await self._find_jobs(select(batches).where(*where))
        if not jobs:
            raise Problem(ProblemKind.JOB_UNKNOWN)
        return jobs[0]

    async def _find_jobs(self, query: Any) -> list[Job]:
        async with self._store.read() as connection:
            return [self._to_job(row) for row in await connection.execute(query)]

    def _to_job(self, row: SqlRow[Any]) -> Job:
        return Job(
            id=row.public_id,
            state=JobState(row.state),
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            total=row.total,
            row_count=row.rows,
            valid_count=row.valid,
            done_count=row.done,
            counts=orjson.loads(row.counts),
            name=row.name,
            headers=tuple(orjson.loads(row.headers)),
            options=orjson.loads(row.options),
            # expired rows are not shown, even if they are not yet deleted
            rows_expired=row.rows_gone
            or (row.rows_until is not None and row.rows_until <= self._clock()),
            base_url=f"{self._base_url()}/{row.dialect}",
            token=row.token,
            link_token=token_for_links(
                rules_of(self._dialects[row.dialect]),
                row.dialect,
                row.public_id,
                row.token,
                self._clock(),
            ),
        )


def _log_created(batch_id: int, job: Job, dialect: Dialect, caller: Caller) -> None:
    log.info(
        "batch.created",
        extra={
            "batch": batch_id,
            "job_id": job.id,
            "dialect": dialect.name,
            "addresses": job.total,
            "key": caller.key_label,
        },
    )


def _with_options(row: SqlRow[Any], options: Mapping[str, Any]) -> str:
    return orjson.dumps({**orjson.loads(row.options), **options}).decode()


def _listed(op: ListJobs) -> Iterator[Any]:
    """The conditions of a list's filters."""
    if op.job_id is not None:
        yield batches.c.public_id == op.job_id
    if op.name is not None:
        yield batches.c.name == op.name
    if op.states is not None:
        yield batches.c.state.in_(op.states)


def _check_texts(op: SubmitJob) -> None:
    """Raises `Problem` (`INVALID`) for texts that no client needs to be so long."""
    if len(op.webhook_url) > MAX_URL_CHARACTERS:
        detail = f"The URL is longer than {MAX_URL_CHARACTERS:,} characters."
        raise Problem(ProblemKind.INVALID, detail, field="url")
    if len(op.name) > MAX_NAME_CHARACTERS:
        detail = f"The name is longer than {MAX_NAME_CHARACTERS:,} characters."
        raise Problem(ProblemKind.INVALID, detail, field="name")
    if any(len(name) > MAX_COLUMN_NAME_CHARACTERS for name in op.headers):
        detail = f"The name of a column is longer than {MAX_COLUMN_NAME_CHARACTERS:,} characters."
        raise Problem(ProblemKind.INVALID, detail)


async def make_chunks_due(connection: AsyncConnection, dispatch: Dispatch, batch_id: int) -> None:
    """Make all chunks of a batch due."""
    done = await connection.execute(
        update(batch_chunks).where(batch_chunks.c.batch_id == batch_id).values(due_at=DUE_AT_ONCE)
    )
    if done.rowcount:
        await dispatch.due(connection, DUE_AT_ONCE, done.rowcount)
        await dispatch.due_first(connection)


def _belongs_to(caller: Caller) -> tuple[Any, ...]:
    return (
        batches.c.account_id == caller.account_id,
        batches.c.dialect == caller.dialect,
        batches.c.state.not_in(_INTERNAL_STATES),
    )


def _chunk_values(batch_id: int, number: int, positions: bytes, due_at: float) -> dict[str, Any]:
    return {
        "batch_id": batch_id,
        "number": number,
        "positions": positions,
        "attempt": 0,
        "due_at": due_at,
    }
