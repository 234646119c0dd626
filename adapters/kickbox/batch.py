"""Many addresses: `PUT /v2/verify-batch`, a job's status, its file, and the callback at its end.

The page shows the four shapes of a status. It shows no column of the file: those of the upload come
first here, then the fields of a single verification under their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from adapters.contract.batch_rules import (
    MAX_ENTRY_CHARACTERS,
    BatchRules,
    BatchWebhook,
    is_success,
)
from adapters.contract.jobs import BatchEntry, Job, JobRow, JobRows, JobState
from adapters.contract.operations import ReadRows, ReadRowsByToken, ShowJob, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import StreamReply, WireReply, WireRequest, json_reply
from adapters.kickbox.problems import CONTENT_TYPE_FIELD
from adapters.kickbox.single import CALL_WORKED, verification_members
from adapters.kickbox.words import sendex_percent, whole_or_decimal
from adapters.kit.csv import NotCsv, csv_cell, csv_line
from adapters.kit.eleven_reasons import STATES, state_word
from adapters.kit.list_file import ListOptions, NoColumn, read_list
from adapters.kit.words import is_digits, utc_millis
from engine.model import Verdict, Verification

BODY_LIMIT = 250 * 1_000_000
"""Bytes (the page on batches)."""
MAX_ADDRESSES = 1_000_000
MAX_CELLS = 100
MAX_CELL_CHARACTERS = 10_000
LIST_OPTIONS = ListOptions(
    max_lines=MAX_ADDRESSES + 1,
    max_cells=MAX_CELLS,
    max_cell_characters=MAX_CELL_CHARACTERS,
    # the page: inner quotes are escaped with a backslash
    escape="\\",
)
MAX_NAME_CHARACTERS = 255
MAX_URL_CHARACTERS = 2_000
FIRST_ID = 1_000_000
"""Ids are integers."""
RETENTION_S = 30 * 86_400
LINK_LIFETIME_S = 3_600
"""The page: a link is valid for an hour, and each status has a new one."""
DAY_S = 86_400

REFUSED_TYPES = ("application/json", "multipart/", "image/")
"""The page has a 415. Clients send lists with all kinds of content types, and with none; these are
not lists."""
EMAIL_HEADER = "email"
OWN_PREFIX = "kickbox_"
FILE_FIELDS = (
    "result", "reason", "role", "free", "disposable", "accept_all", "did_you_mean", "sendex",
    "user", "domain",
)  # fmt: skip
FAILURE = "The list could not be processed."
_STARTING = (JobState.PREPARING, JobState.READY, JobState.QUEUED)
_PROCESSING = (JobState.RUNNING, JobState.PAUSED)

# -- reading ------------------------------------------------------------------------------


def read_submit(request: WireRequest) -> SubmitJob:
    if request.content_type.startswith(REFUSED_TYPES):
        raise Problem(ProblemKind.INVALID, field=CONTENT_TYPE_FIELD)
    try:
        found = read_list(request.chunks, LIST_OPTIONS)
        first = next(found.entries, None)
    except NotCsv as exc:
        raise _unreadable(exc) from exc
    headers = found.headers or (EMAIL_HEADER,)
    return SubmitJob(
        entries=read_entries(found.entries if first is None else chain((first,), found.entries)),
        headers=_named(headers, found.email_at),
        name=_header_text(request, "x-kickbox-filename")[:MAX_NAME_CHARACTERS],
        webhook_url=_callback_url(_header_text(request, "x-kickbox-callback")),
    )


def _named(headers: Sequence[str], email_at: int) -> tuple[str, ...]:
    """The titles, with `email` for the addresses' column if it has none."""
    named = list(headers)
    if named[email_at] == f"col{email_at}":
        named[email_at] = EMAIL_HEADER
    return tuple(named)


def read_entries(found: Iterator[BatchEntry], most: int = MAX_ADDRESSES) -> Iterator[BatchEntry]:
    """The rows with an address. Raises `Problem` for more than `most`, or for none."""
    count = 0
    try:
        for entry in found:
            if not entry.email:
                continue
            if len(entry.email) > MAX_ENTRY_CHARACTERS:
                raise Problem(ProblemKind.INVALID, "An address is too long", "list")
            count += 1
            if count > most:
                raise Problem(ProblemKind.TOO_MANY, field="list", limit=most)
            yield BatchEntry(entry.email) if entry.cells == (entry.email,) else entry
    except NotCsv as exc:
        raise _unreadable(exc) from exc
    if not count:
        raise Problem(ProblemKind.INVALID, "No email addresses found", "list")


def _unreadable(exc: NotCsv) -> Problem:
    if isinstance(exc, NoColumn):
        return Problem(ProblemKind.INVALID, "No email addresses found", "list")
    what = "The list" if exc.line is None else f"Line {exc.line} of the list"
    return Problem(ProblemKind.INVALID, f"{what} {exc}", "list")


def _header_text(request: WireRequest, name: str) -> str:
    """A header, which clients may send in UTF-8; control characters are left out."""
    text = request.headers.get(name, "")
    with suppress(UnicodeError):
        text = text.encode("latin-1").decode("utf-8")
    return "".join(char for char in text if char.isprintable()).strip()


