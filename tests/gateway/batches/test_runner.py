"""The runner: each address is verified once, greylisted ones again later, small batches soon."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

from adapters.contract.jobs import BatchEntry, JobState
from adapters.contract.operations import StartJob, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from engine.address import syntax
from engine.model import Address, Checks, Meaning, Reason, Verification, VerificationStream
from gateway.batches.chunk_work import MAX_ATTEMPTS, MIN_UNREACHABLE_DOMAINS
from gateway.batches.intake import CHUNK_SIZE, ROWS_PER_INSERT
from gateway.batches.runner import MAX_ADDRESSES_IN_FLIGHT
from gateway.store import StoreError
from tests.gateway.batches.conftest import RETRIES_S, Bench, Scripted, open_bench


async def test_equal_addresses_are_verified_once(bench: Bench) -> None:
    caller = await bench.caller()
    job = await bench.submit(caller, ["ada@example.com", "ADA@EXAMPLE.COM", "ada@Example.com"])
    await bench.batch_services.drain()
    assert bench.verifier.asked == ["ada@example.com", "ADA@EXAMPLE.COM"]
    rows = await bench.rows(caller, job)
    assert [row.email for row in rows] == ["ada@example.com", "ADA@EXAMPLE.COM", "ada@Example.com"]
    assert [row.verification.address.raw for row in rows] == [row.email for row in rows]


async def test_a_cached_verdict_is_used(bench: Bench) -> None:
    caller = await bench.caller()
    await bench.submit(caller, ["ada@example.com"])
    await bench.batch_services.drain()
    job = await bench.submit(caller, ["ada@example.com", "grace@example.com"])
    await bench.batch_services.drain()
    assert bench.verifier.asked == ["ada@example.com", "grace@example.com"]
    assert [row.verification.cached for row in await bench.rows(caller, job)] == [True, False]


async def test_greylisted_addresses_are_retried_on_schedule(bench: Bench) -> None:
    caller = await bench.caller()
    bench.verifier.greylisted = {"ada@grey.example"}
    job = await bench.submit(caller, ["ada@grey.example", "grace@example.com"])
    await bench.batch_services.drain()
    for times, wait_s in enumerate(RETRIES_S, 1):
        await bench.wait(wait_s - 1)
        assert bench.verifier.asked.count("ada@grey.example") == times
        assert (await bench.show(caller, job)).done_count == 1
        await bench.wait(1)
    assert bench.verifier.asked.count("ada@grey.example") == 1 + len(RETRIES_S)
    assert bench.verifier.asked.count("grace@example.com") == 1
    first, _ = await bench.rows(caller, job)
    assert first.verification.reason is Reason.GREYLISTED
    assert await bench.state(caller, job) is JobState.COMPLETED


async def test_a_retry_that_is_accepted_ends_the_schedule(bench: Bench) -> None:
    caller = await bench.caller()
    bench.verifier.greylisted = {"ada@grey.example"}
    job = await bench.submit(caller, ["ada@grey.example"])
    await bench.batch_services.drain()
    bench.verifier.greylisted = set()
    await bench.wait(RETRIES_S[0])
    assert (await bench.show(caller, job)).counts == {"deliverable": 1}


TEMPORARY = [
    Meaning.TEMPORARY,  # 451
    Meaning.THROTTLED,  # 421
    Meaning.UNVERIFIED,  # 450 with the words of an unknown user
    Meaning.UNREACHABLE,
    Meaning.TIMED_OUT,
    Meaning.DROPPED,
]


@pytest.mark.parametrize("meaning", TEMPORARY)
async def test_addresses_refused_for_now_are_retried_on_schedule(
    bench: Bench, meaning: Meaning
) -> None:
    caller = await bench.caller()
    bench.verifier.refused = {"later@busy.example": meaning}
    job = await bench.submit(caller, ["later@busy.example", "grace@example.com"])
    await bench.batch_services.drain()
    await bench.wait(RETRIES_S[0])
    assert (await bench.show(caller, job)).done_count == 1
    bench.verifier.refused = {}
    await bench.wait(RETRIES_S[1])
    assert (await bench.show(caller, job)).counts == {"deliverable": 2}
    assert bench.verifier.asked.count("later@busy.example") == 3


@pytest.mark.parametrize("meaning", sorted(set(Meaning) - {*TEMPORARY, Meaning.GREYLISTED}))
async def test_final_replies_are_not_retried(bench: Bench, meaning: Meaning) -> None:
    caller = await bench.caller()
    bench.verifier.refused = {"ada@example.com": meaning}
    job = await bench.submit(caller, ["ada@example.com"])
    await bench.batch_services.drain()
    assert await bench.state(caller, job) is JobState.COMPLETED


async def test_addresses_refused_until_the_last_retry_have_that_result(bench: Bench) -> None:
    caller = await bench.caller()
    bench.verifier.refused = {"later@busy.example": Meaning.TEMPORARY}
    job = await bench.submit(caller, ["later@busy.example"])
    await bench.batch_services.drain()
    for wait_s in RETRIES_S:
        assert (await bench.show(caller, job)).done_count == 0
        await bench.wait(wait_s)
    (row,) = await bench.rows(caller, job)
    assert row.verification.reason is Reason.UNAVAILABLE_SMTP


async def test_a_batch_does_not_wait_where_no_host_can_be_reached(bench: Bench) -> None:
    caller = await bench.caller()
    domains = [f"d{number}.example" for number in range(MIN_UNREACHABLE_DOMAINS)]
    bench.verifier.refused = {f"@{domain}": Meaning.UNREACHABLE for domain in domains}
    closed = await bench.submit(caller, [f"ada@{domain}" for domain in domains])
    few = await bench.submit(caller, [f"bob@{domain}" for domain in domains[1:]])
    bench.verifier.refused["@gmail.com"] = Meaning.UNREACHABLE
    large_provider = await bench.submit(caller, ["ada@gmail.com"])
    bench.verifier.refused["busy@d0.example"] = Meaning.TEMPORARY
    one_answers = await bench.submit(caller, ["busy@d0.example", *(f"cy@{d}" for d in domains)])
    await bench.batch_services.drain()
    assert (await bench.show(caller, closed)).counts == {"unknown": len(domains)}
    assert (await bench.show(caller, few)).done_count == 0
    assert (await bench.show(caller, large_provider)).done_count == 1
    assert (await bench.show(caller, one_answers)).done_count == 0


async def test_without_retries_the_first_result_counts(bench: Bench) -> None:
    caller = await bench.caller()
    bench.verifier.greylisted = {"ada@grey.example"}
    bench.verifier.refused = {"later@busy.example": Meaning.TEMPORARY}
    emails = ["ada@grey.example", "later@busy.example"]
    job = await bench.submit(caller, emails, retries=False)
    await bench.batch_services.drain()
    assert await bench.state(caller, job) is JobState.COMPLETED


async def test_an_address_at_which_the_verifier_fails_is_unknown(bench: Bench) -> None:
    caller = await bench.caller()
    bench.verifier.failing = {"bug@example.com"}
    job = await bench.submit(caller, ["bug@example.com", "ada@example.com"])
    await bench.batch_services.drain()
    assert bench.verifier.asked.count("bug@example.com") == MAX_ATTEMPTS
    assert bench.verifier.asked.count("ada@example.com") == 1
    bug, ada = await bench.rows(caller, job)
    assert bug.verification.reason is Reason.UNEXPECTED_ERROR
    assert (bug.verification.score, bug.verification.source) == (40, "none")
    assert ada.verification.reason is Reason.ACCEPTED_EMAIL


async def test_nothing_is_stored_of_a_list_that_turns_out_invalid(bench: Bench) -> None:
    caller = await bench.caller("validto", credits=5)

    def entries() -> Iterator[BatchEntry]:
        for i in range(ROWS_PER_INSERT + 10):
            yield BatchEntry(f"user{i}@example.com")
        raise Problem(ProblemKind.INVALID)

    with pytest.raises(Problem):
        await bench.jobs(caller).submit(SubmitJob(entries=entries()))
    await bench.batch_services.sweeper.sweep()
    async with bench.store.read() as connection:
        for table in ("batches", "batch_items", "batch_chunks"):
            left = await connection.exec_driver_sql(f"SELECT count(*) FROM {table}")  # noqa: S608
            assert left.scalar_one() == 0, table


async def test_credits_are_charged_for_all_rows_or_none(bench: Bench) -> None:
    caller = await bench.caller(credits=3)
    with pytest.raises(Problem) as refused:
        await bench.submit(caller, ["a@x.example"] * 4)
    assert refused.value.kind is ProblemKind.NO_CREDITS
    assert (await bench.accounts.usage(caller)).credits_left == 3
    await bench.submit(caller, ["a@x.example"] * 3)
    assert (await bench.accounts.usage(caller)).credits_left == 0


async def test_failed_rows_are_refunded_where_the_vendor_does_so(
    bench: Bench,
) -> None:
    caller = await bench.caller("whoisxml", credits=3)
    bench.verifier.failing = {"bug@example.com"}
    job = await bench.submit(caller, ["bug@example.com", "ada@example.com", "test"])
    assert (await bench.accounts.usage(caller)).credits_left == 1  # the malformed one is free
    await bench.batch_services.drain()
    assert (await bench.accounts.usage(caller)).credits_left == 2
    assert (await bench.show(caller, job)).counts == {"failed": 1, "processed": 1, "invalid": 1}


async def test_a_batch_is_charged_once_however_often_it_is_started(bench: Bench) -> None:
    caller = await bench.caller("validto", credits=10)
    op = SubmitJob(entries=[BatchEntry("a@x.example")], start=False)
    job = await bench.jobs(caller).submit(op)
    await bench.batch_services.drain()
    started = [bench.jobs(caller).start(StartJob(job_id=job.id)) for _ in range(5)]
    outcomes = await asyncio.gather(*started, return_exceptions=True)
    assert sum(isinstance(outcome, Problem) for outcome in outcomes) == 4
    assert (await bench.accounts.usage(caller)).credits_left == 9


async def test_batches_of_other_accounts_are_not_found(bench: Bench) -> None:
    mine, theirs = await bench.caller(), await bench.caller()
    job = await bench.submit(mine, ["a@x.example"])
    with pytest.raises(Problem) as refused:
        await bench.show(theirs, job)
    assert refused.value.kind is ProblemKind.JOB_UNKNOWN


async def test_a_small_batch_does_not_wait_for_a_large_one(url: str) -> None:
    """The verifier holds the large one at its first chunks until the small one is completed."""
    small_done = asyncio.Event()

    class Held(Scripted):
        async def verify_many(
            self, addresses: Iterable[Address], checks: Checks
        ) -> VerificationStream:
            addresses = list(addresses)
            if "@large" in addresses[0].raw:
                await small_done.wait()
            async for result in super().verify_many(addresses, checks):
                yield result

    async with open_bench(url, verifier=Held(), work=True) as bench:
        caller = await bench.caller("emailable")
        emails = [f"u{i}@large.example" for i in range(12 * CHUNK_SIZE)]
        large = await bench.submit(caller, emails, url="http://large.example")
        await bench.submit(caller, ["u@small.example"], url="http://small.example")
        async with asyncio.timeout(20):
            await bench.sent["http://small.example"].wait()
            assert (await bench.show(caller, large)).done_count == 0
            small_done.set()
            await bench.sent["http://large.example"].wait()
        assert [row.email for row in await bench.rows(caller, large)] == emails


async def test_a_stopped_worker_releases_its_chunks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path / 'v.db'}"
    never = asyncio.Event()

    class Stuck(Scripted):
        async def verify_many(
            self, addresses: Iterable[Address], checks: Checks
        ) -> VerificationStream:
            addresses = list(addresses)
            async for result in super().verify_many(addresses[:3], checks):
                yield result
            self.before(addresses)
            await never.wait()

    verifier = Stuck()
    begun = asyncio.Event()
    verifier.before = lambda _: begun.set()
    async with open_bench(url, verifier=verifier, work=True) as bench:
        caller = await bench.caller()
        job = await bench.submit(caller, [f"u{i}@x.example" for i in range(10)])
        await begun.wait()
    assert "chunk.lease_lost" not in caplog.messages
    async with open_bench(url, bench.clock) as again:
        assert (await again.show(caller, job)).done_count == 3
        await again.batch_services.drain()
        assert len(again.verifier.asked) == 7
        assert await again.state(caller, job) is JobState.COMPLETED


async def test_a_full_disk_is_an_error_before_the_acknowledgement(bench: Bench) -> None:
    caller = await bench.caller()
    async with bench.store.read() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="full"):
        await bench.submit(caller, [f"user{i}@example.com" for i in range(2 * ROWS_PER_INSERT)])
    async with bench.store.read() as connection:
        await connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    await bench.batch_services.drain()
    assert bench.verifier.asked == []


class Holding(Scripted):
    """Begins with all addresses at once, and finishes none before it `may`."""

    def __init__(self, *, enough: int) -> None:
        super().__init__()
        self.may, self.reached = asyncio.Event(), asyncio.Event()
        self.enough = enough
        self.in_flight = 0

    async def verify(
        self, address: Address, checks: Checks = Checks(), deadline_s: float | None = None
    ) -> Verification:
        await self.may.wait()
        return await super().verify(address, checks)

    async def verify_many(self, addresses: Iterable[Address], checks: Checks) -> VerificationStream:
        addresses = list(addresses)
        self.in_flight += len(addresses)
        if self.in_flight >= self.enough:
            self.reached.set()
        await self.may.wait()
        async for result in super().verify_many(addresses, checks):
            yield result


@pytest.mark.parametrize(
    ("singles", "in_flight"),
    [(0, MAX_ADDRESSES_IN_FLIGHT), (1, MAX_ADDRESSES_IN_FLIGHT // 2), (20, CHUNK_SIZE)],
)
async def test_single_verifications_take_priority_over_batches(
    singles: int, in_flight: int
) -> None:
    verifier = Holding(enough=in_flight)
    async with open_bench("sqlite:///:memory:", verifier=verifier) as bench:
        caller = await bench.caller()
        asked = [syntax.parse_address(f"single{number}@example.com") for number in range(singles)]
        waiting = [
            bench.verdicts.verify(address, Checks(), partial(verifier.verify, address)).task
            for address in asked
        ]
        emails = [f"a{n}@example.com" for n in range(MAX_ADDRESSES_IN_FLIGHT + CHUNK_SIZE)]
        job = await bench.submit(caller, emails)
        async with bench.batch_services.runner.running():
            await verifier.reached.wait()
            for _ in range(10):  # time in which more could be claimed
                await bench.show(caller, job)
            assert verifier.in_flight == in_flight
            verifier.may.set()
            await asyncio.gather(*waiting)


async def test_chunks_of_remote_sources_count_less() -> None:
    verifier = Holding(enough=MAX_ADDRESSES_IN_FLIGHT + 2 * CHUNK_SIZE)
    async with open_bench("sqlite:///:memory:", verifier=verifier, waits=True) as bench:
        caller = await bench.caller()
        emails = [f"a{n}@example.com" for n in range(MAX_ADDRESSES_IN_FLIGHT + 2 * CHUNK_SIZE)]
        job = await bench.submit(caller, emails)
        async with bench.batch_services.runner.running():
            await verifier.reached.wait()
            verifier.may.set()
        assert (await bench.show(caller, job)).row_count == len(emails)
