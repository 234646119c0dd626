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
from adapters.whoisxml import description
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
    members = _Members(request)
    emails = members.list_of("emails")
    if len(emails) > MAX_BATCH_ENTRIES:
        members.fail(Problem(ProblemKind.TOO_MANY, field="emails", limit=MAX_BATCH_ENTRIES))
    elif any(not isinstance(email, str) or len(email) > MAX_ENTRY_CHARACTERS for email in emails):
        members.fail(_invalid("The emails field should be an array of strings."))
    xml = members.word("format", JSON_FORMAT, XML_FORMAT) == XML_FORMAT
    version = parse_integer(members.get("version", DEFAULT_VERSION))
    if version not in VERSIONS:
        members.fail(_invalid("The version field should have one of the following values: 2, 3."))
    members.raise_problems()
    # a blank one is not skipped: every entry has its row
    entries = [BatchEntry(email.strip()) for email in emails]
    return CreateBulk(entries=entries, options={"version": version}, xml=xml)


def read_list(request: WireRequest) -> ListBulk:
    members = _Members(request)
    text = "The page field should be at least 1."
    page = members.integer("page", 1, 1, MAX_PAGE, text)
    xml = members.word("format", JSON_FORMAT, XML_FORMAT) == XML_FORMAT
    only_ids = parse_bool(members.get("onlyIds", True))
    if only_ids is None:
        members.fail(_invalid("The onlyIds field should be a boolean."))
    text = "The perPage field should be between 10 and 50."
    per_page = members.integer("perPage", DEFAULT_PER_PAGE, MIN_PER_PAGE, MAX_PER_PAGE, text)
    sort = members.word("sort", "asc", "desc", default="desc")
    members.raise_problems()
    return ListBulk(
        page=page,
        per_page=per_page,
        oldest_first=sort == "asc",
        only_ids=only_ids is not False,
        xml=xml,
    )


def read_status(request: WireRequest) -> ShowBulkStatus:
    members = _Members(request)
    ids = [parse_integer(given) for given in members.list_of("ids")[:MAX_IDS]]
    if None in ids:
        members.fail(_invalid("The ids field should be an array of integers."))
    xml = members.word("format", JSON_FORMAT, XML_FORMAT) == XML_FORMAT
    members.raise_problems()
    return ShowBulkStatus(job_ids=tuple(map(str, ids)), xml=xml)


def read_completed(request: WireRequest) -> ReadBulkRecords:
    return _read_records(request, PROCESSED)


def read_failed(request: WireRequest) -> ReadBulkRecords:
    return _read_records(request, INVALID, FAILED)


def _read_records(request: WireRequest, *words: str) -> ReadBulkRecords:
    members = _Members(request)
    job_id = parse_integer(members.get("id"))
    if members.get("id") is None:
        members.fail(Problem(ProblemKind.MISSING, field="id"))
    elif job_id is None:
        members.fail(_invalid("The id field should be an integer."))
    wanted = members.word("format", JSON_FORMAT, XML_FORMAT, CSV_FORMAT)
    members.raise_problems()
    return ReadBulkRecords(job_id=str(job_id), row_words=frozenset(words), format=wanted)


class _Members:
    """The members of a body, and all that is wrong with them: "if there are multiple errors their
    descriptions are returned in the errors array". A member with a fault reads as its default."""

    def __init__(self, request: WireRequest) -> None:
        """Raises `UnreadableRequest`."""
        self._body = request.json_object
        self._problems: list[Problem] = []

    def get(self, name: str, default: object = None) -> object:
        return self._body.get(name, default)

    def fail(self, problem: Problem) -> None:
        self._problems.append(problem)

    def raise_problems(self) -> None:
        """Raises the first problem, which holds the others, if there is one."""
        if self._problems:
            first, *others = self._problems
            first.others = tuple(others)
            raise first

    def integer(self, name: str, default: int, lowest: int, highest: int, text: str) -> int:
        found = parse_integer(self.get(name, default))
        if found is None or not lowest <= found <= highest:
            self.fail(_invalid(text))
            return default
        return found

    def word(self, name: str, *known: str, default: str = JSON_FORMAT) -> str:
        found = str(self.get(name, default)).strip().lower()
        if found not in known:
            words = ", ".join(known)
            self.fail(
                _invalid(f"The {name} field should have one of the following values: {words}.")
            )
            return default
        return found

    def list_of(self, name: str) -> list[Any]:
        found = self.get(name, [])
        if found == []:
            self.fail(Problem(ProblemKind.MISSING, field=name))
        elif not isinstance(found, list):
            self.fail(_invalid(f"The {name} field should be an array."))
        return found if isinstance(found, list) else []


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
        description=description.REQUEST,
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
        description=description.LIST,
        body_limit=SMALL_BODY_LIMIT,
    ),
    Endpoint(
        name="request/status",
        methods=("POST",),
        path=f"{BULK_PATH}/request/status",
        credential=BULK_CREDENTIAL,
        read=read_status,
        write=write_status,
        description=description.STATUS,
        body_limit=SMALL_BODY_LIMIT,
    ),
    Endpoint(
        name="request/completed",
        methods=("POST",),
        path=f"{BULK_PATH}/request/completed",
        credential=BULK_CREDENTIAL,
        read=read_completed,
        write=write_completed,
        description=description.COMPLETED,
        body_limit=SMALL_BODY_LIMIT,
    ),
    Endpoint(
        name="request/failed",
        methods=("POST",),
        path=f"{BULK_PATH}/request/failed",
        credential=BULK_CREDENTIAL,
        read=read_failed,
        write=write_failed,
        description=description.FAILED,
        body_limit=SMALL_BODY_LIMIT,
    ),
)
