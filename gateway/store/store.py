"""The database: opening it, reading, and writing in transactions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from sqlalchemy import Row, Select, Table, TableValuedAlias, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.settings.storage import MigrateRule
from gateway.store.backend import Backend, Insert, Result, Rows
from gateway.store.errors import StoreConflict, StoreError, StoreTooOld, StoreUnusable
from gateway.store.schema import migrate
from gateway.store.sqlite import open_sqlite
from gateway.store.tables import version_table

BUSY_TIMEOUT_S = 5.0
"""For the lock of another process, for other writers of this one, or for a connection."""
POOL_SIZE = 5
"""Connections of one process to PostgreSQL."""
MIGRATION_POLL_S = 1.0


class Store:
    """An open database. Transactions are short and never nested.

    A database in memory has one connection, so a nested transaction would wait for itself, until
    StoreBusy.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.last_write_failed = False

    @property
    def where(self) -> str:
        """The path, or the URL without its password; for messages."""
        return self._backend.where

    @property
    def is_on_server(self) -> bool:
        """Whether processes on other machines may have it open, too."""
        return self._backend.is_on_server

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading; each statement sees what is committed before it.

        Raises StoreError.
        """
        async with self._backend.read_turn():
            with self._backend.translated_errors():
                async with self._backend.reading.connect() as connection:
                    yield connection

    async def fetch_all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """The rows of a short query that a request waits for. Raises StoreError.

        On SQLite it takes one trip to a thread, where `read` takes a dozen, each of which waits for
        its turn when the server is busy.
        """
        with self._backend.translated_errors():
            return await self._backend.fetch_all(query)

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end, rolled back on any exception. Raises StoreError.

        On SQLite it holds the write lock from its start, so that nobody changes what it has read
        before it commits. On PostgreSQL that is true of rows that it locks, and of what all who
        write it guard by the same `lock`.
        """
        async with self._writing(), self._backend.writing.begin() as connection:
            yield connection

    async def transact(
        self,
        work: Callable[[AsyncConnection], Coroutine[Any, Any, Result]],
        *,
        in_background: bool = False,
    ) -> Result:
        """What `work` returns, once all that it wrote is committed. Raises StoreError.

        The same as `write`, for what is written often: on SQLite, `work` runs as a whole in a
        thread, one trip there instead of two dozen. It may await nothing but the connection, and
        use nothing that others change meanwhile. What is written `in_background` takes turns with
        what clients wait for, even those of the same account.
        """
        async with self._writing(in_background=in_background):
            return await self._backend.transact(work)

    @contextlib.asynccontextmanager
    async def _writing(self, *, in_background: bool = False) -> AsyncIterator[None]:
        """The turn to write, and its errors."""
        try:
            async with self._backend.write_turn(in_background=in_background):
                with self._backend.translated_errors():
                    yield
        except StoreConflict:
            raise  # the database could be written, but for this row
        except StoreError:
            self.last_write_failed = True
            raise
        self.last_write_failed = False

    async def lock(self, connection: AsyncConnection, name: str) -> None:
        """Wait until no other transaction holds `name`, and hold it until this one ends.

        For what is read, judged and then written without a row to lock: a sum, a count. Raises
        StoreError.
        """
        await self._backend.lock(connection, name)

    def connections(self) -> Mapping[str, int]:
        """How many connections are `used` and `idle`."""
        return self._backend.connections()

    async def check_writable(self) -> None:
        """Write something that changes nothing. Raises StoreError."""
        async with self.write() as connection:
            column = version_table.c.version_num
            await connection.execute(update(version_table).values({column: column}))

    async def reclaim(self) -> None:
        """Return the space of deleted rows to the file system. Raises StoreError."""
        has_more = True
        while has_more:
            async with self.write() as connection:
                has_more = await self._backend.reclaim_some(connection)

    async def has_table(self, table: Table) -> bool:
        """Whether a table exists, in a database opened with `existing_only`. Raises StoreError."""
        async with self.read() as connection:
            return await connection.run_sync(lambda c: c.dialect.has_table(c, table.name))

    async def insert_rows(
        self, connection: AsyncConnection, into: Table, rows: Rows, *, or_update: bool = False
    ) -> None:
        """Insert many rows, of which all have the same columns, in as few statements as possible.

        With `or_update` a row takes the place of the one with its primary key. Raises StoreError.
        """
        if rows:
            await self._backend.insert_rows(connection, into, rows, or_update=or_update)

    def listed(self, values: Sequence[int]) -> TableValuedAlias:
        """A table of many values, in their order, which are one parameter together; its column is
        `value`.

        With a parameter for each, as `in_` has them, reading the statement takes most of the time.
        """
        return self._backend.listed(values)

    def insert(self, into: Table) -> Insert:
        """The database's own INSERT, which has ON CONFLICT."""
        return self._backend.insert(into)


