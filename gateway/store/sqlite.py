"""SQLite behind the store: a file or memory, with one writer at a time.

SQLite runs in WAL mode with `synchronous = FULL`: what was acknowledged survives a kill and a power
cut. The price is one fsync for each commit, which writers share by committing in groups. NORMAL
would survive a kill, but lose the last commits in a power cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import orjson
from sqlalchemy import (
    Connection,
    Engine,
    Row,
    Select,
    Table,
    TableValuedAlias,
    create_engine,
    event,
    func,
    text,
)
from sqlalchemy.dialects.sqlite import Insert
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from engine.turns import FairSlots, Party, current_party
from gateway.store.backend import Result, Rows, pool_connections, translated, update_on_conflict
from gateway.store.errors import StoreBusy, StoreError, StoreFull, StoreUnusable
from gateway.store.private_files import create_privately, hide_from_others
from gateway.store.sqlite_writer import ImmediateConnection, TransactionThread, Work
from gateway.store.tables import LEAST_READER, REVISION, UtcDateTime, metadata, version_table

POOL_SIZE = 5
"""Connections to a file. Each has a thread, and SQLite allows one writer at a time anyway."""
QUERY_THREADS = 2
"""For the queries that requests wait for."""
PAGES_PER_VACUUM = 2_000
"""Pages freed in one transaction; it bounds how long other writers wait."""
MAX_PARAMETERS = 999
"""Of one statement; older versions of SQLite allow no more."""
WAL_LIMIT_BYTES = 64 * 1024 * 1024
"""Size to which the write-ahead log is truncated after a burst."""


class SqliteBackend:
    """An open SQLite database."""

    is_on_server = False

    def __init__(
        self,
        engine: AsyncEngine,
        where: str,
        busy_timeout_s: float,
        queries: Queries | None,
        transactions: TransactionThread | None,
    ) -> None:
        """`queries` and `transactions` are None for a database in memory, which has one
        connection."""
        self.where = where
        self._queries = queries
        self._transactions = transactions
        self.reading = engine
        self.writing = engine.execution_options(veriplex_write=True)
        self._busy_timeout_s = busy_timeout_s
        # SQLite's writers poll for its lock, and a pool serves whoever came first; here accounts
        # take turns. A database in memory has one connection for both.
        self._writing = FairSlots(1, is_strict=True)
        self._reading = (
            self._writing if queries is None else FairSlots(POOL_SIZE - 1, is_strict=True)
        )

    def read_turn(self) -> AbstractAsyncContextManager[None]:
        return self._turn(
            self._reading, (current_party(), False), "no connection became free in time"
        )

    def write_turn(self, *, in_background: bool) -> AbstractAsyncContextManager[None]:
        party = current_party(), in_background
        return self._turn(self._writing, party, "other writers took too long")

    @contextlib.asynccontextmanager
    async def _turn(self, slots: FairSlots, party: Party, refusal: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._busy_timeout_s):
                await slots.acquire(party)
        except TimeoutError as exc:
            raise StoreBusy(self.where, refusal) from exc
        try:
            yield
        finally:
            slots.release(party)

    def translated_errors(self) -> AbstractContextManager[None]:
        return _translated_errors(self.where)

    async def fetch_all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        if self._queries is not None:
            return await self._queries.fetch_all(query)
        async with self.read_turn(), self.reading.connect() as connection:
            rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
            return rows

    async def transact(self, work: Work[Result]) -> Result:
        if self._transactions is not None:
            return await self._transactions.run(work)
        async with self.writing.begin() as connection:
            return await work(connection)

    def insert(self, into: Table) -> Insert:
        return Insert(into)

    def listed(self, values: Sequence[int]) -> TableValuedAlias:
        return func.json_each(orjson.dumps(values).decode()).table_valued("value")

    async def insert_rows(
        self, connection: AsyncConnection, into: Table, rows: Rows, *, or_update: bool
    ) -> None:
        columns = list(rows[0])
        # Many rows a statement: with one for each, the thread hands the interpreter's lock back to
        # the event loop each time, which costs more than the rows.
        step = MAX_PARAMETERS // len(columns)
        forms = [
            (column, _time_text if isinstance(into.c[column].type, UtcDateTime) else None)
            for column in columns
        ]
        end = update_on_conflict(into, columns) if or_update else ""
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            one = f"({', '.join('?' * len(columns))})"
            sql = f"INSERT INTO {into.name} ({', '.join(columns)}) VALUES "  # noqa: S608
            sql += ", ".join([one] * len(some)) + end
            values = tuple(
                row[column] if form is None else form(row[column])
                for row in some
                for column, form in forms
            )
            await connection.exec_driver_sql(sql, values)

    async def lock(self, connection: AsyncConnection, name: str) -> None:
        """A transaction that writes has the lock of the whole database."""

    def connections(self) -> dict[str, int]:
        return pool_connections(self.writing)

    async def reclaim_some(self, connection: AsyncConnection) -> bool:
        free = await connection.scalar(text("PRAGMA freelist_count"))
        # Through the driver: the pragma frees pages while its rows are fetched, and SQLAlchemy
        # takes it for a statement without rows.
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        vacuum = await driver.execute(f"PRAGMA incremental_vacuum({PAGES_PER_VACUUM})")
        await vacuum.fetchall()
        left = await connection.scalar(text("PRAGMA freelist_count"))
        return bool(left) and left < (free or 0)


class Queries:
    """Runs short queries on a file, each as a whole in a thread. Accounts take turns."""

    def __init__(self, engine: Engine, threads: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._threads = threads
        self._slots = FairSlots(QUERY_THREADS, is_strict=True)

    @classmethod
    @contextlib.contextmanager
    def open(cls, address: URL, busy_timeout_s: float) -> Iterator[Self]:
        engine = create_engine(
            address.set(drivername="sqlite"),
            poolclass=QueuePool,
            pool_size=QUERY_THREADS,
            pool_reset_on_return=None,  # there is no transaction
            hide_parameters=True,
            connect_args={
                "timeout": busy_timeout_s,
                "isolation_level": None,
                "check_same_thread": False,
            },
        )
        threads = ThreadPoolExecutor(QUERY_THREADS, "queries")
        try:
            yield cls(engine, threads)
        finally:
            threads.shutdown()
            engine.dispose()

    async def fetch_all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        loop = asyncio.get_running_loop()
        async with self._slots.slot():
            return await loop.run_in_executor(self._threads, self._fetch, query)

    def _fetch(self, query: Select[Any]) -> Sequence[Row[Any]]:
        with self._engine.connect() as connection:
            return connection.execute(query).all()


@contextlib.asynccontextmanager
async def open_sqlite(
    address: URL, busy_timeout_s: float, *, existing_only: bool
) -> AsyncIterator[SqliteBackend]:
    """Open a database, with its tables in their newest form if it is new. Raises StoreError."""
    address, where = _driver_address(address)
    async with contextlib.AsyncExitStack() as stack:
        with _translated_errors(where):
            if _in_memory(address):
                # Keeps the shared memory alive: the pool's one connection is closed when a query
                # on it is cancelled.
                anchor = sqlite3.connect(_file_name(address), uri=True, isolation_level=None)
                stack.callback(anchor.close)
                if not existing_only:
                    _create_tables_if_empty(anchor)
            else:
                prepare = _require_file if existing_only else _prepare_file
                await asyncio.to_thread(prepare, _file_name(address), busy_timeout_s)
        engine = _create_engine(address, busy_timeout_s)
        stack.push_async_callback(engine.dispose)
        queries = transactions = None
        if not _in_memory(address):
            queries = stack.enter_context(Queries.open(address, busy_timeout_s))
            writing = _create_engine(address, busy_timeout_s, connect=ImmediateConnection)
            transactions = TransactionThread(writing.execution_options(veriplex_write=True))
            stack.push_async_callback(transactions.aclose)
        yield SqliteBackend(engine, where, busy_timeout_s, queries, transactions)


# -- opening -----------------------------------------------------------------------------


def _driver_address(address: URL) -> tuple[URL, str]:
    """The URL for the driver, and the name of the database in messages."""
    where = address.render_as_string(hide_password=True)
    if address.host or address.query:
        raise StoreUnusable(where, "should be sqlite:///PATH or sqlite:///:memory:")
    address = address.set(drivername="sqlite+aiosqlite")
    if address.database in (None, "", ":memory:"):
        query = {"mode": "memory", "cache": "shared", "uri": "true"}
        return address.set(database=f"file:veriplex-{uuid.uuid4().hex}", query=query), ":memory:"
    return address, str(address.database)


def _in_memory(address: URL) -> bool:
    return address.query.get("mode") == "memory"


def _file_name(address: URL) -> str:
    name = str(address.database)
    return f"{name}?mode=memory&cache=shared" if _in_memory(address) else name


def _require_file(path: str, _busy_timeout_s: float) -> None:
    if not Path(path).is_file():
        raise StoreUnusable(path, "does not exist")


def _prepare_file(path: str, busy_timeout_s: float) -> None:
    """Set the properties that are stored in the file, and create its tables if there are none."""
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise StoreUnusable(path, f"there is no folder {folder}")
    _keep_private(path)
    with contextlib.closing(
        sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None)
    ) as connection:
        if connection.execute("PRAGMA page_count").fetchone() == (0,):
            # This can be set only as long as there are no tables.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        give_up_at = time.monotonic() + busy_timeout_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as exc:
                # Two processes create the file at once: SQLite does not wait for this pragma.
                if "locked" not in str(exc) or time.monotonic() > give_up_at:
                    raise
                time.sleep(0.01)
        _create_tables_if_empty(connection)


def _keep_private(path: str) -> None:
    """Make the database readable by its owner alone, with the files that SQLite puts beside it."""
    for end in ("", "-wal", "-shm"):
        hide_from_others(Path(path + end))
    with contextlib.suppress(OSError):  # opening it will fail with a better message
        create_privately(Path(path))


def _create_tables_if_empty(connection: sqlite3.Connection) -> None:
    """Create the tables in their newest form, which is quicker than running all migrations."""
    count_tables = "SELECT count(*) FROM sqlite_master"
    if connection.execute(count_tables).fetchone()[0]:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # unless another process has created them meanwhile
        if not connection.execute(count_tables).fetchone()[0]:
            for statement in _schema_statements():
                connection.execute(statement)
            connection.execute("INSERT INTO alembic_version VALUES (?)", (REVISION,))
            state = (REVISION, LEAST_READER)
            connection.execute("INSERT INTO schema_state VALUES (?, ?)", state)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@lru_cache(1)
def _schema_statements() -> tuple[str, ...]:
    """CREATE statements for SQLite. Compiling them takes longer than running them."""
    elements: list[DDLElement] = []
    for table in (*metadata.sorted_tables, version_table):
        elements.append(CreateTable(table))
        elements += map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name)))
    return tuple(str(element.compile(dialect=SQLiteDialect())) for element in elements)


def _create_engine(
    address: URL, busy_timeout_s: float, *, connect: Callable[..., Any] | None = None
) -> AsyncEngine:
    """`connect` makes the driver's connections, if it is not the driver."""
    engine = create_async_engine(
        address,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1 if _in_memory(address) else POOL_SIZE,
        max_overflow=0,
        pool_timeout=busy_timeout_s,
        hide_parameters=True,  # addresses and hashes stay out of tracebacks
        # Without an isolation level the driver begins no transactions itself: see _on_begin.
        connect_args={
            "timeout": busy_timeout_s,
            "isolation_level": None,
            "factory": _RollbackConnection,
            **({} if connect is None else {"async_creator_fn": connect}),
        },
    )
    event.listen(engine.sync_engine, "connect", _on_connect)
    event.listen(engine.sync_engine, "begin", _on_begin)
    return engine


