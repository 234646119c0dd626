"""A sample of a batch: verified free of charge, before its owner decides to start it."""

from __future__ import annotations

import orjson
import pytest

from adapters.contract.batch_rules import duplicate_word
from adapters.contract.jobs import BatchEntry, JobState
from adapters.contract.operations import DeleteJob, ShowJob, StartJob, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from tests.gateway.batches.conftest import Bench, open_bench

EMAILS = [f"a{n}@x{n % 3}.test" for n in range(40)]


def op(emails: list[str] = EMAILS, **more: object) -> SubmitJob:
    options = {"parsed": True, "callback_headers": {}}
    return SubmitJob(entries=map(BatchEntry, emails), options=options, **more)  # type: ignore[arg-type]


async def credits_left(bench: Bench, caller: object) -> int | None:
    return (await bench.accounts.usage(caller)).credits_left  # type: ignore[arg-type]


async def test_a_sample_is_spread_over_the_list_and_costs_nothing(url: str) -> None:
    async with open_bench(url) as bench:
        caller = await bench.caller("neverbounce", credits=40)
        jobs = bench.jobs(caller)
        job = await jobs.submit(op(start=True, is_sample=True))
        assert job.state is JobState.RUNNING
        with pytest.raises(Problem) as refused:
            await jobs.start(StartJob(job_id=job.id))
        assert refused.value.kind is ProblemKind.JOB_STATE
        await bench.wait(0)
        job = await jobs.show(ShowJob(job_id=job.id))
        assert (job.state, job.done_count, job.finished_at) == (JobState.READY, 4, None)
        assert job.counts == {"valid": 4}
        assert sorted(bench.verifier.asked) == sorted(EMAILS[n] for n in (0, 10, 20, 30))
        assert await credits_left(bench, caller) == 40
        with pytest.raises(Problem) as refused:
            await jobs.start(StartJob(job_id=job.id, is_sample=True))
        assert refused.value.kind is ProblemKind.JOB_STATE
        await jobs.start(StartJob(job_id=job.id))
        assert await credits_left(bench, caller) == 0
        await bench.wait(0)
        job = await jobs.show(ShowJob(job_id=job.id))
        assert (job.state, job.done_count) == (JobState.COMPLETED, 40)
        assert sorted(bench.verifier.asked) == sorted(EMAILS)  # none of them twice
        assert [row.email for row in await bench.rows(caller, job)] == EMAILS


async def test_a_sample_that_is_the_whole_list(url: str) -> None:
    async with open_bench(url) as bench:
        caller = await bench.caller("neverbounce")
        jobs = bench.jobs(caller)
        job = await jobs.submit(op(["a@x.test", "a@x.test"], start=True, is_sample=True))
        await bench.wait(0)
        assert await bench.state(caller, job) is JobState.READY
        await jobs.start(StartJob(job_id=job.id))
        await bench.wait(0)
        words = [row.word for row in await bench.rows(caller, job)]
        assert words == ["valid", duplicate_word("valid")]
        assert bench.verifier.asked == ["a@x.test"]


async def test_a_greylisted_row_of_a_sample_is_retried_first(url: str) -> None:
    async with open_bench(url) as bench:
        caller = await bench.caller("neverbounce")
        bench.verifier.greylisted = {EMAILS[0]}
        job = await bench.jobs(caller).submit(op(start=True, is_sample=True))
        await bench.wait(0)
        assert await bench.state(caller, job) is JobState.RUNNING
        bench.verifier.greylisted = set()
        await bench.wait(6)
        assert (await bench.show(caller, job)).done_count == 4
        assert await bench.state(caller, job) is JobState.READY


async def test_the_events_of_a_sample(url: str) -> None:
    async with open_bench(url) as bench:
        caller = await bench.caller("neverbounce")
        jobs = bench.jobs(caller)
        hook = "https://hooks.test/"
        job = await jobs.submit(op(start=True, is_sample=True, webhook_url=hook))
        await bench.wait(0)
        await jobs.start(StartJob(job_id=job.id))
        await bench.wait(0)
        await jobs.delete(DeleteJob(job_id=job.id))
        await bench.wait(0)
        assert [orjson.loads(body)["event"] for _, body in bench.posts] == [
            "job_parsing_started",
            "job_parsing_finished",
            "job_sample_started",
            "job_sample_finished",
            "job_run_started",
            "job_run_finished",
            "job_deleted",
        ]


async def test_a_batch_without_a_list_has_failed(url: str) -> None:
    async with open_bench(url) as bench:
        caller = await bench.caller("neverbounce", credits=1)
        jobs = bench.jobs(caller)
        hook = "https://hooks.test/"
        job = await jobs.submit(op([], start=False, failure="No list.", webhook_url=hook))
        assert (job.state, job.total, job.started_at) == (JobState.FAILED, 0, None)
        assert job.finished_at is not None
        with pytest.raises(Problem) as refused:
            await jobs.start(StartJob(job_id=job.id))
        assert refused.value.kind is ProblemKind.JOB_STATE
        await bench.wait(0)
        assert [orjson.loads(body)["event"] for _, body in bench.posts] == ["job_failed"]
        await jobs.delete(DeleteJob(job_id=job.id))
