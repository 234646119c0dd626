"""The vendor's batches, as a source: uploaded, polled, and downloaded from a link.

The link of a completed batch is valid for an hour and takes no key; the status names a new one.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO

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
from adapters.kickbox.upstream import parse_fault, parse_result
from adapters.kit.csv import csv_line
from adapters.kit.faults import detail_text, fault_from_status
from adapters.kit.words import bearer, first_job_id, path_segment, text_or_none
from engine.model import Address, Checks

MAX_ADDRESSES = 50_000
"""The vendor takes 1,000,000; the rows of a file are held in memory."""
NAME = "veriplex"

EXPIRED_LINK = frozenset({400, 401, 403, 404, 410})
"""Of a storage; the status names a new link."""
UNFINISHED = ("starting", "processing")


def build_create(key: str, addresses: Sequence[Address], _: Checks) -> UpstreamRequest:
    lines = ("email", *(address.raw for address in addresses))
    return UpstreamRequest(
        "PUT",
        "/v2/verify-batch",
        headers={**bearer(key), "content-type": "text/csv", "x-kickbox-filename": NAME},
        body=b"".join(csv_line((line,), quote_all=True) for line in lines),
    )


def parse_create(reply: UpstreamReply, _: Sequence[Address], __: Checks) -> str | Fault:
    body = reply.json_object
    job_id = first_job_id(body.get("id"))
    if reply.status // 100 == 2 and job_id is not None and body.get("success") is not False:
        return job_id
    return parse_fault(reply)


def build_poll(key: str, job: JobQuery) -> UpstreamRequest:
    path = f"/v2/verify-batch/{path_segment(job.job_id)}"
    return UpstreamRequest("GET", path, headers=bearer(key), is_billed=False)


def parse_poll(reply: UpstreamReply, _: JobQuery) -> ResultPage | Pending | Fault:
    body = reply.json_object
    status = text_or_none(body.get("status"))
    if reply.status == 404:
        return Fault(FaultKind.REFUSED, "no such batch", 404)
    if reply.status != 200 or status is None:
        return parse_fault(reply)
    if status in UNFINISHED:
        return Pending()
    link = text_or_none(body.get("download_url"))
    if status == "completed":
        return ResultPage((), link) if link else fault_from_status(reply, "no link to the results")
    detail = detail_text(body.get("error") or f"the batch is {status}")
    return Fault(FaultKind.REFUSED, detail, 200)


def build_page(_: str, job: JobQuery) -> UpstreamRequest:
    return UpstreamRequest("GET", "", link=job.page, is_billed=False)


def parse_page(reply: UpstreamReply, _: JobQuery) -> ResultPage | Pending | Fault:
    if reply.status in EXPIRED_LINK and "html" not in reply.headers.get("content-type", ""):
        return Pending()
    rows = _parse_rows(reply.body) if reply.status == 200 else None
    return fault_from_status(reply) if rows is None else ResultPage(rows)


def _parse_rows(body: bytes) -> tuple[tuple[str, UpstreamResult], ...] | None:
    """By header names; None if it is another kind of file, or only a part of one."""
    try:
        table = csv.DictReader(StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        names = [name.strip().lower() for name in table.fieldnames or ()]
        if not {"email", "result"} <= set(names):
            return None
        table.fieldnames = names
        return tuple(
            (row["email"], parse_result(row)) for row in table if row["email"] and row["result"]
        )
    except (UnicodeDecodeError, csv.Error):
        return None


VENDOR_JOBS = VendorJobs(
    max_addresses=MAX_ADDRESSES,
    create=Call(build_create, parse_create),
    poll=Call(build_poll, parse_poll),
    page=Call(build_page, parse_page),
    first_poll_delay_s=2.0,
)
