"""Batches of test keys in the database, for servers of several processes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract.batch_rules import IdSource
from adapters.contract.dialect import Dialect
from gateway.sandbox.batch import SandboxBatch, rules_of
from gateway.sandbox.batch_table import Selection, fixed_to_text, read_batch, state_to_text
from gateway.sandbox.budget import ScopedStore
from gateway.store import Store
from gateway.store.tables import sandbox_batches

KEPT_S = 7 * 86_400
"""After their submission batches are deleted."""


class SqlBatches:
    """`gateway.sandbox.batch_table.BatchTable` over the tables."""

    def __init__(
        self, store: Store, find_dialect: Callable[[str], Dialect], clock: Callable[[], float]
    ) -> None:
        """`clock` is Unix time in seconds; no test moves it."""
        self._store = store
        self._find_dialect = find_dialect
        self._clock = clock

    async def add(self, batch: SandboxBatch, max_batches: int, max_bytes: int) -> None:
        values = {
            "scope": batch.scope,
            "dialect": batch.dialect.name,
            "token": batch.token,
            "version": batch.version,
            "size": batch.size,
            "stored_at": self._clock(),
            "fixed": fixed_to_text(batch),
            "state": state_to_text(batch),
            "rows": batch.rows.pack(),
            "codes": batch.tally.codes,
        }

        async def work(connection: AsyncConnection) -> tuple[int, str]:
            # one after the other, so that each sees what the others need
            await self._store.lock(connection, "sandbox_batches")
            adding = insert(sandbox_batches).values(values).returning(sandbox_batches.c.number)
            number = int((await connection.execute(adding)).scalar_one())
            job_id = rules_of(batch.dialect).new_id(IdSource(number, secrets.randbelow))
            await connection.execute(
                update(sandbox_batches)
                .where(sandbox_batches.c.number == number)
                .values(job_id=job_id)
            )
            excess = await _excess(connection, max_batches, max_bytes)
            if excess:
                await connection.execute(
                    delete(sandbox_batches).where(sandbox_batches.c.number.in_(excess))
                )
            return number, job_id

        batch.number, batch.id = await self._store.transact(work)

    async def save(self, batch: SandboxBatch) -> bool:
        saving = (
            update(sandbox_batches)
            .where(
                sandbox_batches.c.number == batch.number,
                sandbox_batches.c.version == batch.version,
            )
            .values(version=batch.version + 1, state=state_to_text(batch))
        )

        async def work(connection: AsyncConnection) -> bool:
            return (await connection.execute(saving)).rowcount == 1

        saved = await self._store.transact(work)
        batch.version += saved
        return saved

    async def remove(self, selection: Selection) -> None:
        removing = delete(sandbox_batches).where(*_conditions(selection))

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(removing)

        await self._store.transact(work)

    async def versions(self, selection: Selection) -> dict[int, int]:
        query = select(sandbox_batches.c.number, sandbox_batches.c.version)
        rows = await self._store.fetch_all(
            query.where(*_conditions(selection)).order_by(sandbox_batches.c.number)
        )
        return {row.number: row.version for row in rows}

    async def states(self, numbers: Sequence[int]) -> dict[int, tuple[int, str]]:
        columns = sandbox_batches.c.number, sandbox_batches.c.version, sandbox_batches.c.state
        wanted = select(self._store.listed(numbers).c.value)
        query = select(*columns).where(sandbox_batches.c.number.in_(wanted))
        return {row.number: (row.version, row.state) for row in await self._store.fetch_all(query)}

    async def load(self, number: int) -> SandboxBatch | None:
        found = await self._store.fetch_all(
            select(sandbox_batches).where(sandbox_batches.c.number == number)
        )
        if not found:
            return None
        row = found[0]
        return read_batch(
            number=row.number,
            job_id=row.job_id,
            scope=row.scope,
            dialect=self._find_dialect(row.dialect),
            token=row.token,
            version=row.version,
            fixed=row.fixed,
            state=row.state,
            rows=row.rows,
            codes=row.codes,
        )

    async def delete_old(self) -> None:
        """Delete what test keys have submitted long ago."""
        removing = delete(sandbox_batches).where(
            sandbox_batches.c.stored_at <= self._clock() - KEPT_S
        )

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(removing)

        await self._store.transact(work, in_background=True)


async def _excess(connection: AsyncConnection, max_batches: int, max_bytes: int) -> list[int]:
    """The batches that have to make room for the newest one."""
    excess: list[int] = []
    stored: ScopedStore[int, int] = ScopedStore(
        max_values=max_batches, max_size=max_bytes, on_removal=excess.append
    )
    columns = sandbox_batches.c.number, sandbox_batches.c.scope, sandbox_batches.c.size
    for row in await connection.execute(select(*columns).order_by(sandbox_batches.c.number)):
        stored.put(row.scope, row.number, row.number, row.size)
    return excess


def _conditions(selection: Selection) -> list[ColumnElement[bool]]:
    table = sandbox_batches.c
    conditions: list[ColumnElement[bool]] = [table.job_id.is_not(None)]
    wanted: list[tuple[Any, Any]] = [
        (table.scope, selection.scope),
        (table.dialect, selection.dialect),
        (table.token, selection.token),
    ]
    conditions += [column == value for column, value in wanted if value is not None]
    if selection.job_ids is not None:
        conditions.append(table.job_id.in_(selection.job_ids))
    return conditions
