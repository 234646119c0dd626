"""Expired batches are deleted, and their space is returned."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.contract.operations import DeleteJob
from adapters.contract.problems import Problem
from gateway.batches.intake import ROWS_PER_INSERT
from tests.dialects import FACTS, NAMES
from tests.gateway.batches.conftest import Bench, open_bench

DAY_S = 86_400


async def count_rows(bench: Bench, table: str) -> int:
    async with bench.store.read() as connection:
        found = await connection.exec_driver_sql(f"SELECT count(*) FROM {table}")  # noqa: S608
        return int(found.scalar_one())


@pytest.mark.parametrize(
    ("dialect", "count", "days", "deleted"),
    [(name, *row) for name in NAMES for row in FACTS[name].retention],
)
async def test_rows_are_deleted_when_they_expire(
    bench: Bench, dialect: str, count: int, days: int, deleted: bool
) -> None:
    caller = await bench.caller(dialect)
    job = await bench.submit(caller, [f"u{i}@example.com" for i in range(count)])
    await bench.batch_services.drain()
    bench.clock.now += days * DAY_S - 1
    assert await bench.batch_services.sweeper.sweep() == 0
    assert len(await bench.rows(caller, job)) == count
    bench.clock.now += 1
    assert await bench.batch_services.sweeper.sweep() == 1
    assert await count_rows(bench, "batch_items") == await count_rows(bench, "batch_results") == 0
    assert await bench.batch_services.sweeper.sweep() == 0
    if deleted:
        assert await count_rows(bench, "batches") == 0
        with pytest.raises(Problem):
            await bench.show(caller, job)
    else:
        shown = await bench.show(caller, job)
        assert shown.rows_expired
        assert shown.counts["deliverable"] == count


async def test_a_validto_list_is_kept_until_its_owner_deletes_it(bench: Bench) -> None:
    caller = await bench.caller("validto")
    job = await bench.submit(caller, ["ada@example.com"])
    await bench.batch_services.drain()
    bench.clock.now += 4_000 * DAY_S
    assert await bench.batch_services.sweeper.sweep() == 0
    await bench.jobs(caller).delete(DeleteJob(job_id=job.id))
    assert await bench.batch_services.sweeper.sweep() == 1
    assert await count_rows(bench, "batches") == await count_rows(bench, "batch_items") == 0


async def test_the_database_file_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    async with open_bench(f"sqlite:///{path}") as bench:
        caller = await bench.caller("whoisxml")
        await bench.submit(
            caller, [f"user{i}@domain{i % 9}.example" for i in range(2 * ROWS_PER_INSERT)]
        )
        await bench.batch_services.drain()
        await _checkpoint(bench)
        before = path.stat().st_size
        bench.clock.now += 7 * DAY_S
        await bench.batch_services.sweeper.sweep()
        await _checkpoint(bench)
        assert path.stat().st_size < before / 4


async def _checkpoint(bench: Bench) -> None:
    async with bench.store.read() as connection:
        await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
