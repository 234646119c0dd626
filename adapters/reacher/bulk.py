"""Lists: `/v1/bulk`, a job's state and its results; the older `/v0/bulk` is the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from adapters.contract.batch_rules import (
    MAX_ENTRY_CHARACTERS,
    BatchRules,
    BatchWebhook,
)
from adapters.contract.jobs import BatchEntry, Job, JobRow, JobRows
from adapters.contract.operations import (
    ReadRows,
    ReadRowsByToken,
    ShowJob,
    ShowJobByToken,
    SubmitJob,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import (
    Reply,
    StreamReply,
    UnreadableRequest,
    WireReply,
    WireRequest,
    json_reply,
)
from adapters.kit.csv import csv_cell, csv_line
from adapters.kit.words import is_digits
from adapters.reacher.body import read_object, required, wrong_type
from adapters.reacher.problems import BAD_QUERY, REFUSED_BY_HANDLER
from adapters.reacher.release import CSV_FAILURE, View
from adapters.reacher.result import error_of, result_object
from adapters.reacher.words import reachable_word
from engine.model import Verification

BODY_LIMIT = 20 * 1024 * 1024
"""Bytes. The server allows 50 MiB; parsed, such a list takes too much memory."""
FIRST_JOB_ID, MAX_JOB_ID = 1_000_000, 2**31 - 1
DEFAULT_LIMIT = 50
MAX_NUMBER = 10**9
"""Of `limit` and `offset`: the database has to skip as many rows."""
SUMMARY = ("safe", "risky", "invalid", "unknown")
RETENTION_S = 30 * 86_400
"""The server keeps results for as long as its database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadResults(ReadRows):
    """Some results, in a format."""

    csv: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPublicResults(ReadRowsByToken):
    """Likewise without a key."""

    csv: bool


# -- reading ------------------------------------------------------------------------------


def read_submit(request: WireRequest) -> SubmitJob:
    body = read_object(request)
    texts = required(request, body, "input", list)
    if not texts:
        raise Problem(ProblemKind.INVALID, "Empty input", "input", word=REFUSED_BY_HANDLER)
    entries = [_entry(request, text) for text in texts]
    url, options = _read_webhook(request, body.get("webhook"))
    return SubmitJob(entries=entries, webhook_url=url, options=options)


def _entry(request: WireRequest, text: object) -> BatchEntry:
    if not isinstance(text, str):
        raise wrong_type(request, text, "input", "a string")
    if len(text) > MAX_ENTRY_CHARACTERS:
        detail = f"an address has more than {MAX_ENTRY_CHARACTERS} characters"
        raise Problem(ProblemKind.INVALID, detail, "input")
    return BatchEntry(text.strip())


def _read_webhook(request: WireRequest, value: object) -> tuple[str, dict[str, Any]]:
    """The URL for the POST of each row, with the headers and the value that go with it."""
    if value is None:
        return "", {}
    if not isinstance(value, dict):
        raise wrong_type(request, value, "webhook", "struct TaskWebhook")
    each = value.get("on_each_email")
    if each is None:
        return "", {}
    if not isinstance(each, dict):
        raise wrong_type(request, each, "on_each_email", "struct Webhook")
    url = required(request, each, "url", str)
    headers = required(request, each, "headers", dict)
    for text in headers.values():
        if not isinstance(text, str):
            raise wrong_type(request, text, "headers", "a string")
    return url, {"webhook_headers": headers, "extra": each.get("extra")}


def read_job(request: WireRequest) -> ShowJob:
    return ShowJob(job_id=_job_id(request))


def read_public_job(request: WireRequest) -> ShowJobByToken:
    return ShowJobByToken(token=_job_id(request))


def read_public_results(request: WireRequest) -> ReadPublicResults:
    op = read_results(request)
    return ReadPublicResults(token=op.job_id, csv=op.csv, offset=op.offset, limit=op.limit)


def read_results(request: WireRequest) -> ReadResults:
    job_id = _job_id(request)
    try:
        query = request.query
    except UnreadableRequest as exc:
        raise _bad_query("") from exc
    found = query.get("format", "json")
    if found not in ("json", "csv"):
        raise _bad_query("format")
    return ReadResults(
        job_id=job_id,
        csv=found == "csv",
        offset=_number(query, "offset") or 0,
        limit=_number(query, "limit", None if found == "csv" else DEFAULT_LIMIT),
    )


def _number(query: Mapping[str, str], name: str, default: int | None = None) -> int | None:
    if name not in query:
        return default
    if not is_digits(query[name]):
        raise _bad_query(name)
    return min(int(query[name]), MAX_NUMBER)


