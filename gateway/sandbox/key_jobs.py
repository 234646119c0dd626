"""The batches of one test key, as its dialect's operations want them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from adapters.contract.dialect import Dialect
from adapters.contract.filters import Filters
from adapters.contract.jobs import Job, JobPage, JobRows, JobState
from adapters.contract.operations import (
    AmendJob,
    CancelJob,
    DeleteJob,
    JobRunner,
    ListJobs,
    OpenChunks,
    ReadRows,
    ShowJob,
    ShowJobs,
    StartJob,
    SubmitJob,
)
from adapters.contract.problems import Problem, ProblemKind
from gateway.accounts.account_state import NO_FILTERS
from gateway.sandbox.batch import SandboxBatch
from gateway.sandbox.batch_table import Selection
from gateway.sandbox.jobs import SandboxJobs
from gateway.sandbox.simulate import JOB_WORDS, PROBLEM_WORDS, SimulatedProblem


def jobs_of_key(
    batches: SandboxJobs,
    dialect: Dialect,
    scope: int,
    simulation_word: str,
    base_url: str,
    filters: Filters = NO_FILTERS,
) -> JobRunner:
    """The batches of one test key. `base_url` is the dialect's root on this server.

    `filters` are those of the key, for new batches.

    `simulation_word` is that of the request or the key. Raises `SimulatedProblem`, as do the
    methods of the runner.
    """
    if simulation_word in PROBLEM_WORDS and simulation_word not in JOB_WORDS:
        raise SimulatedProblem(simulation_word)
    return _KeyJobs(batches, dialect, scope, simulation_word, base_url, filters)


@dataclass(frozen=True, slots=True)
class _KeyJobs(JobRunner):
    """The batches of one test key."""

    batches: SandboxJobs
    dialect: Dialect
    scope: int
    simulation_word: str
    base_url: str
    filters: Filters

    def fetch(self, url: str, max_bytes: int) -> AbstractAsyncContextManager[OpenChunks | str]:
        return self.batches.fetch(url, max_bytes)

    async def read_file(self, read: Callable[[], SubmitJob]) -> SubmitJob:
        return await asyncio.to_thread(read)

    async def submit(self, op: SubmitJob) -> Job:
        batch = await self.batches.submit(self.dialect, self.scope, op, self.base_url, self.filters)
        return self.batches.job_now(batch, "", self.base_url)

    async def start(self, op: StartJob) -> Job:
        batch = await self._change(op.job_id, lambda b, job: self.batches.start(b, job, op))
        return self.batches.job_now(batch, "", self.base_url)

    async def amend(self, op: AmendJob) -> Job:
        batch = await self._change(op.job_id, lambda b, job: self.batches.amend(b, job, op))
        return self._job_now(batch)

    async def show(self, op: ShowJob) -> Job:
        return (await self._find(op.job_id))[1]

    async def show_many(self, op: ShowJobs) -> tuple[Job, ...]:
        await self._refresh(op.job_ids)
        found = (self.batches.find(self.dialect, self.scope, job_id) for job_id in op.job_ids)
        return tuple(self._job_now(batch) for batch in found if batch is not None)

    async def list_page(self, op: ListJobs) -> JobPage:
        await self._refresh(None)
        own = self.batches.of_key(self.dialect, self.scope)
        if not op.oldest_first:
            own.reverse()
        listed = [
            batch
            for batch in own
            if op.job_id in (None, batch.id) and op.name in (None, batch.name)
        ]
        if op.states is not None:
            listed = [batch for batch in listed if self._job_now(batch).state in op.states]
        first = (op.page - 1) * op.per_page
        shown = [self._job_now(batch) for batch in listed[first : first + op.per_page]]
        return JobPage(tuple(shown), len(listed))

    async def delete(self, op: DeleteJob) -> Job:
        batch, job = await self._find(op.job_id)
        await self.batches.delete(batch, job, op)
        return job

    async def cancel(self, op: CancelJob) -> Job:
        def work(batch: SandboxBatch, job: Job) -> None:
            if job.state.is_final:
                raise Problem(ProblemKind.JOB_STATE, job_state=job.state)
            batch.simulation_word = JobState.CANCELLED

        return self._job_now(await self._change(op.job_id, work))

    async def read_rows(self, op: ReadRows) -> JobRows:
        simulated = bool(self.simulation_word)
        await self._refresh((op.job_id,))
        batch = self.batches.get(self.dialect, self.scope, op.job_id, simulated=simulated)
        return self.batches.select_rows(batch, self._job_now(batch), op)

    async def _change(self, job_id: str, work: Callable[[SandboxBatch, Job], None]) -> SandboxBatch:
        return await self.batches.change(lambda: self._find(job_id), work)

    async def _refresh(self, job_ids: Sequence[str] | None) -> None:
        """See what other processes did to the batches of this key; None are all of them."""
        await self.batches.refresh(Selection(self.scope, self.dialect.name, job_ids))

    async def _find(self, job_id: str) -> tuple[SandboxBatch, Job]:
        await self._refresh((job_id,))
        batch = self.batches.get(self.dialect, self.scope, job_id)
        return batch, self._job_now(batch)

    def _job_now(self, batch: SandboxBatch) -> Job:
        return self.batches.job_now(batch, self.simulation_word, self.base_url)
