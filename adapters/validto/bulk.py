"""Lists: `/v1/bulk`, `/v1/bulk/{job_id}`, and `/v1/download`.

Documentation: the pages on creating, starting, checking, downloading and deleting a list. A list is
a CSV file with or without a header, or an array of JSON objects (Bouncify alone documents that).
Its other columns are returned with the results.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from itertools import chain
from typing import Any

import orjson

from adapters.contract.batch_rules import MAX_ENTRY_CHARACTERS, BatchRules, BilledUnit, ChargeTime
from adapters.contract.jobs import BatchEntry, Job, JobRow, JobRows, JobState
from adapters.contract.operations import DeleteJob, ReadRows, ShowJob, StartJob, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import (
    JSON,
    MultipartPart,
    StreamReply,
    WireReply,
    WireRequest,
    json_reply,
)
from adapters.kit.csv import CSV_MEDIA_TYPE, MAX_LINES, NotCsv, csv_line
from adapters.kit.list_file import ListOptions, read_list
from adapters.kit.words import random_id, utc_millis
from adapters.validto.words import result_word
from engine.model import Address, Evidence, Reason, Verification

MAX_FILE_BYTES = 10 * 1024 * 1024
BODY_LIMIT = MAX_FILE_BYTES + 64 * 1024
"""The file with its multipart framing; JSON may be as long."""
MAX_LIST_ENTRIES = 500_000
MAX_CELLS = 1_000
MAX_CELL_CHARACTERS = 100_000
LIST_OPTIONS = ListOptions(
    otherwise="cp1252",  # in which Excel saves "CSV" on Windows; a request cannot name it
    max_lines=MAX_LINES,
    max_cells=MAX_CELLS,
    max_cell_characters=MAX_CELL_CHARACTERS,
)

JOB_ID = re.compile(r"[a-z0-9]{30,40}")
"""Samples have 36 and 37 characters; an id of another form is an error of its own."""
ID_ALPHABET = string.ascii_lowercase + string.digits
ID_LENGTH = 36

TRUE_WORDS = frozenset({"true", "1", "1.0", "yes"})
"""Of `auto_verify`, in any case: the samples send the text, clients a boolean."""

# -- reading ------------------------------------------------------------------------------


def read_create(request: WireRequest) -> SubmitJob:
    if request.content_type == "multipart/form-data":
        return _read_file(request)
    if request.content_type == JSON or request.first_chunk.lstrip()[:1] in (b"{", b"["):
        return _read_json(request)
    raise _invalid_file("No list was sent.")


def read_start(request: WireRequest) -> StartJob:
    job_id = _job_id(request)
    if request.body.strip() and request.json_object.get("action", "start") != "start":
        raise Problem(ProblemKind.INVALID, field="action")
    return StartJob(job_id=job_id)


def read_status(request: WireRequest) -> ShowJob:
    return ShowJob(job_id=_job_id(request))


def read_delete(request: WireRequest) -> DeleteJob:
    return DeleteJob(job_id=_job_id(request))


def read_download(request: WireRequest) -> ReadRows:
    # only here the name is in camel case
    job_id = _checked_job_id(request.query.get("jobId") or request.query.get("job_id") or "")
    return ReadRows(job_id=job_id, row_words=_parse_filter(request))


def _parse_filter(request: WireRequest) -> frozenset[str] | None:
    if not request.body.strip():
        return None
    wanted = request.json_object.get("filterResult")
    if wanted is None:
        return None
    words = [str(word).replace("-", "_") for word in wanted] if isinstance(wanted, list) else []
    if not words or not set(words) <= set(RESULT_WORDS):
        raise Problem(ProblemKind.INVALID, field="filterResult")
    return frozenset(words)


def _job_id(request: WireRequest) -> str:
    """From the path, or from the query, as the rendered documentation shows it."""
    return _checked_job_id(request.path_params.get("job_id") or request.query.get("job_id", ""))


def _checked_job_id(job_id: str) -> str:
    if not JOB_ID.fullmatch(job_id):
        raise Problem(ProblemKind.JOB_MALFORMED)
    return job_id


def _parse_auto_verify(*values: object) -> bool:
    """Text or a boolean, in the query, a form field or the JSON: the first one given."""
    given = next((value for value in values if value is not None), False)
    return str(given).strip().lower() in TRUE_WORDS


def _read_file(request: WireRequest) -> SubmitJob:
    file: MultipartPart | None = None
    fields: dict[str, str] = {}
    for part in request.parts:
        if part.name == "local_file":
            file = part
        elif part.filename is None:
            fields[part.name] = part.text
    if file is None or file.size > MAX_FILE_BYTES:
        raise _invalid_file("There is no part `local_file`, or it is too large.")
    try:
        found = read_list(file.chunks, LIST_OPTIONS)
        first = next(found.entries, None)
    except NotCsv as exc:
        raise _not_a_list(exc) from exc
    if first is None and not found.headers:
        raise _invalid_file("The file is empty.")
    headers = found.headers or ("col0",)
    entries = found.entries if first is None else chain((first,), found.entries)
    return SubmitJob(
        entries=_parse_entries(entries, len(headers)),
        headers=headers,
        start=_parse_auto_verify(fields.get("auto_verify"), request.query.get("auto_verify")),
        options={"email_at": found.email_at},
    )


def _parse_entries(found: Iterator[BatchEntry], width: int) -> Iterator[BatchEntry]:
    count = 0
    try:
        for entry in found:
            if not entry.email:
                continue
            if len(entry.email) > MAX_ENTRY_CHARACTERS:
                raise _invalid_file("An address is too long.")
            count += 1
            if count > MAX_LIST_ENTRIES:
                raise Problem(ProblemKind.TOO_MANY, limit=MAX_LIST_ENTRIES)
            alone = width == 1 and entry.cells == (entry.email,)
            yield BatchEntry(entry.email) if alone else entry
    except NotCsv as exc:
        raise _not_a_list(exc) from exc


def _not_a_list(exc: NotCsv) -> Problem:
    return _invalid_file(f"The file {exc}." if exc.line is None else f"Line {exc.line} {exc}.")


def _read_json(request: WireRequest) -> SubmitJob:
    body = request.json_object
    objects = body.get("emails")
    if not isinstance(objects, list) or not objects:
        raise _invalid_file("`emails` is not an array of objects.")
    if len(objects) > MAX_LIST_ENTRIES:
        raise Problem(ProblemKind.TOO_MANY, limit=MAX_LIST_ENTRIES)
    headers: dict[str, None] = {}
    for entry in objects:
        if not isinstance(entry, dict) or not isinstance(entry.get("email"), str):
            raise _invalid_file("`emails` is not an array of objects with an `email` each.")
        if len(entry["email"]) > MAX_ENTRY_CHARACTERS:
            raise _invalid_file("An address is too long.")
        headers.update(dict.fromkeys(entry))
        if len(headers) > MAX_CELLS:
            raise _invalid_file("Too many columns.")
    names = tuple(headers)
    return SubmitJob(
        entries=_parse_objects(objects, names),
        headers=names,
        start=_parse_auto_verify(body.get("auto_verify"), request.query.get("auto_verify")),
        options={"email_at": names.index("email")},
    )


def _parse_objects(
    objects: Iterable[Mapping[str, Any]], names: Sequence[str]
) -> Iterator[BatchEntry]:
    for entry in objects:
        if not (email := entry["email"].strip()):
            continue
        yield BatchEntry(
            email, tuple(_cell(entry.get(name)) for name in names) if names[1:] else ()
        )


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _invalid_file(why: str) -> Problem:
    return Problem(ProblemKind.INVALID, why, "local_file")


# -- writing ------------------------------------------------------------------------------

CREATED_MESSAGE = "Bulk email verification list has been created"
CREATED_AND_STARTED_MESSAGE = f"{CREATED_MESSAGE} and starts verification shortly"
STARTED_MESSAGE = (
    "Job verification will be attempted shortly. Call /status endpoint to know the status of the"
    " Job"
)
DELETED_MESSAGE = "List will be deleted"

STATES: Mapping[JobState, str] = {
    JobState.PREPARING: "preparing",
    JobState.READY: "ready",
    JobState.QUEUED: "verifying",
    JobState.RUNNING: "verifying",
    JobState.PAUSED: "verifying",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}
STATE_MESSAGES: Mapping[str, str] = {
    "preparing": "Job is being prepared for verification",
    "ready": "Job ready for verification. Please begin verification to know the result",
    "verifying": "Job is being verified",
    "completed": "Verification completed successfully. Please download the result using /download"
    " endpoint",
    "failed": "Unable to process your job, The uploaded list contains invalid data",
    "cancelled": "Job is cancelled",
}
PROGRESS_MEMBERS = ("verified", "pending")
STATE_MEMBERS: Mapping[str, tuple[str, ...]] = {
    "preparing": (),
    "ready": ("total", "analysis"),
    "verifying": ("total", *PROGRESS_MEMBERS, "analysis", "results"),
    "completed": ("total", *PROGRESS_MEMBERS, "analysis", "results"),
    "failed": ("total",),
    "cancelled": ("total",),
}
"""The members of each state between the date and `success`."""

ANALYSIS_COUNTERS = ("common_isp", "role_based", "disposable", "spamtrap", "syntax_error")
RESULT_WORDS = ("deliverable", "undeliverable", "accept_all", "unknown")
ANALYSIS_PREFIX = "analysed:"
"""Prefix of the counters of preparation, since a row's word can be `disposable`, too."""

