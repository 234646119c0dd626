"""The last versions run beside this one: its migrations only add what theirs need not fill."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.engine import Inspector

from gateway.store.migrate import upgrade
from gateway.store.tables import LEAST_READER, REVISION


def tables_at(connection: Connection, target: str) -> dict[str, dict[str, dict[str, object]]]:
    """The columns by table."""
    now = connection.scalar(text("SELECT version_num FROM alembic_version"))
    upgrade(connection, "here", now, target=target)
    found: Inspector = inspect(connection)
    return {
        table: {column["name"]: dict(column) for column in found.get_columns(table)}
        for table in found.get_table_names()
    }


@pytest.fixture
def url(database_url: str) -> str:
    return database_url.replace("postgresql:", "postgresql+psycopg:")


def test_what_the_oldest_reader_uses_is_there_and_takes_what_it_writes(url: str) -> None:
    assert LEAST_READER < REVISION
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        before = tables_at(connection, LEAST_READER)
        after = tables_at(connection, "head")
        unique = {
            table: {
                tuple(each["column_names"])
                for each in inspect(connection).get_unique_constraints(table)
            }
            for table in before
        }
    engine.dispose()
    for table, columns in before.items():
        for name, column in columns.items():
            kept = after[table][name]
            assert str(kept["type"]) == str(column["type"]), (table, name)
            assert kept["nullable"] or not column["nullable"], (table, name)
        for name in after[table].keys() - columns.keys():
            added = after[table][name]
            assert added["nullable"] or added["default"] is not None, (table, name)
            assert not any(name in names for names in unique[table]), (table, name)
