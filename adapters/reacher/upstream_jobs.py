"""The vendor's lists, as a source: created, polled, and read 1,000 rows at a time.

Only a server of one's own with a worker has them; the hosted service answers 404.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from adapters.contract.upstream import (
    Call,
    Fault,
    FaultKind,
    Pending,
    UpstreamReply,
    UpstreamRequest,
)
from adapters.contract.upstream_jobs import JobQuery, ResultPage, VendorJobs
from adapters.kit.paging import FIRST_OFFSET, offset_after
from adapters.kit.words import first_job_id, path_segment
from adapters.reacher.problems import NO_ROWS
from adapters.reacher.upstream import headers_for, is_result, parse_fault, parse_result
from engine.model import Address, Checks

MAX_ADDRESSES = 50_000
ROWS_PER_PAGE = 1_000


def build_create(key: str, addresses: Sequence[Address], _: Checks) -> UpstreamRequest:
    body = orjson.dumps({"input": [address.raw for address in addresses]})
    return UpstreamRequest("POST", "/v1/bulk", headers=headers_for(key), body=body)


def parse_create(reply: UpstreamReply, _: Sequence[Address], __: Checks) -> str | Fault:
    job_id = first_job_id(reply.json_object.get("job_id"))
    if reply.status == 404:
        return Fault(FaultKind.REFUSED, "has no lists", 404)
    return job_id if reply.status // 100 == 2 and job_id is not None else parse_fault(reply)


def build_poll(key: str, job: JobQuery) -> UpstreamRequest:
    path = f"/v1/bulk/{path_segment(job.job_id)}"
    return UpstreamRequest("GET", path, headers=_headers(key), is_billed=False)


def parse_poll(reply: UpstreamReply, _: JobQuery) -> ResultPage | Pending | Fault:
    status = reply.json_object.get("job_status")
    if reply.status != 200 or not isinstance(status, str):
        return _job_fault(reply)
    return ResultPage((), FIRST_OFFSET) if status == "Completed" else Pending()


def build_page(key: str, job: JobQuery) -> UpstreamRequest:
    return UpstreamRequest(
        "GET",
        f"/v1/bulk/{path_segment(job.job_id)}/results",
        query={"format": "json", "limit": str(ROWS_PER_PAGE), "offset": job.page},
        headers=_headers(key),
        is_billed=False,
    )


def parse_page(reply: UpstreamReply, job: JobQuery) -> ResultPage | Pending | Fault:
    rows = reply.json_object.get("results")
    if reply.status != 200 or not isinstance(rows, list):
        return _job_fault(reply)
    found = tuple(
        (row["input"], parse_result(row))
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("input"), str) and is_result(row)
    )
    following = offset_after(job.page, len(rows), per_page=ROWS_PER_PAGE, most=MAX_ADDRESSES)
    return ResultPage(found, following)


def _headers(key: str) -> dict[str, str]:
    headers = headers_for(key)
    del headers["content-type"]
    return headers


def _job_fault(reply: UpstreamReply) -> Fault:
    if reply.status == 404 or reply.json_object.get("error") == NO_ROWS:
        return Fault(FaultKind.REFUSED, "no such job", reply.status)
    return parse_fault(reply)


VENDOR_JOBS = VendorJobs(
    max_addresses=MAX_ADDRESSES,
    create=Call(build_create, parse_create),
    poll=Call(build_poll, parse_poll),
    page=Call(build_page, parse_page),
)
