"""Workers and the database die, freeze and come back: each row gets one result, charged once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Table, func, select, text

from adapters.contract.jobs import Job, JobState
from adapters.contract.operations import DeleteJob
from engine.model import Address, Checks, VerificationStream
from gateway.accounts.caller import Caller
from gateway.batches.intake import CHUNK_SIZE
from gateway.cluster.clock import DatabaseClock
from gateway.store import Store, StoreError, open_store
from gateway.store.tables import accounts, batch_chunks, batch_results
from tests.gateway.batches.conftest import Bench, Scripted, open_bench
from tests.gateway.cluster.processes import dispatch_for
from tests.postgres import PostgresServer

pytestmark = pytest.mark.postgres

CREDITS = 100_000
ROOT = Path(__file__).parents[3]


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.empty_database()


@dataclass
class Worker:
    """A worker's process, and the addresses that it has begun with."""

    process: asyncio.subprocess.Process
    asked: list[str] = field(default_factory=list)
    has_asked: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self.has_asked:
                self.asked.append(line.decode().strip())
                self.has_asked.notify_all()

    async def until(self, is_true: Callable[[list[str]], object]) -> None:
        async with asyncio.timeout(40), self.has_asked:
            await self.has_asked.wait_for(lambda: is_true(self.asked))

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@contextlib.asynccontextmanager
async def worker_on(url: str, name: str = "quick") -> AsyncIterator[Worker]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.gateway.cluster.worker", url, name,
        stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    worker = Worker(process)
    reading = asyncio.create_task(worker.read())
    try:
        await worker.until(lambda asked: "ready" in asked)
        worker.asked.clear()
        yield worker
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


def emails(count: int, name: str = "user") -> list[str]:
    return [f"{name}{i}@domain{i % 7}.example" for i in range(count)]


async def submit(bench: Bench, count: int, name: str = "user") -> tuple[Caller, Job]:
    caller = await bench.caller("emailable", credits=CREDITS)
    return caller, await bench.submit(caller, emails(count, name))


async def until_completed(bench: Bench, caller: Caller, job: Job) -> None:
    async with asyncio.timeout(60):
        while await bench.state(caller, job) is not JobState.COMPLETED:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # other processes complete it


async def check_once(bench: Bench, caller: Caller, job: Job, count: int) -> None:
    """Every position has exactly one result, the counts agree, and each is charged once."""
    shown = await bench.show(caller, job)
    assert (shown.state, shown.done_count) == (JobState.COMPLETED, count)
    assert shown.counts["deliverable"] == count
    found = await bench.store.fetch_all(select(func.count()).select_from(batch_results))
    assert found[0][0] >= count
    assert len(await bench.rows(caller, job)) == count
    left = await bench.store.fetch_all(
        select(accounts.c.credits).where(accounts.c.id == caller.account_id)
    )
    assert left == [(CREDITS - count,)]


async def test_a_killed_worker_is_replaced(url: str) -> None:
    count = 4 * CHUNK_SIZE
    async with (
        open_bench(url, time.time, dispatch=dispatch_for(url)) as server,
        worker_on(url, "slow") as killed,
    ):
        caller, job = await submit(server, count, "slow")
        await killed.until(lambda asked: len(asked) == 4)  # a chunk each
        async with worker_on(url) as other:
            killed.send(signal.SIGKILL)
            died = time.monotonic()
            await other.until(bool)
            assert time.monotonic() - died < 10
            await until_completed(server, caller, job)
            await check_once(server, caller, job, count)
            assert Counter(other.asked) == Counter(emails(count, "slow"))


async def test_a_suspended_worker_that_goes_on_writes_nothing(url: str) -> None:
    async with (
        open_bench(url, time.time, dispatch=dispatch_for(url)) as server,
        worker_on(url, "slow") as suspended,
    ):
        caller, job = await submit(server, CHUNK_SIZE, "slow")
        await suspended.until(bool)
        suspended.send(signal.SIGSTOP)
        async with worker_on(url) as other:
            await until_completed(server, caller, job)
            assert len(other.asked) == CHUNK_SIZE
            # as the next start of a worker does, after a while
            prune = text("SELECT procrastinate_prune_stalled_workers_v1(1)")
            async with server.store.write() as connection:
                await connection.execute(prune)
            suspended.send(signal.SIGCONT)
        # without the other one it is the only worker
        next_caller, next_job = await submit(server, 10, "next")
        await suspended.until(lambda asked: sum(a.startswith("next") for a in asked) == 10)
        await until_completed(server, next_caller, next_job)
        await check_once(server, caller, job, CHUNK_SIZE)
        await check_once(server, next_caller, next_job, 10)


async def test_a_locked_job_of_a_suspended_worker_does_not_keep_its_chunk(url: str) -> None:
    async with (
        open_bench(url, time.time, dispatch=dispatch_for(url)) as server,
        worker_on(url, "slow") as suspended,
    ):
        caller, job = await submit(server, CHUNK_SIZE, "slow")
        await suspended.until(bool)
        suspended.send(signal.SIGSTOP)
        async with server.store.write() as locking:
            await locking.execute(text("SELECT id FROM procrastinate_jobs FOR UPDATE"))
            async with worker_on(url):
                await until_completed(server, caller, job)
        await check_once(server, caller, job, CHUNK_SIZE)


