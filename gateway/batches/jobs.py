"""Runs clients' operations on batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from adapters.contract.dialect import Dialect
from adapters.contract.jobs import Job, JobPage, JobRows
from adapters.contract.operations import (
    AmendJob,
    CancelJob,
    DeleteJob,
    FetchList,
    JobRunner,
    ListJobs,
    OpenChunks,
    ReadRows,
    ReadRowsByToken,
    ShowJob,
    ShowJobByToken,
    ShowJobs,
    StartJob,
    SubmitJob,
)
from gateway.accounts.caller import Caller
from gateway.batches.records import BatchRecords


class BatchOperations:
    """The batches of all callers."""

    def __init__(
        self,
        records: BatchRecords,
        *,
        fetch: FetchList,
        on_work: Callable[[], None] = lambda: None,
        on_deleted: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_work` is called when a batch can be worked on, `on_deleted` when rows can go."""
        self._records = records
        self._fetch = fetch
        self._on_work = on_work
        self.tell_siblings: Callable[[], None] = lambda: None
        """Called with `on_work`: other processes on this machine that look for work."""
        self._on_deleted = on_deleted

    def _announce(self) -> None:
        self._on_work()
        self.tell_siblings()

    def jobs_of(self, dialect: Dialect, caller: Caller) -> JobRunner:
        """The caller's batches in a dialect. Every method may raise StoreError, too."""
        return _CallerJobs(
            self._records, dialect, caller, self._announce, self._on_deleted, self._fetch
        )

    async def rows_by_token(self, dialect: Dialect, op: ReadRowsByToken) -> JobRows:
        """The rows behind an unguessable link. Raises `Problem` (`JOB_UNKNOWN`)."""
        return self._records.job_rows(await self._records.find_by_token(dialect, op.token), op)

    async def job_by_token(self, dialect: Dialect, op: ShowJobByToken) -> Job:
        """The batch itself. Raises `Problem` (`JOB_UNKNOWN`)."""
        return await self._records.find_by_token(dialect, op.token)


@dataclass(frozen=True, slots=True)
class _CallerJobs(JobRunner):
    records: BatchRecords
    dialect: Dialect
    caller: Caller
    on_work: Callable[[], None]
    on_deleted: Callable[[], None]
    fetch_list: FetchList

    def fetch(self, url: str, max_bytes: int) -> AbstractAsyncContextManager[OpenChunks | str]:
        return self.fetch_list(url, max_bytes)

    async def read_file(self, read: Callable[[], SubmitJob]) -> SubmitJob:
        return await asyncio.to_thread(read)

    async def submit(self, op: SubmitJob) -> Job:
        job = await self.records.submit(self.dialect, self.caller, op)
        self.on_work()
        return job

    async def start(self, op: StartJob) -> Job:
        job = await self.records.start(self.caller, op)
        self.on_work()
        return job

    async def amend(self, op: AmendJob) -> Job:
        return await self.records.amend(self.caller, op)

    async def show(self, op: ShowJob) -> Job:
        return await self.records.show(self.caller, op.job_id)

    async def show_many(self, op: ShowJobs) -> tuple[Job, ...]:
        return await self.records.show_many(self.caller, op.job_ids)

    async def list_page(self, op: ListJobs) -> JobPage:
        return await self.records.list_page(self.caller, op)

    async def delete(self, op: DeleteJob) -> Job:
        job = await self.records.delete(self.caller, op)
        self.on_deleted()
        self.on_work()
        return job

    async def cancel(self, op: CancelJob) -> Job:
        job = await self.records.cancel(self.caller, op.job_id)
        self.on_work()
        return job

    async def read_rows(self, op: ReadRows) -> JobRows:
        return self.records.job_rows(await self.records.show(self.caller, op.job_id), op)