@contextlib.asynccontextmanager
async def open_store(
    url: str,
    *,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    existing_only: bool = False,
    migrate_rule: MigrateRule = MigrateRule.ALWAYS,
    wait_for_migration_s: float = 0.0,
    pool_size: int = POOL_SIZE,
    answer_timeout_s: float | None = None,
) -> AsyncIterator[Store]:
    """Open a database, create or migrate its tables, and close it at the end.

    `url` is `sqlite:///PATH`, `sqlite:///:memory:` or `postgresql://…`; `busy_timeout_s` is how
    long to wait for other writers. With `existing_only` nothing is created or migrated: a table
    may be missing, and a missing file raises StoreUnusable. `migrate_rule` and `pool_size` are for
    PostgreSQL: a database that may not be migrated here raises StoreTooOld, unless another process
    does it within `wait_for_migration_s`. A server that is silent for `answer_timeout_s` in the
    middle of a statement counts as away; None is `gateway.store.postgres.ANSWER_TIMEOUT_S`. Raises
    StoreError.
    """
    address = _parse_url(url)
    is_file = address.get_backend_name() == "sqlite"
    may_create = not existing_only and (is_file or migrate_rule is not MigrateRule.NEVER)
    async with contextlib.AsyncExitStack() as stack:
        backend = await stack.enter_async_context(
            _open_backend(
                address,
                busy_timeout_s,
                may_create=may_create,
                pool_size=pool_size,
                answer_timeout_s=answer_timeout_s,
            )
        )
        store = Store(backend)
        if not existing_only:
            may_migrate = is_file or migrate_rule is MigrateRule.ALWAYS
            await _migrate(store, may_migrate, wait_for_migration_s)
        yield store


async def _migrate(store: Store, may_migrate: bool, wait_s: float) -> None:
    """Bring the tables up to date, or wait until another process has."""
    give_up_at = time.monotonic() + wait_s
    while True:
        try:
            async with store.write() as connection:
                await store.lock(connection, "migrate")
                migrating = partial(migrate, where=store.where, may_migrate=may_migrate)
                await connection.run_sync(migrating)
        except StoreTooOld:
            if time.monotonic() >= give_up_at:
                raise
            store.last_write_failed = False
            await asyncio.sleep(MIGRATION_POLL_S)
        else:
            return


def _open_backend(
    address: URL,
    busy_timeout_s: float,
    *,
    may_create: bool,
    pool_size: int,
    answer_timeout_s: float | None,
) -> AbstractAsyncContextManager[Backend]:
    if address.get_backend_name() == "sqlite":
        return open_sqlite(address, busy_timeout_s, existing_only=not may_create)
    try:
        from gateway.store.postgres import ANSWER_TIMEOUT_S, open_postgres
    except ModuleNotFoundError as exc:
        where = address.render_as_string(hide_password=True)
        raise StoreUnusable(where, "needs a driver: pip install 'veriplex[cluster]'") from exc
    return open_postgres(
        address,
        busy_timeout_s,
        may_create=may_create,
        pool_size=pool_size,
        answer_timeout_s=ANSWER_TIMEOUT_S if answer_timeout_s is None else answer_timeout_s,
    )


def _parse_url(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError as exc:
        raise StoreUnusable("storage.url", "is not a database URL") from exc
    if address.get_backend_name() not in ("sqlite", "postgresql"):
        where = address.render_as_string(hide_password=True)
        raise StoreUnusable(where, "should be sqlite:///PATH, sqlite:///:memory: or postgresql://…")
    return address
