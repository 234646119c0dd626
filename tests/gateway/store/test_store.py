"""The database: opening, migrating and sharing it, and its errors."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, func, insert, select, text

from gateway import store as store_room
from gateway.store import (
    Store,
    StoreBusy,
    StoreConflict,
    StoreError,
    StoreFull,
    StoreTooNew,
    StoreUnusable,
    open_store,
)
from gateway.store.migrate import upgrade
from gateway.store.tables import (
    REVISION,
    accounts,
    egress_pauses,
    egress_refusals,
    keys,
    milestones,
)

NOW = datetime(2026, 5, 31, 23, 59, 59, 250_000, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "v.db"


SLOW = """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000000)
    SELECT max(i) FROM n"""
"""A query that takes about a second."""


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def sql(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def schema(path: Path) -> dict[str, str]:
    """The tables as SQLite describes them, without whitespace and the order of constraints."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {
            name: ",".join(sorted(part.strip(" \n\t)") for part in ddl.split(",")))
            for name, ddl in rows.fetchall()
        }


async def add_milestone(store: Store, name: str) -> None:
    async with store.write() as connection:
        await connection.execute(insert(milestones).values(name=name, reached_at=NOW))


async def count_milestones(store: Store) -> int:
    async with store.read() as connection:
        rows = await connection.execute(select(func.count()).select_from(milestones))
        return int(rows.scalar_one())


async def test_written_rows_are_there_after_reopening(path: Path) -> None:
    async with open_store(url_of(path)) as store:
        await add_milestone(store, "a")
    async with open_store(url_of(path)) as store:
        assert await count_milestones(store) == 1
        assert store.where == str(path)


async def test_a_new_file_is_durable_and_can_be_vacuumed(path: Path) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "auto_vacuum": 2}
    async with open_store(url_of(path)) as store, store.read() as connection:
        found = {
            name: (await connection.execute(text(f"PRAGMA {name}"))).scalar() for name in wanted
        }
    assert found == wanted


async def test_memory_is_private_and_outlives_a_cancelled_query() -> None:
    async with open_store("sqlite:///:memory:") as store, open_store("sqlite:///:memory:") as other:
        await add_milestone(store, "a")
        started = asyncio.Event()

        async def query() -> None:
            async with store.read() as connection:
                await connection.execute(text("SELECT 1"))
                started.set()
                await connection.execute(text(SLOW))

        task = asyncio.create_task(query())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await count_milestones(store) == 1
        assert await count_milestones(other) == 0


@pytest.mark.parametrize("where", ["file", "memory"])
async def test_an_exception_rolls_the_transaction_back(path: Path, where: str) -> None:
    url = url_of(path) if where == "file" else "sqlite:///:memory:"
    async with open_store(url) as store:

        async def fail_halfway() -> None:
            async with store.write() as connection:
                await connection.execute(insert(milestones).values(name="a", reached_at=NOW))
                raise LookupError

        with pytest.raises(LookupError):
            await fail_halfway()
        assert await count_milestones(store) == 0


@pytest.mark.parametrize("where", ["file", "memory"])
async def test_a_cancelled_write_is_rolled_back_and_blocks_no_other(path: Path, where: str) -> None:
    url = url_of(path) if where == "file" else "sqlite:///:memory:"
    async with open_store(url) as store:
        started = asyncio.Event()

        async def write() -> None:
            async with store.write() as connection:
                await connection.execute(insert(milestones).values(name="a", reached_at=NOW))
                started.set()
                await connection.execute(text(SLOW))

        task = asyncio.create_task(write())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await add_milestone(store, "b")
        assert await count_milestones(store) == 1


