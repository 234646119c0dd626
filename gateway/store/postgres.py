"""PostgreSQL behind the store, through psycopg (the extra `cluster`).

Connections may come from PgBouncer in transaction mode: nothing outlives a transaction, so locks
are those of transactions, and no statement is prepared in a session.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

import psycopg
from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Row,
    Select,
    SmallInteger,
    String,
    Table,
    TableValuedAlias,
    Text,
    func,
    insert,
    inspect,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, Insert
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from engine.turns import FairSlots, Party, current_party
from gateway.store import job_tables
from gateway.store.backend import Result, Rows, pool_connections, translated, update_on_conflict
from gateway.store.bounded import bounded_connect
from gateway.store.errors import (
    StoreAway,
    StoreBusy,
    StoreConflict,
    StoreError,
    StoreFull,
    StoreUnusable,
)
from gateway.store.tables import LEAST_READER, REVISION, metadata, schema_state, version_table
from gateway.store.texts import replace_unstorable

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 30
ANSWER_TIMEOUT_S = STATEMENT_TIMEOUT_S + 2.0
"""A server that has not ended a statement by then is frozen."""
IDLE_TRANSACTION_TIMEOUT_S = 15
"""For a transaction whose process is frozen: its locks must not outlast its leases."""
_KEEPALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}
"""A server that is gone without a word is noticed within half a minute."""


ROWS_TO_COPY = 50
"""From so many on, COPY is faster than an INSERT of arrays: twice as fast for 5,000 rows."""
_COPIED_TYPES = {
    Integer: "int4",
    SmallInteger: "int2",
    BigInteger: "int8",
    Float: "float8",
    Boolean: "bool",
    String: "text",
    Text: "text",
    LargeBinary: "bytea",
}
"""What COPY writes for a column, since it converts nothing. Other types are not copied anywhere."""


class PostgresBackend:
    """An open PostgreSQL database."""

    is_on_server = True

    def __init__(
        self, engine: AsyncEngine, where: str, pool_size: int, busy_timeout_s: float
    ) -> None:
        self.where = where
        self._busy_timeout_s = busy_timeout_s
        # The pool serves whoever came first; here accounts take turns.
        self._turns = FairSlots(pool_size, is_strict=True)
        # One statement is a transaction of its own: two round trips less.
        self.reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self.writing = engine

    def read_turn(self) -> AbstractAsyncContextManager[None]:
        return self._turn((current_party(), False))

    def write_turn(self, *, in_background: bool) -> AbstractAsyncContextManager[None]:
        return self._turn((current_party(), in_background))

    @contextlib.asynccontextmanager
    async def _turn(self, party: Party) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._busy_timeout_s):
                await self._turns.acquire(party)
        except TimeoutError as exc:
            raise StoreBusy(self.where, "all connections are in use") from exc
        try:
            yield
        finally:
            self._turns.release(party)

    async def transact(
        self, work: Callable[[AsyncConnection], Coroutine[Any, Any, Result]]
    ) -> Result:
        async with self.writing.begin() as connection:
            return await work(connection)

    def translated_errors(self) -> AbstractContextManager[None]:
        return _translated_errors(self.where)

    async def fetch_all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        async with self.read_turn(), self.reading.connect() as connection:
            rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
            return rows

    def insert(self, into: Table) -> Insert:
        return Insert(into)

    async def insert_rows(
        self, connection: AsyncConnection, into: Table, rows: Rows, *, or_update: bool
    ) -> None:
        columns = list(rows[0])
        if len(rows) >= ROWS_TO_COPY and not or_update:
            await self._copy(connection, into, columns, rows)
            return
        types = [into.c[name].type.compile(connection.dialect) for name in columns]
        arrays = ", ".join(f"%s::{type_}[]" for type_ in types)
        sql = f"INSERT INTO {into.name} ({', '.join(columns)}) SELECT * FROM unnest({arrays})"  # noqa: S608
        if or_update:
            sql += update_on_conflict(into, columns)
            # Two transactions that update the same rows do so in the same order.
            keys = [column.name for column in into.primary_key]
            rows = sorted(rows, key=lambda row: [row[key] for key in keys])
        await connection.exec_driver_sql(
            sql, tuple([row[name] for row in rows] for name in columns)
        )

    async def _copy(
        self, connection: AsyncConnection, into: Table, columns: list[str], rows: Rows
    ) -> None:
        driver = (await connection.get_raw_connection()).driver_connection
        assert isinstance(driver, psycopg.AsyncConnection)
        sql = f"COPY {into.name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
        async with driver.cursor() as cursor, cursor.copy(sql.encode()) as copy:
            copy.set_types([_COPIED_TYPES[type(into.c[name].type)] for name in columns])
            for row in rows:
                await copy.write_row([row[name] for name in columns])

    def listed(self, values: Sequence[int]) -> TableValuedAlias:
        return (
            func.unnest(literal(list(values), ARRAY(Integer)))
            .table_valued("value")
            .render_derived()
        )

    async def lock(self, connection: AsyncConnection, name: str) -> None:
        await connection.execute(select(_lock(name)))

    def connections(self) -> dict[str, int]:
        return pool_connections(self.writing)

    async def reclaim_some(self, connection: AsyncConnection) -> bool:
        """Autovacuum does it."""
        return False


@contextlib.asynccontextmanager
async def open_postgres(
    address: URL,
    busy_timeout_s: float,
    *,
    may_create: bool,
    pool_size: int,
    answer_timeout_s: float,
) -> AsyncIterator[PostgresBackend]:
    """Open a database. If it is empty and `may_create`, it gets its tables in their newest form.

    Raises StoreError.
    """
    where = address.render_as_string(hide_password=True)
    engine = _create_engine(address, busy_timeout_s, pool_size, answer_timeout_s)
    try:
        with _translated_errors(where):
            if not may_create:
                async with engine.connect() as connection:
                    await connection.execute(select(1))
            else:
                async with engine.begin() as connection:
                    await connection.execute(select(_lock("migrate")))
                    await connection.run_sync(_create_tables_if_empty)
        yield PostgresBackend(engine, where, pool_size, busy_timeout_s)
    finally:
        await engine.dispose()


def _create_engine(
    address: URL, busy_timeout_s: float, pool_size: int, answer_timeout_s: float
) -> AsyncEngine:
    return create_async_engine(
        address.set(drivername="postgresql+psycopg"),
        poolclass=AsyncAdaptedQueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=busy_timeout_s,
        hide_parameters=True,  # addresses and hashes stay out of tracebacks
        connect_args={
            **session_parameters(busy_timeout_s),
            "async_creator_fn": _connecting(answer_timeout_s),
        },
    )


def _connecting(answer_timeout_s: float) -> Callable[..., Awaitable[psycopg.AsyncConnection]]:
    connect = bounded_connect(answer_timeout_s)

    async def connected(*args: Any, **kwargs: Any) -> psycopg.AsyncConnection:
        connection = await connect(*args, **kwargs)
        replace_unstorable(connection)
        return connection

    return connected


def session_parameters(busy_timeout_s: float) -> dict[str, Any]:
    """What psycopg is given to connect, beside the URL."""
    settings = {
        "lock_timeout": round(busy_timeout_s * 1000),
        "statement_timeout": STATEMENT_TIMEOUT_S * 1000,
        "idle_in_transaction_session_timeout": IDLE_TRANSACTION_TIMEOUT_S * 1000,
    }
    return {
        "application_name": "veriplex",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        "prepare_threshold": None,
        **_KEEPALIVE,
    }


def _lock(name: str) -> Any:
    """Takes a lock that ends with the transaction."""
    return func.pg_advisory_xact_lock(func.hashtextextended(f"veriplex:{name}", 0))


def _create_tables_if_empty(connection: Connection) -> None:
    if inspect(connection).get_table_names():
        return
    metadata.create_all(connection)
    version_table.create(connection)
    connection.execute(insert(version_table).values(version_num=REVISION))
    state = {"revision": REVISION, "least_reader": LEAST_READER}
    connection.execute(insert(schema_state).values(state))
    for script in job_tables.SCRIPTS:
        job_tables.run_script(connection, script)


# -- errors ------------------------------------------------------------------------------

_ERROR_STATES: tuple[tuple[str, type[StoreError], str], ...] = (
    # beginning of the SQLSTATE, our exception, its reason
    ("23", StoreConflict, "a row exists already, or one that it refers to does not"),  # of COPY
    ("40P01", StoreBusy, "two transactions waited for each other"),
    ("40001", StoreBusy, "another transaction came first"),
    ("55P03", StoreBusy, "is locked by another process"),
    ("57014", StoreBusy, f"a statement took longer than {STATEMENT_TIMEOUT_S} s"),
    ("53100", StoreFull, "the server's disk is full"),
    ("53300", StoreBusy, "the server has no connection left (max_connections)"),
    ("28", StoreUnusable, "user name or password is wrong"),
    ("3D000", StoreUnusable, "there is no such database; create it first"),
    ("42501", StoreUnusable, "this user may not do that there"),
    ("57P", StoreAway, "the server is being stopped or started"),
    ("08", StoreAway, "the connection to the server was lost"),
)
_CONNECTING: tuple[tuple[str, type[StoreError], str], ...] = (
    # part of libpq's message where there is no SQLSTATE: the connection failed
    ("password authentication failed", StoreUnusable, "user name or password is wrong"),
    ("no password supplied", StoreUnusable, "it wants a password"),
    ("does not exist", StoreUnusable, "there is no such database or user; create it first"),
    ("too many clients", StoreBusy, "the server has no connection left (max_connections)"),
    ("remaining connection slots", StoreBusy, "the server has no connection left"),
)


def _translated_errors(where: str) -> AbstractContextManager[None]:
    def explain(exc: BaseException) -> StoreError:
        state = getattr(exc, "sqlstate", None) or ""
        for beginning, error, reason in _ERROR_STATES:
            if state.startswith(beginning):
                return error(where, reason)
        text = str(exc)
        for part, error, reason in _CONNECTING:
            if not state and part in text:
                return error(where, reason)
        if isinstance(exc, psycopg.OperationalError):
            return StoreAway(where, "the server cannot be reached")
        return StoreError(where, text.partition("\n")[0])

    return translated(where, explain, psycopg.Error)
