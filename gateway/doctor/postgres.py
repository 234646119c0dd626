"""Whether a PostgreSQL server can be used by this version: found out, and judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from gateway.cluster.clock import DatabaseClock
from gateway.cluster.processes import ProcessKind, living_processes
from gateway.doctor.finding import Finding, fail, ok, warn
from gateway.settings.model import Settings
from gateway.store import StoreError, open_store
from gateway.store.tables import REVISION, accounts, processes, schema_state, version_table

CHECK = "postgres"
OLDEST_VERSION = 14
MAX_OFFSET_S = 5.0
ENGINE_CONNECTIONS = 7
"""Of the job engine, in a process that works: 4, and one for each of its three listeners."""
RESERVED_CONNECTIONS = 10
"""For administrators."""
LOCK_TIMEOUT_S = 2.0

_FACTS = """
SELECT current_setting('server_version_num')::int AS version,
       current_setting('max_connections')::int AS max_connections,
       pg_is_in_recovery() AS is_standby,
       pg_backend_pid() AS pid,
       has_schema_privilege(current_schema(), 'CREATE') AS may_create,
       coalesce(
           has_table_privilege(to_regclass('accounts'), 'INSERT')
           AND has_table_privilege(to_regclass('accounts'), 'UPDATE')
           AND has_table_privilege(to_regclass('accounts'), 'DELETE'), true
       ) AS may_write
"""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """What a server says of itself, and of us."""

    where: str
    version: int
    """The major version."""
    revision: str
    """Of the tables; empty if there are none."""
    least_reader: str
    """The oldest revision whose program may use them; empty if that is not known."""
    is_standby: bool
    may_create: bool
    may_write: bool
    offset_s: float
    """How far its clock is ahead of this machine's."""
    is_pooled: bool
    """Whether a pooler such as PgBouncer stands before it."""
    max_connections: int
    servers: int
    """Living processes of each kind."""
    workers: int


async def examine_postgres(
    settings: Settings, *, local_clock: Callable[[], float] = time.time
) -> list[Finding]:
    """The findings about the server of the settings; none for a SQLite file.

    A server that cannot be reached is the check of the database's.
    """
    if not settings.storage.url.startswith("postgresql"):
        return []
    try:
        return list(judge_postgres(await inspect_postgres(settings, local_clock), settings))
    except StoreError:
        return []


async def inspect_postgres(
    settings: Settings, local_clock: Callable[[], float] = time.time
) -> PostgresServer:
    """Changes nothing. Raises StoreError."""
    async with open_store(
        settings.storage.full_url,
        busy_timeout_s=LOCK_TIMEOUT_S,
        existing_only=True,
        pool_size=1,
    ) as store:
        clock = DatabaseClock(local_clock)
        await clock.read(store)
        async with store.read() as connection:
            facts = (await connection.execute(text(_FACTS))).one()
            raw: Any = (await connection.get_raw_connection()).driver_connection
            is_pooled = raw.info.backend_pid != facts.pid
        revision = least_reader = ""
        if await store.has_table(version_table):
            revision = str((await store.fetch_all(version_table.select()))[0][0])
        if await store.has_table(schema_state):
            least_reader = str((await store.fetch_all(schema_state.select()))[0].least_reader)
        has_rows = await store.has_table(processes) and await store.has_table(accounts)
        living = await living_processes(store, clock()) if has_rows else []
    return PostgresServer(
        where=store.where,
        version=facts.version // 10_000,
        revision=revision,
        least_reader=least_reader,
        is_standby=facts.is_standby,
        may_create=facts.may_create,
        may_write=facts.may_write,
        offset_s=clock.offset_s,
        is_pooled=is_pooled,
        max_connections=facts.max_connections,
        servers=sum(each.kind == ProcessKind.SERVE for each in living),
        workers=sum(each.kind == ProcessKind.WORKER for each in living),
    )


def judge_postgres(fact: PostgresServer, settings: Settings) -> Iterator[Finding]:
    """All that is wrong with it, or one finding that nothing is."""
    problems = [*_cannot_be_used(fact), *_should_be_changed(fact, settings)]
    yield from problems
    if not problems:
        needed = connections_needed(fact, settings)
        said = (
            f"version {fact.version}, tables at {fact.revision or 'none yet'};"
            f" {needed} of its {fact.max_connections} connections are for our processes"
        )
        yield ok(CHECK, fact.where, said)


def connections_needed(fact: PostgresServer, settings: Settings) -> int:
    """By the living processes, of which this one would be one more if there are none."""
    servers = fact.servers if fact.servers or fact.workers else 1
    working = fact.workers + (servers if settings.work.in_server else 0)
    return (servers + fact.workers) * settings.storage.pool + working * ENGINE_CONNECTIONS


def _cannot_be_used(fact: PostgresServer) -> Iterator[Finding]:
    if fact.version < OLDEST_VERSION:
        said = f"is version {fact.version}"
        yield fail(CHECK, fact.where, said, f"Use PostgreSQL {OLDEST_VERSION} or later.")
    if fact.is_standby:
        advice = "Let storage.url name the primary server."
        yield fail(CHECK, fact.where, "is a standby, which cannot be written", advice)
    if not fact.may_write:
        advice = "Use the user that created the tables, or grant INSERT, UPDATE and DELETE on them."
        yield fail(CHECK, fact.where, "this user may not write its tables", advice)
    if not fact.may_create and fact.revision < REVISION:
        advice = "Grant CREATE on the schema, or run veriplex migrate as its owner."
        yield fail(CHECK, fact.where, "this user may not create tables", advice)
    elif fact.revision and fact.revision < REVISION:
        said = f"its tables are at {fact.revision}, and this version needs {REVISION}"
        yield fail(CHECK, fact.where, said, "Run: veriplex migrate")
    if fact.revision > REVISION and not fact.least_reader <= REVISION:
        said = f"its tables are at {fact.revision}, of a newer version that allows no older ones"
        yield fail(CHECK, fact.where, said, "Run the newer version.")


def _should_be_changed(fact: PostgresServer, settings: Settings) -> Iterator[Finding]:
    if abs(fact.offset_s) > MAX_OFFSET_S:
        ahead = "ahead of" if fact.offset_s > 0 else "behind"
        said = f"its clock is {abs(fact.offset_s):,.0f} s {ahead} this machine's"
        yield warn(CHECK, fact.where, said, "Set both by NTP; what is due goes by the server's.")
    if fact.is_pooled and not settings.storage.direct_url:
        said = "is behind a pooler, which passes on no notices of new work"
        advice = "Set storage.direct_url to a URL past it; until then workers look every second."
        yield warn(CHECK, fact.where, said, advice)
    needed = connections_needed(fact, settings)
    if not fact.is_pooled and needed > fact.max_connections - RESERVED_CONNECTIONS:
        said = (
            f"has {fact.max_connections} connections, of which our processes need {needed},"
            f" and administrators {RESERVED_CONNECTIONS}"
        )
        yield warn(CHECK, fact.where, said, "Raise max_connections, or lower storage.pool.")
