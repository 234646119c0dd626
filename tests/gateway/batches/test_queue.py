"""The contract of `gateway.batches.ports.ChunkQueue`, for every implementation.

It is run against the tables, in memory and in a file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract.jobs import JobState
from engine.address.syntax import parse_address
from engine.turns import Turns
from gateway.batches.intake import CHUNK_SIZE
from gateway.batches.model import BatchItem, Claim, Postponed, RowResult
from gateway.batches.ports import ChunkQueue
from gateway.batches.queue import LEASE_S, SqlChunkQueue
from tests.dialects import BY_NAME
from tests.gateway.batches.conftest import Bench, answer, open_bench
from tests.postgres import PostgresServer


@pytest.fixture
async def bench(url: str) -> AsyncIterator[Bench]:
    async with open_bench(url) as opened:
        yield opened


@pytest.fixture
def queue(bench: Bench) -> ChunkQueue:
    return SqlChunkQueue(bench.store, BY_NAME, clock=bench.clock)


def addresses(count: int, domain: str = "example.com") -> list[str]:
    return [f"user{i}@{domain}" for i in range(count)]


def results_of(claim: Claim, count: int | None = None) -> list[RowResult]:
    return [
        RowResult(item.position, answer(parse_address(item.email))) for item in claim.items[:count]
    ]


async def claim_next(queue: ChunkQueue, holder: str = "me", turns: Turns | None = None) -> Claim:
    """The next chunk, which is in flight from then on."""
    turns = Turns() if turns is None else turns
    claim = await queue.claim(holder, turns)
    assert claim is not None
    turns.take(claim.account_id)
    return claim


async def test_an_empty_queue_has_nothing_due(queue: ChunkQueue) -> None:
    assert await queue.claim("me", Turns()) is None
    assert await queue.next_due() is None


async def test_every_address_is_claimed_once(bench: Bench, queue: ChunkQueue) -> None:
    caller = await bench.caller()
    emails = addresses(2 * CHUNK_SIZE + 10)
    job = await bench.submit(caller, emails)
    seen = []
    while (claim := await queue.claim("me", Turns())) is not None:
        seen += [item.email for item in claim.items]
        assert len(claim.items) <= CHUNK_SIZE
    assert sorted(seen) == sorted(emails)
    assert await bench.state(caller, job) is JobState.RUNNING


async def test_addresses_of_a_domain_stay_together(bench: Bench, queue: ChunkQueue) -> None:
    caller = await bench.caller()
    await bench.submit(caller, [f"u{i}@{'ab'[i % 2]}.example" for i in range(100)])
    domains = [item.email.rpartition("@")[2] for item in (await claim_next(queue)).items]
    assert sum(a != b for a, b in pairwise(domains)) == 1


async def test_the_last_chunk_completes_the_batch(bench: Bench, queue: ChunkQueue) -> None:
    caller = await bench.caller()
    job = await bench.submit(caller, addresses(CHUNK_SIZE + 1))
    first, second = await claim_next(queue), await claim_next(queue)
    assert await queue.finish_chunk(second, results_of(second))
    assert await bench.state(caller, job) is JobState.RUNNING
    assert await queue.finish_chunk(first, results_of(first))
    shown = await bench.show(caller, job)
    assert (shown.state, shown.done_count) == (JobState.COMPLETED, CHUNK_SIZE + 1)
    assert shown.counts == {"deliverable": CHUNK_SIZE + 1}
    assert [row.email for row in await bench.rows(caller, job)] == addresses(CHUNK_SIZE + 1)


async def test_a_lost_lease_writes_nothing(bench: Bench, queue: ChunkQueue) -> None:
    caller = await bench.caller()
    job = await bench.submit(caller, addresses(10))
    slow = await claim_next(queue, "slow")
    assert await queue.write_results(slow, results_of(slow, 4))
    bench.clock.now += LEASE_S
    quick = await claim_next(queue, "quick")
    assert [item.position for item in quick.items] == [4, 5, 6, 7, 8, 9]
    assert not await queue.write_results(slow, results_of(slow)[4:])
    assert not await queue.finish_chunk(slow, results_of(slow)[4:])
    assert await queue.finish_chunk(quick, results_of(quick))
    assert not await queue.finish_chunk(quick, results_of(quick))
    shown = await bench.show(caller, job)
    assert (shown.state, shown.done_count, shown.counts) == (
        JobState.COMPLETED,
        10,
        {"deliverable": 10},
    )


async def test_writing_renews_the_lease(bench: Bench, queue: ChunkQueue) -> None:
    await bench.submit(await bench.caller(), addresses(3))
    claim = await claim_next(queue)
    for _ in range(5):
        bench.clock.now += LEASE_S - 1
        assert await queue.write_results(claim, ())
        assert await queue.claim("other", Turns()) is None
    assert await queue.next_due() == bench.clock.now + LEASE_S


async def test_a_released_chunk_is_claimed_next(bench: Bench, queue: ChunkQueue) -> None:
    await bench.submit(await bench.caller(), addresses(3))
    claim = await claim_next(queue)
    await queue.write_results(claim, results_of(claim, 1))
    await queue.release(claim)
    assert [item.position for item in (await claim_next(queue, "other")).items] == [1, 2]
    assert not await queue.write_results(claim, results_of(claim))


async def test_leases_of_dead_holders_are_freed_at_once(bench: Bench, queue: ChunkQueue) -> None:
    await bench.submit(await bench.caller(), addresses(2 * CHUNK_SIZE))
    dead, alive = await claim_next(queue, "dead"), await claim_next(queue, "alive")
    assert await queue.free_dead_leases(lambda holder: holder == "dead") == 1
    assert (await claim_next(queue, "next")).chunk_number == dead.chunk_number
    assert await queue.write_results(alive, ())
    assert await queue.free_dead_leases(lambda _: False) == 0


async def test_postponed_addresses_are_due_later_and_complete_the_batch(
    bench: Bench, queue: ChunkQueue
) -> None:
    caller = await bench.caller()
    job = await bench.submit(caller, addresses(3))
    claim = await claim_next(queue)
    due_at = bench.clock.now + 60
    assert await queue.finish_chunk(
        claim, results_of(claim, 2), [Postponed((2,), due_at, claim.attempt + 1)]
    )
    assert await queue.claim("me", Turns()) is None
    assert await queue.next_due() == due_at
    assert await bench.state(caller, job) is JobState.RUNNING
    bench.clock.now = due_at
    retried = await claim_next(queue)
    assert ([item.position for item in retried.items], retried.attempt) == ([2], 1)
    assert await queue.finish_chunk(retried, results_of(retried))
    assert await bench.state(caller, job) is JobState.COMPLETED


async def test_batches_take_turns(bench: Bench, queue: ChunkQueue) -> None:
    caller = await bench.caller()
    for domain in ("a.example", "b.example"):
        await bench.submit(caller, addresses(2 * CHUNK_SIZE, domain))
    turns = [(await claim_next(queue)).batch_id for _ in range(4)]
    assert turns == [turns[0], turns[1], turns[0], turns[1]]
    assert turns[0] != turns[1]


async def test_accounts_take_turns_however_many_batches_they_have(
    bench: Bench, queue: ChunkQueue
) -> None:
    many, one = await bench.caller(), await bench.caller()
    for _ in range(3):
        await bench.submit(many, addresses(2 * CHUNK_SIZE))
    lone = await bench.submit(one, addresses(3 * CHUNK_SIZE))
    turns = Turns()
    accounts = [(await claim_next(queue, turns=turns)).account_id for _ in range(6)]
    assert lone.total == 3 * CHUNK_SIZE
    assert accounts == [many.account_id, one.account_id] * 3


async def test_an_account_takes_turns_with_batches_of_one_chunk_each(
    bench: Bench, queue: ChunkQueue
) -> None:
    many, one = await bench.caller(), await bench.caller()
    for n in range(30):
        await bench.submit(many, [f"ada@{n}.example"])
    turns = Turns()
    for _ in range(5):
        await claim_next(queue, turns=turns)
    job = await bench.submit(one, ["bob@small.example"])
    claim = await claim_next(queue, turns=turns)
    assert [item.email for item in claim.items] == ["bob@small.example"]
    await queue.finish_chunk(claim, results_of(claim))
    assert await bench.state(one, job) is JobState.COMPLETED


async def test_a_chunk_is_due_after_the_clock_was_set_back(bench: Bench, queue: ChunkQueue) -> None:
    caller = await bench.caller()
    for dialect in ("generic", "validto"):
        await bench.submit(await bench.caller(dialect), addresses(1))
    await bench.submit(caller, addresses(1))
    bench.clock.now -= 900
    assert await queue.next_due() == 0
    assert {(await claim_next(queue)).dialect for _ in range(3)} == {"generic", "validto"}


async def test_a_small_batch_overtakes_a_large_one(bench: Bench, queue: ChunkQueue) -> None:
    caller = await bench.caller()
    await bench.submit(caller, addresses(20 * CHUNK_SIZE))
    for _ in range(3):
        await claim_next(queue)
    small = await bench.submit(caller, ["ada@small.example"])
    claim = await claim_next(queue)
    assert [item.email for item in claim.items] == ["ada@small.example"]
    await queue.finish_chunk(claim, results_of(claim))
    assert await bench.state(caller, small) is JobState.COMPLETED


async def test_accounts_with_chunks_in_flight_can_be_skipped(
    bench: Bench, queue: ChunkQueue
) -> None:
    busy, idle = await bench.caller(), await bench.caller()
    await bench.submit(busy, addresses(3 * CHUNK_SIZE))
    turns = Turns()
    await claim_next(queue, turns=turns)
    assert await queue.claim("me", turns, only_idle_accounts=True) is None
    await bench.submit(idle, ["ada@small.example"])
    claim = await queue.claim("me", turns, only_idle_accounts=True)
    assert claim is not None
    assert claim.account_id == idle.account_id


async def test_batches_can_be_skipped(bench: Bench, queue: ChunkQueue) -> None:
    caller = await bench.caller()
    await bench.submit(caller, addresses(2 * CHUNK_SIZE))
    busy = (await claim_next(queue)).batch_id
    assert await queue.claim("me", Turns(), skip_batches=[busy]) is None
    await bench.submit(caller, ["ada@small.example"])
    idle = await queue.claim("me", Turns(), skip_batches=[busy])
    assert idle is not None
    assert idle.batch_id != busy


class CountingQueue(SqlChunkQueue):
    """Counts the rows of the tables that PostgreSQL reads for a chunk's addresses."""

    rows_read = 0

    async def _items(
        self, connection: AsyncConnection, batch_id: int, positions: bytes
    ) -> tuple[BatchItem, ...]:
        count = text("SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables")
        before = await connection.scalar(count)
        items = await super()._items(connection, batch_id, positions)
        self.rows_read += await connection.scalar(count) - before
        return items


@pytest.mark.postgres
async def test_a_chunk_costs_no_more_in_a_large_batch(postgres_server: PostgresServer) -> None:
    async with open_bench(postgres_server.empty_database()) as bench:
        chunks = 5
        emails = [f"user{n}@domain{n % chunks}.example" for n in range(chunks * CHUNK_SIZE)]
        await bench.submit(await bench.caller(), emails)
        queue = CountingQueue(bench.store, BY_NAME, clock=bench.clock)
        claims = [await claim_next(queue) for _ in range(chunks)]
        assert sum(len(claim.items) for claim in claims) == len(emails)
        assert queue.rows_read == len(emails)
