"""Many addresses: `POST` and `GET /v1/batch`, and the file of a large one's results.

The documentation names five shapes of a status. They depend on the batch's size, on whether it is
complete, and on whether its results are still stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from adapters.contract.batch_rules import (
    MAX_BATCH_ENTRIES,
    BatchRules,
    BatchWebhook,
    BilledUnit,
    parse_entries,
)
from adapters.contract.forms import split_list
from adapters.contract.jobs import BatchEntry, Job, JobRow, JobRows, JobState
from adapters.contract.operations import ReadRows, ReadRowsByToken, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import Reply, StreamReply, WireReply, WireRequest, json_reply
from adapters.emailable.single import ATTRIBUTES, request_list, request_params
from adapters.kit.csv import csv_cell, csv_line
from adapters.kit.eleven_reasons import ALL_REASON_WORDS, STATES, reason_word, state_word
from adapters.kit.words import parse_bool

BODY_LIMIT = 16 * 1024 * 1024
"""Bytes: 50,000 addresses of the greatest length, with the encoding of a form."""
MAX_INLINE_RESULTS = 1_000
"""Results of larger batches come as a file."""
DAY_S = 86_400

# the first is undocumented; clients compare with the other two
CREATED = "Batch successfully created."
PROCESSING = "Your batch is being processed."
COMPLETED = "Batch verification completed."
PAUSED = "Your batch is paused. Please contact support at <support@emailable.com>."

MAX_FIELDS = 1_000
"""Names in `response_fields`; further ones are ignored."""
FIELDS: tuple[str, ...] = tuple(ATTRIBUTES)
"""The names that `response_fields` may list, in the order of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowBatchStatus(ReadRows):
    """A batch's status, with its results once they are complete, or on request."""

    partial: bool = False
    """Whether the client wants results before the batch is complete."""


# -- reading ------------------------------------------------------------------------------


def read_submit(request: WireRequest) -> SubmitJob:
    params = {
        **request_params(request),
        **{name: request_list(request, name) for name in ("emails", "response_fields")},
    }
    simulate = str(params.get("simulate") or "")
    try:
        return _parse_submit(params, simulate)
    except Problem as problem:
        if not simulate:
            raise
        # a simulated outcome of a test key comes first; reading the entries raises the problem
        return SubmitJob(entries=_raising_entries(problem), simulate=simulate)


def _parse_submit(params: Mapping[str, Any], simulate: str) -> SubmitJob:
    fields = _parse_fields(params.get("response_fields"))
    return SubmitJob(
        entries=_parse_entries(params),
        retry_greylisted=parse_bool(params.get("retries"), True),
        webhook_url=_parse_webhook_url(params.get("url")),
        options={} if fields is None else {"fields": fields},
        simulate=simulate,
    )


def _raising_entries(problem: Problem) -> Iterator[BatchEntry]:
    raise problem
    yield


def read_status(request: WireRequest) -> ShowBatchStatus:
    params = request.query
    simulate = params.get("simulate", "")
    job_id = params.get("id", "").strip()
    if not job_id and not simulate:
        raise Problem(ProblemKind.MISSING, field="id")
    return ShowBatchStatus(
        job_id=job_id, partial=parse_bool(params.get("partial"), False), simulate=simulate
    )


def read_download(request: WireRequest) -> ReadRowsByToken:
    return ReadRowsByToken(token=request.path_params["token"])


def _parse_entries(params: Mapping[str, Any]) -> tuple[BatchEntry, ...]:
    """A text with commas, or an array. Line breaks and semicolons are taken for commas."""
    emails = params.get("emails")
    if emails is None or emails == "" or emails == []:
        raise Problem(ProblemKind.MISSING, field="emails")
    if isinstance(emails, str):
        # blanks between commas are skipped; millions of them would take much memory
        emails = split_list(emails, 2 * MAX_BATCH_ENTRIES)
        if len(emails) > 2 * MAX_BATCH_ENTRIES:
            raise Problem(ProblemKind.TOO_MANY, field="emails", limit=MAX_BATCH_ENTRIES)
    if not isinstance(emails, list):
        raise Problem(ProblemKind.INVALID, field="emails")
    entries = parse_entries(emails, "emails")
    if not entries:
        raise Problem(ProblemKind.MISSING, field="emails")
    if len(entries) > MAX_BATCH_ENTRIES:
        raise Problem(ProblemKind.TOO_MANY, field="emails", limit=MAX_BATCH_ENTRIES)
    return entries


