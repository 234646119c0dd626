"""Many addresses: `/api/bevService/request` and the paths below it.

Documentation: the bulk API's pages. Parameters travel in a JSON body, replies in an envelope
`response`, as JSON or XML, and records as CSV too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from adapters.contract.batch_rules import (
    MAX_BATCH_ENTRIES,
    MAX_ENTRY_CHARACTERS,
    BatchRules,
    BilledUnit,
)
from adapters.contract.credential import Credential, KeyInBody
from adapters.contract.dialect import AnyEndpoint, Endpoint
from adapters.contract.jobs import BatchEntry, Job, JobPage, JobRow, JobRows, JobState
from adapters.contract.operations import ListJobs, ReadRows, ShowJobs, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import Reply, StreamReply, WireReply, WireRequest, json_reply
from adapters.kit.csv import CSV_MEDIA_TYPE, csv_line
from adapters.kit.words import parse_bool, parse_integer
from adapters.whoisxml.problems import BULK_PATH
from adapters.whoisxml.words import CHECK_WORDS, CHECKS, NULL_MX, is_well_formed
from adapters.whoisxml.xml import XML_MEDIA_TYPE, render_element
from engine.model import Dns, Reason, Verification

BODY_LIMIT = 20 * 1024 * 1024
"""Bytes: 50,000 addresses of 320 characters, in quotes."""
SMALL_BODY_LIMIT = 1024 * 1024
RETENTION_S = 7 * 86_400
FIRST_ID = 1_000_000
"""Ids count from above it; the vendor's own tests use 123 for an id of another account."""

JSON_FORMAT, XML_FORMAT, CSV_FORMAT = "json", "xml", "csv"
XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
VERSIONS, DEFAULT_VERSION = (2, 3), 3
DEFAULT_PER_PAGE, MIN_PER_PAGE, MAX_PER_PAGE = 10, 10, 50
MAX_IDS = 10_000
MAX_PAGE = 10**9