RESULT_COLUMNS = (
    "Verification Result",
    "Verified At",
    "Syntax Error",
    "ISP",
    "Role",
    "Disposable",
    "Trap",
)
YES_NO: Mapping[bool, str] = {True: "Y", False: "N"}
STATES_WITH_FILE = (JobState.COMPLETED,)


def write_created(op: SubmitJob, job: Job) -> WireReply:
    message = CREATED_AND_STARTED_MESSAGE if op.start else CREATED_MESSAGE
    return json_reply({"success": True, "job_id": job.id, "message": message})


def write_started(_: StartJob, job: Job) -> WireReply:
    return json_reply({"job_id": job.id, "success": True, "message": STARTED_MESSAGE})


def write_deleted(_: DeleteJob, job: Job) -> WireReply:
    return json_reply({"job_id": job.id, "success": True, "message": DELETED_MESSAGE})


def write_status(_: ShowJob, job: Job) -> WireReply:
    state = STATES[job.state]
    members = {
        "total": 0 if job.state is JobState.FAILED else job.total,
        "verified": job.done_count,
        "pending": job.row_count - job.done_count,
        "analysis": {name: job.counts.get(ANALYSIS_PREFIX + name, 0) for name in ANALYSIS_COUNTERS},
        "results": {word: job.counts.get(word, 0) for word in RESULT_WORDS},
    }
    return json_reply(
        {
            "job_id": job.id,
            "status": state,
            "created_at": f"{job.created_at.astimezone(UTC):%m/%d/%Y, %I:%M:%S %p}",
            **{name: members[name] for name in STATE_MEMBERS[state]},
            "success": True,
            "message": STATE_MESSAGES[state],
        }
    )


