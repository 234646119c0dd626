"""The vendor's batches, as a source: queued once, and fetched whole by their id.

The vendor documents neither the reply for an unfinished batch nor an error, and blocks client
addresses after too many failed fetches. So anything but an array of rows counts as "not yet", and a
refusal ends the job: nothing is requested after it. The vendor allows three batches a day, so only
long lists are submitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from adapters.dataoorts.upstream import FAULTS, parse_result, request_headers
from adapters.kit.faults import fault_from_status
from adapters.kit.words import first_job_id
from engine.model import Address, Checks

MAX_ADDRESSES, MIN_ADDRESSES = 50_000, 500
JOB_FAULTS: Mapping[int, FaultKind] = {
    **FAULTS,
    # the batch is gone, and the address is not blocked for asking once
    404: FaultKind.REFUSED,
}


def build_create(key: str, addresses: Sequence[Address], _: Checks) -> UpstreamRequest:
    return UpstreamRequest(
        "POST",
        "/ai_mails_api/bulk/v1",
        headers=request_headers(key),
        body=orjson.dumps({"emails": [address.raw for address in addresses]}),
    )


def parse_create(reply: UpstreamReply, _: Sequence[Address], __: Checks) -> str | Fault:
    body = reply.json_object
    job_id = first_job_id(body.get("id"))
    if reply.status // 100 == 2 and job_id is not None:
        return job_id
    return fault_from_status(reply, body.get("error"), JOB_FAULTS)


def build_poll(key: str, job: JobQuery) -> UpstreamRequest:
    return UpstreamRequest(
        "POST",
        "/ai_mails_api/bulk_results/v1",
        headers=request_headers(key),
        body=orjson.dumps({"id": job.job_id}),
        is_billed=False,
    )


def parse_poll(reply: UpstreamReply, _: JobQuery) -> ResultPage | Pending | Fault:
    value = reply.json
    if reply.status == 202 or (
        reply.status // 100 == 2 and (isinstance(value, dict) or value == [])
    ):
        return Pending()
    rows = value if reply.status == 200 and isinstance(value, list) else []
    # rows have another order than the addresses, and are matched by address
    found = tuple((str(row["email"]), parse_result(row)) for row in rows if _is_result_row(row))
    if found:
        return ResultPage(found)
    body = value if isinstance(value, dict) else {}
    return fault_from_status(reply, body.get("error"), JOB_FAULTS)


def _is_result_row(row: object) -> bool:
    return isinstance(row, dict) and isinstance(row.get("email"), str) and "test_result" in row


VENDOR_JOBS = VendorJobs(
    max_addresses=MAX_ADDRESSES,
    create=Call(build_create, parse_create),
    poll=Call(build_poll, parse_poll),
    min_addresses=MIN_ADDRESSES,
    first_poll_delay_s=30.0,
    max_poll_delay_s=300.0,
)
