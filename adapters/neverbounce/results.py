"""The rows of a finished job, by pages and as a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from adapters.contract.batch_rules import duplicate_word
from adapters.contract.jobs import Job, JobRow, JobRows, JobState
from adapters.contract.operations import ReadRows
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import StreamReply, WireRequest
from adapters.kit.csv import escape_quotes
from adapters.kit.file_names import ascii_file_name, extended_file_name
from adapters.neverbounce.params import is_set, job_id_of, page_of, params_of
from adapters.neverbounce.problems import NOT_COMPLETE
from adapters.neverbounce.single import address_info, members_before_4_2, verification_members
from adapters.neverbounce.words import NUMBERS, flags_of, result_word
from engine.model import Verification

SEGMENTS: Mapping[str, str] = {
    "valids": "valid",
    "invalids": "invalid",
    "disposables": "disposable",
    "catchalls": "catchall",
    "unknowns": "unknown",
}
"""The result that each switch selects."""
DUPLICATES = "include_duplicates"
FILE_MEDIA_TYPE = "application/octet-stream"
FLAG_COLUMNS: Mapping[str, str] = {
    "bad_syntax": "bad_syntax",
    "free_email_host": "free_email_host",
    "role_account": "role_account",
    "has_dns_info": "has_dns",
    "has_mail_server": "has_dns_mx",
    "mail_server_reachable": "smtp_connectable",
}
"""Columns that a flag fills."""
ADDRESS_COLUMNS = ("addr", "alias", "host", "subdomain", "domain", "tld", "fqdn")
COLUMNS = (
    "bad_syntax",
    "free_email_host",
    "role_account",
    *ADDRESS_COLUMNS,
    "network",
    "has_dns_info",
    "has_mail_server",
    "mail_server_reachable",
    "email_status_int",
    "email_status",
)
"""Columns that may be appended, in this order."""
BOOLEANS: Mapping[str, tuple[str, str]] = {
    "BIN_1_0": ("1", "0"),
    "BIN_Y_N": ("Y", "N"),
    "BIN_y_n": ("y", "n"),
    "BIN_yes_no": ("yes", "no"),
    "BIN_Yes_No": ("Yes", "No"),
    "BIN_true_false": ("true", "false"),
}
LINE_ENDS: Mapping[str, str] = {
    "LINEFEED_0A": "\n",
    "LINEFEED_0D0A": "\r\n",
    "LINEFEED_0D": "\r",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPage(ReadRows):
    """A page of results, with the parameters that its reply repeats."""

    query: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFile(ReadRows):
    """The results as a file."""

    columns: tuple[str, ...]
    booleans: tuple[str, str]
    line_end: str
    only_bad_syntax: bool


# -- reading ------------------------------------------------------------------------------


def read_results(request: WireRequest) -> ReadPage:
    params = params_of(request)
    job_id = job_id_of(params)
    page, per_page = page_of(params)
    segments = _segments(params)
    with_duplicates = is_set(params, DUPLICATES)
    return ReadPage(
        job_id=job_id,
        row_words=_row_words(segments, with_duplicates=with_duplicates),
        offset=(page - 1) * per_page,
        limit=per_page,
        query={
            "job_id": int(job_id),
            **{name: int(is_on) for name, is_on in segments.items()},
            **({DUPLICATES: int(with_duplicates)} if DUPLICATES in params else {}),
            "page": page,
            "items_per_page": per_page,
        },
    )


def read_download(request: WireRequest) -> ReadFile:
    params = params_of(request)
    job_id = job_id_of(params)
    chosen = tuple(name for name in COLUMNS if is_set(params, name))
    if "email_status" not in params:
        chosen = (*chosen, "email_status")
    booleans = params.get("binary_operators_type", params.get("binary_operator_type", "BIN_1_0"))
    line_end = params.get("line_feed_type", "LINEFEED_0A")
    for name, value, known in (
        ("binary_operators_type", booleans, BOOLEANS),
        ("line_feed_type", line_end, LINE_ENDS),
    ):
        if not isinstance(value, str) or value not in known:
            raise Problem(ProblemKind.INVALID, field=name)
    words = _row_words(_segments(params), with_duplicates=is_set(params, DUPLICATES))
    only_bad_syntax = is_set(params, "only_bad_syntax")
    if only_bad_syntax:
        words = _row_words({"invalids": True}, with_duplicates=False)
    if is_set(params, "only_duplicates"):
        words = frozenset(map(duplicate_word, SEGMENTS.values()))
    return ReadFile(
        job_id=job_id,
        row_words=words,
        columns=chosen,
        booleans=BOOLEANS[str(booleans)],
        line_end=LINE_ENDS[str(line_end)],
        only_bad_syntax=only_bad_syntax,
    )


def _segments(params: Mapping[str, Any]) -> dict[str, bool]:
    """The switches: all on without any; else those that are missing are off."""
    if not any(name in params for name in SEGMENTS):
        return dict.fromkeys(SEGMENTS, True)
    return {name: is_set(params, name) for name in SEGMENTS}


def _row_words(segments: Mapping[str, bool], *, with_duplicates: bool) -> frozenset[str]:
    words = frozenset(SEGMENTS[name] for name, is_on in segments.items() if is_on)
    return words | frozenset(map(duplicate_word, words)) if with_duplicates else words


# -- writing ------------------------------------------------------------------------------


def write_results(op: ReadPage, found: JobRows) -> StreamReply:
    return _write_results(op, found, verification_members)


def write_results_before_4_2(op: ReadPage, found: JobRows) -> StreamReply:
    return _write_results(op, found, members_before_4_2)


def _write_results(
    op: ReadPage, found: JobRows, members_of: Callable[[Verification], dict[str, Any]]
) -> StreamReply:
    _require_complete(found.job)
    head = {
        "status": "success",
        "total_results": found.matching_count,
        "total_pages": -(-found.matching_count // (op.limit or 1)),
        "query": dict(op.query),
    }
    job = found.job
    return StreamReply(
        rows=found.rows,
        head=orjson.dumps(head)[:-1] + b',"results":[',
        render=lambda row: orjson.dumps(_result(job, row, members_of(row.verification))),
        separator=b",",
        tail=b'],"execution_time":0}',
    )


def _result(job: Job, row: JobRow, members: Mapping[str, Any]) -> dict[str, Any]:
    data = dict(zip(job.headers, row.cells, strict=False))
    if "email" not in data:
        data["email"] = row.email
    info = address_info(row.verification.address)
    return {"data": data, "verification": {**members, "address_info": info}}


def write_download(op: ReadFile, found: JobRows) -> StreamReply:
    _require_complete(found.job)
    job = found.job
    name = job.name or f"API_{job.id}.csv"
    disposition = f'attachment; filename="{ascii_file_name(name)}"'
    if not name.isascii():
        disposition += f"; filename*={extended_file_name(name)}"

    def render(row: JobRow) -> bytes:
        v = row.verification
        if op.only_bad_syntax and v.address.valid:
            return b""
        cells = [f'"{escape_quotes(cell)}"' for cell in row.cells]
        cells += [_column(v, column, result_word(v), op.booleans) for column in op.columns]
        return (",".join(cells) + op.line_end).encode("utf-8", "replace")

    head = ",".join((*map(_bare, job.headers), *op.columns)) + op.line_end
    return StreamReply(
        rows=found.rows,
        head=head.encode("utf-8", "replace"),
        render=render,
        media_type=FILE_MEDIA_TYPE,
        headers=(("Content-Disposition", disposition),),
    )


def _bare(title: str) -> str:
    """A column's title, in quotes only where a reader needs them."""
    if any(mark in title for mark in ',"\r\n'):
        return f'"{escape_quotes(title)}"'
    return title


def _column(v: Verification, column: str, word: str, booleans: tuple[str, str]) -> str:
    if column in FLAG_COLUMNS:
        return booleans[0] if FLAG_COLUMNS[column] in flags_of(v) else booleans[1]
    if column in ADDRESS_COLUMNS:
        return _bare(address_info(v.address)[column])
    if column == "network":
        return _bare(v.evidence.provider or "")
    return str(NUMBERS[word]) if column == "email_status_int" else word


def _require_complete(job: Job) -> None:
    if job.state is not JobState.COMPLETED:
        raise Problem(ProblemKind.JOB_STATE, job_state=job.state, word=NOT_COMPLETE)
    if job.rows_expired:
        raise Problem(ProblemKind.JOB_UNKNOWN)
