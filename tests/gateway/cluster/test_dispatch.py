"""The contract of `gateway.cluster.ports.Dispatch`, for one process alone and for many."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import select, text

from adapters.contract.jobs import JobState
from adapters.contract.problems import Problem
from engine.model import Address, Checks, VerificationStream
from gateway.batches.intake import CHUNK_SIZE
from gateway.batches.model import Claim
from gateway.batches.queue import SqlChunkQueue
from gateway.cluster.dispatch import ProcrastinateDispatch
from gateway.cluster.ports import TurnOutcome
from gateway.store import Store
from gateway.store.errors import StoreAway
from gateway.store.tables import batch_chunks
from tests.gateway.batches.conftest import Bench, Scripted, open_bench
from tests.gateway.cluster.processes import dispatch_for

DONE_URL = "http://done.example"

Process = Callable[..., AbstractAsyncContextManager[Bench]]


@dataclass
class Held(Scripted):
    """A verifier that answers when it may."""

    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def verify_many(self, addresses: Iterable[Address], checks: Checks) -> VerificationStream:
        self.is_asked.set()
        await self.may_answer.wait()
        async for each in super().verify_many(addresses, checks):
            yield each


@pytest.fixture
def process(database_url: str) -> Process:
    """Opens one more process on the database."""

    @contextlib.asynccontextmanager
    async def opened(
        verifier: Scripted | None = None, *, work: bool = True
    ) -> AsyncIterator[Bench]:
        dispatch = dispatch_for(database_url)
        async with open_bench(
            database_url, time.time, verifier, work=work, dispatch=dispatch
        ) as bench:
            yield bench

    return opened


def emails(count: int) -> list[str]:
    return [f"user{i}@domain{i % 7}.example" for i in range(count)]


async def until(is_true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not is_true():  # noqa: ASYNC110 - other tasks make it true, and set no event
            await asyncio.sleep(0.01)


async def test_a_batch_is_worked_on_where_it_was_submitted(process: Process) -> None:
    async with process() as bench:
        caller = await bench.caller("emailable")
        job = await bench.submit(caller, emails(2 * CHUNK_SIZE + 1), url=DONE_URL)
        async with asyncio.timeout(20):
            await bench.sent[DONE_URL].wait()
        assert await bench.state(caller, job) is JobState.COMPLETED
        assert sorted(bench.verifier.asked) == sorted(emails(2 * CHUNK_SIZE + 1))


async def test_another_process_works_on_a_batch_and_reports_it(process: Process) -> None:
    async with process(work=False) as server, process() as worker:
        caller = await server.caller("emailable")
        job = await server.submit(caller, emails(10), url=DONE_URL)
        async with asyncio.timeout(20):
            await worker.sent[DONE_URL].wait()
        assert await server.state(caller, job) is JobState.COMPLETED
        assert (server.verifier.asked, len(worker.verifier.asked)) == ([], 10)


async def test_every_address_is_asked_by_one_of_two_processes(process: Process) -> None:
    async with process() as one, process() as two:
        caller = await one.caller("emailable")
        job = await one.submit(caller, emails(6 * CHUNK_SIZE), url=DONE_URL)
        sent = [asyncio.create_task(each.sent[DONE_URL].wait()) for each in (one, two)]
        async with asyncio.timeout(20):
            await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
        for each in sent:
            each.cancel()
        assert len(one.posts) + len(two.posts) == 1
        asked = one.verifier.asked + two.verifier.asked
        assert sorted(asked) == sorted(emails(6 * CHUNK_SIZE))
        assert (await two.show(caller, job)).done_count == 6 * CHUNK_SIZE


async def test_a_process_that_stops_leaves_its_chunks_to_others(process: Process) -> None:
    held = Held()
    async with process(work=False) as server:
        caller = await server.caller("emailable")
        async with process(held):
            job = await server.submit(caller, emails(10), url=DONE_URL)
            await asyncio.wait_for(held.is_asked.wait(), 20)
        async with process() as worker:
            await asyncio.wait_for(worker.sent[DONE_URL].wait(), 20)
            assert await server.state(caller, job) is JobState.COMPLETED
            assert len(worker.verifier.asked) == 10


async def test_periodic_work_is_repeated_and_goes_on_after_a_failure(database_url: str) -> None:
    dispatch = dispatch_for(database_url)
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ValueError("a bug")

    dispatch.every("test", 1, work)
    async with open_bench(database_url, time.time, work=True, dispatch=dispatch):
        await until(lambda: runs >= 2)


# -- with turns --------------------------------------------------------------------------


@pytest.fixture
def database_with_turns(request: pytest.FixtureRequest) -> str:
    server = request.getfixturevalue("postgres_server")
    return str(server.empty_database())


async def jobs_of(store: Store) -> dict[str, int]:
    """The jobs that wait, by queue."""
    query = text("SELECT queue_name, count(*) FROM procrastinate_jobs GROUP BY queue_name")
    async with store.read() as connection:
        return {name: int(count) for name, count in await connection.execute(query)}


@pytest.mark.postgres
class TestTurns:
    @pytest.fixture
    def url(self, database_with_turns: str) -> str:
        return database_with_turns

    async def test_there_is_one_for_each_chunk_if_the_transaction_commits(self, url: str) -> None:
        async with open_bench(url, time.time, dispatch=dispatch_for(url)) as bench:
            caller = await bench.caller("emailable")
            await bench.submit(caller, emails(3 * CHUNK_SIZE))
            assert await jobs_of(bench.store) == {"pieces": 3, "first": 1}
            spent = await bench.caller("emailable", credits=1)
            with pytest.raises(Problem, match="no_credits"):
                await bench.submit(spent, emails(10))
            assert await jobs_of(bench.store) == {"pieces": 3, "first": 1}

    async def test_lost_turns_are_made_anew_but_not_doubled(self, url: str) -> None:
        async with open_bench(url, time.time, dispatch=dispatch_for(url)) as bench:
            await bench.submit(await bench.caller("emailable"), emails(3 * CHUNK_SIZE))
            async with bench.store.write() as connection:
                await connection.execute(text("DELETE FROM procrastinate_jobs"))
            for _ in range(2):
                await bench.batch_services.runner.reconcile()
                assert await jobs_of(bench.store) == {"pieces": 3}

    async def test_greylisted_addresses_wait_for_the_egress_that_asked(self, url: str) -> None:
        waiting = ("n@d1.test", "m@d2.test")
        verifier = Scripted(greylisted=set(waiting), egress="vienna")
        async with open_bench(
            url, time.time, verifier, dispatch=dispatch_for(url), egresses=["vienna"]
        ) as bench:
            await bench.submit(await bench.caller("emailable"), [*waiting, "a@d3.test"])
            await bench.batch_services.runner.drain()
            assert "pieces:vienna" in await jobs_of(bench.store)
            chunks = await bench.store.fetch_all(select(batch_chunks.c.egress))
            assert chunks == [("vienna",)]

    async def test_turns_of_an_egress_that_is_gone_are_forgotten(self, url: str) -> None:
        dispatch = dispatch_for(url)
        async with open_bench(url, time.time, dispatch=dispatch) as bench:
            async with bench.store.write() as connection:
                for hours, egress in ((2, "gone"), (0, "new")):
                    await dispatch.due(connection, time.time() + 60, egress=egress)
                    past = text(
                        "UPDATE procrastinate_jobs SET scheduled_at = now() - make_interval("
                        "hours => :hours) WHERE queue_name = :queue"
                    )
                    names = {"hours": hours, "queue": f"pieces:{egress}"}
                    await connection.execute(past, names)
            await bench.batch_services.runner.reconcile()
            assert await jobs_of(bench.store) == {"pieces:new": 1}

    async def test_the_work_of_a_turn_that_met_no_database_is_soon_done(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claim, failed = SqlChunkQueue.claim, 0

        async def fail_twice(queue: SqlChunkQueue, *args: Any, **options: Any) -> Claim | None:
            nonlocal failed
            if failed < 2:  # the turns of the chunk: that of small batches, and any worker's
                failed += 1
                raise StoreAway("claim", "the server does not answer")
            return await claim(queue, *args, **options)

        monkeypatch.setattr(SqlChunkQueue, "claim", fail_twice)
        # each minute, and at the start
        monkeypatch.setattr(ProcrastinateDispatch, "every", lambda *_: None)
        async with open_bench(url, time.time, work=True, dispatch=dispatch_for(url)) as bench:
            caller = await bench.caller("emailable")
            await bench.submit(caller, emails(1), url=DONE_URL)
            async with asyncio.timeout(20):
                await bench.sent[DONE_URL].wait()
            assert failed == 2

    async def test_a_turn_without_work_is_over_at_once(self, url: str) -> None:
        dispatch = dispatch_for(url)
        async with open_bench(url, time.time, work=True, dispatch=dispatch) as bench:
            async with bench.store.write() as connection:
                await dispatch.due(connection, 0.0, 3)
                await dispatch.due_first(connection)
            await until(lambda: dispatch.state().turns[TurnOutcome.NOTHING_DUE] == 4)
        # and a second one that is opened on them finds none left
        async with open_bench(url) as bench:
            assert await jobs_of(bench.store) == {}
