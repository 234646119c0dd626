"""What the store needs of a database system; `sqlite` and `postgres` have it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol, TypeVar

from sqlalchemy import Row, Select, Table, TableValuedAlias
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.store.errors import StoreBusy, StoreConflict, StoreError

Insert = SqliteInsert | PostgresInsert
"""An INSERT that has ON CONFLICT; both systems write it alike."""

Rows = Sequence[Mapping[str, Any]]
"""Values by column; all rows have the same columns."""


Result = TypeVar("Result")


class Backend(Protocol):
    """One open database."""

    @property
    def where(self) -> str:
        """The path, or the URL without its password; for messages."""
        ...

    @property
    def is_on_server(self) -> bool:
        """Whether processes on other machines may have it open, too."""
        ...

    @property
    def reading(self) -> AsyncEngine:
        """Its connections begin no transaction."""
        ...

    @property
    def writing(self) -> AsyncEngine:
        """Its transactions may read first and write then."""
        ...

    async def fetch_all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """As `Store.fetch_all`."""
        ...

    async def transact(
        self, work: Callable[[AsyncConnection], Coroutine[Any, Any, Result]]
    ) -> Result:
        """As `Store.transact`, within a `write_turn`."""
        ...

    def read_turn(self) -> AbstractAsyncContextManager[None]:
        """Wait for a connection to read on. Raises StoreBusy."""
        ...

    def write_turn(self, *, in_background: bool) -> AbstractAsyncContextManager[None]:
        """Wait until this process may begin to write. Raises StoreBusy."""
        ...

    def translated_errors(self) -> AbstractContextManager[None]:
        """Raise the errors of the driver and of SQLAlchemy as StoreError."""
        ...

    def insert(self, into: Table) -> Insert: ...

    def listed(self, values: Sequence[int]) -> TableValuedAlias:
        """As `Store.listed`."""
        ...

    async def insert_rows(
        self, connection: AsyncConnection, into: Table, rows: Rows, *, or_update: bool
    ) -> None:
        """As `Store.insert_rows`; there are rows."""
        ...

    async def lock(self, connection: AsyncConnection, name: str) -> None:
        """Wait until no other transaction holds `name`, and hold it until this one ends."""
        ...

    def connections(self) -> Mapping[str, int]:
        """As `Store.connections`."""
        ...

    async def reclaim_some(self, connection: AsyncConnection) -> bool:
        """Return space of deleted rows to the file system; whether there is more to return."""
        ...


def update_on_conflict(into: Table, columns: Iterable[str]) -> str:
    """The end of an INSERT that takes the place of a row with the same primary key."""
    keys = [column.name for column in into.primary_key]
    values = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keys)
    return f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {values}"


@contextlib.contextmanager
def translated(
    where: str, explain: Callable[[BaseException], StoreError], driver_error: type[Exception]
) -> Iterator[None]:
    """Raise errors as StoreError; `explain` judges those of the driver."""
    try:
        yield
    except IntegrityError as exc:
        # PostgreSQL's further lines have the values.
        raise StoreConflict(where, str(exc.orig).partition("\n")[0]) from exc
    except PoolTimeout as exc:
        raise StoreBusy(where, "no connection became free in time") from exc
    except (DBAPIError, driver_error) as exc:
        cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
        raise explain(cause) from exc


def pool_connections(engine: AsyncEngine) -> dict[str, int]:
    """As `Store.connections`."""
    pool: Any = engine.pool
    if not hasattr(pool, "checkedout"):
        return {}
    return {"used": int(pool.checkedout()), "idle": int(pool.checkedin())}