@pytest.mark.parametrize("times", [1, 2])
async def test_a_write_may_be_cancelled_at_any_point(path: Path, times: int) -> None:
    async with open_store(url_of(path), busy_timeout_s=2) as store:

        async def write(name: str) -> None:
            async with store.write() as connection:
                rows = [{"name": f"{name}/{n}", "reached_at": NOW} for n in range(200)]
                added = await connection.execute(
                    insert(milestones).returning(milestones.c.name), rows
                )
                added.first()
                await connection.execute(text("SELECT name FROM milestones"))

        turns, completed = 0, 0
        while not completed:
            task = asyncio.create_task(write(f"{turns}"))
            for _ in range(turns):
                await asyncio.sleep(0)
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            completed += outcome is None
            assert outcome is None or isinstance(outcome, asyncio.CancelledError)
            await add_milestone(store, f"after {turns}")
            with contextlib.closing(sqlite3.connect(path, timeout=0)) as other:
                other.execute("BEGIN IMMEDIATE")
                written = other.execute(
                    "SELECT count(*) FROM milestones WHERE name LIKE ?", (f"{turns}/%",)
                ).fetchone()
            assert written[0] in ((200,) if outcome is None else (0, 200))
            turns += 1 + turns // 8


async def test_two_stores_share_a_file_and_its_writers_queue(path: Path) -> None:
    async with open_store(url_of(path)) as one, open_store(url_of(path)) as two:
        names = [(store, f"{who}{n}") for who, store in (("a", one), ("b", two)) for n in range(50)]
        await asyncio.gather(*(add_milestone(store, name) for store, name in names))
        assert await count_milestones(one) == await count_milestones(two) == 100


async def test_several_processes_may_create_the_same_file_at_once(path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        opening = [stack.enter_async_context(open_store(url_of(path))) for _ in range(4)]
        stores = await asyncio.gather(*opening)
        await add_milestone(stores[0], "a")
        assert [await count_milestones(store) for store in stores] == [1] * 4


async def test_times_are_read_in_utc(path: Path) -> None:
    other_zone = NOW.astimezone(timezone(timedelta(hours=5)))
    async with open_store(url_of(path)) as store:
        async with store.write() as connection:
            await connection.execute(insert(milestones).values(name="a", reached_at=other_zone))
        async with store.read() as connection:
            read = (await connection.execute(select(milestones.c.reached_at))).scalar_one()
    assert (read, read.utcoffset()) == (NOW, timedelta(0))


async def test_the_migrations_create_the_tables_of_a_new_database(path: Path) -> None:
    migrated, new = path.with_name("migrated.db"), path.with_name("new.db")
    engine = create_engine(url_of(migrated))
    with engine.begin() as connection:
        upgrade(connection, "here", None)
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == REVISION
    engine.dispose()
    async with open_store(url_of(new)):
        pass
    assert schema(migrated) == schema(new)


async def test_older_tables_are_migrated(path: Path) -> None:
    # The state before the first migration.
    sql(path, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    async with open_store(url_of(path)) as store:
        await add_milestone(store, "a")
    async with open_store(url_of(path)) as store:
        assert await count_milestones(store) == 1


async def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    sql(
        path,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "CREATE TABLE usage (in_the_way INTEGER)",
    )
    with pytest.raises(StoreError, match="usage already exists"):
        async with open_store(url_of(path)):
            pass
    assert set(schema(path)) == {"alembic_version", "usage"}


async def test_tables_of_a_newer_version_are_not_changed(path: Path) -> None:
    async with open_store(url_of(path)):
        pass
    sql(
        path,
        "UPDATE alembic_version SET version_num = '9999'",
        "UPDATE schema_state SET least_reader = '9998'",
    )
    with pytest.raises(StoreTooNew, match=r"made by a newer version .*9999"):
        async with open_store(url_of(path)):
            pass


async def test_another_programs_database_is_not_changed(path: Path) -> None:
    sql(path, "CREATE TABLE songs (name TEXT)")
    with pytest.raises(StoreUnusable, match=r"another program's tables \(songs"):
        async with open_store(url_of(path)):
            pass
    assert set(schema(path)) == {"songs"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///{tmp}/none/v.db", "{tmp}/none/v.db: there is no folder {tmp}/none"),
        ("sqlite:///{tmp}", "{tmp}: cannot be opened"),
        ("sqlite:///{tmp}/text", "{tmp}/text: is not an SQLite database"),
        ("sqlite:///{tmp}/v.db?mode=ro", "should be sqlite:///PATH"),
        ("mysql://me:sekrit@host/db", "mysql://me:***@host/db: should be sqlite"),
        ("nonsense", "storage.url: is not a database URL"),
    ],
)
async def test_a_database_that_cannot_be_opened_says_why(
    tmp_path: Path, url: str, message: str
) -> None:
    (tmp_path / "text").write_text("this is not a database " * 100)
    with pytest.raises(StoreUnusable) as caught:
        async with open_store(url.format(tmp=tmp_path)):
            pass
    assert message.format(tmp=tmp_path) in str(caught.value)
    assert "sekrit" not in str(caught.value)


async def test_a_lock_that_is_held_too_long_is_an_error(path: Path) -> None:
    async with open_store(url_of(path), busy_timeout_s=0.02) as store:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreBusy, match="is locked by another process"):
                await add_milestone(store, "a")
            with pytest.raises(StoreBusy, match="is locked by another process"):
                async with open_store(url_of(path), busy_timeout_s=0.02):
                    pass
            assert await count_milestones(store) == 0  # reading is still possible
        await add_milestone(store, "a")