async def test_a_worker_that_stops_gives_back_what_it_has(url: str) -> None:
    async with open_bench(url, time.time, dispatch=dispatch_for(url)) as server:
        async with worker_on(url, "slow") as stopped:
            caller, job = await submit(server, 3 * CHUNK_SIZE, "slow")
            await stopped.until(lambda asked: len(asked) == 3)
            stopped.send(signal.SIGTERM)
            assert await asyncio.wait_for(stopped.process.wait(), 20) == 0
        leases = await server.store.fetch_all(select(batch_chunks.c.lease))
        assert leases == [(None,)] * 3
        async with worker_on(url):
            await until_completed(server, caller, job)
            await check_once(server, caller, job, 3 * CHUNK_SIZE)


async def test_lost_jobs_delay_a_batch_but_do_not_stop_it(url: str) -> None:
    async with open_bench(url, time.time, dispatch=dispatch_for(url)) as server:
        caller, job = await submit(server, 2 * CHUNK_SIZE)
        async with server.store.write() as connection:
            await connection.execute(text("TRUNCATE procrastinate_jobs CASCADE"))
        async with open_bench(url, time.time, work=True, dispatch=dispatch_for(url)) as worker:
            # what each minute does
            await asyncio.gather(*(worker.batch_services.runner.reconcile() for _ in range(2)))
            await until_completed(server, caller, job)
            await check_once(server, caller, job, 2 * CHUNK_SIZE)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_of_the_database_stops_nobody(mode: str) -> None:
    server = PostgresServer("synchronous_commit=on")
    asked: set[str] = set()
    halfway = asyncio.Event()
    go_on = asyncio.Event()

    class Halting(Scripted):
        async def verify_many(
            self, addresses: Iterable[Address], checks: Checks
        ) -> VerificationStream:
            async for address, answer in super().verify_many(addresses, checks):
                asked.add(address.raw)
                if len(asked) == 1_500:
                    halfway.set()
                if len(asked) >= 1_500:
                    await go_on.wait()
                yield address, answer

    try:
        url = server.empty_database()
        async with open_bench(
            url, time.time, Halting(), work=True, dispatch=dispatch_for(url)
        ) as bench:
            caller, job = await submit(bench, 3 * CHUNK_SIZE)
            await asyncio.wait_for(halfway.wait(), 30)
            await asyncio.to_thread(server.stop, mode)
            with pytest.raises(StoreError):
                await bench.state(caller, job)
            go_on.set()  # results are there, and cannot be written
            await asyncio.to_thread(server.start)
            back = time.monotonic()
            await until_completed(bench, caller, job)
            assert time.monotonic() - back < 15
            await check_once(bench, caller, job, 3 * CHUNK_SIZE)
            next_caller, next_job = await submit(bench, 10, "next")
            await until_completed(bench, next_caller, next_job)
    finally:
        server.close()


async def test_a_clock_that_is_an_hour_wrong_steals_no_lease(url: str) -> None:
    held = asyncio.Event()
    is_asked = asyncio.Event()

    class Holding(Scripted):
        async def verify_many(
            self, addresses: Iterable[Address], checks: Checks
        ) -> VerificationStream:
            is_asked.set()
            await held.wait()
            async for each in super().verify_many(addresses, checks):
                yield each

    async with open_store(url) as store:
        clocks = [DatabaseClock(lambda by=by: time.time() + by) for by in (0, 3_600, -3_600)]  # type: ignore[misc]
        for clock in clocks:
            await clock.read(store)
        assert all(abs(clock() - time.time()) < 5 for clock in clocks)
        assert [round(clock.offset_s / 3_600) for clock in clocks] == [0, -1, 1]
        async with open_bench(
            url, clocks[0], Holding(), work=True, dispatch=dispatch_for(url)
        ) as right:
            caller, job = await submit(right, 10)
            await asyncio.wait_for(is_asked.wait(), 20)
            for clock in clocks[1:]:
                async with open_bench(url, clock, dispatch=dispatch_for(url)) as wrong:
                    await wrong.batch_services.drain()
                    assert wrong.verifier.asked == []
            held.set()
            await until_completed(right, caller, job)
            await check_once(right, caller, job, 10)


async def test_two_sweepers_and_two_reconcilers_at_once_agree(url: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        benches = [
            await stack.enter_async_context(open_bench(url, time.time, dispatch=dispatch_for(url)))
            for _ in range(3)
        ]
        first = benches[0]
        jobs = [await submit(first, CHUNK_SIZE + 1, f"batch{i}-") for i in range(3)]
        for caller, job in jobs[:2]:
            await first.batch_services.runner.drain()
            await first.jobs(caller).delete(DeleteJob(job_id=job.id))
        for _ in range(3):
            await asyncio.gather(
                *(bench.batch_services.sweeper.sweep() for bench in benches),
                *(bench.batch_services.runner.reconcile() for bench in benches),
            )
        assert await count(first.store, batch_results) == CHUNK_SIZE + 1
        await check_once(first, *jobs[2], CHUNK_SIZE + 1)


async def count(store: Store, table: Table) -> int:
    return int((await store.fetch_all(select(func.count()).select_from(table)))[0][0])
