"""Greylisted addresses that a client wants verified again, half an hour later.

The second verification is a batch of its own, which no call shows: its result goes to the client's
`callback_url`.
"""

from __future__ import annotations

import orjson

from adapters.contract.jobs import BatchEntry, JobRow, JobRows, JobState
from adapters.contract.operations import JobRunner, ListJobs, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import StreamReply
from adapters.zerobounce.validation import validation

RETRY_AFTER_S = 1_800
KEPT_S = 86_400
"""How long the second result is stored, for its callback to be repeated."""
OPTION = "greylist"
_LIMITS = frozenset(
    {
        ProblemKind.NO_CREDITS,
        ProblemKind.BATCHES_WAITING,
        ProblemKind.BATCHES_RUNNING,
        ProblemKind.BATCHES_SPENT,
    }
)
_PENDING = frozenset({JobState.QUEUED, JobState.RUNNING})


def _name(email: str) -> str:
    return f"greylist:{email.strip().lower()}"[:1_000]


async def refuse_while_pending(jobs: JobRunner, email: str) -> None:
    """Raises `Problem` (`JOB_STATE`) if the address waits for its second verification."""
    pending = await jobs.list_page(ListJobs(name=_name(email), states=_PENDING, per_page=1))
    if pending.total:
        raise Problem(ProblemKind.JOB_STATE, job_state=pending.jobs[0].state)


async def verify_again(jobs: JobRunner, email: str, callback_url: str) -> None:
    """Have an address verified again later, at the cost of another verification.

    A client that cannot pay for it, or has too many batches, gets the first result all the same.
    """
    again = SubmitJob(
        entries=(BatchEntry(email),),
        delay_s=RETRY_AFTER_S,
        retry_greylisted=False,
        webhook_url=callback_url,
        name=_name(email),
        options={OPTION: True},
    )
    try:
        await jobs.submit(again)
    except Problem as problem:
        if problem.kind not in _LIMITS:
            raise


def write_callback(found: JobRows) -> StreamReply:
    """The object of a single validation."""

    def render(row: JobRow) -> bytes:
        return orjson.dumps(validation(row.verification))

    return StreamReply(rows=found.rows, render=render, media_type="application/json")
