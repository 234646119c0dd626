"""Jobs: created, parsed, started, shown, searched and deleted; `results` has their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from adapters.contract.batch_rules import (
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
    SubmitJob,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.neverbounce.entries import read_rows
from adapters.neverbounce.params import is_set, job_id_of, page_of, params_of, required, text_of
from adapters.neverbounce.problems import ALREADY_PARSED, NOT_PARSED
from adapters.neverbounce.words import result_word
from engine.model import Reason, Verification

BODY_LIMIT = 25 * 1024 * 1024
"""Bytes."""
FIRST_JOB_ID = 1_000_000
BAD_SYNTAX = "bad_syntax"
NO_ESTIMATE = -1
PARSED, SAMPLED = "parsed", "sampled"
"""Options of a job: whether the client had it parsed, and asked for a sample."""

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
    """Have a job parsed that was only uploaded, and start it if wished."""

    job_id: str
    start: bool

    async def run_on(self, jobs: JobRunner) -> Job:
        job = await jobs.show(ShowJob(job_id=self.job_id))
        if job.state is not JobState.READY or job.options.get(PARSED):
            raise Problem(ProblemKind.JOB_STATE, job_state=job.state, word=ALREADY_PARSED)
        options = {PARSED: True}
        if self.start:
            return await jobs.start(StartJob(job_id=self.job_id, options=options))
        ready = frozenset({JobState.READY})
        return await jobs.amend(AmendJob(job_id=self.job_id, options=options, states=ready))


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
        if not self.is_sample:
            return await jobs.start(StartJob(job_id=self.job_id))
        ready = frozenset({JobState.READY})
        return await jobs.amend(AmendJob(job_id=self.job_id, options={SAMPLED: True}, states=ready))


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchJobs(ListJobs):
    """A search, with the filters that its reply repeats."""

    query: Mapping[str, Any]


# -- reading ------------------------------------------------------------------------------


def read_create(request: WireRequest) -> SubmitJob:
    params = params_of(request)
    location = str(required(params, "input_location"))
    if location not in ("supplied", "remote_url"):
        raise Problem(ProblemKind.INVALID, field="input_location")
    if location == "remote_url":
        raise Problem(ProblemKind.INVALID, word=NO_REMOTE)
    columns, entries, at = read_rows(_input(request, params))
    start = is_set(params, "auto_start")
    is_sample = is_set(params, "run_sample")
    options = {
        PARSED: start or is_set(params, "auto_parse"),
        SAMPLED: is_sample,
        "email_column": at,
        "callback_headers": _callback_headers(params),
    }
    return SubmitJob(
        entries=entries,
        headers=columns,
        start=start and not is_sample,
        webhook_url=_callback_url(params),
        name=text_of(params, "filename"),
        options=options,
    )


def _callback_url(params: Mapping[str, Any]) -> str:
    value = params.get("callback_url", "")
    if not isinstance(value, str):
        raise Problem(ProblemKind.INVALID, field="callback_url")
    return value.strip()


def _callback_headers(params: Mapping[str, Any]) -> dict[str, str]:
    """Values by name; PHP writes an empty object as a list."""
    given = params.get("callback_headers") or {}
    if not isinstance(given, dict):
        raise Problem(ProblemKind.INVALID, field="callback_headers")
    headers = {name: value for name, value in given.items() if value is not None}
    if any(isinstance(value, dict | list) for value in headers.values()):
        raise Problem(ProblemKind.INVALID, field="callback_headers")
    return {name: str(value) for name, value in headers.items()}


NO_REMOTE = "Lists at a URL are not fetched; send the rows with input_location supplied"


def _input(request: WireRequest, params: Mapping[str, Any]) -> object:
    """The rows; a form has each cell in a field of its own, `input[0][1]=a@b.c`."""
    value = params.get("input")
    if value is not None and not isinstance(value, str):
        return value
    rows: dict[str, dict[str, str]] = {}
    for name, cell in {**request.query, **request.fields}.items():
        if name.startswith("input[") and name.endswith("]"):
            row, _, column = name[6:-1].partition("][")
            rows.setdefault(row, {})[column or "0"] = cell
    if rows:
        return rows
    raise Problem(ProblemKind.MISSING, field="input")


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
    return SearchJobs(
        page=page,
        per_page=per_page,
        job_id=job_id_of(params) if "job_id" in params else None,
        name=text_of(params, "filename") or None,
        states=frozenset().union(*(STATES[word] for word in words)) if words else None,
        query={**query, "page": page, "items_per_page": per_page},
    )


# -- writing ------------------------------------------------------------------------------


def _success(members: Mapping[str, Any]) -> WireReply:
    return json_reply({"status": "success", **members, "execution_time": 0})


def write_created(_: SubmitJob, job: Job) -> WireReply:
    return _success({"job_id": int(job.id)})


def write_queued(_: ParseJob | RunJob, job: Job) -> WireReply:
    return _success({"queue_id": f"NB-PQ-{int(job.id):013X}"})


def write_deleted(_: DeleteJob, __: Job) -> WireReply:
    return _success({})


def write_status(_: ShowJob, job: Job) -> WireReply:
    members = job_members(job)
    last = {name: members.pop(name) for name in ("total", "bounce_estimate", "percent_complete")}
    status = members.pop("job_status")
    reason = "The job was cancelled" if job.state is JobState.CANCELLED else None
    if job.state is JobState.FAILED:
        reason = "The list could not be read"
    return _success({**members, "failure_reason": reason, **last, "job_status": status})


def write_status_before_4_2(_: ShowJob, job: Job) -> WireReply:
    return _success(job_members(job))


def write_search(op: SearchJobs, found: JobPage) -> WireReply:
    return _success(
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
    bounces = count("invalid", 0) + count("disposable", 0)
    return {
        "id": int(job.id),
        "job_status": _status(job),
        "filename": job.name or f"API_{job.id}.csv",
        "created_at": _date(job.created_at),
        "started_at": _date(job.started_at),
        "finished_at": _date(job.finished_at),
        "total": {
            "records": 0 if has_failed else job.total,
            "billable": 0 if has_failed else job.valid_count,
            "processed": None if has_failed else done,
            **{word: None if has_failed else count(word, 0) for word in words},
            "duplicates": None if has_failed else job.total - job.row_count,
            "bad_syntax": None if has_failed else count(BAD_SYNTAX, 0),
        },
        "bounce_estimate": round(100 * bounces / done, 1) if done else NO_ESTIMATE,
        "percent_complete": round(100 * done / job.row_count) if job.row_count else 100,
    }


def _status(job: Job) -> str:
    if job.state is JobState.READY and not job.options.get(PARSED):
        return "uploading"
    if job.state is JobState.READY and job.options.get(SAMPLED):
        return "waiting_analyzed"
    return STATUSES[job.state]


def _date(at: datetime | None) -> str | None:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if at else None


# -- rules --------------------------------------------------------------------------------


def write_event(event: str, job: Job) -> bytes:
    return orjson.dumps({"job_id": int(job.id), "event": event})


def _extra_counters(v: Verification) -> tuple[str, ...]:
    return (BAD_SYNTAX,) if v.reason is Reason.INVALID_EMAIL else ()


BATCH_RULES = BatchRules(
    new_id=lambda source: str(FIRST_JOB_ID + source.number),
    row_word=result_word,
    extra_counters=_extra_counters,
    merge_duplicates=True,
    charged_at=ChargeTime.START,
    billed_unit=BilledUnit.VALID,
    must_cover_unit=BilledUnit.VALID,
    # until the client deletes it
    retention_s=lambda _: None,
    webhook=BatchWebhook(
        events={
            JobEvent.SUBMITTED: ("job_parsing_started", "job_parsing_finished"),
            JobEvent.STARTED: ("job_run_started",),
            JobEvent.COMPLETED: ("job_run_finished",),
            JobEvent.DELETED: ("job_deleted",),
        },
        write_event=write_event,
        headers=lambda job: job.options.get("callback_headers", {}),
        is_accepted=is_success,
        retry_interval_s=60.0,
        give_up_after_s=130.0,
    ),
)