async def test_a_nested_write_is_an_error() -> None:
    async with open_store("sqlite:///:memory:", busy_timeout_s=0.02) as store:
        async with store.write():
            with pytest.raises(StoreBusy, match="other writers"):
                await add_milestone(store, "a")
            with pytest.raises(StoreBusy, match="no connection"):
                await count_milestones(store)
        await add_milestone(store, "a")


async def test_a_full_disk_is_an_error_and_nothing_is_written(path: Path) -> None:
    async with open_store(url_of(path)) as store:

        async def fill_up() -> None:
            async with store.write() as connection:
                await connection.execute(text("PRAGMA max_page_count = 1"))
                rows = [{"name": f"{n:064}", "reached_at": NOW} for n in range(1000)]
                await connection.execute(insert(milestones), rows)

        with pytest.raises(StoreFull, match="the disk is full"):
            await fill_up()
        assert await count_milestones(store) == 0


async def test_a_violated_constraint_is_a_conflict(path: Path) -> None:
    async with open_store(url_of(path)) as store:
        await add_milestone(store, "a")
        with pytest.raises(StoreConflict, match=r"milestones\.name"):
            await add_milestone(store, "a")
        orphan = insert(keys).values(
            account_id=9, dialect="d", hash=b"h", test=False, hint="", created_at=NOW
        )
        overdrawn = insert(accounts).values(
            owner_email="", status="active", plan="", credits=-1, created_at=NOW
        )
        for statement in (orphan, overdrawn):
            with pytest.raises(StoreConflict):
                async with store.write() as connection:
                    await connection.execute(statement)


def test_each_migration_has_a_number_of_its_own() -> None:
    names = [
        path.name
        for path in (Path(store_room.__file__).parent / "migrations/versions").glob("*.py")
    ]
    assert sorted(name[:4] for name in names) == [f"{n:04}" for n in range(1, len(names) + 1)]
    assert max(names)[:4] == REVISION


async def test_refusals_of_an_earlier_version_are_those_of_the_default_egress(path: Path) -> None:
    migrations = Path(store_room.__file__).parent / "migrations"
    number = next(migrations.glob("versions/*_egress_reputation.py")).name[:4]
    config = Config()
    config.set_main_option("script_location", str(migrations))
    engine = create_engine(url_of(path))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, f"{int(number) - 1:04}")
    engine.dispose()
    sql(
        path,
        "INSERT INTO refusals VALUES ('a.test', 'ip_blocked', 'rbl', 9, 5, 1, 2, 'mx', 'no')",
        "INSERT INTO pauses VALUES ('a.test', 'mx', 99, 'ip_blocked', 'rbl', 4, 1)",
    )
    async with open_store(url_of(path)) as store, store.read() as reading:
        refused = (await reading.execute(select(egress_refusals))).one()
        paused = (await reading.execute(select(egress_pauses))).one()
    assert tuple(refused) == (*("default", "a.test", "ip_blocked", "rbl", 9, 5, 1, 2, "mx", "no"),)
    assert tuple(paused) == ("default", "a.test", "mx", 99, "ip_blocked", "rbl", 4, 1)
