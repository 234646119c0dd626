"""The version of a database's tables: what it is, and bringing older tables up to date."""

from __future__ import annotations

import logging

from sqlalchemy import Connection, inspect, select

from gateway.store.errors import StoreUnusable
from gateway.store.tables import REVISION, version_table

log = logging.getLogger(__name__)


def migrate(connection: Connection, where: str) -> None:
    """Bring the tables up to date in the connection's transaction.

    Raises StoreUnusable for a database of another program, StoreTooNew for one of a newer version.
    """
    if not connection.dialect.has_table(connection, version_table.name):
        tables = ", ".join(inspect(connection).get_table_names()[:3])
        raise StoreUnusable(where, f"holds another program's tables ({tables}…)")
    revision = connection.scalar(select(version_table.c.version_num))
    if revision == REVISION:
        return
    # Importing it takes a quarter of a second, which most starts can save.
    from gateway.store.migrate import upgrade

    upgrade(connection, where, revision)
    log.info("database.migrated", extra={"from": revision, "to": REVISION})
