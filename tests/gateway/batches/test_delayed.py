"""Batches that wait: before they begin, as ZeroBounce verifies greylisted addresses again, and for
addresses that were refused for now."""

from __future__ import annotations

import orjson

from adapters.contract.jobs import JobState
from adapters.contract.operations import ListJobs, ShowJob
from adapters.zerobounce.greylist import KEPT_S, RETRY_AFTER_S, verify_again
from tests.gateway.batches.conftest import open_bench

HOOK = "https://hooks.test/"


async def test_a_delayed_batch_waits_then_reports_and_goes(url: str) -> None:
    async with open_bench(url) as bench:
        caller = await bench.caller("zerobounce", credits=1)
        jobs = bench.jobs(caller)
        await verify_again(jobs, "Ann@x.test", HOOK)
        assert (await bench.accounts.usage(caller)).credits_left == 0
        await bench.wait(RETRY_AFTER_S - 1)
        assert bench.verifier.asked == []
        (job,) = (await jobs.list_page(ListJobs())).jobs
        assert job.state is JobState.QUEUED
        await bench.wait(2)
        assert bench.verifier.asked == ["Ann@x.test"]
        ((sent_to, body),) = bench.posts
        found = orjson.loads(body)
        assert (sent_to, found["address"], found["status"]) == (HOOK, "Ann@x.test", "valid")
        assert found["processed_at"].endswith(".000")
        await bench.wait(KEPT_S + 1)
        assert (await jobs.list_page(ListJobs())).jobs[0].rows_expired


async def test_who_cannot_pay_twice_is_not_refused(url: str) -> None:
    async with open_bench(url) as bench:
        caller = await bench.caller("zerobounce", credits=0)
        await verify_again(bench.jobs(caller), "ann@x.test", HOOK)
        assert not (await bench.jobs(caller).list_page(ListJobs())).jobs


async def test_rows_that_were_refused_for_now_are_counted(url: str) -> None:
    async with open_bench(url) as bench:
        caller = await bench.caller("zerobounce")
        bench.verifier.greylisted = {"a0@x.test", "a1@x.test"}
        job = await bench.submit(caller, [f"a{n}@x.test" for n in range(5)])
        assert (await bench.jobs(caller).show(ShowJob(job_id=job.id))).postponed_count == 0
        await bench.wait(0)
        job = await bench.jobs(caller).show(ShowJob(job_id=job.id))
        assert (job.state, job.done_count, job.postponed_count) == (JobState.RUNNING, 3, 2)
        bench.verifier.greylisted = set()
        await bench.wait(400)
        job = await bench.jobs(caller).show(ShowJob(job_id=job.id))
        assert (job.state, job.postponed_count) == (JobState.COMPLETED, 0)
