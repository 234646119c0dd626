"""What clients ask about batches."""

from __future__ import annotations

from collections.abc import Callable

from adapters.contract.dialect import Dialect
from adapters.contract.jobs import (
    DeleteJob,
    Job,
    JobOperation,
    JobPage,
    JobRows,
    ListJobs,
    ReadRows,
    ShowJob,
    ShowJobs,
    StartJob,
    SubmitJob,
)
from gateway.accounts.caller import Caller
from gateway.batches.records import Records


class Batches:
    """Runs the operations of `adapters.contract.jobs`."""

    def __init__(
        self,
        records: Records,
        *,
        work: Callable[[], None] = lambda: None,
        sweep: Callable[[], None] = lambda: None,
    ) -> None:
        """`work` is called when there is something to do, `sweep` when something may go."""
        self._records = records
        self._work = work
        self._sweep = sweep

    async def run(
        self, dialect: Dialect, caller: Caller, op: JobOperation
    ) -> Job | tuple[Job, ...] | JobPage | JobRows:
        """Answer one operation. Raises `Problem`, StoreError."""
        match op:
            case SubmitJob():
                job = await self._records.submit(dialect, caller, op)
                self._work()
                return job
            case StartJob():
                job = await self._records.start(caller, op.job_id)
                self._work()
                return job
            case ShowJob():
                return await self._records.show(caller, op.job_id)
            case ShowJobs():
                return await self._records.show_some(caller, op.job_ids)
            case ListJobs():
                return await self._records.page(caller, op)
            case DeleteJob():
                job = await self._records.delete(caller, op.job_id)
                self._sweep()
                return job
            case ReadRows():
                return self._records.found(await self._records.show(caller, op.job_id), op)
        raise TypeError(f"No way to run {type(op).__name__}.")

    async def read_link(self, dialect: Dialect, op: ReadRows) -> JobRows:
        """The rows behind an unguessable link. Raises `Problem` (`JOB_UNKNOWN`)."""
        return self._records.found(await self._records.by_token(dialect, op.token), op)
