"""A vendor that keeps the rows of repeated addresses, and verifies and charges the first alone."""

from __future__ import annotations

from adapters.contract.batch_rules import DUPLICATE, duplicate_word
from adapters.contract.jobs import BatchEntry, JobState
from adapters.contract.operations import ReadRows, SubmitJob
from tests.gateway.batches.conftest import open_bench

VALID, REPEATED = frozenset({"valid"}), frozenset({duplicate_word("valid")})


async def test_each_address_is_verified_once_and_each_row_has_a_result(url: str) -> None:
    emails = ["a@x.test", "b@y.test", "A@x.test", "a@X.test", "b@y.test", "a@x.test"]
    async with open_bench(url) as bench:
        caller = await bench.caller("neverbounce", credits=3)
        job = await bench.submit(caller, emails)
        assert (job.total, job.row_count, job.valid_count) == (6, 6, 3)
        assert job.counts == {DUPLICATE: 3}
        await bench.wait(0)
        assert sorted(bench.verifier.asked) == ["A@x.test", "a@x.test", "b@y.test"]
        job = await bench.show(caller, job)
        assert (job.state, job.done_count) == (JobState.COMPLETED, 6)
        assert job.counts == {"valid": 3, DUPLICATE: 3, duplicate_word("valid"): 3}
        assert (await bench.accounts.usage(caller)).credits_left == 0
        jobs = bench.jobs(caller)
        for words, wanted in ((VALID, emails[:3]), (REPEATED, emails[3:]), (None, emails)):
            found = await jobs.read_rows(ReadRows(job_id=job.id, row_words=words))
            rows = [row async for row in found.rows]
            assert found.matching_count == len(wanted)
            assert [row.email for row in rows] == wanted
            assert [row.verification.address.raw for row in rows] == wanted


async def test_repeated_addresses_in_many_chunks(url: str) -> None:
    async with open_bench(url) as bench:
        caller = await bench.caller("neverbounce")
        emails = [f"a{n % 750}@x{n % 7}.test" for n in range(7_000)]
        entries = (BatchEntry(email, (email, str(n))) for n, email in enumerate(emails))
        job = await bench.jobs(caller).submit(SubmitJob(entries=entries, headers=("email", "n")))
        distinct = len(set(emails))
        assert job.counts[DUPLICATE] == 7_000 - distinct
        await bench.wait(0)
        assert len(bench.verifier.asked) == distinct
        rows = await bench.rows(caller, job)
        assert [row.cells[1] for row in rows] == [str(n) for n in range(7_000)]


async def test_a_greylisted_address_is_repeated_with_its_last_result(url: str) -> None:
    async with open_bench(url) as bench:
        caller = await bench.caller("neverbounce")
        bench.verifier.greylisted = {"a@x.test"}
        job = await bench.submit(caller, ["a@x.test", "b@x.test", "a@x.test"])
        await bench.wait(0)
        assert await bench.state(caller, job) is JobState.RUNNING
        bench.verifier.greylisted = set()
        await bench.wait(400)
        words = [row.word for row in await bench.rows(caller, job)]
        assert words == ["valid", "valid", duplicate_word("valid")]