def _parse_fields(value: object) -> tuple[str, ...] | None:
    """The known names among those listed; None for all. Raises `Problem` if none is known."""
    if value is None or value == "" or value == []:
        return None
    names = value if isinstance(value, list) else split_list(str(value), MAX_FIELDS)
    wanted = {str(name).strip() for name in names}
    fields = tuple(name for name in FIELDS if name in wanted)
    if not fields:
        raise Problem(ProblemKind.INVALID, field="response_fields")
    return fields


def _parse_webhook_url(value: object) -> str:
    if value is None or value == "":
        return ""
    try:
        parts = urlsplit(str(value).strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise Problem(ProblemKind.INVALID, field="url")
    return str(value).strip()


# -- writing ------------------------------------------------------------------------------


def write_submitted(_: SubmitJob, job: Job) -> WireReply:
    return json_reply({"message": CREATED, "id": job.id})


def write_status(op: ReadRows, found: JobRows) -> Reply:
    job = found.job
    small = job.total <= MAX_INLINE_RESULTS
    done = job.state is JobState.COMPLETED
    partial = isinstance(op, ShowBatchStatus) and op.partial and small
    if not done and not partial:
        message = PAUSED if job.state is JobState.PAUSED else PROCESSING
        return json_reply(
            {"message": message, "processed": processed_count(job), "total": job.total}
        )
    counts = {"reason_counts": _reason_counts(job), "total_counts": _total_counts(job)}
    tail = {"id": job.id, "message": COMPLETED, **counts}
    if job.rows_expired:
        return json_reply(tail)
    if not small:
        return json_reply({"id": job.id, "download_file": download_url(job), **tail})
    head = b'{"emails":['
    if not done:
        # a copy of the page has the message first here alone
        head = orjson.dumps({"message": PROCESSING})[:-1] + b',"emails":['
        tail = {"id": job.id, **counts}
    return StreamReply(
        rows=found.rows,
        head=head,
        render=lambda row: orjson.dumps(_attributes(row, job), option=orjson.OPT_SORT_KEYS),
        separator=b",",
        tail=b"]," + orjson.dumps(tail)[1:],
    )


def write_download(_: ReadRowsByToken, found: JobRows) -> StreamReply:
    job = found.job
    if job.state is not JobState.COMPLETED or job.rows_expired:
        raise Problem(ProblemKind.JOB_UNKNOWN)
    fields = _shown_fields(job)
    return StreamReply(
        rows=found.rows,
        head=csv_line(fields),
        render=lambda row: csv_line(map(csv_cell, _attributes(row, job).values())),
        media_type="application/zip",
        headers=(("Content-Disposition", f'attachment; filename="{job.id}.zip"'),),
        zip_member=f"{job.id}.csv",
    )


def download_url(job: Job) -> str:
    return f"{job.base_url}/v1/downloads/{job.link_token}.zip"


def processed_count(job: Job) -> int:
    """With repeats once all rows are answered; repeats are counted and not verified."""
    return job.total if job.done_count == job.row_count else job.done_count


def _total_counts(job: Job) -> dict[str, int]:
    counts = {state: job.counts.get(state, 0) for state in STATES.values()}
    done = processed_count(job)
    counts["duplicate"] = done - job.done_count
    counts |= {"processed": done, "total": job.total}
    return dict(sorted(counts.items()))


def _reason_counts(job: Job) -> dict[str, int]:
    return {word: job.counts.get(word, 0) for word in ALL_REASON_WORDS}


def _shown_fields(job: Job) -> tuple[str, ...]:
    return tuple(job.options.get("fields") or FIELDS)


def _attributes(row: JobRow, job: Job) -> dict[str, object]:
    return {name: ATTRIBUTES[name](row.verification) for name in _shown_fields(job)}


# -- rules --------------------------------------------------------------------------------


BATCH_RULES = BatchRules(
    shows_names=True,
    # as long as the vendor's, which are MongoDB object ids
    new_id=lambda source: f"{source.random_below(16**24):024x}",
    row_word=state_word,
    extra_counters=lambda v: (reason_word(v),),
    merge_duplicates=True,
    billed_unit=BilledUnit.ROWS,
    must_cover_unit=BilledUnit.ROWS,
    retention_s=lambda total: (30 if total <= MAX_INLINE_RESULTS else 5) * DAY_S,
    delete_with_rows=False,
    webhook=BatchWebhook(
        write_body=write_status,
        # the page on batches: hourly, until 3 days after the batch finished
        retry_interval_s=3_600,
        give_up_after_s=3 * DAY_S,
    ),
)
