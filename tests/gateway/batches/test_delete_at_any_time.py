"""Batches that a vendor deletes while they are queued or running."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

import pytest

from adapters.contract.operations import DeleteJob, ShowJob
from adapters.contract.problems import Problem, ProblemKind
from engine.model import Address, Checks, VerificationStream
from tests.gateway.batches.conftest import Scripted, open_bench


async def test_a_queued_batch_is_deleted_and_refunded(url: str) -> None:
    async with open_bench(url) as bench:
        caller = await bench.caller("zerobounce", credits=10)
        job = await bench.submit(caller, [f"a{n}@x.test" for n in range(10)])
        jobs = bench.jobs(caller)
        with pytest.raises(Problem) as refused:
            await jobs.delete(DeleteJob(job_id=job.id))
        assert refused.value.kind is ProblemKind.JOB_STATE
        assert (await bench.accounts.usage(caller)).credits_left == 0
        await jobs.delete(DeleteJob(job_id=job.id, at_any_time=True))
        assert (await bench.accounts.usage(caller)).credits_left == 10
        with pytest.raises(Problem) as refused:
            await jobs.show(ShowJob(job_id=job.id))
        assert refused.value.kind is ProblemKind.JOB_UNKNOWN
        await bench.wait(0)
        assert bench.verifier.asked == []


async def test_a_running_batch_costs_what_was_verified(url: str) -> None:
    async with open_bench(url) as bench:
        caller = await bench.caller("zerobounce", credits=10)
        bench.verifier.greylisted = {"a0@x.test", "a1@x.test", "a2@x.test"}
        job = await bench.submit(caller, [f"a{n}@x.test" for n in range(10)])
        await bench.wait(0)  # the greylisted ones wait for their next turn
        jobs = bench.jobs(caller)
        assert (await jobs.show(ShowJob(job_id=job.id))).done_count == 7
        await jobs.delete(DeleteJob(job_id=job.id, at_any_time=True))
        assert (await bench.accounts.usage(caller)).credits_left == 3
        bench.verifier.asked.clear()
        await bench.wait(400)
        assert bench.verifier.asked == []


@dataclass
class Interrupted(Scripted):
    """A verifier during whose work something happens."""

    happens: Callable[[], Awaitable[object]] | None = None

    async def verify_many(self, addresses: Iterable[Address], checks: Checks) -> VerificationStream:
        assert self.happens is not None
        await self.happens()
        async for found in super().verify_many(addresses, checks):
            yield found


async def test_a_worker_writes_nothing_to_a_deleted_batch(url: str) -> None:
    verifier = Interrupted()
    async with open_bench(url, verifier=verifier) as bench:
        caller = await bench.caller("zerobounce", credits=2)
        jobs = bench.jobs(caller)
        job = await bench.submit(caller, ["a@x.test", "b@x.test"])
        verifier.happens = partial(jobs.delete, DeleteJob(job_id=job.id, at_any_time=True))
        await bench.wait(0)
        assert verifier.asked == ["a@x.test", "b@x.test"]
        assert (await bench.accounts.usage(caller)).credits_left == 2
