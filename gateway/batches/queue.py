"""The queue of chunks in the database, which several processes may share.

Every write of a worker renews its lease in the same transaction, and writes nothing if another
worker has claimed the chunk meanwhile. This, and the primary key, give each row one result.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import (
    Column,
    Row,
    ScalarSelect,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract.batch_rules import (
    DUPLICATE,
    BatchRules,
    BilledUnit,
    JobEvent,
)
from adapters.contract.dialect import Dialect
from adapters.contract.jobs import JobState
from engine.address import syntax
from engine.address.offline import offline_evidence
from engine.turns import Turns
from gateway.accounts.caller import InsufficientCredits
from gateway.accounts.ledger import LedgerEntry, book_entries
from gateway.batches.duplicates import answer_duplicates
from gateway.batches.model import (
    BatchItem,
    Claim,
    Postponed,
    RowResult,
    checks_from_text,
    pack_positions,
    rules_of,
    unpack_positions,
)
from gateway.batches.outbox import add_event, add_rows
from gateway.batches.ports import EGRESS_PATIENCE_S
from gateway.batches.records import DUE_WHEN_STARTED, PREPARATION_CHUNK, make_chunks_due
from gateway.cluster.embedded import EmbeddedDispatch
from gateway.cluster.ports import Dispatch
from gateway.store import Store
from gateway.store.tables import (
    batch_chunks,
    batch_items,
    batch_results,
    batches,
)
from gateway.verdicts.codec import encode_verification

log = logging.getLogger(__name__)

LEASE_S = 30.0
"""Of a claim that is not renewed; workers renew theirs every few seconds."""

ACTIVE = (JobState.PREPARING, JobState.QUEUED, JobState.RUNNING)

BATCHES_PER_CLAIM = 8
"""More than one, since another process may claim the last free chunk of the first batch."""
ACCOUNTS_PER_CLAIM = 4
"""More than one, for the same reason."""

_Conditions = tuple[Any, ...]

_CLAIMED_COLUMNS = (
    batches.c.id,
    batches.c.account_id,
    batches.c.state,
    batches.c.started_at,
    batches.c.dialect,
    batches.c.checks,
    batches.c.refresh,
    batches.c.retries,
    batches.c.rows,
    batches.c.key_id,
    batches.c.key_label,
)
"""Only those that a claim needs: a client's column names and webhook URL may be long."""


