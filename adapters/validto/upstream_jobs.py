"""The vendor's lists, as a source: uploaded with `auto_verify`, polled, downloaded as CSV.

A list is uploaded as a file, which both brands document; only Bouncify documents JSON.

If a list stays `ready` (the vendor ignored the flag, or the credits ran out), a start request is
sent, whose reply shows which of the two it is.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import StringIO

import orjson

from adapters.contract.upstream import (
    Call,
    Fault,
    FaultKind,
    Pending,
    UpstreamReply,
    UpstreamRequest,
    UpstreamResult,
)
from adapters.contract.upstream_jobs import JobQuery, ResultPage, VendorJobs
from adapters.kit.csv import csv_line
from adapters.kit.faults import detail_text
from adapters.kit.multipart import FormField, FormFile, multipart_body
from adapters.kit.words import datetime_or_none, first_job_id, parse_bool, path_segment
from adapters.validto.upstream import parse_fault, parse_result_word
from engine.model import Address, Checks, Evidence, Reason, Verdict

MAX_ADDRESSES = 100_000
"""A file may have 500,000 rows and 10 MB: this many addresses of 100 characters."""
START, DOWNLOAD = "start", "download"

STEP_AFTER_STATUS: Mapping[str, ResultPage | Pending] = {
    "preparing": Pending(),
    "ready": ResultPage((), START),
    "verifying": Pending(),
    "completed": ResultPage((), DOWNLOAD),
}
"""The states in which a list continues; any other ends it."""
EMAIL_COLUMNS = ("email", "col0")
"""The header that we send, and the vendor's name for a column without one; otherwise the first
column, since those of the upload come before those of the results."""
VERDICT_COLUMN = "verification result"


def build_create(key: str, addresses: Sequence[Address], _: Checks) -> UpstreamRequest:
    rows = (("email",), *((address.raw,) for address in addresses))
    file = b"".join(csv_line(row, quote_all=True) for row in rows)
    content_type, body = multipart_body(
        (FormField("auto_verify", "true"), FormFile("local_file", "emails.csv", file))
    )
    return UpstreamRequest(
        "POST",
        "/v1/bulk",
        query={"apikey": key},
        headers={"content-type": content_type},
        body=body,
    )


def parse_create(reply: UpstreamReply, _: Sequence[Address], __: Checks) -> str | Fault:
    body = reply.json_object
    job_id = first_job_id(body.get("job_id"))
    # 200 by the documentation, 201 by what clients have seen
    if reply.status // 100 == 2 and parse_bool(body.get("success")) and job_id is not None:
        return job_id
    return parse_fault(reply, body)


def build_poll(key: str, job: JobQuery) -> UpstreamRequest:
    return UpstreamRequest(
        "GET", f"/v1/bulk/{path_segment(job.job_id)}", query={"apikey": key}, is_billed=False
    )


def parse_poll(reply: UpstreamReply, _: JobQuery) -> ResultPage | Pending | Fault:
    body = reply.json_object
    if reply.status // 100 != 2 or not parse_bool(body.get("success")):
        return parse_fault(reply, body)
    status = str(body.get("status"))
    return STEP_AFTER_STATUS.get(status) or Fault(
        FaultKind.REFUSED, detail_text(f"the list is {status}")
    )


def build_page(key: str, job: JobQuery) -> UpstreamRequest:
    if job.page == START:
        return UpstreamRequest(
            "PATCH",
            f"/v1/bulk/{path_segment(job.job_id)}",
            query={"apikey": key},
            headers={"content-type": "application/json"},
            body=orjson.dumps({"action": "start"}),
        )
    return UpstreamRequest(
        "POST", "/v1/download", query={"jobId": job.job_id, "apikey": key}, is_billed=False
    )


def parse_page(reply: UpstreamReply, job: JobQuery) -> ResultPage | Pending | Fault:
    body = reply.json_object
    if job.page == START:
        if reply.status // 100 == 2 and parse_bool(body.get("success")):
            return Pending()
        found = parse_fault(reply, body)
        # 400 is also "already started": the next poll decides
        return Pending() if (found.status, found.kind) == (400, FaultKind.REFUSED) else found
    rows = _parse_rows(reply.body) if reply.status // 100 == 2 and not body else None
    return parse_fault(reply, body) if rows is None else ResultPage(rows)


def _parse_rows(body: bytes) -> tuple[tuple[str, UpstreamResult], ...] | None:
    """By header names, since the vendor's two brands order the columns differently.

    None if it is another kind of file, or only a part of one.
    """
    try:
        # as a file, since a quoted cell may hold other line ends
        table = csv.DictReader(StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        headers = table.fieldnames or ()
        names = {name.strip().lower(): name for name in headers}
        if VERDICT_COLUMN not in names:
            return None
        email = next((names[name] for name in EMAIL_COLUMNS if name in names), headers[0])
        verdict = names[VERDICT_COLUMN]
        return tuple(
            (row[email], _parse_row(row[verdict], {name: row[names[name]] for name in names}))
            for row in table
            if row[email] and row[verdict]
        )
    except (UnicodeDecodeError, csv.Error):
        return None


def _parse_row(word: str, cells: Mapping[str, str | None]) -> UpstreamResult:
    verdict, reason, raw_word = parse_result_word(word)
    disposable = cells.get("disposable") == "Y"
    if verdict is Verdict.UNDELIVERABLE:
        if cells.get("syntax error") == "Y":
            reason = Reason.INVALID_EMAIL
        elif disposable:
            reason = Reason.DISPOSABLE
    return UpstreamResult(
        verdict,
        reason,
        Evidence(
            disposable=disposable,
            free=cells.get("isp") == "Y",
            role=cells.get("role") == "Y",
            catch_all=True if reason is Reason.CATCH_ALL else None,
            spamtrap=True if cells.get("trap") == "Y" else None,
            raw_word=raw_word,
        ),
        verified_at=datetime_or_none(cells.get("verified at")),
    )


VENDOR_JOBS = VendorJobs(
    max_addresses=MAX_ADDRESSES,
    create=Call(build_create, parse_create),
    poll=Call(build_poll, parse_poll),
    page=Call(build_page, parse_page),
    first_poll_delay_s=2.0,
)
