"""Many addresses: `POST /verify/bulk`, and a job's state, results and file.

The page shows what is sent and the state; the bodies of results and file are ours.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from uuid import UUID

import orjson

from adapters.contract.jobs import (
    MAX_BATCH,
    BatchRules,
    Entry,
    Job,
    JobRows,
    JobState,
    ReadRows,
    Row,
    ShowJob,
    SubmitJob,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import StreamReply, WireReply, WireRequest, json_reply
from adapters.generic.single import verification_of
from adapters.generic.words import STATUSES, TIERS
from engine.model import Verification

BODY_LIMIT = 20 * 1024 * 1024
"""Bytes: 50,000 addresses of 320 characters, in quotes."""
MAX_EMAIL_CHARACTERS = 320
KEPT_S = 30 * 86_400

DEFAULT_LIMIT, MAX_LIMIT = 100, 1_000
ALL_TIERS = "all"

MESSAGE = "Job created. Poll GET /api/v1/jobs/{jobId} for status."
"""The braces are in the sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPage(ReadRows):
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
    if len(emails) > MAX_BATCH:
        raise Problem(ProblemKind.TOO_MANY, field="emails", limit=MAX_BATCH)
    entries = []
    for email in emails:
        if not isinstance(email, str) or not email.strip():
            raise _invalid("Every email must be a string that is not empty.", "emails")
        if len(email) > MAX_EMAIL_CHARACTERS:
            text = f"Every email must have at most {MAX_EMAIL_CHARACTERS} characters."
            raise _invalid(text, "emails")
        entries.append(Entry(email.strip()))
    return SubmitJob(entries=entries)


def read_job(request: WireRequest) -> ShowJob:
    return ShowJob(job_id=request.path_params["job_id"].lower())


def read_results(request: WireRequest) -> ReadPage:
    page = _integer(request.query, "page", 1, None)
    per_page = _integer(request.query, "limit", DEFAULT_LIMIT, MAX_LIMIT)
    tier = request.query.get("tier", ALL_TIERS)
    if tier not in (ALL_TIERS, *TIERS.values()):
        raise _invalid(f"tier must be one of {', '.join(TIERS.values())} or all.", "tier")
    return ReadPage(
        job_id=request.path_params["job_id"].lower(),
        words=None if tier == ALL_TIERS else frozenset({tier}),
        offset=(page - 1) * per_page,
        limit=per_page,
        page=page,
        per_page=per_page,
    )


def read_download(request: WireRequest) -> ReadRows:
    return ReadRows(job_id=request.path_params["job_id"].lower())


def _integer(query: Mapping[str, str], name: str, default: int, most: int | None) -> int:
    text = query.get(name, str(default))
    # the length bounds what the database is asked to skip
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if value < 1 or (most is not None and value > most):
        upper = f" to {most}" if most is not None else " or more"
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
        "message": MESSAGE,
    }
    return json_reply(body, 202)


def write_job(_: ShowJob, job: Job) -> WireReply:
    created_at = job.created_at.astimezone(UTC).isoformat(timespec="milliseconds")
    return json_reply(
        {
            "id": job.id,
            "status": STATUSES[job.state],
            "total_emails": job.total,
            "completed": job.done,
            # there is no counter of the unknown ones
            **{tier: job.counts.get(tier, 0) for tier in ("deliverable", "risky", "undeliverable")},
            "created_at": created_at.replace("+00:00", "Z"),
        }
    )


def write_results(op: ReadPage, found: JobRows) -> StreamReply:
    _completed(found.job)
    head = {
        "jobId": found.job.id,
        "page": op.page,
        "limit": op.per_page,
        "total": found.total,
        "totalPages": -(-found.total // op.per_page),
    }
    return StreamReply(
        head=orjson.dumps(head)[:-1] + b',"results":[',
        render=lambda row: orjson.dumps(verification_of(row.verification)),
        separator=b",",
        tail=b"]}",
    )


CSV = "text/csv; charset=utf-8"
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
    _completed(found.job)
    name = f'attachment; filename="job-{found.job.id}.csv"'
    return StreamReply(
        head=_line(COLUMNS),
        render=_csv_row,
        media_type=CSV,
        headers=(("Content-Disposition", name),),
    )


def _csv_row(row: Row) -> bytes:
    found = verification_of(row.verification)
    found["isCatchAll"] = found["catchAll"]["isCatchAll"]
    return _line(_cell(found[column]) for column in COLUMNS)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _line(cells: object) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)  # type: ignore[arg-type]
    return line.getvalue().encode()


def _completed(job: Job) -> None:
    if job.state is not JobState.COMPLETED:
        raise Problem(ProblemKind.JOB_STATE, state=job.state)
    if job.rows_gone:
        raise Problem(ProblemKind.JOB_UNKNOWN)


# -- rules --------------------------------------------------------------------------------


def _word(v: Verification) -> str:
    return TIERS[v.verdict]


RULES = BatchRules(
    new_id=lambda _, below: str(UUID(int=below(2**128), version=4)),
    word=_word,
    # no page tells how long
    kept_s=lambda _: KEPT_S,
)
