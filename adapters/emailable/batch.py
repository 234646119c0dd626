"""Many addresses: `POST` and `GET /v1/batch`, and the file of a large one's results.

The documentation names five shapes of a status; which one is due depends on the batch's size,
on whether it is done, and on whether its results are still kept.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from adapters.contract.jobs import (
    MAX_BATCH,
    BatchRules,
    Entry,
    Job,
    JobRows,
    JobState,
    Notice,
    ReadRows,
    Row,
    SubmitJob,
    Unit,
    entries_of,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import StreamReply, WireReply, WireRequest, json_reply
from adapters.emailable.single import ATTRIBUTES, params_of, truth
from adapters.emailable.words import REASONS, STATES, reason
from engine.model import Verification

BODY_LIMIT = 16 * 1024 * 1024
"""Bytes: 50,000 of the longest addresses there are, and what a form's encoding adds."""
MOST_SHOWN = 1_000
"""Results of larger batches come as a file."""
DAY_S = 86_400

# no page shows the first; the other two are what clients compare with
CREATED = "Batch successfully created."
PROCESSING = "Your batch is being processed."
COMPLETED = "Batch verification completed."
PAUSED = "Your batch is paused. Please contact support at <support@emailable.com>."

FIELDS: tuple[str, ...] = tuple(ATTRIBUTES)
"""What `response_fields` may list, in the order of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowBatch(ReadRows):
    """A batch's status, with its results where they are due."""

    partial: bool = False
    """Whether results are wanted before the batch is done."""


# -- reading ------------------------------------------------------------------------------


def read_submit(request: WireRequest) -> SubmitJob:
    params = params_of(request)
    simulate = str(params.get("simulate") or "")
    try:
        return _submit(params, simulate)
    except Problem as problem:
        if not simulate:
            raise
        # what a test key wants simulated comes first; whoever reads on gets the problem
        return SubmitJob(entries=_refusing(problem), simulate=simulate)


def _submit(params: Mapping[str, Any], simulate: str) -> SubmitJob:
    fields = _fields(params.get("response_fields"))
    return SubmitJob(
        entries=_entries(params),
        retries=truth(params.get("retries"), True),
        webhook_url=_url(params.get("url")),
        options={} if fields is None else {"fields": fields},
        simulate=simulate,
    )


def _refusing(problem: Problem) -> Iterator[Entry]:
    raise problem
    yield


def read_status(request: WireRequest) -> ShowBatch:
    params = request.query
    simulate = params.get("simulate", "")
    job_id = params.get("id", "").strip()
    if not job_id and not simulate:
        raise Problem(ProblemKind.MISSING, field="id")
    return ShowBatch(job_id=job_id, partial=truth(params.get("partial"), False), simulate=simulate)


def read_download(request: WireRequest) -> ReadRows:
    return ReadRows(token=request.path_params["token"])


def _entries(params: Mapping[str, Any]) -> tuple[Entry, ...]:
    """A text with commas, or an array."""
    emails = params.get("emails")
    if emails is None or emails == "" or emails == []:
        raise Problem(ProblemKind.MISSING, field="emails")
    if isinstance(emails, str):
        emails = emails.split(",")
    if not isinstance(emails, list):
        raise Problem(ProblemKind.INVALID, field="emails")
    entries = entries_of(emails, "emails")
    if not entries:
        raise Problem(ProblemKind.MISSING, field="emails")
    if len(entries) > MAX_BATCH:
        raise Problem(ProblemKind.TOO_MANY, field="emails", limit=MAX_BATCH)
    return entries


def _fields(value: object) -> tuple[str, ...] | None:
    """The names known among those listed; None for all. Raises `Problem` if none is known."""
    if value is None or value == "" or value == []:
        return None
    names = value if isinstance(value, list) else str(value).split(",")
    wanted = {str(name).strip() for name in names}
    fields = tuple(name for name in FIELDS if name in wanted)
    if not fields:
        raise Problem(ProblemKind.INVALID, field="response_fields")
    return fields


def _url(value: object) -> str:
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


def write_status(op: ReadRows, found: JobRows) -> WireReply | StreamReply:
    job = found.job
    small = job.total <= MOST_SHOWN
    done = job.state is JobState.COMPLETED
    partial = isinstance(op, ShowBatch) and op.partial and small
    if not done and not partial:
        message = PAUSED if job.state is JobState.PAUSED else PROCESSING
        return json_reply({"message": message, "processed": processed(job), "total": job.total})
    head = {"message": COMPLETED if done else PROCESSING}
    tail = {
        "id": job.id,
        "reason_counts": _reason_counts(job),
        "total_counts": _total_counts(job),
    }
    if job.rows_gone:
        return json_reply({**head, **tail})
    if not small:
        return json_reply({**head, "download_file": download_link(job), **tail})
    return StreamReply(
        head=orjson.dumps(head)[:-1] + b',"emails":[',
        render=lambda row: orjson.dumps(_attributes(row, job), option=orjson.OPT_SORT_KEYS),
        separator=b",",
        tail=b"]," + orjson.dumps(tail)[1:],
    )


def write_download(_: ReadRows, found: JobRows) -> StreamReply:
    job = found.job
    if job.state is not JobState.COMPLETED or job.rows_gone:
        raise Problem(ProblemKind.JOB_UNKNOWN)
    fields = _shown(job)
    return StreamReply(
        head=_csv_line(fields),
        render=lambda row: _csv_line(_cells(row, job)),
        media_type="application/zip",
        headers=(("Content-Disposition", f'attachment; filename="{job.id}.zip"'),),
        zip_entry=f"{job.id}.csv",
    )


def download_link(job: Job) -> str:
    return f"{job.link}/v1/downloads/{job.token}.zip"


def processed(job: Job) -> int:
    """Repeats included, once there is an answer for all; they are counted, not verified."""
    return job.total if job.done == job.rows else job.done


def _total_counts(job: Job) -> dict[str, int]:
    counts = {state: job.counts.get(state, 0) for state in STATES.values()}
    done = processed(job)
    counts["duplicate"] = done - job.done
    counts |= {"processed": done, "total": job.total}
    return dict(sorted(counts.items()))


def _reason_counts(job: Job) -> dict[str, int]:
    return {word: job.counts.get(word, 0) for word in REASON_WORDS}


REASON_WORDS: tuple[str, ...] = tuple(
    sorted({word for words in REASONS.values() for word in words.values()})
)


def _shown(job: Job) -> tuple[str, ...]:
    return tuple(job.options.get("fields") or FIELDS)


def _attributes(row: Row, job: Job) -> dict[str, object]:
    return {name: ATTRIBUTES[name](row.verification) for name in _shown(job)}


def _cells(row: Row, job: Job) -> Iterator[str]:
    for value in _attributes(row, job).values():
        if isinstance(value, bool):
            yield "true" if value else "false"
        else:
            yield "" if value is None else str(value)


def _csv_line(cells: Any) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()


# -- rules --------------------------------------------------------------------------------


def _word(v: Verification) -> str:
    return STATES[v.verdict]


RULES = BatchRules(
    names=True,
    # as long as the vendor's, which are MongoDB's
    new_id=lambda _, below: f"{below(16**24):024x}",
    word=_word,
    flags=lambda v: (reason(v),),
    merge_duplicates=True,
    charged=Unit.ROWS,
    payable=Unit.ROWS,
    kept_s=lambda total: (30 if total <= MOST_SHOWN else 5) * DAY_S,
    forgets=False,
    notice=Notice(ask=lambda job_id: ReadRows(job_id=job_id), write=write_status),
)