def write_download(_: ReadRows, found: JobRows) -> StreamReply:
    job = found.job
    if job.state not in STATES_WITH_FILE:
        raise Problem(ProblemKind.JOB_STATE, job_state=job.state)
    headers = job.headers or ("Email",)
    return StreamReply(
        rows=found.rows,
        head=csv_line((*headers, *RESULT_COLUMNS), quote_all=True),
        render=_render_row,
        media_type=CSV_MEDIA_TYPE,
    )


def _render_row(row: JobRow) -> bytes:
    v = row.verification
    flags = (
        _has_syntax_error(v.address, v.reason),
        v.evidence.free,
        v.evidence.role,
        v.evidence.disposable,
        v.evidence.spamtrap is True,
    )
    return csv_line(
        (
            *(row.cells or (row.email,)),
            result_word(v),
            utc_millis(v.verified_at),
            *(YES_NO[flag] for flag in flags),
        ),
        quote_all=True,
    )


def _has_syntax_error(address: Address, reason: Reason | None = None) -> bool:
    return not address.valid or reason is Reason.INVALID_EMAIL


# -- rules --------------------------------------------------------------------------------


def _row_word(v: Verification) -> str:
    # rows say accept-all, counts and filters accept_all
    return result_word(v).replace("-", "_")


def _analysis_counters(address: Address, evidence: Evidence) -> Iterator[str]:
    found = (
        evidence.free,
        evidence.role,
        evidence.disposable,
        evidence.spamtrap is True,
        _has_syntax_error(address),
    )
    for name, present in zip(ANALYSIS_COUNTERS, found, strict=True):
        if present:
            yield ANALYSIS_PREFIX + name


BATCH_RULES = BatchRules(
    new_id=random_id(ID_ALPHABET, ID_LENGTH),
    row_word=_row_word,
    counters_before_start=_analysis_counters,
    charged_at=ChargeTime.START,
    billed_unit=BilledUnit.VALID,
    must_cover_unit=BilledUnit.VALID,
    # undocumented; results stay until they are deleted
    retention_s=lambda _: None,
)