def _callback_url(text: str) -> str:
    """An invalid URL is ignored (the page on batches)."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    return text if usable and len(text) <= MAX_URL_CHARACTERS else ""


def read_status(request: WireRequest) -> ShowJob:
    return ShowJob(job_id=_job_id(request.path_params["job_id"]))


def read_status_by_query(request: WireRequest) -> ShowJob:
    """A mirror of the documentation has the id in the query."""
    query = request.query
    job_id = query.get("jobid") or query.get("id") or ""
    if not job_id:
        raise Problem(ProblemKind.MISSING, field="id")
    return ShowJob(job_id=_job_id(job_id))


def _job_id(text: str) -> str:
    """Ids are numbers: any other has no batch."""
    if not is_digits(text):
        raise Problem(ProblemKind.JOB_UNKNOWN)
    return str(int(text))


def read_download(request: WireRequest) -> ReadRowsByToken:
    return ReadRowsByToken(token=request.path_params["token"])


# -- writing ------------------------------------------------------------------------------


def write_submitted(_: SubmitJob, job: Job) -> WireReply:
    return json_reply({"id": _number(job), **CALL_WORKED})


def write_status(_: ShowJob, job: Job) -> WireReply:
    return json_reply({**_status_members(job), **CALL_WORKED})


def _status_members(job: Job) -> dict[str, Any]:
    if job.state in _STARTING:
        return {"id": _number(job), "status": "starting"}
    if job.state in _PROCESSING:
        return {"id": _number(job), "status": "processing", "progress": _progress(job)}
    members = {
        "id": _number(job),
        "name": _name(job),
        "download_url": download_url(job),
        "created_at": utc_millis(job.created_at),
        "status": "completed",
        "stats": _stats(job),
        "error": None,
        "duration": _duration_s(job),
    }
    return members if job.state is JobState.COMPLETED else _as_failed(members)


def _as_failed(members: dict[str, Any]) -> dict[str, Any]:
    failed = {**members, "status": "failed", "error": FAILURE}
    del failed["download_url"], failed["stats"]
    return failed


def write_callback(_: ReadRows, found: JobRows) -> WireReply:
    job = found.job
    members = {
        "id": _number(job),
        "name": _name(job),
        "download_url": download_url(job),
        "stats": _stats(job),
        "created_at": utc_millis(job.created_at),
        "status": "completed",
        "error": None,
        "duration": _duration_s(job),
    }
    return json_reply(members if job.state is JobState.COMPLETED else _as_failed(members))


def write_download(_: ReadRowsByToken, found: JobRows) -> StreamReply:
    job = found.job
    if job.state is not JobState.COMPLETED or job.rows_expired:
        raise Problem(ProblemKind.JOB_UNKNOWN)
    return StreamReply(
        rows=found.rows,
        head=csv_line((*job.headers, *_own_headers(job.headers))),
        render=_csv_row,
        media_type="text/csv",
        headers=(("Content-Disposition", f'attachment; filename="{job.id}.csv"'),),
    )


def _own_headers(uploaded: Sequence[str]) -> Iterable[str]:
    taken = {name.strip().lower() for name in uploaded}
    return (OWN_PREFIX + name if name in taken else name for name in FILE_FIELDS)


def _csv_row(row: JobRow) -> bytes:
    members = verification_members(row.verification)
    uploaded = row.cells or (row.email,)
    return csv_line((*uploaded, *(csv_cell(members[name]) for name in FILE_FIELDS)))


def download_url(job: Job) -> str:
    return f"{job.base_url}/v2/verify-batch/downloads/{job.link_token}.csv"


def _number(job: Job) -> int:
    return int(job.id)


def _name(job: Job) -> str:
    return job.name or f"Batch API Process - {job.created_at:%m-%d-%Y-%H-%M-%S}"


def _duration_s(job: Job) -> int:
    began, ended = job.started_at or job.created_at, job.finished_at
    return max(0, round((ended - began).total_seconds())) if ended else 0


def _counts(job: Job) -> dict[str, int]:
    return {state: job.counts.get(state, 0) for state in STATES.values()}


def _progress(job: Job) -> dict[str, int]:
    return {
        **_in_order(_counts(job)),
        "total": job.row_count,
        "unprocessed": job.row_count - job.done_count,
    }


def _stats(job: Job) -> dict[str, int | float]:
    percent = sum(
        int(name.removeprefix(SENDEX_COUNTER)) * count
        for name, count in job.counts.items()
        if name.startswith(SENDEX_COUNTER)
    )
    average = round(percent / job.done_count / 100, 2) if job.done_count else 0
    return {
        **_in_order(_counts(job)),
        "sendex": whole_or_decimal(average),
        "addresses": job.row_count,
    }


def _in_order(counts: dict[str, int]) -> dict[str, int]:
    return {state: counts[state] for state in ("deliverable", "undeliverable", "risky", "unknown")}


# -- rules --------------------------------------------------------------------------------

SENDEX_COUNTER = "sendex "
"""There is a counter for each value, since the status shows the average."""


def _extra_counters(v: Verification) -> tuple[str, ...]:
    return (f"{SENDEX_COUNTER}{sendex_percent(v)}",)


BATCH_RULES = BatchRules(
    new_id=lambda source: str(FIRST_ID + source.number),
    row_word=state_word,
    extra_counters=_extra_counters,
    # "unknown results are not charged"
    refund_word=STATES[Verdict.UNKNOWN],
    # undocumented
    retention_s=lambda _: RETENTION_S,
    link_lifetime_s=LINK_LIFETIME_S,
    webhook=BatchWebhook(
        write_body=write_callback,
        is_accepted=is_success,
        # undocumented
        retry_interval_s=900,
        give_up_after_s=DAY_S,
    ),
)
