"""What PostgreSQL has of its own: several writers at once, and a server that can go away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from random import Random

import pytest
from sqlalchemy import create_engine, func, insert, inspect, select, text, update

from adapters.registry import DIALECTS
from gateway.accounts.accounts import open_accounts
from gateway.accounts.ledger import LedgerEntry, book_entries
from gateway.cluster.health import DatabaseCheck
from gateway.patience import NEXT_CONNECT_S, PATIENCE, Patience
from gateway.settings.storage import MigrateRule
from gateway.store import (
    Store,
    StoreAway,
    StoreBusy,
    StoreConflict,
    StoreTooNew,
    StoreTooOld,
    StoreUnusable,
    job_tables,
    open_store,
)
from gateway.store.migrate import upgrade
from gateway.store.tables import (
    REVISION,
    accounts,
    metadata,
    milestones,
    schema_state,
    spending,
    version_table,
)
from gateway.upstreams.routing.budgets import Budgets, SpendingCap, SpendingScope
from tests.postgres import PostgresServer

pytestmark = pytest.mark.postgres

NOW = datetime(2026, 5, 31, tzinfo=UTC)


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.empty_database()


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    server = PostgresServer("synchronous_commit=on")
    yield server
    server.close()


async def add_milestone(store: Store, name: str) -> None:
    async with store.write() as connection:
        await connection.execute(insert(milestones).values(name=name, reached_at=NOW))


async def test_twenty_processes_may_start_on_an_empty_database(url: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        opening = (stack.enter_async_context(open_store(url)) for _ in range(20))
        stores = await asyncio.gather(*opening)
        await add_milestone(stores[0], "a")
        async with stores[-1].read() as connection:
            assert await connection.scalar(select(func.count()).select_from(milestones)) == 1


def described(url: str) -> dict[str, object]:
    """The tables, their columns, keys and indexes, as the server has them."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    found = inspect(engine)
    tables: dict[str, object] = {
        name: (
            sorted((c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name)),
            found.get_pk_constraint(name),
            sorted(found.get_indexes(name), key=lambda index: str(index["name"])),
            sorted(c["name"] or "" for c in found.get_check_constraints(name)),
            [(key["name"], key["options"]) for key in found.get_foreign_keys(name)],
        )
        for name in found.get_table_names()
    }
    engine.dispose()
    return tables


async def test_the_migrations_create_the_tables_of_a_new_database(
    postgres_server: PostgresServer,
) -> None:
    migrated = postgres_server.empty_database()
    engine = create_engine(migrated.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        upgrade(connection, "here", None)
        assert connection.scalar(select(version_table.c.version_num)) == REVISION
    engine.dispose()
    by_migrations = described(migrated)
    new = postgres_server.empty_database()
    async with open_store(new):
        assert described(new) == by_migrations
    ours = {name for name in by_migrations if not name.startswith(job_tables.PREFIX)}
    assert ours == {*metadata.tables, version_table.name}


async def test_the_job_engine_finds_the_tables_of_its_installed_version(
    postgres_server: PostgresServer,
) -> None:
    async with open_store(postgres_server.empty_database()):
        pass
    ours = postgres_server.objects_named(f"{job_tables.PREFIX}%")
    schema = files("procrastinate.sql").joinpath("schema.sql").read_text("utf-8")
    postgres_server.empty_database()
    postgres_server.sql(schema)
    assert ours
    assert postgres_server.objects_named(f"{job_tables.PREFIX}%") == ours


async def test_tables_of_others_and_of_newer_versions_are_not_changed(url: str) -> None:
    async with open_store(url) as store, store.write() as connection:
        await connection.execute(update(version_table).values(version_num="9999"))
        await connection.execute(update(schema_state).values(least_reader="9998"))
    with pytest.raises(StoreTooNew, match="9999"):
        async with open_store(url):
            pass
    async with open_store(url, existing_only=True) as store, store.write() as connection:
        await connection.execute(text("DROP TABLE alembic_version"))
    with pytest.raises(StoreUnusable, match="another program's tables"):
        async with open_store(url):
            pass


async def test_a_newer_version_may_let_this_one_use_its_tables(url: str) -> None:
    async with open_store(url) as store, store.write() as connection:
        await connection.execute(update(version_table).values(version_num="9999"))
        await connection.execute(update(schema_state).values(least_reader=REVISION))
    async with open_store(url) as store:
        await add_milestone(store, "a")
        assert await store.fetch_all(select(version_table)) == [("9999",)]


async def as_before_the_last_migration(url: str) -> None:
    """Tables of the oldest version, which has none."""
    async with open_store(url) as store, store.write() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
        await connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))


