"""Lists of batches by filter, and changes of their options: in the database and in the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.contract.jobs import BatchEntry, JobState
from adapters.contract.operations import AmendJob, JobRunner, ListJobs, StartJob, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from gateway.sandbox_app import open_sandbox
from tests.dialects import ALL, BY_NAME
from tests.gateway.batches.conftest import open_bench

TOY = BY_NAME["toy"]


@pytest.fixture(params=["database", "sandbox"])
async def jobs(request: pytest.FixtureRequest) -> AsyncIterator[JobRunner]:
    if request.param == "database":
        async with open_bench("sqlite:///:memory:") as bench:
            yield bench.jobs(await bench.caller("toy"))
    else:
        async with open_sandbox("veriplex", url="http://veriplex.test", dialects=ALL) as server:
            caller = server.sandbox.keys.callers["toy", TOY.sandbox_key]
            yield server.sandbox.jobs_of(TOY, caller, "")


def batch(name: str = "", *, start: bool = True) -> SubmitJob:
    entries = [BatchEntry("ada@example.com")]
    return SubmitJob(entries=entries, name=name, start=start, options={"a": 1, "b": 2})


async def test_a_list_is_filtered_by_name_id_and_state(jobs: JobRunner) -> None:
    first, second = [await jobs.submit(batch("a.csv")) for _ in range(2)]
    ready = await jobs.submit(batch("b.csv", start=False))

    async def listed(op: ListJobs) -> tuple[list[str], int]:
        page = await jobs.list_page(op)
        return [job.id for job in page.jobs], page.total

    assert await listed(ListJobs()) == ([ready.id, second.id, first.id], 3)
    assert await listed(ListJobs(name="a.csv")) == ([second.id, first.id], 2)
    assert await listed(ListJobs(name="a.csv", per_page=1, page=2)) == ([first.id], 2)
    assert await listed(ListJobs(name="a")) == ([], 0)
    assert await listed(ListJobs(name="")) == ([], 0)
    assert await listed(ListJobs(job_id=first.id)) == ([first.id], 1)
    assert await listed(ListJobs(job_id=first.id, name="b.csv")) == ([], 0)
    assert await listed(ListJobs(states=frozenset({JobState.READY}))) == ([ready.id], 1)
    assert await listed(ListJobs(states=frozenset())) == ([], 0)
    assert (await jobs.list_page(ListJobs(job_id=ready.id))).jobs[0].name == "b.csv"


async def test_options_are_changed_in_the_states_that_allow_it(jobs: JobRunner) -> None:
    job = await jobs.submit(batch(start=False))
    ready = frozenset({JobState.READY})
    amended = await jobs.amend(AmendJob(job_id=job.id, options={"b": 3, "c": 4}, states=ready))
    assert amended.options == {"a": 1, "b": 3, "c": 4}
    await jobs.start(StartJob(job_id=job.id, options={"d": 5}))
    with pytest.raises(Problem) as refused:
        await jobs.amend(AmendJob(job_id=job.id, options={"b": 9}, states=ready))
    assert refused.value.kind is ProblemKind.JOB_STATE
    shown = (await jobs.list_page(ListJobs())).jobs[0]
    assert shown.options == {"a": 1, "b": 3, "c": 4, "d": 5}


async def test_an_unknown_batch_cannot_be_changed(jobs: JobRunner) -> None:
    with pytest.raises(Problem) as refused:
        await jobs.amend(AmendJob(job_id="none", options={}, states=frozenset(JobState)))
    assert refused.value.kind is ProblemKind.JOB_UNKNOWN
