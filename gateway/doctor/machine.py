"""Facts of this machine: its database, the refusals stored there, its port, its clock."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from pathlib import Path

from sqlalchemy import select

from gateway.doctor.facts import Database, ListenAddress, RefusalHistory
from gateway.reputation import recent_refusals
from gateway.settings.server import ServerSettings
from gateway.sockets import bind
from gateway.store import StoreError, open_store
from gateway.store.tables import REVISION, version_table
from gateway.store.tables import egress_pauses as kept_pauses
from gateway.store.tables import egress_refusals as kept_refusals
from gateway.store.urls import IN_MEMORY, sqlite_file

LIVEZ_TIMEOUT_S = 1.0
LOCK_TIMEOUT_S = 2.0
"""Another process that holds the database's write lock for longer is reported."""
MAX_REFUSERS = 1_000
"""Pairs of operator and cause that are read; those with most refusals first."""


async def inspect_database(url: str, busy_s: float = LOCK_TIMEOUT_S) -> Database:
    """Whether the database can be written, without changing anything in it.

    Another process may hold the write lock for `busy_s`.
    """
    path = sqlite_file(url)
    if path is not None:
        return await asyncio.to_thread(_inspect_file, path, busy_s)
    if url == IN_MEMORY:
        return Database(":memory:", False)
    return await _inspect_server(url, busy_s)


async def _inspect_server(url: str, busy_s: float) -> Database:
    where = url.partition("@")[2]
    try:
        async with open_store(url, busy_timeout_s=busy_s, existing_only=True) as store:
            return Database(store.where, await store.has_table(version_table), is_on_server=True)
    except StoreError as exc:
        return Database(where, False, error=exc.reason, is_on_server=True)


def _inspect_file(path: Path, busy_s: float) -> Database:
    folder = path.parent
    try:
        free_bytes = shutil.disk_usage(folder).free
    except OSError as exc:
        return Database(str(path), False, 0, f"{folder}: {(exc.strerror or str(exc)).lower()}")
    exists = path.exists()
    error, is_locked, newer = "", False, ""
    try:
        if exists:
            is_locked = _is_locked(path, busy_s)
            newer = _newer_revision(path)
        else:
            _check_writable(folder)
    except (OSError, sqlite3.Error) as exc:
        error = str(getattr(exc, "strerror", None) or exc).lower()
    return Database(str(path), exists, free_bytes, error, is_locked, newer)


async def inspect_refusals(url: str, now: float) -> RefusalHistory:
    """The refusals in the week before Unix time `now`, without changing anything."""
    path = sqlite_file(url)
    if url == IN_MEMORY:
        return RefusalHistory(not_kept_because="a database in memory ends with its server")
    if path is not None and not await asyncio.to_thread(path.exists):
        return RefusalHistory(not_kept_because="there is no database")
    try:
        async with open_store(url, busy_timeout_s=LOCK_TIMEOUT_S, existing_only=True) as store:
            if not (await store.has_table(kept_refusals) and await store.has_table(kept_pauses)):
                return RefusalHistory(
                    not_kept_because="no server of this version has used the database"
                )
            return RefusalHistory(await recent_refusals(store, now, MAX_REFUSERS))
    except StoreError as exc:
        return RefusalHistory(error=str(exc))


def _is_locked(path: Path, busy_s: float) -> bool:
    """Take the write lock and release it; True if another process holds it."""
    with contextlib.closing(sqlite3.connect(path, timeout=busy_s, isolation_level=None)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc):
                raise
            return True
    return False


def _newer_revision(path: Path) -> str:
    """The revision of the tables, if it is later than ours; they count from 0001."""
    query = select(version_table.c.version_num)
    with contextlib.closing(sqlite3.connect(path)) as db:
        try:
            row = db.execute(str(query)).fetchone()
        except sqlite3.OperationalError:  # there are no tables yet
            return ""
    return str(row[0]) if row and str(row[0]) > REVISION else ""


def _check_writable(folder: Path) -> None:
    from tempfile import TemporaryFile

    with TemporaryFile(dir=folder):
        pass


async def inspect_listen_address(server: ServerSettings) -> ListenAddress:
    """Whether the server can listen on its address."""
    url = server.url()
    try:
        bind(server.host, server.port).close()
    except OSError as exc:
        error = exc.strerror or str(exc)
        local = server.model_copy(update={"public_url": ""}).url()
        return ListenAddress(url, error.lower(), is_veriplex=await _is_veriplex(local))
    return ListenAddress(url)


async def _is_veriplex(url: str) -> bool:
    import httpx

    try:
        async with httpx.AsyncClient(
            verify=False,  # noqa: S501
            timeout=LIVEZ_TIMEOUT_S,
            trust_env=False,
        ) as client:
            reply = await client.get(f"{url}/livez")
            return reply.status_code == 200 and "x-veriplex-source" in reply.headers
    except httpx.HTTPError:
        return False


def clock_behind_files_s(url: str, now: float) -> float:
    """How far the clock is behind the newest of our files; negative if it is not behind."""
    path = sqlite_file(url)
    newest = Path(__file__).stat().st_mtime
    if path is not None and path.exists():
        newest = max(newest, path.stat().st_mtime)
    return newest - now
