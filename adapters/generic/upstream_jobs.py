"""The vendor's jobs, as a source: created, polled, and read a page of 1,000 rows at a time.

Results are undocumented: rows are expected as an array, bare or in an object, with members in camel
or snake case, since the API has both. Polls are rare, since the smallest plan allows ten requests a
minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
from adapters.generic.upstream import FAULTS, parse_result
from adapters.kit.faults import fault_from_status
from adapters.kit.paging import FIRST_PAGE, page_after
from adapters.kit.words import bearer, first_job_id, path_segment, text_or_none
from engine.model import Address, Checks

MAX_ADDRESSES = 50_000
PER_PAGE = 1_000
ROWS_MEMBERS = ("results", "data", "items")

STEP_AFTER_STATUS: Mapping[str, ResultPage | Fault] = {
    "completed": ResultPage((), FIRST_PAGE),
    "failed": Fault(FaultKind.REFUSED, "the job failed", 200),
}
"""The states in which a job ends; in any other it continues."""


def build_create(key: str, addresses: Sequence[Address], _: Checks) -> UpstreamRequest:
    return UpstreamRequest(
        "POST",
        "/api/v1/verify/bulk",
        headers={**bearer(key), "content-type": "application/json"},
        body=orjson.dumps({"emails": [address.raw for address in addresses]}),
    )


def parse_create(reply: UpstreamReply, _: Sequence[Address], __: Checks) -> str | Fault:
    body = reply.json_object
    job_id = first_job_id(body.get("jobId"), body.get("job_id"), body.get("id"))
    if reply.status // 100 == 2 and job_id is not None:
        return job_id
    return fault_from_status(reply, body.get("message"), FAULTS)


def build_poll(key: str, job: JobQuery) -> UpstreamRequest:
    return UpstreamRequest(
        "GET",
        f"/api/v1/jobs/{path_segment(job.job_id)}",
        headers=bearer(key),
        is_billed=False,
    )


def parse_poll(reply: UpstreamReply, _: JobQuery) -> ResultPage | Pending | Fault:
    body = reply.json_object
    status = text_or_none(body.get("status"))
    if reply.status != 200 or status is None:
        return _job_fault(reply, body)
    return STEP_AFTER_STATUS.get(status.lower(), Pending())


def build_page(key: str, job: JobQuery) -> UpstreamRequest:
    return UpstreamRequest(
        "GET",
        f"/api/v1/jobs/{path_segment(job.job_id)}/results",
        query={"page": job.page, "limit": str(PER_PAGE)},
        headers=bearer(key),
        is_billed=False,
    )


def parse_page(reply: UpstreamReply, job: JobQuery) -> ResultPage | Pending | Fault:
    value = reply.json
    body = value if isinstance(value, dict) else {}
    lists = (value, *map(body.get, ROWS_MEMBERS))
    rows = next((found for found in lists if isinstance(found, list)), None)
    if reply.status != 200 or rows is None:
        return _job_fault(reply, body)
    per_page = _per_page(body.get("limit"))
    following = page_after(job.page, len(rows), per_page=per_page, most=MAX_ADDRESSES)
    return ResultPage(tuple(_parse_rows(rows)), following)


def _per_page(value: object) -> int:
    """Rows in a page: a server may allow fewer than requested, and say so."""
    return value if isinstance(value, int) and 0 < value < PER_PAGE else PER_PAGE


def _parse_rows(rows: Sequence[object]) -> list[tuple[str, UpstreamResult]]:
    found = (_with_camel_names(row) for row in rows if isinstance(row, dict))
    return [
        (row["email"], parse_result(row, valid=_looks_valid(row["email"])))
        for row in found
        if isinstance(row.get("email"), str) and "tier" in row
    ]


def _looks_valid(email: str) -> bool:
    """As far as a row shows it."""
    local, _, domain = email.rpartition("@")
    return bool(local and domain)


def _with_camel_names(members: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _camel_name(name): _with_camel_names(value) if isinstance(value, dict) else value
        for name, value in members.items()
    }


def _camel_name(name: str) -> str:
    if "_" not in name:
        return name
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _job_fault(reply: UpstreamReply, body: Mapping[str, Any]) -> Fault:
    if reply.status == 404:
        return Fault(FaultKind.REFUSED, "no such job", 404)
    return fault_from_status(reply, body.get("message"), FAULTS)


VENDOR_JOBS = VendorJobs(
    max_addresses=MAX_ADDRESSES,
    create=Call(build_create, parse_create),
    poll=Call(build_poll, parse_poll),
    page=Call(build_page, parse_page),
    first_poll_delay_s=5.0,
)
