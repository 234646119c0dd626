"""Transactions that run as a whole: on SQLite in a thread."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.turns import acting_for
from gateway.store import Store, StoreBusy, StoreConflict, open_store
from gateway.store.tables import milestones

NOW = datetime(2026, 5, 31, tzinfo=UTC)


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/v.db" if request.param == "file" else "sqlite:///:memory:"


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/v.db"


async def names(store: Store) -> list[str]:
    query = select(milestones.c.name).order_by(milestones.c.reached_at, milestones.c.name)
    return [row.name for row in await store.fetch_all(query)]


async def add(store: Store, name: str) -> int:
    async def work(connection: AsyncConnection) -> int:
        await connection.execute(insert(milestones).values(name=name, reached_at=NOW))
        count = await connection.scalar(select(func.count()).select_from(milestones))
        return int(count or 0)

    return await store.transact(work)


async def test_what_it_wrote_is_committed_when_it_returns(url: str) -> None:
    async with open_store(url) as store:
        assert await add(store, "a") == 1
        async with store.write() as connection:
            await connection.execute(insert(milestones).values(name="b", reached_at=NOW))
        assert await add(store, "c") == 3
        assert await names(store) == ["a", "b", "c"]


async def test_many_at_a_time_lose_nothing(url: str) -> None:
    async with open_store(url) as store:
        counts = await asyncio.gather(*(add(store, f"{n:02}") for n in range(30)))
        assert sorted(counts) == list(range(1, 31))


async def test_an_exception_rolls_it_back(url: str) -> None:
    async def fail(connection: AsyncConnection) -> None:
        await connection.execute(insert(milestones).values(name="a", reached_at=NOW))
        raise LookupError

    async with open_store(url) as store:
        with pytest.raises(LookupError):
            await store.transact(fail)
        assert await names(store) == []
        assert await add(store, "a") == 1
        with pytest.raises(StoreConflict, match=r"milestones\.name"):
            await add(store, "a")


@pytest.mark.parametrize("times", [1, 2])
async def test_one_that_is_cancelled_is_rolled_back_and_over(file_url: str, times: int) -> None:
    began, may_end = threading.Event(), threading.Event()
    is_over = False

    async def work(connection: AsyncConnection) -> None:
        nonlocal is_over
        await connection.execute(insert(milestones).values(name="a", reached_at=NOW))
        began.set()
        assert may_end.wait(10)
        is_over = True

    async with open_store(file_url) as store:
        task = asyncio.create_task(store.transact(work))
        await asyncio.to_thread(began.wait)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        waiting = asyncio.create_task(add(store, "b"))
        await asyncio.sleep(0)
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert is_over
        assert await waiting == 1
        assert await names(store) == ["b"]


async def test_it_may_await_nothing_but_its_connection(file_url: str) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(insert(milestones).values(name="a", reached_at=NOW))
        await asyncio.sleep(0)

    async with open_store(file_url) as store:
        with pytest.raises(RuntimeError, match="its connection alone"):
            await store.transact(work)
        assert await add(store, "b") == 1


async def test_another_processes_lock_is_waited_for_as_long_as_allowed(file_url: str) -> None:
    async with (
        open_store(file_url, busy_timeout_s=0.02) as store,
        open_store(file_url) as other,
    ):
        async with other.write():
            with pytest.raises(StoreBusy, match="is locked by another process"):
                await add(store, "a")
            assert store.last_write_failed
        assert await add(store, "a") == 1
        assert not store.last_write_failed


async def test_a_clients_writes_take_turns_with_those_in_the_background(file_url: str) -> None:
    done: list[str] = []

    async def write(store: Store, name: str, *, in_background: bool) -> None:
        async def work(_: AsyncConnection) -> None:
            done.append(name)

        await store.transact(work, in_background=in_background)

    async with open_store(file_url) as store, asyncio.TaskGroup() as group:
        with acting_for(1):
            async with store.write():
                for n in range(50):
                    group.create_task(write(store, f"background {n}", in_background=True))
                await asyncio.sleep(0)
                group.create_task(write(store, "client", in_background=False))
                await asyncio.sleep(0)
    assert done.index("client") <= 1
