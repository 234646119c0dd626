"""The version of a database's tables: what it is, and bringing older tables up to date."""

from __future__ import annotations

import logging

from sqlalchemy import Connection, delete, insert, inspect, select

from gateway.store.errors import StoreTooNew, StoreTooOld, StoreUnusable
from gateway.store.tables import LEAST_READER, REVISION, schema_state, version_table

log = logging.getLogger(__name__)


def migrate(connection: Connection, where: str, *, may_migrate: bool = True) -> None:
    """Bring older tables up to date in the connection's transaction.

    Raises StoreUnusable for a database of another program, StoreTooNew for one that this version
    may not use, and StoreTooOld for an older one that is not to be migrated.
    """
    revision = revision_of(connection, where)
    if revision == REVISION:
        return
    if revision is not None and revision > REVISION:
        if not _is_readable(connection):
            raise StoreTooNew(where, revision)
        log.info("database.newer", extra={"revision": revision, "own": REVISION})
        return
    if not may_migrate:
        raise StoreTooOld(where, revision or "empty")
    # Importing it takes a quarter of a second, which most starts can save.
    from gateway.store.migrate import upgrade

    upgrade(connection, where, revision)
    connection.execute(delete(schema_state))
    state = {"revision": REVISION, "least_reader": LEAST_READER}
    connection.execute(insert(schema_state).values(state))
    log.info("database.migrated", extra={"from": revision, "to": REVISION})


def revision_of(connection: Connection, where: str) -> str | None:
    """The newest migration of a database; None before the first one.

    Raises StoreUnusable if it has other tables only, StoreTooOld if it has none.
    """
    if not connection.dialect.has_table(connection, version_table.name):
        names = inspect(connection).get_table_names()
        if not names:
            raise StoreTooOld(where, "empty")
        tables = ", ".join(names[:3])
        raise StoreUnusable(where, f"holds another program's tables ({tables}…)")
    revision: str | None = connection.scalar(select(version_table.c.version_num))
    return revision


def _is_readable(connection: Connection) -> bool:
    """Whether a newer version says that this one may use its tables."""
    if not connection.dialect.has_table(connection, schema_state.name):
        return False
    least = connection.scalar(select(schema_state.c.least_reader))
    return least is not None and least <= REVISION