@pytest.mark.parametrize("rule", [MigrateRule.EMPTY, MigrateRule.NEVER])
async def test_older_tables_wait_for_the_command_that_migrates_them(
    url: str, rule: MigrateRule
) -> None:
    await as_before_the_last_migration(url)
    with pytest.raises(StoreTooOld, match="veriplex migrate"):
        async with open_store(url, migrate_rule=rule):
            pass
    async with open_store(url, migrate_rule=MigrateRule.ALWAYS) as store:
        await add_milestone(store, "a")
    async with open_store(url, migrate_rule=rule) as store:
        await add_milestone(store, "b")


async def test_a_process_may_have_to_leave_an_empty_database_alone(url: str) -> None:
    with pytest.raises(StoreTooOld, match="has no tables yet"):
        async with open_store(url, migrate_rule=MigrateRule.NEVER):
            pass
    async with open_store(url, existing_only=True) as store:
        assert not await store.has_table(milestones)
    async with open_store(url, migrate_rule=MigrateRule.EMPTY) as store:
        await add_milestone(store, "a")


async def test_a_start_waits_for_another_process_that_migrates(url: str) -> None:
    await as_before_the_last_migration(url)
    opening = open_store(url, migrate_rule=MigrateRule.EMPTY, wait_for_migration_s=60)
    waiting = asyncio.create_task(opening.__aenter__())
    async with open_store(url, migrate_rule=MigrateRule.ALWAYS) as store:
        await add_milestone(store, "a")
    assert await (await waiting).fetch_all(select(milestones.c.name)) == [("a",)]
    await opening.__aexit__(None, None, None)


@pytest.mark.parametrize("reading", [True, False])
async def test_a_cancelled_statement_leaves_the_connection_usable(url: str, reading: bool) -> None:
    async with open_store(url) as store:
        for _ in range(12):  # more often than there are connections

            async def wait() -> None:
                async with store.read() if reading else store.write() as connection:
                    await connection.execute(text("SELECT pg_sleep(60)"))

            task = asyncio.create_task(wait())
            while not await waiting_statements(store):
                pass
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await add_milestone(store, "a")
        assert await waiting_statements(store) == 0


async def waiting_statements(store: Store) -> int:
    sleeping = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE state = 'active' AND query = 'SELECT pg_sleep(60)'"
    )
    async with store.read() as connection:
        return int(await connection.scalar(sleeping) or 0)