class SqlChunkQueue:
    """`gateway.batches.ports.ChunkQueue` over the tables."""

    def __init__(
        self,
        store: Store,
        dialects: Mapping[str, Dialect],
        *,
        clock: Callable[[], float],
        dispatch: Dispatch | None = None,
    ) -> None:
        self._dispatch = dispatch or EmbeddedDispatch()
        self._store = store
        self._dialects = dialects
        self._clock = clock
        self._claims = 0
        self._last_turn: int | None = None
        """The number of the last claim, greater than those in the database; None at first."""

    # -- claiming ------------------------------------------------------------------------

    async def claim(
        self,
        holder: str,
        turns: Turns,
        *,
        skip_batches: Collection[int] = (),
        only_idle_accounts: bool = False,
        only_idle_batches: bool = False,
        egresses: Collection[str] | None = None,
    ) -> Claim | None:
        is_free = self._is_free(egresses)
        has_work = self._has_work(is_free, skip_batches, only_idle_batches)
        accounts = list(await self._accounts_with_work(has_work))
        if only_idle_accounts:
            accounts = [account for account in accounts if not turns.in_flight(account)]
        if not accounts:
            return None
        accounts = sorted(accounts, key=turns.order)[:ACCOUNTS_PER_CLAIM]

        async def claim(connection: AsyncConnection) -> Claim | None:
            for account_id in accounts:
                for batch in await self._next_batches(connection, account_id, has_work):
                    chunk = await self._free_chunk(connection, batch.id, is_free)
                    if chunk is not None:
                        return await self._lease_chunk(connection, holder, batch, chunk)
            return None

        return await self._store.transact(claim, in_background=True)

    async def _accounts_with_work(self, has_work: _Conditions) -> Sequence[int]:
        query = select(batches.c.account_id).where(*has_work).distinct()
        return [row.account_id for row in await self._store.fetch_all(query)]

    async def _next_batches(
        self, connection: AsyncConnection, account_id: int, has_work: _Conditions
    ) -> list[Row[Any]]:
        """The first few batches of an account with chunks that are due, in the order of their turn:
        the one whose last turn is longest ago comes first."""
        query = (
            select(*_CLAIMED_COLUMNS)
            .where(batches.c.account_id == account_id, *has_work)
            .order_by(batches.c.turn, batches.c.id)
            .limit(BATCHES_PER_CLAIM)
        )
        return list(await connection.execute(query))

    def _has_work(
        self, is_free: _Conditions, skip_batches: Collection[int], only_idle: bool
    ) -> _Conditions:
        this = batch_chunks.c.batch_id == batches.c.id
        conditions: _Conditions = (
            batches.c.state.in_(ACTIVE),
            batches.c.id.not_in(skip_batches),
            exists().where(this, *is_free),
        )
        if only_idle:
            in_flight = batch_chunks.c.lease_until > self._clock()
            conditions += (~exists().where(this, in_flight),)
        return conditions

    def _is_free(self, egresses: Collection[str] | None = None) -> _Conditions:
        now = self._clock()
        conditions: _Conditions = (
            batch_chunks.c.due_at <= now,
            or_(batch_chunks.c.lease_until.is_(None), batch_chunks.c.lease_until <= now),
        )
        if egresses is not None:
            conditions += (
                or_(
                    batch_chunks.c.egress.is_(None),
                    batch_chunks.c.egress.in_(egresses),
                    batch_chunks.c.due_at <= now - EGRESS_PATIENCE_S,
                ),
            )
        return conditions

    async def _free_chunk(
        self, connection: AsyncConnection, batch_id: int, is_free: _Conditions
    ) -> Row[Any] | None:
        found = await connection.execute(
            select(batch_chunks)
            .where(batch_chunks.c.batch_id == batch_id, *is_free)
            .order_by(batch_chunks.c.number)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        return found.first()

    async def _lease_chunk(
        self, connection: AsyncConnection, holder: str, batch: Row[Any], chunk: Row[Any]
    ) -> Claim:
        self._claims += 1
        lease = f"{holder}/{self._claims}"
        await connection.execute(
            update(batch_chunks)
            .where(_is_chunk(batch_chunks, batch.id, chunk.number))
            .values(lease=lease, lease_until=self._clock() + LEASE_S)
        )
        is_preparation = chunk.number == PREPARATION_CHUNK
        items = () if is_preparation else await self._items(connection, batch.id, chunk.positions)
        values: dict[str, Any] = {"turn": await self._next_turn(connection)}
        if batch.state == JobState.QUEUED:
            values |= {"state": JobState.RUNNING, "started_at": self._now()}
        # last, since all workers of a batch write its row
        await connection.execute(update(batches).where(batches.c.id == batch.id).values(values))
        return Claim(
            batch_id=batch.id,
            chunk_number=chunk.number,
            origin_chunk=chunk.origin or chunk.number,
            lease=lease,
            dialect=batch.dialect,
            checks=checks_from_text(batch.checks),
            refresh=batch.refresh,
            retries=batch.retries,
            batch_rows=batch.rows,
            attempt=chunk.attempt,
            started_at=(batch.started_at or self._now()).timestamp(),
            account_id=batch.account_id,
            key_id=batch.key_id or 0,
            key_label=batch.key_label or "",
            items=items,
            is_preparation=is_preparation,
        )

    async def _next_turn(self, connection: AsyncConnection) -> int:
        """A number greater than those of all earlier claims of this process, and by and large
        of other processes, too: it is the time in microseconds."""
        if self._last_turn is None:
            self._last_turn = int(await connection.scalar(select(func.max(batches.c.turn))) or 0)
        self._last_turn = max(self._last_turn + 1, int(self._clock() * 1_000_000))
        return self._last_turn

    async def _items(
        self, connection: AsyncConnection, batch_id: int, positions: bytes
    ) -> tuple[BatchItem, ...]:
        """The addresses without a result, in the order of the chunk."""
        in_order = unpack_positions(positions)
        wanted = self._store.listed(in_order)

        def of_row(column: Column[Any]) -> ScalarSelect[Any]:
            # Each row by its key: PostgreSQL does not know how many rows a new batch has, and would
            # read all of them for each chunk.
            table = column.table
            return (
                select(column)
                .where(table.c.batch_id == batch_id, table.c.position == wanted.c.value)
                .correlate(wanted)
                .scalar_subquery()
            )

        found = await connection.execute(
            select(
                wanted.c.value.label("position"),
                of_row(batch_items.c.email).label("email"),
                of_row(batch_results.c.position).label("answered"),
            )
        )
        emails = {row.position: row.email for row in found if row.answered is None}
        return tuple(BatchItem(each, emails[each]) for each in in_order if each in emails)

    # -- writing results -----------------------------------------------------------------

    async def write_results(self, claim: Claim, results: Sequence[RowResult]) -> bool:
        rows, counts = self._encode_rows(claim, results)

        async def write(connection: AsyncConnection) -> bool:
            if not await self._renew_lease(connection, claim):
                return False
            if rows:
                await self._store.insert_rows(connection, batch_results, rows)
                batch = await _lock_batch(connection, claim.batch_id)
                await self._count_results(connection, batch, rows, counts)
            return True

        return await self._store.transact(write, in_background=True)

    async def finish_chunk(
        self, claim: Claim, results: Sequence[RowResult], postponed: Sequence[Postponed] = ()
    ) -> bool:
        rows, counts = self._encode_rows(claim, results)

        async def finish(connection: AsyncConnection) -> tuple[bool, Row[Any] | None]:
            """Whether the lease was still ours; and the batch, if this completed it."""
            if not await self._renew_lease(connection, claim):
                return False, None
            await self._store.insert_rows(connection, batch_results, rows)
            await connection.execute(
                delete(batch_chunks).where(
                    _is_chunk(batch_chunks, claim.batch_id, claim.chunk_number)
                )
            )
            batch = await _lock_batch(connection, claim.batch_id)
            total = await self._count_results(connection, batch, rows, counts)
            for later in postponed:
                await self._insert_postponed(connection, claim, later)
            if postponed:
                pass
            elif not batch.start:
                await self._end_sample(connection, batch)
            elif await self._has_no_chunks(connection, claim.batch_id):
                await self._complete_batch(connection, batch, total)
                return True, batch
            return True, None

        is_ours, batch = await self._store.transact(finish, in_background=True)
        if batch is not None:
            started_at = batch.started_at or batch.created_at
            seconds = (self._now() - started_at).total_seconds()
            log.info(
                "batch.completed",
                extra={
                    "batch": claim.batch_id,
                    "job_id": batch.public_id,
                    "dialect": claim.dialect,
                    "addresses": batch.total,
                    "seconds": round(seconds, 2),
                },
            )
        return is_ours

    def _encode_rows(
        self, claim: Claim, results: Sequence[RowResult]
    ) -> tuple[list[dict[str, Any]], Counter[str]]:
        """The rows to write, and their part of the counters."""
        rules = rules_of(self._dialects[claim.dialect])
        counts: Counter[str] = Counter()
        rows = []
        for result in results:
            word = rules.row_word(result.verification)
            counts[word] += 1
            counts.update(rules.extra_counters(result.verification))
            rows.append(
                {
                    "batch_id": claim.batch_id,
                    "position": result.position,
                    "word": word,
                    "answer": encode_verification(result.verification),
                }
            )
        return rows, counts

    async def _renew_lease(self, connection: AsyncConnection, claim: Claim) -> bool:
        renewed = await connection.execute(
            update(batch_chunks)
            .where(
                _is_chunk(batch_chunks, claim.batch_id, claim.chunk_number),
                batch_chunks.c.lease == claim.lease,
            )
            .values(lease_until=self._clock() + LEASE_S)
        )
        return bool(renewed.rowcount)

    async def _count_results(
        self,
        connection: AsyncConnection,
        batch: Row[Any],
        rows: Sequence[Mapping[str, Any]],
        counts: Counter[str],
    ) -> Counter[str]:
        """Update the counters, which are returned, and report the rows.

        All workers of a batch write its row, so that it is locked after their results are stored,
        and only for the rest of the transaction.
        """
        total = Counter(orjson.loads(batch.counts)) + counts
        if rows:
            positions = [row["position"] for row in rows]
            dialect = self._dialects[batch.dialect]
            await add_rows(connection, self._dispatch, batch, dialect, positions, self._clock())
            await connection.execute(
                update(batches)
                .where(batches.c.id == batch.id)
                .values(done=batches.c.done + len(rows), counts=orjson.dumps(total).decode())
            )
        return total

    async def _insert_postponed(
        self, connection: AsyncConnection, claim: Claim, postponed: Postponed
    ) -> None:
        last = await connection.scalar(
            select(func.max(batch_chunks.c.number)).where(batch_chunks.c.batch_id == claim.batch_id)
        )
        await connection.execute(
            insert(batch_chunks).values(
                batch_id=claim.batch_id,
                number=max(int(last or 0), claim.chunk_number) + 1,
                origin=claim.origin_chunk,
                positions=pack_positions(postponed.positions),
                attempt=postponed.attempt,
                egress=postponed.egress or None,
                due_at=postponed.due_at,
            )
        )
        await self._dispatch.due(connection, postponed.due_at, egress=postponed.egress)

    async def _has_no_chunks(self, connection: AsyncConnection, batch_id: int) -> bool:
        left = await connection.scalar(
            select(batch_chunks.c.number).where(batch_chunks.c.batch_id == batch_id).limit(1)
        )
        return left is None

    async def _end_sample(self, connection: AsyncConnection, batch: Row[Any]) -> None:
        """Make a batch ready again, if that was the last chunk of its sample."""
        left = await connection.scalar(
            select(batch_chunks.c.number)
            .where(batch_chunks.c.batch_id == batch.id, batch_chunks.c.due_at < DUE_WHEN_STARTED)
            .limit(1)
        )
        if left is not None:
            return
        ready = update(batches).where(batches.c.id == batch.id).values(state=JobState.READY)
        await connection.execute(ready)
        dialect = self._dialects[batch.dialect]
        await add_event(
            connection, self._dispatch, batch, dialect, JobEvent.SAMPLE_FINISHED, self._clock()
        )

    async def _complete_batch(
        self, connection: AsyncConnection, batch: Row[Any], counts: Counter[str]
    ) -> None:
        rules = rules_of(self._dialects[batch.dialect])
        now = self._clock()
        kept_s = rules.own_retention_s(orjson.loads(batch.options))
        if kept_s is None:
            kept_s = rules.retention_s(batch.total)
        values: dict[str, Any] = {
            "state": JobState.COMPLETED,
            "finished_at": self._now(),
            "rows_until": None if kept_s is None else now + kept_s,
        }
        if rules.marks_duplicates and counts[DUPLICATE]:
            answered = await answer_duplicates(connection, batch.id, counts)
            values["done"] = batches.c.done + answered
            values["counts"] = orjson.dumps(counts).decode()
        await connection.execute(update(batches).where(batches.c.id == batch.id).values(values))
        refund = min(counts[rules.refund_word], batch.charged_units)
        if rules.refund_word and refund:
            await book_entries(
                connection,
                self._store,
                [LedgerEntry(batch.account_id, batch.charged_month, -refund)],
            )
        dialect = self._dialects[batch.dialect]
        await add_event(connection, self._dispatch, batch, dialect, JobEvent.COMPLETED, now)

    # -- preparing -----------------------------------------------------------------------

    async def prepare_batch(self, claim: Claim) -> bool:
        rules = rules_of(self._dialects[claim.dialect])
        counts = await self._analyse_rows(claim, rules)
        async with self._store.write() as connection:
            if not await self._renew_lease(connection, claim):
                return False
            await connection.execute(
                delete(batch_chunks).where(
                    _is_chunk(batch_chunks, claim.batch_id, claim.chunk_number)
                )
            )
            batch = await _lock_batch(connection, claim.batch_id)
            values: dict[str, Any] = {"counts": orjson.dumps(counts).decode()}
            if not batch.valid:
                values |= {"state": JobState.FAILED, "finished_at": self._now()}
                await connection.execute(
                    delete(batch_chunks).where(batch_chunks.c.batch_id == batch.id)
                )
            elif batch.start and (charge := await self._charge_start(connection, batch, rules)):
                values |= {"state": JobState.QUEUED, **charge}
                await make_chunks_due(connection, self._dispatch, batch.id)
                dialect = self._dialects[batch.dialect]
                await add_event(
                    connection, self._dispatch, batch, dialect, JobEvent.STARTED, self._clock()
                )
            else:
                values["state"] = JobState.READY
            await connection.execute(update(batches).where(batches.c.id == batch.id).values(values))
        return True

    async def _analyse_rows(self, claim: Claim, rules: BatchRules) -> Counter[str]:
        """The counters of the rows before they are verified (`counters_before_start`)."""
        counts: Counter[str] = Counter()
        if rules.counters_before_start is None:
            return counts
        after = -1
        while True:
            async with self._store.read() as connection:
                found = await connection.execute(
                    select(batch_items.c.position, batch_items.c.email)
                    .where(batch_items.c.batch_id == claim.batch_id, batch_items.c.position > after)
                    .order_by(batch_items.c.position)
                    .limit(ROWS_PER_ANALYSIS)
                )
                rows = found.all()
            for row in rows:
                address = syntax.parse_address(row.email)
                counts.update(rules.counters_before_start(address, offline_evidence(address)))
            if len(rows) < ROWS_PER_ANALYSIS:
                return counts
            after = rows[-1].position
            if (after + 1) % ROWS_PER_RENEWAL == 0:
                await self.write_results(claim, ())

    async def _charge_start(
        self, connection: AsyncConnection, batch: Row[Any], rules: BatchRules
    ) -> dict[str, Any] | None:
        """The columns of the charge for the start; None if the credits do not suffice."""
        units = {
            BilledUnit.ENTRIES: batch.total,
            BilledUnit.ROWS: batch.rows,
            BilledUnit.VALID: batch.valid,
        }
        charged = units[rules.billed_unit]
        month = f"{self._now():%Y-%m}"
        entry = LedgerEntry(batch.account_id, month, charged, batch.allowance)
        (booked,) = await book_entries(connection, self._store, [entry])
        if isinstance(booked, InsufficientCredits):
            return None
        return {"charged_month": month, "charged_units": charged}

    # -- leases --------------------------------------------------------------------------

    async def release(self, claim: Claim) -> None:
        async with self._store.write() as connection:
            done = await connection.execute(
                update(batch_chunks)
                .where(
                    _is_chunk(batch_chunks, claim.batch_id, claim.chunk_number),
                    batch_chunks.c.lease == claim.lease,
                )
                .values(lease=None, lease_until=None)
            )
            if done.rowcount:
                await self._dispatch.due(connection, self._clock())

    async def holders(self) -> frozenset[str]:
        query = select(batch_chunks.c.lease).where(batch_chunks.c.lease.is_not(None))
        return frozenset(_holder_of(row.lease) for row in await self._store.fetch_all(query))

    async def free_dead_leases(self, is_dead: Callable[[str], bool]) -> int:
        async with self._store.read() as connection:
            held = await connection.scalars(
                select(batch_chunks.c.lease).where(batch_chunks.c.lease.is_not(None))
            )
            leases = [lease for lease in held if lease and is_dead(_holder_of(lease))]
        if not leases:
            return 0
        async with self._store.write() as connection:
            # those that another process frees at the same time are not waited for
            found = await connection.execute(
                select(batch_chunks.c.batch_id, batch_chunks.c.number)
                .where(batch_chunks.c.lease.in_(leases))
                .order_by(batch_chunks.c.batch_id, batch_chunks.c.number)
                .with_for_update(skip_locked=True)
            )
            freed = found.all()
            for chunk in freed:
                await connection.execute(
                    update(batch_chunks)
                    .where(_is_chunk(batch_chunks, chunk.batch_id, chunk.number))
                    .values(lease=None, lease_until=None)
                )
            if freed:
                await self._dispatch.due(connection, self._clock(), len(freed))
        return len(freed)

    # -- what is due ---------------------------------------------------------------------

    async def reconcile(self) -> int:
        waits = and_(
            batch_chunks.c.egress.is_not(None),
            batch_chunks.c.due_at > self._clock() - EGRESS_PATIENCE_S,
        )
        egress = case((waits, batch_chunks.c.egress), else_="")
        query = (
            select(egress, func.count())
            .join_from(batch_chunks, batches, batches.c.id == batch_chunks.c.batch_id)
            .where(batches.c.state.in_(ACTIVE), *self._is_free())
            .group_by(text("1"))  # its parameters would make it another expression there
        )
        async with self._store.write() as connection:
            await self._store.lock(connection, "reconcile")
            due = {name: int(count) for name, count in await connection.execute(query)}
            return await self._dispatch.top_up(connection, due)

    async def next_due(self) -> float | None:
        at = case(
            (batch_chunks.c.lease_until > batch_chunks.c.due_at, batch_chunks.c.lease_until),
            else_=batch_chunks.c.due_at,
        )
        async with self._store.read() as connection:
            due_at = await connection.scalar(
                select(func.min(at))
                .join_from(batch_chunks, batches, batches.c.id == batch_chunks.c.batch_id)
                .where(batches.c.state.in_(ACTIVE))
            )
        return None if due_at is None or due_at >= DUE_WHEN_STARTED else float(due_at)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


ROWS_PER_ANALYSIS = 100
"""Rows analysed in one go; other requests wait as long."""
ROWS_PER_RENEWAL = 10_000
"""Rows analysed between renewals of the lease; they take about a second."""


def _holder_of(lease: str) -> str:
    return lease.rpartition("/")[0]


def _is_chunk(table: Any, batch_id: int, number: int) -> Any:
    return (table.c.batch_id == batch_id) & (table.c.number == number)


async def _lock_batch(connection: AsyncConnection, batch_id: int) -> Row[Any]:
    found = await connection.execute(
        select(batches).where(batches.c.id == batch_id).with_for_update()
    )
    return found.one()
