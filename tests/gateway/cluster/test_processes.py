"""The living processes of one database."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy.schema import DropTable

from gateway.cluster.processes import (
    KEPT_FOR_S,
    LIVING_FOR_S,
    LivingProcesses,
    ProcessKind,
    living_processes,
    open_processes,
)
from gateway.store import Store, StoreError, open_store
from gateway.store.tables import processes

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def process(
    store: Store, clock: Clock, kind: ProcessKind, egresses: Sequence[str] = ()
) -> LivingProcesses:
    return LivingProcesses(store, kind, egresses, clock=clock)


async def test_processes_count_each_other_by_kind_and_by_egress(database_url: str) -> None:
    clock = Clock()
    async with open_store(database_url) as store:
        first = process(store, clock, ProcessKind.SERVE, ["a", "b"])
        others = [
            process(store, clock, ProcessKind.SERVE, ["b"]),
            process(store, clock, ProcessKind.WORKER, ["b", "c"]),
        ]
        await first.beat()
        assert (first.count(ProcessKind.SERVE), first.count(ProcessKind.WORKER)) == (1, 1)
        for other in others:
            await other.beat()
        await first.beat()
        assert (first.count(ProcessKind.SERVE), first.count(ProcessKind.WORKER)) == (2, 1)
        assert [first.count_with_egress(name) for name in ("a", "b", "c", "d")] == [1, 3, 1, 1]
        rows = await living_processes(store, clock.now)
        assert {row.id for row in rows} == {one.this.id for one in (first, *others)}
        assert {row.egresses for row in rows} == {
            frozenset("ab"),
            frozenset("b"),
            frozenset("bc"),
        }


async def test_a_process_that_is_silent_is_not_counted_and_later_forgotten(
    database_url: str,
) -> None:
    clock = Clock()
    async with open_store(database_url) as store:
        first, killed = (process(store, clock, ProcessKind.SERVE) for _ in range(2))
        await killed.beat()
        await first.beat()
        assert first.count(ProcessKind.SERVE) == 2
        clock.now += LIVING_FOR_S
        await first.beat()
        assert first.count(ProcessKind.SERVE) == 1
        assert len(await living_processes(store, NOW)) == 2, "its row is still there"
        clock.now += KEPT_FOR_S
        await first.beat()
        assert [one.id for one in await living_processes(store, NOW)] == [first.this.id]


async def test_a_process_that_ends_is_gone_at_once(database_url: str) -> None:
    clock = Clock()
    async with open_store(database_url) as store:
        async with open_processes(store, ProcessKind.WORKER, ["a"], clock=clock) as first:
            assert [one.id for one in await living_processes(store, NOW)] == [first.this.id]
        assert await living_processes(store, NOW) == []


async def test_the_last_count_stays_while_the_database_fails(database_url: str) -> None:
    clock = Clock()
    async with open_store(database_url) as store:
        first, second = (process(store, clock, ProcessKind.SERVE) for _ in range(2))
        await second.beat()
        await first.beat()
        async with store.write() as connection:
            await connection.execute(DropTable(processes))
        with pytest.raises(StoreError):
            await first.beat()
        assert first.count(ProcessKind.SERVE) == 2
