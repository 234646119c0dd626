"""Batches whose list is at a URL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from adapters.contract.jobs import Job
from adapters.contract.operations import JobOperation, JobRunner, OpenChunks, SubmitJob
from adapters.contract.problems import Problem, ProblemKind


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRemoteJob(JobOperation[Job]):
    """Fetch a list from a URL, and store it as a batch.

    If it cannot be fetched or read, the batch is stored as failed.
    """

    url: str
    max_bytes: int
    read: Callable[[OpenChunks], SubmitJob]
    """Reads the list. It may raise `Problem`, as may the entries."""
    fail: Callable[[str], SubmitJob]
    """Takes a sentence that says why there is no list."""

    async def run_on(self, jobs: JobRunner) -> Job:
        async with jobs.fetch(self.url, self.max_bytes) as found:
            if isinstance(found, str):
                return await jobs.submit(self.fail(found))
            try:
                return await jobs.submit(await jobs.read_file(partial(self.read, found)))
            except Problem as problem:
                if problem.kind not in UNREADABLE_LIST:
                    raise
                reason = problem.detail or "The list could not be read."
                return await jobs.submit(self.fail(reason))


UNREADABLE_LIST = frozenset(
    {
        ProblemKind.INVALID,
        ProblemKind.MISSING,
        ProblemKind.UNREADABLE,
        ProblemKind.TOO_LARGE,
        ProblemKind.TOO_MANY,
    }
)
"""Problems of a list, for which the client is not to blame at the time of its request."""