PROCESSED, INVALID, FAILED = "processed", "invalid", "failed"
"""The words for rows; the last two are those of `request/failed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBulk(SubmitJob):
    xml: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ListBulk(ListJobs):
    xml: bool
    only_ids: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowBulkStatus(ShowJobs):
    xml: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBulkRecords(ReadRows):
    format: str


# -- reading ------------------------------------------------------------------------------


def read_create(request: WireRequest) -> CreateBulk:
    body = request.json_object
    xml = _parse_format(body, JSON_FORMAT, XML_FORMAT) == XML_FORMAT
    version = parse_integer(body.get("version", DEFAULT_VERSION))
    if version not in VERSIONS:
        raise _invalid("The version field should have one of the following values: 2, 3.")
    emails = _parse_list(body, "emails")
    if len(emails) > MAX_BATCH_ENTRIES:
        raise Problem(ProblemKind.TOO_MANY, field="emails", limit=MAX_BATCH_ENTRIES)
    entries = []
    for email in emails:
        if not isinstance(email, str) or len(email) > MAX_ENTRY_CHARACTERS:
            raise _invalid("The emails field should be an array of strings.")
        # a blank one is not skipped: every entry has its row
        entries.append(BatchEntry(email.strip()))
    return CreateBulk(entries=entries, options={"version": version}, xml=xml)


def read_list(request: WireRequest) -> ListBulk:
    body = request.json_object
    xml = _parse_format(body, JSON_FORMAT, XML_FORMAT) == XML_FORMAT
    page = parse_integer(_value_or(body, "page", 1))
    if page is None or not 1 <= page <= MAX_PAGE:
        raise _invalid("The page field should be at least 1.")
    per_page = parse_integer(_value_or(body, "perPage", DEFAULT_PER_PAGE))
    if per_page is None or not MIN_PER_PAGE <= per_page <= MAX_PER_PAGE:
        raise _invalid("The perPage field should be between 10 and 50.")
    sort = str(_value_or(body, "sort", "desc")).lower()
    if sort not in ("asc", "desc"):
        raise _invalid("The sort field should have one of the following values: asc, desc.")
    only_ids = parse_bool(_value_or(body, "onlyIds", True))
    if only_ids is None:
        raise _invalid("The onlyIds field should be a boolean.")
    return ListBulk(
        page=page, per_page=per_page, oldest_first=sort == "asc", only_ids=only_ids, xml=xml
    )


def read_status(request: WireRequest) -> ShowBulkStatus:
    body = request.json_object
    xml = _parse_format(body, JSON_FORMAT, XML_FORMAT) == XML_FORMAT
    ids = [parse_integer(given) for given in _parse_list(body, "ids")[:MAX_IDS]]
    if None in ids:
        raise _invalid("The ids field should be an array of integers.")
    return ShowBulkStatus(job_ids=tuple(map(str, ids)), xml=xml)


def read_completed(request: WireRequest) -> ReadBulkRecords:
    return _read_records(request, PROCESSED)


def read_failed(request: WireRequest) -> ReadBulkRecords:
    return _read_records(request, INVALID, FAILED)


def _read_records(request: WireRequest, *words: str) -> ReadBulkRecords:
    body = request.json_object
    wanted = _parse_format(body, JSON_FORMAT, XML_FORMAT, CSV_FORMAT)
    if body.get("id") is None:
        raise Problem(ProblemKind.MISSING, field="id")
    job_id = parse_integer(body["id"])
    if job_id is None:
        raise _invalid("The id field should be an integer.")
    return ReadBulkRecords(job_id=str(job_id), row_words=frozenset(words), format=wanted)


def _parse_format(body: Mapping[str, Any], *known: str) -> str:
    wanted = str(_value_or(body, "format", JSON_FORMAT)).strip().lower()
    if wanted not in known:
        words = ", ".join(known)
        raise _invalid(f"The format field should have one of the following values: {words}.")
    return wanted


def _value_or(body: Mapping[str, Any], name: str, default: object) -> object:
    value = body.get(name)
    return default if value is None else value


def _parse_list(body: Mapping[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if value is None or value == []:
        raise Problem(ProblemKind.MISSING, field=name)
    if not isinstance(value, list):
        raise _invalid(f"The {name} field should be an array.")
    return value


def _invalid(text: str) -> Problem:
    return Problem(ProblemKind.INVALID, text)


# -- writing ------------------------------------------------------------------------------


def write_create(op: CreateBulk, job: Job) -> WireReply:
    return _reply({"id": int(job.id)}, op.xml)


def write_list(op: ListBulk, page: JobPage) -> WireReply:
    count = len(page.jobs)
    # ordinals, although the page calls them ids: its own sample and the client's show it
    first = (op.page - 1) * op.per_page + 1 if count else None
    data = [{"id": int(job.id)} if op.only_ids else _job_json(job) for job in page.jobs]
    return _reply(
        {
            "current_page": op.page,
            "data": data,
            "from": first,
            "last_page": max(1, -(-page.total // op.per_page)),
            "per_page": op.per_page,
            "to": None if first is None else first + count - 1,
            "total": page.total,
        },
        op.xml,
    )


def write_status(op: ShowBulkStatus, jobs: tuple[Job, ...]) -> WireReply:
    return _reply([_job_json(job) for job in jobs], op.xml)


def _job_json(job: Job) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": int(job.id),
        "api_version": job.options.get("version", DEFAULT_VERSION),
        "date_start": _unix_text(job.created_at),
    }
    if job.finished_at is not None:
        row["date_end"] = _unix_text(job.finished_at)
    return row | {
        "total_emails": job.total,
        "invalid_emails": job.row_count - job.valid_count,
        "processed_emails": job.counts.get(PROCESSED, 0),
        "failed_emails": job.counts.get(FAILED, 0),
        "ready": int(job.state is JobState.COMPLETED),
    }


def _unix_text(moment: datetime) -> str:
    return str(int(moment.timestamp()))


def _reply(value: object, xml: bool) -> WireReply:
    if xml:
        body = XML_DECLARATION + render_element("response", value, "item")
        return WireReply(200, body.encode(), XML_MEDIA_TYPE)
    return json_reply({"response": value})


@dataclass(frozen=True, slots=True)
class _RecordLayout:
    """Completed or failed records: the members of a row, and the columns of its file."""

    row: Callable[[JobRow], dict[str, Any]]
    titles: Mapping[str, str]
    """Column titles by member."""


def write_completed(op: ReadBulkRecords, found: JobRows) -> Reply:
    return _write_records(op, found, COMPLETED_RECORDS)


def write_failed(op: ReadBulkRecords, found: JobRows) -> Reply:
    return _write_records(op, found, FAILED_RECORDS)


def _write_records(op: ReadBulkRecords, found: JobRows, kind: _RecordLayout) -> Reply:
    head, tail, separator, media_type = RECORD_FORMATS[op.format]
    if op.format == CSV_FORMAT:
        head = csv_line(kind.titles.values(), quote_all=True)
    if found.job.rows_expired:
        raise Problem(ProblemKind.JOB_UNKNOWN)
    if found.job.state is not JobState.COMPLETED:
        # clients that poll take the first record as the sign that all are there
        return WireReply(200, head + tail, media_type)
    render: Mapping[str, Callable[[JobRow], bytes]] = {
        JSON_FORMAT: lambda row: orjson.dumps(kind.row(row)),
        XML_FORMAT: lambda row: render_element("item", kind.row(row), "item").encode(),
        # a client's test looks for the quotes of the first cell
        CSV_FORMAT: lambda row: csv_line(_cells(kind.row(row), tuple(kind.titles)), quote_all=True),
    }
    return StreamReply(
        rows=found.rows,
        head=head,
        render=render[op.format],
        separator=separator,
        tail=tail,
        media_type=media_type,
    )


RECORD_FORMATS: Mapping[str, tuple[bytes, bytes, bytes, str]] = {
    JSON_FORMAT: (b'{"response":[', b"]}", b",", "application/json"),
    XML_FORMAT: (f"{XML_DECLARATION}<response>".encode(), b"</response>", b"", XML_MEDIA_TYPE),
    CSV_FORMAT: (b"", b"", b"", CSV_MEDIA_TYPE),
}
"""The text before, after and between records, and the media type."""


def _completed_row(row: JobRow) -> dict[str, Any]:
    v = row.verification
    words = {name: CHECK_WORDS[find(v)] for name, find in CHECKS.items()}
    record: dict[str, Any] = {
        "emailAddress": row.email,
        "formatCheck": CHECK_WORDS[is_well_formed(v)],
        **words,
    }
    # absent, rather than empty, as in the sample
    if mx := _mx_records(v):
        record["mxRecords"] = mx
    record["result"] = _result(v)
    return record


def _mx_records(v: Verification) -> list[str]:
    if v.evidence.dns is Dns.NULL_MX:
        return [NULL_MX]
    return [mx.host for mx in v.evidence.mx]


def _result(v: Verification) -> str:
    """A function of the checks that are shown; it agrees with every documented row."""
    checks = {name: find(v) for name, find in CHECKS.items()}
    for name, value, word in RESULT_RULES:
        if checks[name] is value:
            return word
    return "ok"


RESULT_RULES: tuple[tuple[str, bool | None, str], ...] = (
    ("dnsCheck", False, "bad"),
    ("smtpCheck", False, "smtp-failed"),
    ("smtpCheck", None, "unknown"),
    ("catchAllCheck", True, "unknown"),
)
"""The first row that matches decides."""


def _failed_row(row: JobRow) -> dict[str, Any]:
    error = "Invalid format" if row.word == INVALID else "Processing failed"
    return {"error": error, "emailAddress": row.email}


COMPLETED_RECORDS = _RecordLayout(
    _completed_row,
    {
        "emailAddress": "Email Address",
        "formatCheck": "Format Check",
        "smtpCheck": "SMTP Check",
        "dnsCheck": "DNS Check",
        "freeCheck": "Free Check",
        "disposableCheck": "Disposable Check",
        "catchAllCheck": "Catch All Check",
        "mxRecords": "MX Records",
        "result": "Result",
    },
)
FAILED_RECORDS = _RecordLayout(_failed_row, {"emailAddress": "Email Address", "error": "Error"})


def _cells(record: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    values = (record.get(name, "") for name in names)
    return tuple(", ".join(value) if isinstance(value, list) else str(value) for value in values)


# -- rules --------------------------------------------------------------------------------


def _row_word(v: Verification) -> str:
    if not is_well_formed(v):
        return INVALID
    return FAILED if v.reason is Reason.UNEXPECTED_ERROR else PROCESSED


BATCH_RULES = BatchRules(
    new_id=lambda source: str(FIRST_ID + source.number),
    row_word=_row_word,
    billed_unit=BilledUnit.VALID,
    must_cover_unit=BilledUnit.ENTRIES,
    refund_word=FAILED,
    retention_s=lambda _: RETENTION_S,
)


BULK_CREDENTIAL = Credential((KeyInBody("apiKey", always_json=True),))
"""Only in the body, and in this case alone."""

BULK_ENDPOINTS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        name="request",
        methods=("POST",),
        path=f"{BULK_PATH}/request",
        credential=BULK_CREDENTIAL,
        read=read_create,
        write=write_create,
        body_limit=BODY_LIMIT,
        accepts_body_file=True,
    ),
    Endpoint(
        name="request/list",
        methods=("POST",),
        path=f"{BULK_PATH}/request/list",
        credential=BULK_CREDENTIAL,
        read=read_list,
        write=write_list,
        body_limit=SMALL_BODY_LIMIT,
    ),
    Endpoint(
        name="request/status",
        methods=("POST",),
        path=f"{BULK_PATH}/request/status",
        credential=BULK_CREDENTIAL,
        read=read_status,
        write=write_status,
        body_limit=SMALL_BODY_LIMIT,
    ),
    Endpoint(
        name="request/completed",
        methods=("POST",),
        path=f"{BULK_PATH}/request/completed",
        credential=BULK_CREDENTIAL,
        read=read_completed,
        write=write_completed,
        body_limit=SMALL_BODY_LIMIT,
    ),
    Endpoint(
        name="request/failed",
        methods=("POST",),
        path=f"{BULK_PATH}/request/failed",
        credential=BULK_CREDENTIAL,
        read=read_failed,
        write=write_failed,
        body_limit=SMALL_BODY_LIMIT,
    ),
)
