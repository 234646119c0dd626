"""The vendor's batches, as a source.

The status reply holds the results of up to 1,000 addresses as whole objects; those of a larger
batch are a file on another company's storage. So a vendor job has 1,000 addresses at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

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
from adapters.emailable.upstream import TRY_AGAIN_STATUS, parse_result
from adapters.kit.faults import fault_from_status
from adapters.kit.words import bearer, first_job_id
from engine.model import Address, Checks

MAX_ADDRESSES = 1_000
DUPLICATE_STATE = "duplicate"
"""A state that only rows of a batch can have."""


def build_create(key: str, addresses: Sequence[Address], _: Checks) -> UpstreamRequest:
    return UpstreamRequest(
        "POST",
        "/v1/batch",
        headers={**bearer(key), "content-type": "application/json"},
        body=orjson.dumps({"emails": _emails([address.raw for address in addresses])}),
    )


def _emails(addresses: Sequence[str]) -> str | Sequence[str]:
    """Separated by commas, as the page has them; an array, which its Python client sends, if a
    local part holds a comma."""
    return addresses if any("," in address for address in addresses) else ",".join(addresses)


def without_retries(request: UpstreamRequest) -> UpstreamRequest:
    return replace(request, body=orjson.dumps({**request.json, "retries": False}))


def parse_create(reply: UpstreamReply, _: Sequence[Address], __: Checks) -> str | Fault:
    body = reply.json_object
    job_id = first_job_id(body.get("id"))
    if reply.status // 100 == 2 and job_id is not None:
        return job_id
    return fault_from_status(reply, body.get("message"))


def build_poll(key: str, job: JobQuery) -> UpstreamRequest:
    return UpstreamRequest(
        "GET",
        "/v1/batch",
        query={"id": job.job_id},
        headers=bearer(key),
        is_billed=False,
    )


def parse_poll(reply: UpstreamReply, _: JobQuery) -> ResultPage | Pending | Fault:
    body = reply.json_object
    if reply.status == TRY_AGAIN_STATUS:
        return Pending()
    if reply.status != 200:
        return _poll_fault(reply, body.get("message"))
    rows = body.get("emails")
    counts = body.get("total_counts")
    if isinstance(rows, list) and isinstance(counts, dict) and _is_done(counts):
        return ResultPage(
            tuple((str(row["email"]), parse_result(row)) for row in rows if _is_result_row(row))
        )
    if isinstance(body.get("total"), int) or isinstance(rows, list):
        return Pending()
    if isinstance(counts, dict):
        return Fault(FaultKind.REFUSED, "the rows were removed after their time", 200)
    return _poll_fault(reply, body.get("message"))


def _poll_fault(reply: UpstreamReply, words: object) -> Fault:
    if reply.status == 404:
        return Fault(FaultKind.REFUSED, "no such batch", 404)
    return fault_from_status(reply, words)


def _is_done(counts: dict[str, Any]) -> bool:
    processed, total = counts.get("processed"), counts.get("total")
    return isinstance(processed, int) and isinstance(total, int) and processed >= total


def _is_result_row(row: object) -> bool:
    """A repeated address has no result of its own."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("email"), str)
        and row.get("state") not in (None, DUPLICATE_STATE)
    )


VENDOR_JOBS = VendorJobs(
    max_addresses=MAX_ADDRESSES,
    create=Call(build_create, parse_create),
    poll=Call(build_poll, parse_poll),
    without_retries=without_retries,
    max_poll_delay_s=15.0,
)
