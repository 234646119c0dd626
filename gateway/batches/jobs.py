"""What clients ask about batches."""

from __future__ import annotations

from collections.abc import Callable

from adapters.contract.dialect import Dialect
from adapters.contract.jobs import Job, JobPage, JobRows
from adapters.contract.operations import (
    DeleteJob,
    JobOperation,
    ListJobs,
    ReadRows,
    ShowJob,
    ShowJobs,
    StartJob,
    SubmitJob,
)
from gateway.accounts.caller import Caller
from gateway.batches.records import BatchRecords


class BatchOperations:
    """Runs the operations on batches (`adapters.contract.operations`)."""

    def __init__(
        self,
        records: BatchRecords,
        *,
        on_work: Callable[[], None] = lambda: None,
        on_deleted: Callable[[], None] = lambda: None,
    ) -> None:
        """`work` is called when there is something to do, `sweep` when something may go."""
        self._records = records
        self._on_work = on_work
        self._on_deleted = on_deleted

    async def run(
        self, dialect: Dialect, caller: Caller, op: JobOperation
    ) -> Job | tuple[Job, ...] | JobPage | JobRows:
        """Answer one operation. Raises `Problem`, StoreError."""
        match op:
            case SubmitJob():
                job = await self._records.submit(dialect, caller, op)
                self._on_work()
                return job
            case StartJob():
                job = await self._records.start(caller, op.job_id)
                self._on_work()
                return job
            case ShowJob():
                return await self._records.show(caller, op.job_id)
            case ShowJobs():
                return await self._records.show_many(caller, op.job_ids)
            case ListJobs():
                return await self._records.list_page(caller, op)
            case DeleteJob():
                job = await self._records.delete(caller, op.job_id)
                self._on_deleted()
                return job
            case ReadRows():
                return self._records.job_rows(await self._records.show(caller, op.job_id), op)
        raise TypeError(f"No way to run {type(op).__name__}.")

    async def rows_by_token(self, dialect: Dialect, op: ReadRows) -> JobRows:
        """The rows behind an unguessable link. Raises `Problem` (`JOB_UNKNOWN`)."""
        return self._records.job_rows(await self._records.find_by_token(dialect, op.token), op)
