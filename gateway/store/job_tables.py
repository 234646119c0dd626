"""The tables of the job engine, procrastinate, which only PostgreSQL has.

Its scripts are copied here as they were when a migration of ours ran them, so that a database gets
the same tables however old or new the installed procrastinate is. A script of a later version gets
a migration of its own, and a row in `SCRIPTS`.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

PREFIX = "procrastinate_"
"""Of the names of its tables, types and functions."""

SCRIPTS = ("procrastinate_3_4.sql",)
"""In their order: a new database gets all of them."""


def run_script(connection: Connection, name: str) -> None:
    """Run a script in the connection's transaction; nothing on SQLite."""
    if connection.dialect.name != "postgresql":
        return
    script = (Path(__file__).parent / "migrations" / name).read_text("utf-8")
    # through the driver's cursor: many statements can only be sent without any parameters
    cursor = connection.connection.cursor()
    try:
        cursor.execute(script)
    finally:
        cursor.close()