async def test_a_budget_is_not_overdrawn_by_processes_that_draw_at_once(url: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        opening = [stack.enter_async_context(open_store(url)) for _ in range(4)]
        stores = await asyncio.gather(*opening)
        scope = SpendingScope("source:a", SpendingCap(daily=100))
        processes = [Budgets(store, clock=NOW.timestamp) for store in stores]
        taken = await asyncio.gather(
            *(process.reserve([scope], 7) for process in processes for _ in range(20))
        )
        async with stores[0].read() as connection:
            spent = await connection.scalar(select(spending.c.micros))
        assert sum(taken) == 100 // 7
        assert spent is not None
        assert spent <= 100


async def test_settlements_of_the_same_accounts_do_not_wait_for_each_other_in_a_circle(
    url: str,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        opening = [stack.enter_async_context(open_store(url)) for _ in range(4)]
        stores = await asyncio.gather(*opening)
        async with open_accounts(stores[0], DIALECTS) as first:
            ids = [await first.create_account(credits=1_000) for _ in range(10)]

        async def settle(number: int, store: Store) -> None:
            order = Random(number)
            for _ in range(15):
                entries = [LedgerEntry(id_, "2026-05", 1, None) for id_ in order.sample(ids, 10)]
                async with store.write() as connection:
                    await book_entries(connection, store, entries)

        await asyncio.gather(*(settle(number, store) for number, store in enumerate(stores)))
        async with stores[0].read() as connection:
            left = (await connection.scalars(select(accounts.c.credits))).all()
    assert sorted(left, key=str) == [940] * 10


async def test_a_lock_that_is_held_too_long_is_an_error(url: str) -> None:
    async with open_store(url) as store, open_store(url, busy_timeout_s=0.02) as impatient:
        holding = store.write()
        await store.lock(await holding.__aenter__(), "a")
        async with impatient.write() as other:
            await impatient.lock(other, "b")
        with pytest.raises(StoreBusy, match="is locked"):
            async with impatient.write() as other:
                await impatient.lock(other, "a")
        await holding.__aexit__(None, None, None)


async def test_a_violated_constraint_is_a_conflict_that_shows_no_values(url: str) -> None:
    async with open_store(url) as store:
        await add_milestone(store, "secret")
        with pytest.raises(StoreConflict, match="pk_milestones") as caught:
            await add_milestone(store, "secret")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://me:sekrit@127.0.0.1:1/db", "127.0.0.1:1/db: the server cannot be reached"),
        ("postgresql://veriplex@/none?host={folder}", "there is no such database"),
        ("postgresql://nobody@/postgres?host={folder}", "there is no such database or user"),
    ],
)
async def test_a_database_that_cannot_be_opened_says_why(
    postgres_server: PostgresServer, url: str, message: str
) -> None:
    with pytest.raises((StoreUnusable, StoreAway)) as caught:
        async with open_store(url.format(folder=postgres_server.socket_folder)):
            pass
    assert message in str(caught.value)
    assert "sekrit" not in str(caught.value)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restarted_server_is_used_again(own_server: PostgresServer, mode: str) -> None:
    async with open_store(own_server.empty_database()) as store:
        await add_milestone(store, "a")
        await asyncio.to_thread(own_server.stop, mode)
        with pytest.raises(StoreAway):
            await add_milestone(store, "b")
        with pytest.raises(StoreAway):
            await add_milestone(store, "b")
        await asyncio.to_thread(own_server.start)
        await add_milestone(store, "c")
        async with store.read() as connection:
            names = (await connection.scalars(select(milestones.c.name))).all()
        assert sorted(names) == ["a", "c"]


async def test_calls_to_a_server_that_is_frozen_end(own_server: PostgresServer) -> None:
    url = own_server.empty_database()
    async with open_store(url, busy_timeout_s=0.5, answer_timeout_s=0.5) as store:
        await add_milestone(store, "before")
        check = DatabaseCheck(store, monotonic=iter(range(0, 1_000, 10)).__next__)
        assert await check.answers()
        with own_server.frozen():
            writing = (add_milestone(store, f"a{i}") for i in range(8))
            reading = (store.fetch_all(select(milestones)) for _ in range(8))
            async with asyncio.timeout(7):
                found = await asyncio.gather(*writing, *reading, return_exceptions=True)
            assert all(isinstance(each, StoreAway | StoreBusy) for each in found), found
            assert not await check.answers()
        await check.aclose()
        await add_milestone(store, "after")
        names = {row.name for row in await store.fetch_all(select(milestones.c.name))}
        assert {"before", "after"} <= names


async def test_a_request_waits_once_for_a_server_that_is_frozen(
    own_server: PostgresServer,
) -> None:
    async with open_store(own_server.empty_database(), busy_timeout_s=5) as store:
        await add_milestone(store, "before")
        token = PATIENCE.set(Patience(0.3))
        try:
            with own_server.frozen():
                began = time.monotonic()
                for _ in range(2):  # in the middle of a statement, and while it connects
                    with pytest.raises(StoreAway):
                        await store.fetch_all(select(milestones))
                assert time.monotonic() - began < 0.3 + NEXT_CONNECT_S + 1.5
        finally:
            PATIENCE.reset(token)
        await add_milestone(store, "after")