class _RollbackConnection(sqlite3.Connection):
    """A connection that rolls back its transaction when it is closed.

    The connection of a cancelled transaction is closed while it has unfinished statements, and
    would keep its locks until the last of them is finalized (sqlite.org/c3ref/close.html).
    """

    def close(self) -> None:
        with contextlib.suppress(sqlite3.ProgrammingError):  # already closed
            if self.in_transaction:
                self.rollback()
        super().close()


def _on_connect(connection: DBAPIConnection, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    # A transaction that reads before it writes cannot wait for another writer, so a transaction
    # that will write begins as one (sqlite.org/lang_transaction.html, 2.2). Reading needs no
    # transaction, which saves three round trips to the driver's thread.
    if connection.get_execution_options().get("veriplex_write", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


# -- errors ------------------------------------------------------------------------------

_ERROR_TEXTS: tuple[tuple[str, type[StoreError], str], ...] = (
    # part of SQLite's message, our exception, its reason
    ("is locked", StoreBusy, "is locked by another process"),
    ("is full", StoreFull, "the disk is full"),
    ("unable to open", StoreUnusable, "cannot be opened; may this user read and write there?"),
    ("readonly", StoreUnusable, "may not be written by this user"),
    ("not a database", StoreUnusable, "is not an SQLite database"),
    ("malformed", StoreUnusable, "is damaged"),
)


def _translated_errors(where: str) -> AbstractContextManager[None]:
    def explain(exc: BaseException) -> StoreError:
        text = str(exc)
        for part, error, reason in _ERROR_TEXTS:
            if part in text:
                return error(where, reason)
        return StoreError(where, text)

    return translated(where, explain, sqlite3.Error)


@lru_cache(maxsize=1024)
def _time_text(at: datetime | None) -> str | None:
    """As SQLAlchemy stores it, so that stored times and those of queries compare as texts."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
