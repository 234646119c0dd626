"""The queue in the database that the batches are in: embedded, and for several processes.

Every write of a worker first renews its lease in the same transaction, and writes nothing when
the lease has gone to somebody else: that, and the primary key, make a row answered once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Row, case, delete, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract.dialect import Dialect
from adapters.contract.jobs import BatchRules, JobState, Unit
from engine.address import syntax
from engine.address.known import known
from gateway.accounts.caller import CreditsSpent
from gateway.accounts.ledger import Entry, settle
from gateway.batches.model import Answered, Claim, Item, PutOff, checks_from_text, pack, unpack
from gateway.batches.records import NOT_YET, PREPARATION, begin, rules_of
from gateway.store import Store
from gateway.store.tables import batch_chunks, batch_items, batch_results, batches, deliveries
from gateway.verdicts.codec import encode

LEASE_S = 30.0
"""How long a claim holds without being renewed; workers renew it every few seconds."""
TELL_FOR_S = 3 * 86_400
"""How long after its end a batch's webhook is tried (Emailable: three days)."""

_ACTIVE = (JobState.PREPARING, JobState.QUEUED, JobState.RUNNING)


class SqlQueue:
    """`gateway.batches.ports.Queue` over the tables."""

    def __init__(
        self, store: Store, dialects: Mapping[str, Dialect], *, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._dialects = dialects
        self._clock = clock
        self._claims = 0

    # -- claiming ------------------------------------------------------------------------

    async def claim(self, holder: str, *, only_idle: Collection[int] = ()) -> Claim | None:
        async with self._store.read() as connection:
            if not await self._candidates(connection, only_idle):
                return None
        async with self._store.write() as connection:
            for batch in await self._candidates(connection, only_idle):
                chunk = await self._free_chunk(connection, batch.id)
                if chunk is not None:
                    return await self._take(connection, holder, batch, chunk)
        return None

    async def _candidates(
        self, connection: AsyncConnection, left_out: Collection[int]
    ) -> list[Row[Any]]:
        """Batches with work that is due, in the order of their turn."""
        query = select(batches).where(
            batches.c.state.in_(_ACTIVE),
            exists().where(batch_chunks.c.batch_id == batches.c.id, *self._free()),
        )
        rows = [row for row in await connection.execute(query) if row.id not in left_out]
        # An account with many batches gets no more turns than one with a single one.
        last_turn: Counter[int] = Counter()
        for row in rows:
            last_turn[row.account_id] = max(last_turn[row.account_id], row.turn)
        return sorted(rows, key=lambda row: (last_turn[row.account_id], row.turn, row.id))

    def _free(self) -> tuple[Any, ...]:
        now = self._clock()
        return (
            batch_chunks.c.due_at <= now,
            or_(batch_chunks.c.lease_until.is_(None), batch_chunks.c.lease_until <= now),
        )

    async def _free_chunk(self, connection: AsyncConnection, batch_id: int) -> Row[Any] | None:
        found = await connection.execute(
            select(batch_chunks)
            .where(batch_chunks.c.batch_id == batch_id, *self._free())
            .order_by(batch_chunks.c.number)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        return found.first()

    async def _take(
        self, connection: AsyncConnection, holder: str, batch: Row[Any], chunk: Row[Any]
    ) -> Claim:
        self._claims += 1
        lease = f"{holder}/{self._claims}"
        await connection.execute(
            update(batch_chunks)
            .where(_same(batch_chunks, batch.id, chunk.number))
            .values(lease=lease, lease_until=self._clock() + LEASE_S)
        )
        last_turn = await connection.scalar(
            select(func.max(batches.c.turn)).where(batches.c.state.in_(_ACTIVE))
        )
        values: dict[str, Any] = {"turn": int(last_turn or 0) + 1}
        if batch.state == JobState.QUEUED:
            values |= {"state": JobState.RUNNING, "started_at": self._now()}
        await connection.execute(update(batches).where(batches.c.id == batch.id).values(values))
        prepares = chunk.number == PREPARATION
        return Claim(
            batch_id=batch.id,
            number=chunk.number,
            origin=chunk.origin or chunk.number,
            lease=lease,
            dialect=batch.dialect,
            checks=checks_from_text(batch.checks),
            retries=batch.retries,
            rows=batch.rows,
            attempt=chunk.attempt,
            begun_at=(batch.started_at or self._now()).timestamp(),
            key_id=batch.key_id or 0,
            key_label=batch.key_label or "",
            items=() if prepares else await self._items(connection, batch.id, chunk.positions),
            prepares=prepares,
        )

    async def _items(
        self, connection: AsyncConnection, batch_id: int, positions: bytes
    ) -> tuple[Item, ...]:
        """Those without an answer, in the order of the piece of work."""
        wanted = unpack(positions)
        found = await connection.execute(
            select(batch_items.c.position, batch_items.c.email)
            .select_from(
                batch_items.outerjoin(
                    batch_results,
                    (batch_results.c.batch_id == batch_items.c.batch_id)
                    & (batch_results.c.position == batch_items.c.position),
                )
            )
            .where(
                batch_items.c.batch_id == batch_id,
                batch_items.c.position.in_(wanted),
                batch_results.c.position.is_(None),
            )
        )
        emails = {row.position: row.email for row in found}
        return tuple(Item(place, emails[place]) for place in wanted if place in emails)

    # -- writing answers -----------------------------------------------------------------

    async def record(self, claim: Claim, answers: Sequence[Answered]) -> bool:
        rows, counts = self._rows(claim, answers)
        async with self._store.write() as connection:
            if not await self._renewed(connection, claim):
                return False
            if rows:
                batch = await _locked(connection, claim.batch_id)
                await self._write(connection, batch, rows, counts)
        return True

    async def finish(
        self, claim: Claim, answers: Sequence[Answered], put_off: Sequence[PutOff] = ()
    ) -> bool:
        rows, counts = self._rows(claim, answers)
        async with self._store.write() as connection:
            if not await self._renewed(connection, claim):
                return False
            batch = await _locked(connection, claim.batch_id)
            total = await self._write(connection, batch, rows, counts)
            await connection.execute(
                delete(batch_chunks).where(_same(batch_chunks, claim.batch_id, claim.number))
            )
            for later in put_off:
                await self._put_off(connection, claim, later)
            if not put_off and await self._is_last(connection, claim.batch_id):
                await self._complete(connection, batch, total)
        return True

    def _rows(
        self, claim: Claim, answers: Sequence[Answered]
    ) -> tuple[list[dict[str, Any]], Counter[str]]:
        """The rows to write, and what they add to the counters."""
        rules = rules_of(self._dialects[claim.dialect])
        counts: Counter[str] = Counter()
        rows = []
        for answer in answers:
            word = rules.word(answer.verification)
            counts[word] += 1
            counts.update(rules.flags(answer.verification))
            rows.append(
                {
                    "batch_id": claim.batch_id,
                    "position": answer.position,
                    "word": word,
                    "answer": encode(answer.verification),
                }
            )
        return rows, counts

    async def _renewed(self, connection: AsyncConnection, claim: Claim) -> bool:
        renewed = await connection.execute(
            update(batch_chunks)
            .where(
                _same(batch_chunks, claim.batch_id, claim.number),
                batch_chunks.c.lease == claim.lease,
            )
            .values(lease_until=self._clock() + LEASE_S)
        )
        return bool(renewed.rowcount)

    async def _write(
        self,
        connection: AsyncConnection,
        batch: Row[Any],
        rows: Sequence[Mapping[str, Any]],
        counts: Counter[str],
    ) -> Counter[str]:
        """Write rows and bring the counters up to date, which are returned."""
        total = Counter(orjson.loads(batch.counts)) + counts
        if rows:
            await connection.execute(insert(batch_results), rows)
            await connection.execute(
                update(batches)
                .where(batches.c.id == batch.id)
                .values(done=batches.c.done + len(rows), counts=orjson.dumps(total).decode())
            )
        return total

    async def _put_off(self, connection: AsyncConnection, claim: Claim, put_off: PutOff) -> None:
        last = await connection.scalar(
            select(func.max(batch_chunks.c.number)).where(batch_chunks.c.batch_id == claim.batch_id)
        )
        await connection.execute(
            insert(batch_chunks).values(
                batch_id=claim.batch_id,
                number=max(int(last or 0), claim.number) + 1,
                origin=claim.origin,
                positions=pack(put_off.positions),
                attempt=put_off.attempt,
                due_at=put_off.due_at,
            )
        )

    async def _is_last(self, connection: AsyncConnection, batch_id: int) -> bool:
        left = await connection.scalar(
            select(batch_chunks.c.number).where(batch_chunks.c.batch_id == batch_id).limit(1)
        )
        return left is None

    async def _complete(
        self, connection: AsyncConnection, batch: Row[Any], counts: Counter[str]
    ) -> None:
        rules = rules_of(self._dialects[batch.dialect])
        now = self._clock()
        kept_s = rules.kept_s(batch.total)
        await connection.execute(
            update(batches)
            .where(batches.c.id == batch.id)
            .values(
                state=JobState.COMPLETED,
                finished_at=self._now(),
                rows_until=None if kept_s is None else now + kept_s,
            )
        )
        refund = min(counts[rules.refunded_word], batch.charged_units)
        if rules.refunded_word and refund:
            await settle(
                connection, self._store, [Entry(batch.account_id, batch.charged_month, -refund)]
            )
        if batch.webhook_url:
            await connection.execute(
                insert(deliveries).values(
                    batch_id=batch.id,
                    url=batch.webhook_url,
                    due_at=now,
                    give_up_at=now + TELL_FOR_S,
                    attempts=0,
                    last_word="",
                )
            )

    # -- preparing -----------------------------------------------------------------------

    async def prepare(self, claim: Claim) -> bool:
        rules = rules_of(self._dialects[claim.dialect])
        counts = await self._analysed(claim, rules)
        async with self._store.write() as connection:
            if not await self._renewed(connection, claim):
                return False
            await connection.execute(
                delete(batch_chunks).where(_same(batch_chunks, claim.batch_id, claim.number))
            )
            batch = await _locked(connection, claim.batch_id)
            values: dict[str, Any] = {"counts": orjson.dumps(counts).decode()}
            if not batch.valid:
                values |= {"state": JobState.FAILED, "finished_at": self._now()}
                await connection.execute(
                    delete(batch_chunks).where(batch_chunks.c.batch_id == batch.id)
                )
            elif batch.start and (charge := await self._charged(connection, batch, rules)):
                values |= {"state": JobState.QUEUED, **charge}
                await begin(connection, batch.id, self._clock())
            else:
                values["state"] = JobState.READY
            await connection.execute(update(batches).where(batches.c.id == batch.id).values(values))
        return True

    async def _analysed(self, claim: Claim, rules: BatchRules) -> Counter[str]:
        """What the rows add to the counters before they are verified."""
        counts: Counter[str] = Counter()
        if rules.analyse is None:
            return counts
        after = -1
        while True:
            async with self._store.read() as connection:
                found = await connection.execute(
                    select(batch_items.c.position, batch_items.c.email)
                    .where(batch_items.c.batch_id == claim.batch_id, batch_items.c.position > after)
                    .order_by(batch_items.c.position)
                    .limit(ANALYSED_AT_ONCE)
                )
                rows = found.all()
            for row in rows:
                address = syntax.parse(row.email)
                counts.update(rules.analyse(address, known(address)))
            if len(rows) < ANALYSED_AT_ONCE:
                return counts
            after = rows[-1].position
            if (after + 1) % RENEWED_AFTER == 0:
                await self.record(claim, ())

    async def _charged(
        self, connection: AsyncConnection, batch: Row[Any], rules: BatchRules
    ) -> dict[str, Any] | None:
        """What was charged for the start; None if the credits do not suffice."""
        units = {Unit.ENTRIES: batch.total, Unit.ROWS: batch.rows, Unit.VALID: batch.valid}
        due = units[rules.charged]
        month = f"{self._now():%Y-%m}"
        (answer,) = await settle(
            connection, self._store, [Entry(batch.account_id, month, due, batch.allowance)]
        )
        if isinstance(answer, CreditsSpent):
            return None
        return {"charged_month": month, "charged_units": due}

    # -- leases --------------------------------------------------------------------------

    async def release(self, claim: Claim) -> None:
        async with self._store.write() as connection:
            await connection.execute(
                update(batch_chunks)
                .where(
                    _same(batch_chunks, claim.batch_id, claim.number),
                    batch_chunks.c.lease == claim.lease,
                )
                .values(lease=None, lease_until=None)
            )

    async def recover(self, is_dead: Callable[[str], bool]) -> int:
        async with self._store.read() as connection:
            held = await connection.scalars(
                select(batch_chunks.c.lease).where(batch_chunks.c.lease.is_not(None))
            )
            leases = [lease for lease in held if lease and is_dead(lease.rpartition("/")[0])]
        if leases:
            async with self._store.write() as connection:
                await connection.execute(
                    update(batch_chunks)
                    .where(batch_chunks.c.lease.in_(leases))
                    .values(lease=None, lease_until=None)
                )
        return len(leases)

    async def next_due(self) -> float | None:
        at = case(
            (batch_chunks.c.lease_until > batch_chunks.c.due_at, batch_chunks.c.lease_until),
            else_=batch_chunks.c.due_at,
        )
        async with self._store.read() as connection:
            due_at = await connection.scalar(
                select(func.min(at))
                .join_from(batch_chunks, batches, batches.c.id == batch_chunks.c.batch_id)
                .where(batches.c.state.in_(_ACTIVE))
            )
        return None if due_at is None or due_at >= NOT_YET else float(due_at)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


ANALYSED_AT_ONCE = 100
"""Rows analysed without a pause for other requests."""
RENEWED_AFTER = 10_000
"""Rows analysed before the lease is renewed; a second's work."""


def _same(table: Any, batch_id: int, number: int) -> Any:
    return (table.c.batch_id == batch_id) & (table.c.number == number)


async def _locked(connection: AsyncConnection, batch_id: int) -> Row[Any]:
    found = await connection.execute(
        select(batches).where(batches.c.id == batch_id).with_for_update()
    )
    return found.one()
