"""Jobs: parsed, started, shown, searched and deleted.

`create` makes them, `results` has their rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from adapters.contract.batch_rules import (
    DUPLICATE,
    BatchRules,
    BatchWebhook,
    BilledUnit,
    ChargeTime,
    JobEvent,
    is_success,
)
from adapters.contract.jobs import Job, JobPage, JobState
from adapters.contract.operations import (
    AmendJob,
    DeleteJob,
    JobOperation,
    JobRunner,
    ListJobs,
    ShowJob,
    StartJob,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.neverbounce.params import is_set, job_id_of, page_of, params_of, text_of
from adapters.neverbounce.problems import ALREADY_PARSED, ALREADY_SAMPLED, NOT_PARSED
from adapters.neverbounce.words import result_word
from engine.model import Reason, Verification

FIRST_JOB_ID = 1_000_000
BAD_SYNTAX = "bad_syntax"
NO_ESTIMATE = -1
MAX_SAMPLE = 1_000
PARSED, SAMPLED, FAILURE = "parsed", "sampled", "failure"
"""Options of a job: whether the client had it parsed, whether it wants a sample first, and why
there is no list."""
SEARCHED_PER_PAGE, MAX_SEARCHED = 500, 20_000
"""Jobs of a search for one of the states that are one state here."""

STATUSES: Mapping[JobState, str] = {
    JobState.PREPARING: "parsing",
    JobState.READY: "waiting",
    JobState.QUEUED: "queued",
    JobState.RUNNING: "running",
    JobState.PAUSED: "under_review",
    JobState.COMPLETED: "complete",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
}
STATES: Mapping[str, frozenset[JobState]] = {
    **{
        word: frozenset(state for state, other in STATUSES.items() if other == word)
        for word in STATUSES.values()
    },
    "uploading": frozenset({JobState.READY}),
    "waiting_analyzed": frozenset({JobState.READY}),
    "deleted": frozenset(),
}
"""The states that a search for a word finds."""
FLAGS_OF_STATES: Mapping[str, str] = {
    "completed": "complete",
    "processing": "running",
    "indexing": "parsing",
    "failed": "failed",
    "manual_review": "under_review",
    "unpurchased": "waiting",
}
"""Switches that one client sends in the place of `job_status`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseJob(JobOperation[Job]):
    """Have a job parsed that was only uploaded, and start it, or its sample, if wished."""

    job_id: str
    start: bool

    async def run_on(self, jobs: JobRunner) -> Job:
        job = await jobs.show(ShowJob(job_id=self.job_id))
        if job.state is not JobState.READY or job.options.get(PARSED):
            raise Problem(ProblemKind.JOB_STATE, job_state=job.state, word=ALREADY_PARSED)
        ready = frozenset({JobState.READY})
        job = await jobs.amend(AmendJob(job_id=self.job_id, options={PARSED: True}, states=ready))
        is_sample = bool(job.options.get(SAMPLED))
        if self.start or is_sample:
            return await jobs.start(StartJob(job_id=self.job_id, is_sample=is_sample))
        return job


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob(JobOperation[Job]):
    """Start a job that was parsed, or have a sample of it taken."""

    job_id: str
    is_sample: bool

    async def run_on(self, jobs: JobRunner) -> Job:
        job = await jobs.show(ShowJob(job_id=self.job_id))
        if job.state is not JobState.READY:
            raise Problem(ProblemKind.JOB_STATE, job_state=job.state)
        if not job.options.get(PARSED):
            raise Problem(ProblemKind.JOB_STATE, job_state=job.state, word=NOT_PARSED)
        if self.is_sample and job.done_count:
            raise Problem(ProblemKind.JOB_STATE, job_state=job.state, word=ALREADY_SAMPLED)
        return await jobs.start(StartJob(job_id=self.job_id, is_sample=self.is_sample))


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchJobs(ListJobs):
    """A search, with the filters that its reply repeats."""

    query: Mapping[str, Any]
    words: frozenset[str] | None
    """Only jobs with one of these in `job_status`."""

    async def run_on(self, jobs: JobRunner) -> JobPage:
        if self.words is None or not self.words & READY_WORDS or self.words >= READY_WORDS:
            return await jobs.list_page(self)
        found: list[Job] = []
        for page in range(1, MAX_SEARCHED // SEARCHED_PER_PAGE + 1):
            some = await jobs.list_page(replace(self, page=page, per_page=SEARCHED_PER_PAGE))
            found += (job for job in some.jobs if _status(job) in self.words)
            if page * SEARCHED_PER_PAGE >= some.total:
                break
        first = (self.page - 1) * self.per_page
        return JobPage(tuple(found[first : first + self.per_page]), len(found))


READY_WORDS = frozenset({"uploading", "waiting", "waiting_analyzed"})
"""What the vendor has for the one state of a job that is ready."""


# -- reading ------------------------------------------------------------------------------


def read_parse(request: WireRequest) -> ParseJob:
    params = params_of(request)
    return ParseJob(job_id=job_id_of(params), start=is_set(params, "auto_start"))


def read_start(request: WireRequest) -> RunJob:
    params = params_of(request)
    return RunJob(job_id=job_id_of(params), is_sample=is_set(params, "run_sample"))


def read_status(request: WireRequest) -> ShowJob:
    return ShowJob(job_id=job_id_of(params_of(request)))


def read_delete(request: WireRequest) -> DeleteJob:
    return DeleteJob(job_id=job_id_of(params_of(request)))


def read_search(request: WireRequest) -> SearchJobs:
    params = params_of(request)
    page, per_page = page_of(params)
    words = {word for flag, word in FLAGS_OF_STATES.items() if is_set(params, flag)}
    if wanted := text_of(params, "job_status"):
        if wanted not in STATES:
            raise Problem(ProblemKind.INVALID, field="job_status")
        words = {wanted}
    names = ("job_id", "filename", "job_status", *FLAGS_OF_STATES)
    query = {name: params[name] for name in names if name in params}
    states = frozenset[JobState]().union(*(STATES[word] for word in words))
    return SearchJobs(
        page=page,
        per_page=per_page,
        job_id=job_id_of(params) if "job_id" in params else None,
        name=text_of(params, "filename") or None,
        states=states if words else None,
        words=frozenset(words) if words else None,
        query={**query, "page": page, "items_per_page": per_page},
    )


# -- writing ------------------------------------------------------------------------------


def write_success(members: Mapping[str, Any]) -> WireReply:
    return json_reply({"status": "success", **members, "execution_time": 0})


def write_queued(_: ParseJob | RunJob, job: Job) -> WireReply:
    return write_success({"queue_id": f"NB-PQ-{int(job.id):013X}"})


def write_deleted(_: DeleteJob, __: Job) -> WireReply:
    return write_success({})


def write_status(_: ShowJob, job: Job) -> WireReply:
    members = job_members(job)
    last = {name: members.pop(name) for name in ("total", "bounce_estimate", "percent_complete")}
    status = members.pop("job_status")
    reason = "The job was cancelled." if job.state is JobState.CANCELLED else None
    if job.state is JobState.FAILED:
        reason = str(job.options.get(FAILURE) or "The list could not be read.")
    return write_success({**members, "failure_reason": reason, **last, "job_status": status})


def write_status_before_4_2(_: ShowJob, job: Job) -> WireReply:
    return write_success(job_members(job))


def write_search(op: SearchJobs, found: JobPage) -> WireReply:
    return write_success(
        {
            "total_results": found.total,
            "total_pages": -(-found.total // op.per_page),
            "query": dict(op.query),
            "results": [job_members(job) for job in found.jobs],
        }
    )


def job_members(job: Job) -> dict[str, Any]:
    """A job as searches and the older versions show it."""
    count = job.counts.get
    words = ("valid", "invalid", "catchall", "disposable", "unknown")
    has_failed = job.state in (JobState.FAILED, JobState.CANCELLED)
    done = job.done_count
    # a malformed address is `invalid` in the results, and counted on its own
    counts = {word: count(word, 0) for word in words}
    counts["invalid"] -= count(BAD_SYNTAX, 0)
    bounces = counts["invalid"] + counts["disposable"]
    is_begun = job.state is not JobState.READY
    return {
        "id": int(job.id),
        "job_status": _status(job),
        "filename": job.name or f"API_{job.id}.csv",
        "created_at": _date(job.created_at),
        # a sample is no start
        "started_at": _date(job.started_at) if is_begun else None,
        "finished_at": _date(job.finished_at),
        "total": {
            "records": 0 if has_failed else job.total,
            "billable": 0 if has_failed else job.valid_count,
            "processed": None if has_failed else done,
            **(dict.fromkeys(words) if has_failed else counts),
            "duplicates": None if has_failed else count(DUPLICATE, 0),
            "bad_syntax": None if has_failed else count(BAD_SYNTAX, 0),
        },
        "bounce_estimate": round(100 * bounces / done, 1) if done else NO_ESTIMATE,
        "percent_complete": round(100 * done / job.row_count) if job.row_count else 100,
    }


def _status(job: Job) -> str:
    if job.state is JobState.READY and not job.options.get(PARSED):
        return "uploading"
    if job.state is JobState.READY and job.done_count:
        return "waiting_analyzed"
    return STATUSES[job.state]


def _date(at: datetime | None) -> str | None:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if at else None


# -- rules --------------------------------------------------------------------------------


def write_event(event: str, job: Job) -> bytes:
    return orjson.dumps({"job_id": int(job.id), "event": event})


def _extra_counters(v: Verification) -> tuple[str, ...]:
    return (BAD_SYNTAX,) if v.reason is Reason.INVALID_EMAIL else ()


PARSING = ("job_parsing_started", "job_parsing_finished")
"""Events of a job that is parsed, which takes no time here."""

BATCH_RULES = BatchRules(
    new_id=lambda source: str(FIRST_JOB_ID + source.number),
    row_word=result_word,
    extra_counters=_extra_counters,
    marks_duplicates=True,
    sample_size=lambda rows: min(max(rows // 10, 1), MAX_SAMPLE),
    charged_at=ChargeTime.START,
    billed_unit=BilledUnit.VALID,
    must_cover_unit=BilledUnit.VALID,
    # until the client deletes it
    retention_s=lambda _: None,
    webhook=BatchWebhook(
        events={
            JobEvent.SUBMITTED: PARSING,
            JobEvent.AMENDED: PARSING,
            JobEvent.SAMPLE_STARTED: ("job_sample_started",),
            JobEvent.SAMPLE_FINISHED: ("job_sample_finished",),
            JobEvent.STARTED: ("job_run_started",),
            JobEvent.FAILED: ("job_failed",),
            JobEvent.COMPLETED: ("job_run_finished",),
            JobEvent.DELETED: ("job_deleted",),
        },
        # a job that is only uploaded is parsed later
        reports=lambda event, options: event is not JobEvent.SUBMITTED or bool(options[PARSED]),
        write_event=write_event,
        headers=lambda job: job.options.get("callback_headers", {}),
        is_accepted=is_success,
        retry_interval_s=60.0,
        give_up_after_s=130.0,
    ),
)
