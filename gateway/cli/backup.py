"""`veriplex backup`: copies the database of a running server."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import ConfigFile, read_settings
from gateway.cli.terminal import CommandError

PAGES_AT_ONCE = 1_000
"""Copied between two pauses, in which the server can write."""
BUSY_TIMEOUT_S = 5.0


def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; it must not exist.")],
    config: ConfigFile = None,
) -> None:
    """Copy the database into FILE, also while the server runs.

    The copy has all that was stored when the command began or ended. It
    holds addresses and hashes of keys, so that its owner alone may read it.
    To restore it, stop the server and put the copy in the database's place.

    Examples:
      veriplex backup veriplex-$(date +%F).db
    """
    from gateway.store.urls import IN_MEMORY, sqlite_file

    url = read_settings(ctx, config).storage.url
    if url == IN_MEMORY:
        raise CommandError("storage.url is in memory: there is nothing to copy")
    source = sqlite_file(url)
    if source is None:
        raise CommandError("this database is not a file: use its own tool, such as pg_dump")
    if not source.is_file():
        raise CommandError(f"there is no database {source}")
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError as exc:
        raise CommandError(f"{file} exists; choose another name, or remove it first") from exc
    except OSError as exc:
        raise CommandError(f"cannot write {file}: {exc.strerror}") from exc
    try:
        copy_database(source, file)
    except BaseException as exc:
        file.unlink(missing_ok=True)
        if isinstance(exc, sqlite3.Error):
            raise CommandError(f"cannot copy {source} to {file}: {exc}") from exc
        raise
    typer.echo(f"wrote {file}, {file.stat().st_size:,} bytes")


def copy_database(source: Path, target: Path) -> None:
    """Copy by SQLite's own means, which include what is in the write-ahead log.

    Raises sqlite3.Error.
    """
    with (
        contextlib.closing(
            sqlite3.connect(
                f"{source.absolute().as_uri()}?mode=rw", timeout=BUSY_TIMEOUT_S, uri=True
            )
        ) as original,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        original.execute("SELECT count(*) FROM sqlite_master")  # is it a database at all?
        original.backup(copy, pages=PAGES_AT_ONCE)
        # one file, without a log beside it that could be forgotten
        copy.execute("PRAGMA journal_mode = DELETE")
        (state,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(f"the copy is damaged: {state}")