def _bad_query(name: str) -> Problem:
    return Problem(ProblemKind.INVALID, field=name, word=BAD_QUERY)


def _job_id(request: WireRequest) -> str:
    """The id, a signed integer of 32 bits; any other is no path of the server."""
    text = request.path_params["job_id"]
    if not is_digits(text) or int(text) > MAX_JOB_ID:
        raise Problem(ProblemKind.JOB_MALFORMED)
    return str(int(text))


# -- writing ------------------------------------------------------------------------------


def write_submitted(_: SubmitJob, job: Job) -> WireReply:
    return json_reply({"job_id": int(job.id)})


def write_job(_: ShowJob | ShowJobByToken, job: Job) -> WireReply:
    ended = job.finished_at if job.state.is_final else None
    return json_reply(
        {
            "job_id": int(job.id),
            "created_at": _microseconds(job.created_at),
            "finished_at": _microseconds(ended) if ended else None,
            "total_records": job.total,
            "total_processed": job.done_count,
            "summary": {f"total_{word}": job.counts.get(word, 0) for word in SUMMARY},
            "job_status": "Completed" if job.state.is_final else "Running",
        }
    )


def results_writer(
    view: View, *, csv_fails: bool
) -> Callable[[ReadResults | ReadPublicResults, JobRows], Reply]:
    """How results are written; `csv_fails` is as in `release.CSV_FAILURE`."""

    def write(op: ReadResults | ReadPublicResults, found: JobRows) -> Reply:
        reply = write_results(op, found, view)
        if csv_fails and op.csv and reply.head:
            return json_reply({"error": CSV_FAILURE}, 500)
        return reply

    return write


def write_results(op: ReadResults | ReadPublicResults, found: JobRows, view: View) -> StreamReply:
    if not found.job.state.is_final:
        raise Problem(ProblemKind.JOB_STATE, job_state=found.job.state)
    if found.job.rows_expired:
        raise Problem(ProblemKind.JOB_UNKNOWN)
    if not op.csv:
        return StreamReply(
            rows=found.rows,
            head=b'{"results":[',
            # a column of the server's database sorts the members
            render=lambda row: orjson.dumps(
                result_object(view(row.verification)), option=orjson.OPT_SORT_KEYS
            ),
            separator=b",",
            tail=b"]}",
        )
    is_empty = op.limit == 0 or op.offset >= found.matching_count
    return StreamReply(
        rows=found.rows,
        head=b"" if is_empty else csv_line(COLUMNS),
        render=lambda row: _csv_row(view(row.verification)),
        media_type="text/csv",
    )


COLUMNS = (
    "input",
    "is_reachable",
    "misc.is_disposable",
    "misc.is_role_account",
    "misc.gravatar_url",
    "mx.accepts_mail",
    "smtp.can_connect",
    "smtp.has_full_inbox",
    "smtp.is_catch_all",
    "smtp.is_deliverable",
    "smtp.is_disabled",
    "syntax.is_valid_syntax",
    "syntax.domain",
    "syntax.username",
    "error",
)
MEMBERS: Mapping[str, str] = {"smtp.can_connect": "smtp.can_connect_smtp"}
"""Columns whose member of the result has another name."""


def _csv_row(v: Verification) -> bytes:
    result = result_object(v)
    error = error_of(result)
    result["error"] = orjson.dumps(error).decode() if error else None
    return csv_line(csv_cell(_value(result, MEMBERS.get(name, name))) for name in COLUMNS)


def _value(result: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None where an error stands in the place of an object."""
    outer, _, inner = path.partition(".")
    return result[outer].get(inner) if inner else result[outer]


def row_writer(view: View) -> Callable[[Job, JobRow], bytes]:
    """The body of the POST about a row."""

    def write_row(job: Job, row: JobRow) -> bytes:
        result = result_object(view(row.verification))
        return orjson.dumps({"result": result, "extra": job.options.get("extra")})

    return write_row


def _microseconds(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def batch_rules(view: View, *, is_public: bool) -> BatchRules:
    return BatchRules(
        # small numbers would be guessed, and found in texts that are not about the job
        new_id=lambda source: str(FIRST_JOB_ID + source.number),
        row_word=lambda v: reachable_word(view(v)),
        retention_s=lambda _: RETENTION_S,
        is_public=is_public,
        webhook=BatchWebhook(
            write_row=row_writer(view),
            headers=lambda job: job.options.get("webhook_headers", {}),
            # the server reads the reply and ignores it
            is_accepted=lambda _: True,
            retry_interval_s=60.0,
            give_up_after_s=600.0,
        ),
    )
