"""The vendor's bulk requests, as a source: created, polled, and read as JSON.

Results and failures are two lists. A row has the checks of a single verification and a word that
sums them up, `result`, whose values are not documented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    UpstreamResult,
)
from adapters.contract.upstream_jobs import JobQuery, ResultPage, VendorJobs
from adapters.kit.words import first_job_id, is_digits, parse_bool, text_or_none
from adapters.whoisxml.upstream import parse_evidence, parse_fault, read_verdict
from engine.model import Address, Checks, Evidence, Reason, Verdict

MAX_ADDRESSES = 50_000
CREATE_PATH = "/api/bevService/request"
STATUS, COMPLETED, FAILED = "status", "completed", "failed"
"""The paths below it; the last two are also values of `JobQuery.page`."""

NO_SUCH_REQUEST = frozenset({403, 422})
"""The documentation gives both the same meaning."""

RESULT_OVERRIDES: Mapping[str, tuple[Verdict, Reason]] = {
    # in the samples, `bad` goes with a domain without mail hosts, `smtp-failed` with a refused
    # address, and `unknown` with a catch-all or a check that could not be completed
    "bad": (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    "smtp-failed": (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    "unknown": (Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
}
"""By `result`: verdicts of addresses whose checks alone would make them deliverable."""
RESULTS = frozenset({"ok", *RESULT_OVERRIDES})
INVALID_FORMAT = "invalid format"
"""In lower case: the only error of a row that is about the address."""


def build_create(key: str, addresses: Sequence[Address], _: Checks) -> UpstreamRequest:
    emails = [address.raw for address in addresses]
    # without a `version`, which the page does not have: rows of each version are read alike
    return _request(CREATE_PATH, key, {"emails": emails}, bills=True)


def parse_create(reply: UpstreamReply, _: Sequence[Address], __: Checks) -> str | Fault:
    body = reply.json_object
    response = body.get("response")
    job_id = first_job_id(response.get("id")) if isinstance(response, dict) else None
    if reply.status // 100 == 2 and job_id is not None:
        return job_id
    return parse_fault(reply, body)


def build_poll(key: str, job: JobQuery) -> UpstreamRequest:
    return _request(f"{CREATE_PATH}/{STATUS}", key, {"ids": [_job_number(job.job_id)]})


def parse_poll(reply: UpstreamReply, _: JobQuery) -> ResultPage | Pending | Fault:
    jobs = _response_array(reply)
    if jobs == []:
        return Fault(FaultKind.REFUSED, "no such request", reply.status)
    found = jobs[0] if jobs else None
    if not isinstance(found, dict):
        return _job_fault(reply)
    if not parse_bool(found.get("ready")):
        return Pending()
    return ResultPage((), FAILED if str(found.get("processed_emails")) == "0" else COMPLETED)


def build_page(key: str, job: JobQuery) -> UpstreamRequest:
    return _request(f"{CREATE_PATH}/{job.page}", key, {"id": _job_number(job.job_id)})


def parse_page(reply: UpstreamReply, job: JobQuery) -> ResultPage | Pending | Fault:
    rows = _response_array(reply)
    if rows is None:
        return _job_fault(reply)
    named = [
        (row["emailAddress"], row)
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("emailAddress"), str)
    ]
    if job.page == FAILED:
        return ResultPage(
            tuple((email, MALFORMED_RESULT) for email, row in named if _is_malformed(row))
        )
    if not rows:
        # this vendor's reply for "not yet" is an empty list
        return Pending()
    results = tuple(
        (email, _parse_row(row, job.checks)) for email, row in named if "formatCheck" in row
    )
    return ResultPage(results, FAILED)


def _parse_row(row: Mapping[str, Any], checks: Checks) -> UpstreamResult:
    evidence = parse_evidence(row)
    verdict, reason = read_verdict(row, evidence, checks)
    word = (text_or_none(row.get("result")) or "ok").lower()
    if verdict is Verdict.DELIVERABLE and word in RESULT_OVERRIDES:
        verdict, reason = RESULT_OVERRIDES[word]
    return UpstreamResult(
        verdict, reason, evidence if word in RESULTS else replace(evidence, raw_word=word)
    )


MALFORMED_RESULT = UpstreamResult(Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL, Evidence())


def _is_malformed(row: Mapping[str, Any]) -> bool:
    return str(row.get("error")).strip().lower() == INVALID_FORMAT


def _response_array(reply: UpstreamReply) -> list[Any] | None:
    response = reply.json_object.get("response")
    return response if reply.status == 200 and isinstance(response, list) else None


def _job_number(job_id: str) -> int | str:
    """Ids are numbers, which we store as text."""
    return int(job_id) if is_digits(job_id) else job_id


def _request(
    path: str, key: str, parameters: Mapping[str, object], *, bills: bool = False
) -> UpstreamRequest:
    return UpstreamRequest(
        "POST",
        path,
        headers={"content-type": "application/json"},
        body=orjson.dumps({"apiKey": key, **parameters, "format": "json"}),
        is_billed=bills,
    )


def _job_fault(reply: UpstreamReply) -> Fault:
    if reply.status in NO_SUCH_REQUEST:
        return Fault(FaultKind.REFUSED, "no such request", reply.status)
    return parse_fault(reply, reply.json_object)


VENDOR_JOBS = VendorJobs(
    max_addresses=MAX_ADDRESSES,
    create=Call(build_create, parse_create),
    poll=Call(build_poll, parse_poll),
    page=Call(build_page, parse_page),
    first_poll_delay_s=2.0,
)
