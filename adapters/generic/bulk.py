"""Many addresses: `POST /verify/bulk`, and a job's state, results and file.

The page shows the request and the status; the bodies of results and file are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import orjson

from adapters.contract.batch_rules import MAX_BATCH_ENTRIES, BatchRules
from adapters.contract.jobs import BatchEntry, Job, JobRow, JobRows, JobState
from adapters.contract.operations import ReadRows, ShowJob, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import StreamReply, WireReply, WireRequest, json_reply
from adapters.generic.single import verification_json
from adapters.generic.words import STATUSES, TIERS, tier_word
from adapters.kit.csv import CSV_MEDIA_TYPE, csv_cell, csv_line
from adapters.kit.words import parse_integer, utc_millis
from engine.model import Checks

BODY_LIMIT = 20 * 1024 * 1024
"""Bytes: 50,000 addresses of 320 characters, in quotes."""
MAX_EMAIL_CHARACTERS = 320
RETENTION_S = 30 * 86_400

DEFAULT_LIMIT, MAX_LIMIT = 100, 1_000
MAX_PAGE = 10**9
ANY_TIER = "all"

CREATED_MESSAGE = "Job created. Poll GET /api/v1/jobs/{jobId} for status."
"""The braces are in the sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadResultPage(ReadRows):
    """A page of results."""

    page: int
    per_page: int


# -- reading ------------------------------------------------------------------------------


def read_submit(request: WireRequest) -> SubmitJob:
    emails = request.json_object.get("emails")
    if emails is None:
        raise Problem(ProblemKind.MISSING, field="emails")
    if not isinstance(emails, list) or not emails:
        raise _invalid("emails must be a list of at least one email.", "emails")
    if len(emails) > MAX_BATCH_ENTRIES:
        raise Problem(ProblemKind.TOO_MANY, field="emails", limit=MAX_BATCH_ENTRIES)
    entries = []
    for email in emails:
        if not isinstance(email, str) or not email.strip():
            raise _invalid("Every email must be a string that is not empty.", "emails")
        if len(email) > MAX_EMAIL_CHARACTERS:
            text = f"Every email must have at most {MAX_EMAIL_CHARACTERS} characters."
            raise _invalid(text, "emails")
        entries.append(BatchEntry(email.strip()))
    return SubmitJob(entries=entries, checks=Checks(policies=True))


def read_job(request: WireRequest) -> ShowJob:
    return ShowJob(job_id=request.path_params["job_id"].lower())


def read_results(request: WireRequest) -> ReadResultPage:
    page = _parse_integer(request.query, "page", 1, None)
    per_page = _parse_integer(request.query, "limit", DEFAULT_LIMIT, MAX_LIMIT)
    tier = request.query.get("tier", ANY_TIER)
    if tier not in (ANY_TIER, *TIERS.values()):
        raise _invalid(f"tier must be one of {', '.join(TIERS.values())} or all.", "tier")
    return ReadResultPage(
        job_id=request.path_params["job_id"].lower(),
        row_words=None if tier == ANY_TIER else frozenset({tier}),
        offset=(page - 1) * per_page,
        limit=per_page,
        page=page,
        per_page=per_page,
    )


def read_download(request: WireRequest) -> ReadRows:
    return ReadRows(job_id=request.path_params["job_id"].lower())


def _parse_integer(query: Mapping[str, str], name: str, default: int, maximum: int | None) -> int:
    value = parse_integer(query.get(name) or default)
    # the bound is on the number of rows that the database has to skip
    if value is None or not 1 <= value <= (maximum or MAX_PAGE):
        upper = f" to {maximum}" if maximum is not None else " or more"
        raise _invalid(f"{name} must be an integer, 1{upper}.", name)
    return value


def _invalid(text: str, field: str) -> Problem:
    return Problem(ProblemKind.INVALID, text, field)


# -- writing ------------------------------------------------------------------------------


def write_submitted(_: SubmitJob, job: Job) -> WireReply:
    body = {
        "jobId": job.id,
        # even while it is queued
        "status": STATUSES[JobState.RUNNING],
        "total": job.total,
        "message": CREATED_MESSAGE,
    }
    return json_reply(body, 202)


def write_job(_: ShowJob, job: Job) -> WireReply:
    return json_reply(
        {
            "id": job.id,
            "status": STATUSES[job.state],
            "total_emails": job.total,
            "completed": job.done_count,
            # unknown addresses have no counter
            **{tier: job.counts.get(tier, 0) for tier in ("deliverable", "risky", "undeliverable")},
            "created_at": utc_millis(job.created_at),
        }
    )


def write_results(op: ReadResultPage, found: JobRows) -> StreamReply:
    _require_completed(found.job)
    head = {
        "jobId": found.job.id,
        "page": op.page,
        "limit": op.per_page,
        "total": found.matching_count,
        "totalPages": -(-found.matching_count // op.per_page),
    }
    return StreamReply(
        rows=found.rows,
        head=orjson.dumps(head)[:-1] + b',"results":[',
        render=lambda row: orjson.dumps(verification_json(row.verification)),
        separator=b",",
        tail=b"]}",
    )


COLUMNS = (
    "email",
    "domain",
    "score",
    "tier",
    "tierLabel",
    "result",
    "provider",
    "isRole",
    "isDisposable",
    "isCatchAll",
    "spf",
    "dmarc",
    "verifiedAt",
)


def write_download(_: ReadRows, found: JobRows) -> StreamReply:
    _require_completed(found.job)
    name = f'attachment; filename="job-{found.job.id}.csv"'
    return StreamReply(
        rows=found.rows,
        head=csv_line(COLUMNS),
        render=_csv_row,
        media_type=CSV_MEDIA_TYPE,
        headers=(("Content-Disposition", name),),
    )


def _csv_row(row: JobRow) -> bytes:
    found = verification_json(row.verification)
    found["isCatchAll"] = found["catchAll"]["isCatchAll"]
    return csv_line(csv_cell(found[column]) for column in COLUMNS)


def _require_completed(job: Job) -> None:
    if job.state is not JobState.COMPLETED:
        raise Problem(ProblemKind.JOB_STATE, job_state=job.state)
    if job.rows_expired:
        raise Problem(ProblemKind.JOB_UNKNOWN)


# -- rules --------------------------------------------------------------------------------


BATCH_RULES = BatchRules(
    new_id=lambda source: str(UUID(int=source.random_below(2**128), version=4)),
    row_word=tier_word,
    # undocumented
    retention_s=lambda _: RETENTION_S,
)
