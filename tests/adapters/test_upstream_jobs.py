"""Lists at vendors, as values: what they are asked, and what their replies are taken for."""

import csv
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.contract.dialect import AnyEndpoint, Dialect
from adapters.contract.jobs import Job, JobRow, JobRows, JobState
from adapters.contract.operations import ReadRows, ShowJobs, SubmitJob
from adapters.contract.upstream import (
    Fault,
    FaultKind,
    Pending,
    UpstreamQuery,
    UpstreamReply,
    UpstreamRequest,
    UpstreamResult,
)
from adapters.contract.upstream_jobs import JobQuery, ResultPage, VendorJobs
from adapters.contract.wire import StreamReply, WireReply, WireRequest
from adapters.registry import DIALECTS
from engine.address import syntax
from engine.model import (
    Address,
    Checks,
    Dns,
    Evidence,
    Meaning,
    MxHost,
    Reason,
    Smtp,
    Stage,
    Verdict,
    Verification,
)
from engine.score import score
from tests.adapters.test_upstream_round_trip import EVIDENCES, HONEST, verification, wire

NAMES = [dialect.name for dialect in DIALECTS]
BY_NAME = {dialect.name: dialect for dialect in DIALECTS}
AT = datetime(2026, 5, 15, 10, 30, tzinfo=UTC)
CHECKS = Checks()
KEY = "the-key"
D, U, R, K = Verdict.DELIVERABLE, Verdict.UNDELIVERABLE, Verdict.RISKY, Verdict.UNKNOWN


def lists(name: str) -> VendorJobs:
    found = BY_NAME[name].vendor_jobs
    assert found is not None
    return found


def reply(status: int, body: object, headers: Mapping[str, str] | None = None) -> UpstreamReply:
    """Bytes and text as they are, anything else as JSON."""
    if isinstance(body, str):
        body = body.encode()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return UpstreamReply(status, headers or {}, raw, AT.timestamp())


def build_create(vendor: VendorJobs, addresses: Sequence[Address]) -> UpstreamRequest:
    return vendor.create.build(KEY, addresses, CHECKS)


def parse_create(vendor: VendorJobs, created: UpstreamReply) -> str | ResultPage | Fault:
    return vendor.create.parse(created, ADDRESSES, CHECKS)


def build_poll(vendor: VendorJobs, job_id: str) -> UpstreamRequest:
    return vendor.poll.build(KEY, JobQuery(job_id, CHECKS))


def parse_poll(vendor: VendorJobs, polled: UpstreamReply) -> ResultPage | Pending | Fault:
    return vendor.poll.parse(polled, JobQuery("7", CHECKS))


def build_page(vendor: VendorJobs, job_id: str, page: str) -> UpstreamRequest:
    return (vendor.page or vendor.poll).build(KEY, JobQuery(job_id, CHECKS, page))


def parse_page(
    vendor: VendorJobs, page: str, fetched: UpstreamReply
) -> ResultPage | Pending | Fault:
    return (vendor.page or vendor.poll).parse(fetched, JobQuery("7", CHECKS, page))


def rows_of(found: ResultPage | Pending | Fault) -> dict[str, UpstreamResult]:
    assert isinstance(found, ResultPage), found
    return dict(found.rows)


def kind_of(found: object) -> FaultKind:
    assert isinstance(found, Fault), found
    return found.kind


# -- requests ------------------------------------------------------------------------------

ADDRESSES = [
    syntax.parse_address(text) for text in ("ann+x@example.com", '"a,b"@example.org', "bad")
]
EMAILS = [address.raw for address in ADDRESSES]
BEARER = {"authorization": f"Bearer {KEY}"}
JSON = {"content-type": "application/json"}

CREATES: list[tuple[str, str, dict[str, str], dict[str, str], object]] = [
    ("emailable", "/v1/batch", {}, BEARER | JSON, {"emails": EMAILS}),
    (
        "whoisxml",
        "/api/bevService/request",
        {},
        JSON,
        {"apiKey": KEY, "emails": EMAILS, "version": 3, "format": "json"},
    ),
    ("generic", "/api/v1/verify/bulk", {}, BEARER | JSON, {"emails": EMAILS}),
    ("dataoorts", "/ai_mails_api/bulk/v1", {}, BEARER | JSON, {"emails": EMAILS}),
]


@pytest.mark.parametrize(("name", "path", "query", "headers", "body"), CREATES)
def test_create_is_as_the_vendor_wants_it(
    name: str, path: str, query: dict[str, str], headers: dict[str, str], body: object
) -> None:
    request = build_create(lists(name), ADDRESSES)
    assert (request.method, request.path) == ("POST", path)
    assert (request.query, request.headers) == (query, headers)
    assert json.loads(request.body) == body
    assert request.is_billed


def test_a_list_is_uploaded_as_a_file() -> None:
    """JSON is documented by one of both brands only."""
    request = build_create(lists("validto"), ADDRESSES)
    assert (request.method, request.path, request.query) == ("POST", "/v1/bulk", {"apikey": KEY})
    assert request.is_billed
    flag, file = wire(request).parts
    assert (flag.name, flag.filename, flag.text) == ("auto_verify", None, "true")
    assert (file.name, file.filename) == ("local_file", "emails.csv")
    assert list(csv.reader(file.text.splitlines())) == [["email"], *([email] for email in EMAILS)]
    other = build_create(lists("validto"), ADDRESSES[1:])
    assert other.headers != request.headers


STEPS: list[tuple[str, str | None, str, str, dict[str, str], dict[str, str], object]] = [
    # dialect, None for a poll or else the step, and the request
    ("emailable", None, "GET", "/v1/batch", {"id": "7"}, BEARER, None),
    ("validto", None, "GET", "/v1/bulk/7", {"apikey": KEY}, {}, None),
    ("validto", "start", "PATCH", "/v1/bulk/7", {"apikey": KEY}, JSON, {"action": "start"}),
    ("validto", "download", "POST", "/v1/download", {"jobId": "7", "apikey": KEY}, {}, None),
    (
        "whoisxml",
        None,
        "POST",
        "/api/bevService/request/status",
        {},
        JSON,
        {"apiKey": KEY, "ids": [7], "format": "json"},
    ),
    *(
        (
            "whoisxml",
            step,
            "POST",
            f"/api/bevService/request/{step}",
            {},
            JSON,
            {"apiKey": KEY, "id": 7, "format": "json"},
        )
        for step in ("completed", "failed")
    ),
    ("generic", None, "GET", "/api/v1/jobs/7", {}, BEARER, None),
    (
        "generic",
        "3",
        "GET",
        "/api/v1/jobs/7/results",
        {"page": "3", "limit": "1000"},
        BEARER,
        None,
    ),
    ("dataoorts", None, "POST", "/ai_mails_api/bulk_results/v1", {}, BEARER | JSON, {"id": "7"}),
]


@pytest.mark.parametrize(("name", "step", "method", "path", "query", "headers", "body"), STEPS)
def test_polls_and_pages_are_as_the_vendor_wants_them(
    name: str,
    step: str | None,
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: object,
) -> None:
    vendor = lists(name)
    request = build_poll(vendor, "7") if step is None else build_page(vendor, "7", step)
    assert (request.method, request.path) == (method, path)
    assert (request.query, request.headers) == (query, headers)
    assert (json.loads(request.body) if request.body else None) == body
    # starting a list is what its credits are taken for
    assert request.is_billed is (step == "start")


@pytest.mark.parametrize("name", ["validto", "generic"])
@pytest.mark.parametrize("job_id", ["a/../b", "a?b=c", "a b", "a%2Fb", "\u00e4"])
def test_an_id_stays_one_segment_of_a_path(name: str, job_id: str) -> None:
    request = build_poll(lists(name), job_id)
    assert re.fullmatch(r"/[\w/]+/[\w.%-]+", request.path, re.ASCII)
    assert request.path.count("/") == build_poll(lists(name), "7").path.count("/")


@pytest.mark.parametrize("job_id", ["abc", "9" * 30, "\u0667"])
def test_a_whoisxml_id_that_is_no_number_travels_as_text(job_id: str) -> None:
    vendor = lists("whoisxml")
    assert json.loads(build_poll(vendor, job_id).body)["ids"] == [job_id]
    assert json.loads(build_page(vendor, job_id, "failed").body)["id"] == job_id


def test_what_a_list_may_hold_and_when_it_is_polled() -> None:
    bounds = {
        name: (
            found.max_addresses,
            found.min_addresses,
            found.first_poll_delay_s,
            found.max_poll_delay_s,
        )
        for name, found in zip(NAMES, map(lists, NAMES), strict=True)
    }
    assert bounds == {
        "emailable": (1_000, 10, 1.0, 15.0),
        "validto": (100_000, 10, 2.0, 30.0),
        "whoisxml": (50_000, 10, 2.0, 30.0),
        "generic": (50_000, 10, 5.0, 30.0),
        # three batches a day; its results are not to be asked for before half a minute
        "dataoorts": (50_000, 500, 30.0, 300.0),
    }


# -- creating ------------------------------------------------------------------------------

WORKING_CREATES: list[tuple[str, object]] = [
    ("emailable", {"message": "Batch successfully created.", "id": "{id}"}),
    ("validto", {"success": True, "job_id": "{id}", "message": "list has been created"}),
    ("validto", {"job_id": "{id}", "success": "true"}),
    ("whoisxml", {"response": {"id": "{id}"}}),
    ("generic", {"jobId": "{id}", "status": "processing", "total": 3, "message": "Job created."}),
    ("generic", {"job_id": "{id}", "status": "queued"}),
    ("generic", {"id": "{id}"}),
    ("dataoorts", {"id": "{id}"}),
]


@pytest.mark.parametrize(("name", "body"), WORKING_CREATES)
@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize("job_id", ["0KVBG3TK6QXFJKIYY6Z4ECA7AXZ", 5])
def test_a_job_id_is_read_off_any_success(
    name: str, body: object, status: int, job_id: str | int
) -> None:
    text = json.dumps(body).replace('"{id}"', json.dumps(job_id))
    assert parse_create(lists(name), reply(status, text)) == str(job_id)


@pytest.mark.parametrize(("name", "body"), WORKING_CREATES)
@pytest.mark.parametrize("job_id", ["", " ", None, True, 1.5, ["5"], {}, "x" * 201])
def test_what_is_no_id_is_garbage(name: str, body: object, job_id: object) -> None:
    text = json.dumps(body).replace('"{id}"', json.dumps(job_id))
    found = parse_create(lists(name), reply(200, text))
    assert isinstance(found, Fault)
    assert found.kind is FaultKind.GARBAGE
    # with a 4xx status it would say that nothing was created
    assert found.status == 200


GARBAGE = [b"", b"\xff\xfe", "<html>busy</html>", "null", "[]", "7", '"id"', '{"id', "{}"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("body", GARBAGE)
def test_a_create_that_says_nothing_is_garbage(name: str, body: str | bytes) -> None:
    assert kind_of(parse_create(lists(name), reply(200, body))) is FaultKind.GARBAGE


ERRORS: list[tuple[str, int, object, FaultKind]] = [
    ("emailable", 400, {"message": "Bad"}, FaultKind.REFUSED),
    ("emailable", 401, {"message": "API key is required"}, FaultKind.DEAD_KEY),
    ("emailable", 402, {"message": "No credits"}, FaultKind.NO_CREDITS),
    ("emailable", 429, {"message": "Rate Limit Exceeded"}, FaultKind.TOO_FAST),
    ("emailable", 500, {"message": "Oops"}, FaultKind.SERVER_ERROR),
    ("emailable", 503, "<html>", FaultKind.SERVER_ERROR),
    ("validto", 400, {"result": "Invalid file data", "success": False}, FaultKind.REFUSED),
    (
        "validto",
        400,
        {"success": False, "message": "The maximum number of lists has been reached."},
        FaultKind.REFUSED,
    ),
    ("validto", 401, {"result": "Invalid API Key", "success": False}, FaultKind.DEAD_KEY),
    ("validto", 200, {"result": "Invalid API Key", "success": "false"}, FaultKind.DEAD_KEY),
    (
        "validto",
        402,
        {"success": "false", "result": "Insufficient verification credits"},
        FaultKind.NO_CREDITS,
    ),
    ("validto", 429, {"success": "false", "result": "Too many requests"}, FaultKind.TOO_FAST),
    ("validto", 500, "", FaultKind.SERVER_ERROR),
    (
        "whoisxml",
        400,
        {"response": {"errors": ["The format field should have one of: json, xml."]}},
        FaultKind.REFUSED,
    ),
    (
        "whoisxml",
        401,
        {"response": {"error": "Authorisation or authentication failed"}},
        FaultKind.DEAD_KEY,
    ),
    ("whoisxml", 402, {"response": {"error": "Insufficient balance"}}, FaultKind.NO_CREDITS),
    ("whoisxml", 403, {"response": {"error": "Insufficient balance"}}, FaultKind.NO_CREDITS),
    ("whoisxml", 200, {"response": {"error": "Insufficient balance"}}, FaultKind.NO_CREDITS),
    ("whoisxml", 200, {"ErrorMessage": {"msg": "Bad key"}}, FaultKind.DEAD_KEY),
    ("whoisxml", 422, {"response": {"error": "Unprocessable"}}, FaultKind.REFUSED),
    ("whoisxml", 429, {"code": 429, "messages": "Slow down"}, FaultKind.TOO_FAST),
    ("whoisxml", 500, "oops", FaultKind.SERVER_ERROR),
    ("generic", 400, {"error": "too_many_emails", "message": "Too many"}, FaultKind.REFUSED),
    ("generic", 401, {"error": "unauthorized", "message": "No"}, FaultKind.DEAD_KEY),
    (
        "generic",
        402,
        {"error": "usage_limit_reached", "message": "Monthly limit", "used": 100, "limit": 100},
        FaultKind.NO_CREDITS,
    ),
    ("generic", 413, {"error": "payload_too_large", "message": "Large"}, FaultKind.REFUSED),
    ("generic", 429, {"error": "rate_limit_exceeded", "message": "Slow"}, FaultKind.TOO_FAST),
    ("generic", 500, {"error": "server_error", "message": "Oops"}, FaultKind.SERVER_ERROR),
    ("dataoorts", 400, {"error": "Invalid request body"}, FaultKind.REFUSED),
    ("dataoorts", 401, {"error": "Unauthorized"}, FaultKind.DEAD_KEY),
    ("dataoorts", 402, {"error": "Insufficient credits"}, FaultKind.NO_CREDITS),
    ("dataoorts", 404, {"error": "Not found"}, FaultKind.REFUSED),
    ("dataoorts", 429, {"error": "Batch limit reached"}, FaultKind.TOO_FAST),
    ("dataoorts", 500, {"error": "Internal server error"}, FaultKind.SERVER_ERROR),
]


@pytest.mark.parametrize(("name", "status", "body", "kind"), ERRORS)
def test_an_error_on_create_is_a_fault(
    name: str, status: int, body: object, kind: FaultKind
) -> None:
    found = parse_create(lists(name), reply(status, body))
    assert isinstance(found, Fault)
    assert (found.kind, found.status) == (kind, status)


@pytest.mark.parametrize("name", NAMES)
def test_an_error_with_an_id_in_it_creates_nothing(name: str) -> None:
    body = {"id": "5", "jobId": "5", "job_id": "5", "success": True, "response": {"id": 5}}
    assert kind_of(parse_create(lists(name), reply(500, body))) is FaultKind.SERVER_ERROR


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("text", "after_s"),
    [
        ("17", 17.0),
        ("Fri, 15 May 2026 10:30:30 GMT", 30.0),
        # none of these is a time, and none of them may be taken for one
        ("soon", None),
        ("\u00b2", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_how_long_to_wait_is_read_off_a_429(name: str, text: str, after_s: float | None) -> None:
    too_fast = reply(429, {}, {"retry-after": text})
    for found in (
        parse_create(lists(name), too_fast),
        parse_poll(lists(name), too_fast),
        parse_page(lists(name), "1", too_fast),
    ):
        assert isinstance(found, Fault)
        assert (found.kind, found.retry_after_s) == (FaultKind.TOO_FAST, after_s)


def test_the_words_of_a_bulk_error_are_kept() -> None:
    body = {"response": {"error": "old", "errors": ["one", "two"]}}
    found = parse_create(lists("whoisxml"), reply(400, body))
    assert isinstance(found, Fault)
    assert found.detail == "one; two"


# -- polling -------------------------------------------------------------------------------

COUNTS = {"deliverable": 1, "duplicate": 0, "processed": 1, "risky": 0, "total": 1}
REASON_COUNTS = {"accepted_email": 1}


def whois_job(**members: object) -> dict[str, object]:
    """A row of the page's sample, with other members."""
    row = {
        "id": 596,
        "date_start": "1528377253",
        "total_emails": 3,
        "invalid_emails": 0,
        "processed_emails": 3,
        "failed_emails": 0,
        "ready": 1,
    }
    return {"response": [row | members]}


GENERIC_JOB = {
    "id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "status": "completed",
    "total_emails": 3,
    "completed": 3,
    "deliverable": 2,
    "risky": 0,
    "undeliverable": 1,
    "created_at": "2026-05-15T10:30:00.000Z",
}

ON_THE_WAY: list[tuple[str, int, object]] = [
    ("emailable", 200, {"message": "Your batch is being processed.", "processed": 1, "total": 2}),
    ("emailable", 200, {"message": "Your batch is paused.", "processed": 1, "total": 2}),
    ("emailable", 200, {"message": "Your batch is being processed.", "processed": 2, "total": 2}),
    (
        "emailable",
        200,
        {"emails": [], "id": "5", "total_counts": {**COUNTS, "total": 2}},
    ),
    ("emailable", 249, {"message": "Please send your request again."}),
    ("validto", 200, {"status": "preparing", "success": True}),
    ("validto", 200, {"status": "verifying", "success": "true", "total": 2, "pending": 1}),
    *(
        ("whoisxml", 200, whois_job(ready=ready, processed_emails=1))
        for ready in (0, "0", False, "false", None, "2", "")
    ),
    ("whoisxml", 200, {"response": [{"id": 596}]}),
    *(
        ("generic", 200, {**GENERIC_JOB, "status": word})
        for word in ("queued", "processing", "Processing", "finalizing")
    ),
    ("dataoorts", 202, {"status": "processing"}),
    ("dataoorts", 202, ""),
    ("dataoorts", 202, []),
    ("dataoorts", 202, [{"email": "a@example.com", "test_result": "deliverable"}]),
    ("dataoorts", 200, {"status": "processing"}),
    ("dataoorts", 200, {}),
    ("dataoorts", 200, []),
    ("dataoorts", 201, {"queued": True}),
]


@pytest.mark.parametrize(("name", "status", "body"), ON_THE_WAY)
def test_a_list_that_is_not_done_is_pending(name: str, status: int, body: object) -> None:
    assert isinstance(parse_poll(lists(name), reply(status, body)), Pending)


DONE: list[tuple[str, object, str]] = [
    ("validto", {"status": "ready", "success": True, "total": 2}, "start"),
    ("validto", {"status": "completed", "success": True, "total": 2}, "download"),
    *(("whoisxml", whois_job(ready=ready), "completed") for ready in (1, "1", True, "true")),
    # where nothing was processed, an empty list of it is not waited out
    ("whoisxml", whois_job(processed_emails=0, invalid_emails=3), "failed"),
    ("whoisxml", whois_job(processed_emails="0", invalid_emails=3), "failed"),
    ("generic", GENERIC_JOB, "1"),
    ("generic", {"status": "COMPLETED"}, "1"),
]


@pytest.mark.parametrize(("name", "body", "step"), DONE)
def test_a_list_that_is_done_leads_to_its_rows(name: str, body: object, step: str) -> None:
    assert parse_poll(lists(name), reply(200, body)) == ResultPage((), step)


OVER: list[tuple[str, int, object, FaultKind]] = [
    ("emailable", 404, {"message": "Not found"}, FaultKind.REFUSED),
    # its rows were removed after their time, or come as a file
    (
        "emailable",
        200,
        {"message": "Batch verification completed.", "id": "5", "total_counts": COUNTS},
        FaultKind.REFUSED,
    ),
    ("emailable", 402, {"message": "Your card was declined."}, FaultKind.NO_CREDITS),
    ("emailable", 401, {"message": "API key is required"}, FaultKind.DEAD_KEY),
    ("emailable", 200, {"message": "Hello"}, FaultKind.GARBAGE),
    ("validto", 200, {"status": "failed", "success": True, "total": 0}, FaultKind.REFUSED),
    ("validto", 200, {"status": "cancelled", "success": True, "total": 2}, FaultKind.REFUSED),
    ("validto", 400, {"result": "Job not found", "success": False}, FaultKind.REFUSED),
    ("validto", 401, {"result": "Invalid API Key", "success": False}, FaultKind.DEAD_KEY),
    ("validto", 200, {"result": "Job not found", "success": False}, FaultKind.REFUSED),
    ("whoisxml", 200, {"response": []}, FaultKind.REFUSED),
    ("whoisxml", 403, {"response": {"error": "Wrong request id"}}, FaultKind.REFUSED),
    ("whoisxml", 422, {"response": {"error": "Wrong request id"}}, FaultKind.REFUSED),
    ("whoisxml", 403, "", FaultKind.REFUSED),
    ("whoisxml", 401, {"response": {"error": "failed"}}, FaultKind.DEAD_KEY),
    ("whoisxml", 200, {"response": {"error": "Wrong request id"}}, FaultKind.REFUSED),
    ("whoisxml", 200, {"response": [596]}, FaultKind.GARBAGE),
    ("generic", 200, {**GENERIC_JOB, "status": "failed"}, FaultKind.REFUSED),
    ("generic", 404, {"error": "not_found", "message": "No"}, FaultKind.REFUSED),
    ("generic", 401, {"error": "unauthorized", "message": "No"}, FaultKind.DEAD_KEY),
    ("generic", 200, {"id": "5"}, FaultKind.GARBAGE),
    ("dataoorts", 404, {"error": "Batch not found"}, FaultKind.REFUSED),
    ("dataoorts", 401, {"error": "Unauthorized"}, FaultKind.DEAD_KEY),
    ("dataoorts", 200, "<html>", FaultKind.GARBAGE),
    ("dataoorts", 200, ["processing"], FaultKind.GARBAGE),
]


@pytest.mark.parametrize(("name", "status", "body", "kind"), OVER)
def test_a_list_that_will_not_be_done_is_a_fault(
    name: str, status: int, body: object, kind: FaultKind
) -> None:
    assert kind_of(parse_poll(lists(name), reply(status, body))) is kind


ASKED_AGAIN = {
    FaultKind.UNREACHABLE,
    FaultKind.BUSY,
    FaultKind.TIMED_OUT,
    FaultKind.BROKEN,
    FaultKind.GARBAGE,
    FaultKind.SERVER_ERROR,
    FaultKind.PENDING,
    FaultKind.TOO_FAST,
}
"""Faults after which whoever polls goes on."""


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        # every further attempt would count towards a block for good
        *(("dataoorts", status, {"error": "IP address blocked"}) for status in (401, 403, 404)),
        ("dataoorts", 403, ""),
        ("validto", 400, {"result": "Verify restricted", "success": False}),
        ("validto", 200, {"result": "DOWNLOAD-RESTRICTED", "success": False}),
        ("validto", 400, {"result": "DOWNLOAD-RESTRICTED", "success": False}),
        ("generic", 403, {"error": "account_suspended", "message": "No"}),
        ("emailable", 403, {"message": "No"}),
    ],
)
def test_whoever_is_shut_out_does_not_ask_again(name: str, status: int, body: object) -> None:
    shut = reply(status, body)
    assert kind_of(parse_poll(lists(name), shut)) not in ASKED_AGAIN
    step = "download" if name == "validto" else "1"
    assert kind_of(parse_page(lists(name), step, shut)) not in ASKED_AGAIN


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_that_is_down_says_nothing_of_the_list(name: str, status: int) -> None:
    down = reply(status, "<html>")
    assert kind_of(parse_poll(lists(name), down)) is FaultKind.SERVER_ERROR
    assert kind_of(parse_page(lists(name), "1", down)) is FaultKind.SERVER_ERROR


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, {"job_id": "7", "success": True, "message": "shortly"}, None),
        (200, {"job_id": "7", "success": "true"}, None),
        (400, {"result": "Verification has already started.", "success": False}, None),
        (402, {"result": "Insufficient verification credits.", "success": False}, "no_credits"),
        (401, {"result": "Invalid API Key", "success": False}, "dead_key"),
        (429, {"result": "Too many requests", "success": "false"}, "too_fast"),
        (200, {"result": "Insufficient credits", "success": False}, "no_credits"),
        (200, "", "garbage"),
    ],
)
def test_a_list_is_started_by_hand(status: int, body: object, kind: str | None) -> None:
    found = parse_page(lists("validto"), "start", reply(status, body))
    assert isinstance(found, Pending) if kind is None else kind_of(found) == kind


# -- rows ----------------------------------------------------------------------------------

EMAILABLE_ROW = {
    "accept_all": None,
    "did_you_mean": None,
    "disposable": False,
    "domain": "gmail.com",
    "email": "john.smith@gmail.com",
    "first_name": "John",
    "free": True,
    "full_name": "John Smith",
    "gender": "male",
    "last_name": "Smith",
    "mailbox_full": False,
    "mx_record": "aspmx.l.google.com",
    "no_reply": False,
    "reason": "accepted_email",
    "role": False,
    "score": 100,
    "smtp_provider": "google",
    "state": "deliverable",
    "tag": None,
    "user": "john.smith",
}


def emailable_rows(*rows: object) -> dict[str, UpstreamResult]:
    body = {"emails": rows, "total_counts": COUNTS, "reason_counts": REASON_COUNTS, "id": "5"}
    return rows_of(parse_poll(lists("emailable"), reply(200, body)))


def test_emailable_rows_are_its_single_answers() -> None:
    told = emailable_rows(EMAILABLE_ROW)["john.smith@gmail.com"]
    assert (told.verdict, told.reason, told.score) == (D, Reason.ACCEPTED_EMAIL, 100)
    assert told.evidence.free
    assert told.evidence.mx == (MxHost("aspmx.l.google.com", 0),)
    assert told.evidence.person is not None
    assert told.evidence.raw_word is None


def test_emailable_rows_without_an_answer_of_their_own_are_left_out() -> None:
    repeat = {**EMAILABLE_ROW, "state": "duplicate", "reason": None, "score": None}
    odd: list[object] = [None, "a@example.com", {"email": "a@example.com"}, {"state": "risky"}]
    found = emailable_rows(EMAILABLE_ROW, repeat, *odd)
    assert [told.verdict for told in found.values()] == [D]


def test_emailable_words_that_are_new_are_kept() -> None:
    found = emailable_rows(
        {"email": "a@example.com", "state": "bouncing", "reason": "meteor"},
        {"email": "b@example.com", "state": "undeliverable", "reason": "meteor"},
        {"email": "c@example.com", "state": "undeliverable"},
    )
    assert {email: (told.verdict, told.evidence.raw_word) for email, told in found.items()} == {
        "a@example.com": (K, "bouncing meteor"),
        "b@example.com": (U, "undeliverable meteor"),
        "c@example.com": (U, "undeliverable None"),
    }


# the page's sample, and the other brand's
VALIDTO_FILE = """"Email","Verification Result","Verified At","Syntax Error","ISP","Role",\
"Disposable","Trap"
"a@x.com","deliverable","2024-07-20T09:52:19.734Z","N","Y","N","N","N"
"b@x.com","undeliverable","2024-07-20T09:52:19.734Z","N","N","N","N","N"
"c@","undeliverable","2024-07-20T09:52:19.734Z","Y","N","N","N","N"
"d@x.com","undeliverable","2024-07-20T09:52:19.734Z","N","N","N","Y","N"
"info@x.com","accept-all","2024-07-20T09:52:19.734Z","N","N","Y","N","Y"
"f@x.com","unknown","2024-07-20T09:52:19.734Z","N","N","N","N","N"
"""
BOUNCIFY_FILE = "\n".join(
    re.sub(r'^("[^"]*","[^"]*"),("[^"]*"),(.*)$', r"\1,\3,\2", line)
    for line in VALIDTO_FILE.splitlines()
)
VALIDTO_TOLD = {
    "a@x.com": (D, Reason.ACCEPTED_EMAIL),
    "b@x.com": (U, Reason.REJECTED_EMAIL),
    "c@": (U, Reason.INVALID_EMAIL),
    "d@x.com": (U, Reason.DISPOSABLE),
    "info@x.com": (R, Reason.CATCH_ALL),
    "f@x.com": (K, Reason.UNAVAILABLE_SMTP),
}


def validto_file(body: str | bytes) -> dict[str, UpstreamResult]:
    return rows_of(parse_page(lists("validto"), "download", reply(200, body)))


@pytest.mark.parametrize(
    "body",
    [
        VALIDTO_FILE,
        BOUNCIFY_FILE,
        VALIDTO_FILE.replace("\n", "\r\n"),
        VALIDTO_FILE.replace("\n", "\r"),
        "\ufeff" + VALIDTO_FILE,
        VALIDTO_FILE.replace('"', ""),
        VALIDTO_FILE.replace('"Email"', '"col0"'),
        VALIDTO_FILE.replace('"Email"', '"E-Mail of ours"'),
        VALIDTO_FILE.replace('"Email"', '" EMAIL "').replace("Verified At", "VERIFIED AT"),
        VALIDTO_FILE.replace("accept-all", "accept_all"),
        VALIDTO_FILE.replace("accept-all", "Accept All"),
    ],
    ids=range(11),
)
def test_a_file_is_read_by_its_header(body: str) -> None:
    found = validto_file(body)
    assert {email: (told.verdict, told.reason) for email, told in found.items()} == VALIDTO_TOLD
    assert found["a@x.com"].evidence.free
    assert found["a@x.com"].verified_at == datetime(2024, 7, 20, 9, 52, 19, 734000, UTC)
    assert found["d@x.com"].evidence.disposable
    role = found["info@x.com"].evidence
    assert (role.role, role.catch_all, role.spamtrap) == (True, True, True)
    other = found["b@x.com"].evidence
    assert (other.role, other.catch_all, other.spamtrap) == (False, None, None)


def test_the_address_stands_in_its_own_column() -> None:
    file = '"name","email","Verification Result"\n"b@x.com","a@x.com","deliverable"\n'
    assert list(validto_file(file)) == ["a@x.com"]


def test_columns_and_cells_that_are_missing_are_not_known() -> None:
    file = "Email,Verification Result,Verified At\na@x.com,deliverable\nb@x.com\n,deliverable\n\n"
    found = validto_file(file)
    assert list(found) == ["a@x.com"]
    assert found["a@x.com"] == UpstreamResult(D, Reason.ACCEPTED_EMAIL, Evidence())


def test_a_cell_may_hold_quotes_and_line_ends() -> None:
    file = '"Email","Verification Result"\n"""a\u2028b""@x.com","unknown"\n"c\nd","unknown"\n'
    assert list(validto_file(file)) == ['"a\u2028b"@x.com', "c\nd"]


def test_a_verdict_that_is_new_is_kept() -> None:
    told = validto_file('"Email","Verification Result"\n"a@x.com","Quarantined"\n')["a@x.com"]
    assert (told.verdict, told.reason) == (K, Reason.UNEXPECTED_ERROR)
    assert told.evidence.raw_word == "quarantined"


@pytest.mark.parametrize("moment", ["", "yesterday", "2024-07-20", "0001-01-01T00:00:00+14:00"])
def test_a_date_that_is_none_was_just_now(moment: str) -> None:
    file = f'"Email","Verification Result","Verified At"\n"a@x.com","unknown","{moment}"\n'
    assert validto_file(file)["a@x.com"].verified_at is None


def test_a_header_alone_has_no_rows() -> None:
    assert validto_file(VALIDTO_FILE.splitlines()[0]) == {}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, "<html>\n", FaultKind.GARBAGE),
        (200, "", FaultKind.GARBAGE),
        (200, b'"Email","Verification Result"\n"\xff","unknown"', FaultKind.GARBAGE),
        (200, VALIDTO_FILE[:-3], FaultKind.GARBAGE),
        (400, {"result": "Job not found.", "success": False}, FaultKind.REFUSED),
        (401, {"result": "Invalid API Key", "success": False}, FaultKind.DEAD_KEY),
    ],
    ids=range(6),
)
def test_what_is_no_file_is_a_fault(status: int, body: object, kind: FaultKind) -> None:
    page = parse_page(lists("validto"), "download", reply(status, body))
    assert kind_of(page) is kind


# the page's sample, and a row of the vendor's own test
WHOIS_ROWS: list[dict[str, Any]] = [
    {
        "emailAddress": "alex@alex.edu",
        "formatCheck": "true",
        "smtpCheck": "null",
        "dnsCheck": "false",
        "freeCheck": "false",
        "disposableCheck": "false",
        "catchAllCheck": "null",
        "result": "bad",
    },
    {
        "emailAddress": "bob@google.com",
        "formatCheck": "true",
        "smtpCheck": "true",
        "dnsCheck": "true",
        "freeCheck": "false",
        "disposableCheck": "false",
        "catchAllCheck": "true",
        "mxRecords": ["ASPMX.L.GOOGLE.com.", "alt1.aspmx.l.google.com"],
        "result": "unknown",
    },
    {
        "emailAddress": "mila@yahoo.com",
        "formatCheck": "true",
        "smtpCheck": "true",
        "dnsCheck": "true",
        "freeCheck": "true",
        "disposableCheck": "false",
        "catchAllCheck": "true",
        "mxRecords": [],
        "result": "unknown",
    },
    {
        "emailAddress": "foo@example.com",
        "formatCheck": "true",
        "smtpCheck": "false",
        "dnsCheck": "true",
        "freeCheck": "false",
        "disposableCheck": "false",
        "catchAllCheck": "false",
        "mxRecords": ["."],
        "result": "smtp-failed",
    },
]
GOOD_ROW = {
    **WHOIS_ROWS[1],
    "emailAddress": "Ann@example.com",
    "catchAllCheck": "false",
    "result": "ok",
}


def completed(*rows: object) -> dict[str, UpstreamResult]:
    found = parse_page(lists("whoisxml"), "completed", reply(200, {"response": rows}))
    assert isinstance(found, ResultPage)
    assert found.next_page == "failed"
    return dict(found.rows)


def test_whoisxml_rows_are_read_off_their_checks() -> None:
    found = completed(*WHOIS_ROWS, GOOD_ROW)
    assert {email: (told.verdict, told.reason) for email, told in found.items()} == {
        "alex@alex.edu": (U, Reason.INVALID_DOMAIN),
        "bob@google.com": (R, Reason.CATCH_ALL),
        "mila@yahoo.com": (R, Reason.CATCH_ALL),
        "foo@example.com": (U, Reason.REJECTED_EMAIL),
        "Ann@example.com": (D, Reason.ACCEPTED_EMAIL),
    }
    assert {email: told.evidence.dns for email, told in found.items()} == {
        "alex@alex.edu": Dns.NOT_CHECKED,
        "bob@google.com": Dns.MX,
        "mila@yahoo.com": Dns.IMPLICIT_MX,
        "foo@example.com": Dns.NULL_MX,
        "Ann@example.com": Dns.MX,
    }
    assert found["bob@google.com"].evidence.mx == (
        MxHost("aspmx.l.google.com", 0),
        MxHost("alt1.aspmx.l.google.com", 1),
    )
    assert found["mila@yahoo.com"].evidence.free
    assert all(told.evidence.raw_word is None for told in found.values())


@pytest.mark.parametrize("yes", ["true", True, 1, "1", "TRUE"])
@pytest.mark.parametrize("unknown", ["null", None, "", "maybe"])
def test_checks_are_read_in_any_spelling(yes: object, unknown: object) -> None:
    row = {**GOOD_ROW, "smtpCheck": yes, "dnsCheck": yes, "catchAllCheck": unknown}
    (told,) = completed(row).values()
    assert (told.verdict, told.evidence.catch_all) == (D, None)
    row["smtpCheck"] = unknown
    (told,) = completed({**row, "result": "unknown"}).values()
    assert (told.verdict, told.reason) == (K, Reason.UNAVAILABLE_SMTP)


@pytest.mark.parametrize(
    ("word", "verdict", "reason", "kept"),
    [
        ("ok", D, Reason.ACCEPTED_EMAIL, None),
        ("OK ", D, Reason.ACCEPTED_EMAIL, None),
        # its own word is against it, whatever the checks say
        ("bad", U, Reason.REJECTED_EMAIL, None),
        ("smtp-failed", U, Reason.REJECTED_EMAIL, None),
        ("unknown", K, Reason.UNAVAILABLE_SMTP, None),
        # an open list: the checks decide on what is new
        ("Splendid", D, Reason.ACCEPTED_EMAIL, "splendid"),
        (None, D, Reason.ACCEPTED_EMAIL, None),
        (7, D, Reason.ACCEPTED_EMAIL, None),
    ],
)
def test_a_result_is_never_outdone_by_the_checks(
    word: object, verdict: Verdict, reason: Reason, kept: str | None
) -> None:
    (told,) = completed({**GOOD_ROW, "result": word}).values()
    assert (told.verdict, told.reason, told.evidence.raw_word) == (verdict, reason, kept)


def test_whoisxml_rows_without_checks_are_left_out() -> None:
    odd: list[object] = [None, [], "a@example.com", {"formatCheck": "true"}]
    bare = {"emailAddress": "a@example.com", "result": "ok"}
    malformed = {"emailAddress": "b@example.com", "formatCheck": "false"}
    found = completed(GOOD_ROW, bare, malformed, *odd)
    assert {email: told.reason for email, told in found.items()} == {
        "Ann@example.com": Reason.ACCEPTED_EMAIL,
        "b@example.com": Reason.INVALID_EMAIL,
    }


def test_whoisxml_says_not_yet_with_an_empty_list() -> None:
    empty = reply(200, {"response": []})
    assert isinstance(parse_page(lists("whoisxml"), "completed", empty), Pending)
    assert parse_page(lists("whoisxml"), "failed", empty) == ResultPage(())


def test_what_failed_is_only_told_where_the_address_is_at_fault() -> None:
    body = {
        "response": [
            {"error": "Invalid format", "emailAddress": "foo.bar"},
            {"error": " INVALID FORMAT", "emailAddress": "ab@dd"},
            {"error": "Processing failed", "emailAddress": "c@example.com"},
            {"error": "Meteor", "emailAddress": "d@example.com"},
            {"emailAddress": "e@example.com"},
            {"error": "Invalid format"},
            None,
        ]
    }
    found = parse_page(lists("whoisxml"), "failed", reply(200, body))
    assert isinstance(found, ResultPage)
    malformed = UpstreamResult(U, Reason.INVALID_EMAIL, Evidence())
    assert found == ResultPage((("foo.bar", malformed), ("ab@dd", malformed)))


@pytest.mark.parametrize("step", ["completed", "failed"])
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (403, {"response": {"error": "Wrong request id"}}, FaultKind.REFUSED),
        (422, {"response": {"error": "Wrong request id"}}, FaultKind.REFUSED),
        (200, {"response": {"error": "Wrong request id"}}, FaultKind.REFUSED),
        (401, {"response": {"error": "failed"}}, FaultKind.DEAD_KEY),
        (200, '<?xml version="1.0"?><response/>', FaultKind.GARBAGE),
        (200, [], FaultKind.GARBAGE),
    ],
)
def test_no_rows_for_a_request_that_is_gone(
    step: str, status: int, body: object, kind: FaultKind
) -> None:
    found = parse_page(lists("whoisxml"), step, reply(status, body))
    assert kind_of(found) is kind


# the page's sample of one verification
GENERIC_ROW: dict[str, Any] = {
    "email": "john@example.com",
    "domain": "example.com",
    "score": 92,
    "tier": "deliverable",
    "tierLabel": "OK",
    "result": "ok",
    "quality": "deliverable",
    "provider": "Google Workspace",
    "isRole": True,
    "isDisposable": False,
    "mx": [{"exchange": "aspmx.l.google.com", "priority": 1}],
    "smtp": {"connected": True, "mailboxExists": True, "responseCode": 250, "latencyMs": 342},
    "catchAll": {"isCatchAll": False},
    "spf": True,
    "dmarc": True,
    "verifiedAt": "2026-05-15T10:30:00.000Z",
    "cached": False,
}
SNAKE_ROW: dict[str, Any] = {
    **{name: GENERIC_ROW[name] for name in ("email", "domain", "score", "tier", "result")},
    "provider": "Google Workspace",
    "is_role": True,
    "is_disposable": False,
    "mx": [{"exchange": "aspmx.l.google.com", "priority": 1}],
    "smtp": {"connected": True, "mailbox_exists": True, "response_code": 250, "latency_ms": 342},
    "catch_all": {"is_catch_all": False},
    "spf": True,
    "dmarc": True,
    "verified_at": "2026-05-15T10:30:00.000Z",
}


def generic_page(body: object, page: str = "1") -> ResultPage:
    found = parse_page(lists("generic"), page, reply(200, body))
    assert isinstance(found, ResultPage), found
    return found


@pytest.mark.parametrize("row", [GENERIC_ROW, SNAKE_ROW], ids=["camel", "snake"])
@pytest.mark.parametrize("wrapped", ["", "results", "data", "items"])
def test_generic_rows_come_in_any_wrapping(row: dict[str, Any], wrapped: str) -> None:
    told = dict(generic_page({wrapped: [row]} if wrapped else [row]).rows)["john@example.com"]
    assert told == UpstreamResult(
        D,
        Reason.ACCEPTED_EMAIL,
        Evidence(
            role=True,
            dns=Dns.MX,
            mx=(MxHost("aspmx.l.google.com", 1),),
            provider="google",
            spf=True,
            dmarc=True,
            smtp=Smtp(Meaning.ACCEPTED, Stage.RCPT, connected=True, code=250, latency_ms=342),
        ),
        score=92,
        verified_at=AT,
    )


def test_generic_words_and_rows_that_are_odd() -> None:
    odd: list[object] = [None, 7, "a@example.com", {"tier": "risky"}, {"email": "b@example.com"}]
    found = dict(
        generic_page(
            [
                {"email": "a@example.com", "tier": "splendid"},
                {"email": "@", "tier": "undeliverable"},
                {"email": "c@example.com", "tier": "undeliverable"},
                {"email": "d@example.com", "tier": "risky", "result": "catch_all"},
                *odd,
            ]
        ).rows
    )
    assert {email: (told.verdict, told.reason) for email, told in found.items()} == {
        "a@example.com": (K, Reason.UNEXPECTED_ERROR),
        "@": (U, Reason.INVALID_EMAIL),
        "c@example.com": (U, Reason.INVALID_DOMAIN),
        "d@example.com": (R, Reason.CATCH_ALL),
    }
    assert found["a@example.com"].evidence.raw_word == "splendid"
    assert found["a@example.com"].score is None


@pytest.mark.parametrize(
    ("rows", "page", "members", "following"),
    [
        (0, "1", {}, ""),
        (999, "1", {}, ""),
        (1_000, "1", {}, "2"),
        # rows that cannot be read fill a page, too
        (1_000, "49", {}, "50"),
        # as many as a list may have: one more would be a server without an end of pages
        (1_000, "50", {}, ""),
        # a server that allows less, and says so
        (100, "1", {"limit": 100}, "2"),
        (99, "2", {"limit": 100}, ""),
        (100, "500", {"limit": 100}, ""),
        # what is said has to make sense
        (100, "1", {"limit": 0}, ""),
        (100, "1", {"limit": -1}, ""),
        (100, "1", {"limit": "100"}, ""),
        (1_000, "1", {"limit": 5_000}, "2"),
    ],
)
def test_pages_are_turned_until_one_is_short(
    rows: int, page: str, members: dict[str, object], following: str
) -> None:
    assert generic_page({"results": [None] * rows, **members}, page) == ResultPage((), following)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, {"results": "none"}, FaultKind.GARBAGE),
        (200, "email,tier\n", FaultKind.GARBAGE),
        (400, {"error": "job_not_completed", "message": "Not yet"}, FaultKind.REFUSED),
        (404, {"error": "not_found", "message": "No"}, FaultKind.REFUSED),
        (401, {"error": "unauthorized", "message": "No"}, FaultKind.DEAD_KEY),
    ],
)
def test_no_page_of_a_generic_job(status: int, body: object, kind: FaultKind) -> None:
    assert kind_of(parse_page(lists("generic"), "1", reply(status, body))) is kind


# the page's sample: in another order than they were sent
DATAOORTS_ROW: dict[str, Any] = {
    "domain": "example.org",
    "email": "carol@example.org",
    "email_avatar": None,
    "is_disposable": False,
    "is_free": False,
    "isv_domain": True,
    "isv_format": True,
    "isv_mx": None,
    "isv_noblock": True,
    "isv_nocatchall": True,
    "isv_nogeneric": True,
    "mx_record": "",
    "provider": None,
    "result_cause": "no_connect",
    "test_result": "unknown",
    "test_score": 40,
    "username": "carol",
}


def dataoorts_rows(*rows: object) -> dict[str, UpstreamResult]:
    return rows_of(parse_poll(lists("dataoorts"), reply(200, rows)))


def test_dataoorts_rows_are_joined_by_address() -> None:
    alice = {
        **DATAOORTS_ROW,
        "email": "alice@example.com",
        "is_disposable": True,
        "test_score": 10,
        "username": "alice",
    }
    found = dataoorts_rows(DATAOORTS_ROW, alice)
    assert found == {
        "carol@example.org": UpstreamResult(K, Reason.NO_CONNECT, Evidence(), score=40),
        "alice@example.com": UpstreamResult(
            K, Reason.NO_CONNECT, Evidence(disposable=True), score=10
        ),
    }


def test_dataoorts_words_and_rows_that_are_odd() -> None:
    odd: list[object] = [None, 7, {"email": "a@example.com"}, {"test_result": "risky"}]
    found = dataoorts_rows(
        {"email": "a@example.com", "test_result": "splendid", "result_cause": "meteor"},
        {"email": "b@example.com", "test_result": "undeliverable", "result_cause": "meteor"},
        {"email": "c@example.com", "test_result": "deliverable", "result_cause": "timeout"},
        {"email": "d@example.com", "test_result": "risky"},
        *odd,
    )
    assert {e: (t.verdict, t.reason, t.evidence.raw_word) for e, t in found.items()} == {
        "a@example.com": (K, Reason.UNEXPECTED_ERROR, "splendid meteor"),
        "b@example.com": (U, Reason.REJECTED_EMAIL, "undeliverable meteor"),
        "c@example.com": (D, Reason.ACCEPTED_EMAIL, None),
        "d@example.com": (R, Reason.LOW_QUALITY, "risky None"),
    }


# -- round trip ----------------------------------------------------------------------------


async def _no_rows() -> AsyncIterator[JobRow]:
    return
    yield


class Server:
    """What the dialect's own server makes of the client's requests, for one job."""

    def __init__(self, name: str, answers: Sequence[Verification]) -> None:
        self._dialect: Dialect = BY_NAME[name]
        self._answers = {v.address.raw: v for v in answers}
        self._rows: list[JobRow] = []
        self._job: Job | None = None

    def reply(
        self, request: UpstreamRequest, state: JobState = JobState.COMPLETED
    ) -> UpstreamReply:
        seen, endpoint = self._routed(request)
        assert self._dialect.credential_for(endpoint).read(seen) == KEY
        op = endpoint.read(seen)
        if isinstance(op, SubmitJob):
            self._take_in(op)
        assert self._job is not None
        job = replace(self._job, state=state)
        if not isinstance(op, SubmitJob):
            asked = op.job_ids[0] if isinstance(op, ShowJobs) else op.job_id
            assert asked == job.id
        rows: Iterable[JobRow] = ()
        outcome: object = job
        if isinstance(op, ShowJobs):
            outcome = (job,)
        elif isinstance(op, ReadRows):
            rows = self._selected(op)
            outcome = JobRows(job, len(self._rows), _no_rows())
        written = endpoint.write(op, outcome)
        if isinstance(written, WireReply):
            return UpstreamReply(written.status, {}, written.body, AT.timestamp())
        assert isinstance(written, StreamReply)
        body = written.head + written.separator.join(map(written.render, rows)) + written.tail
        return UpstreamReply(written.status, {}, body, AT.timestamp())

    def _routed(self, request: UpstreamRequest) -> tuple[WireRequest, AnyEndpoint]:
        for endpoint in self._dialect.endpoints:
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", endpoint.path)
            found = re.fullmatch(pattern, request.path)
            if found and request.method in endpoint.methods:
                return replace(wire(request), path_params=found.groupdict()), endpoint
        raise AssertionError(request)

    def _take_in(self, op: SubmitJob) -> None:
        rules = self._dialect.batch_rules
        assert rules is not None
        assert op.start
        for entry in op.entries:
            v = self._answers[entry.email]
            self._rows.append(JobRow(entry.email, entry.cells, v, rules.row_word(v)))
        counts: dict[str, int] = {}
        for row in self._rows:
            counts[row.word] = counts.get(row.word, 0) + 1
        self._job = Job(
            id=rules.new_id(7, lambda below: below - 1),
            state=JobState.COMPLETED,
            created_at=AT,
            started_at=AT,
            finished_at=AT,
            total=len(self._rows),
            row_count=len(self._rows),
            valid_count=sum(row.verification.address.valid for row in self._rows),
            done_count=len(self._rows),
            counts=counts,
            headers=op.headers,
            options=op.options,
        )

    def _selected(self, op: ReadRows) -> Sequence[JobRow]:
        rows = [row for row in self._rows if op.row_words is None or row.word in op.row_words]
        rows = rows[::-1] if op.reverse_order else rows
        return rows[op.offset :][: op.limit]


def verified(name: str, answers: Sequence[Verification]) -> dict[str, UpstreamResult]:
    """All that comes back of a list."""
    vendor, server = lists(name), Server(name, answers)
    job_id = parse_create(vendor, server.reply(build_create(vendor, [v.address for v in answers])))
    assert isinstance(job_id, str)
    page = parse_poll(vendor, server.reply(build_poll(vendor, job_id)))
    found: list[tuple[str, UpstreamResult]] = []
    while True:
        assert isinstance(page, ResultPage), page
        found += page.rows
        if not page.next_page:
            assert len(dict(found)) == len(found)
            return dict(found)
        answer = server.reply(build_page(vendor, job_id, page.next_page))
        page = parse_page(vendor, page.next_page, answer)


def single(name: str, v: Verification) -> UpstreamResult:
    """What comes back of the same answer, asked alone."""
    dialect = BY_NAME[name]
    assert dialect.upstream is not None
    request = dialect.upstream.verify.build(KEY, UpstreamQuery(v.address))
    endpoint = next(
        e for e in dialect.endpoints if e.path == request.path and request.method in e.methods
    )
    written = endpoint.write(endpoint.read(wire(request)), v)
    assert isinstance(written, WireReply)
    answer = UpstreamReply(written.status, {}, written.body, AT.timestamp())
    told = dialect.upstream.verify.parse(answer, UpstreamQuery(v.address))
    assert isinstance(told, UpstreamResult)
    return told


MX = (MxHost("mx1.example.com", 0), MxHost("mx2.example.com", 10))
FOUND = Evidence(dns=Dns.MX, mx=MX)


def spoken(meaning: Meaning, **members: Any) -> Evidence:
    return replace(FOUND, smtp=Smtp(meaning, Stage.RCPT, connected=True), **members)


SAYABLE: dict[tuple[Verdict, Reason], Evidence] = {
    (D, Reason.ACCEPTED_EMAIL): spoken(Meaning.ACCEPTED),
    (U, Reason.REJECTED_EMAIL): spoken(Meaning.MAILBOX_NOT_FOUND),
    (U, Reason.INVALID_EMAIL): Evidence(),
    (U, Reason.INVALID_DOMAIN): Evidence(dns=Dns.NXDOMAIN),
    (U, Reason.INVALID_SMTP): FOUND,
    (U, Reason.DISPOSABLE): replace(FOUND, disposable=True),
    (R, Reason.CATCH_ALL): spoken(Meaning.ACCEPTED, catch_all=True),
    (R, Reason.MAILBOX_FULL): spoken(Meaning.MAILBOX_FULL, mailbox_full=True),
    (R, Reason.LOW_QUALITY): FOUND,
    (R, Reason.DISPOSABLE): spoken(Meaning.ACCEPTED, disposable=True),
    (K, Reason.DNS_ERROR): Evidence(dns=Dns.SERVFAIL),
    (K, Reason.NO_CONNECT): FOUND,
    (K, Reason.TIMEOUT): FOUND,
    (K, Reason.UNAVAILABLE_SMTP): spoken(Meaning.TEMPORARY),
    (K, Reason.UNEXPECTED_ERROR): FOUND,
}
COMMON = {
    (D, Reason.ACCEPTED_EMAIL),
    (U, Reason.REJECTED_EMAIL),
    (R, Reason.CATCH_ALL),
    (K, Reason.UNAVAILABLE_SMTP),
}
COME_BACK: dict[str, set[tuple[Verdict, Reason]]] = {
    "emailable": COMMON
    | {
        (U, Reason.INVALID_EMAIL),
        (U, Reason.INVALID_DOMAIN),
        (U, Reason.INVALID_SMTP),
        (R, Reason.MAILBOX_FULL),
        (R, Reason.LOW_QUALITY),
        (R, Reason.DISPOSABLE),
        (K, Reason.NO_CONNECT),
        (K, Reason.TIMEOUT),
        (K, Reason.UNEXPECTED_ERROR),
    },
    "validto": COMMON | {(U, Reason.INVALID_EMAIL), (U, Reason.DISPOSABLE)},
    "whoisxml": COMMON
    | {
        (U, Reason.INVALID_EMAIL),
        (U, Reason.INVALID_DOMAIN),
        (R, Reason.DISPOSABLE),
        (K, Reason.DNS_ERROR),
    },
    "generic": COMMON
    | {
        (U, Reason.INVALID_DOMAIN),
        (U, Reason.INVALID_SMTP),
        (R, Reason.LOW_QUALITY),
        (R, Reason.DISPOSABLE),
        (K, Reason.DNS_ERROR),
        (K, Reason.NO_CONNECT),
    },
    "dataoorts": COMMON
    | {
        (U, Reason.INVALID_EMAIL),
        (U, Reason.INVALID_DOMAIN),
        (U, Reason.INVALID_SMTP),
        (R, Reason.LOW_QUALITY),
        (R, Reason.DISPOSABLE),
        (K, Reason.NO_CONNECT),
        (K, Reason.TIMEOUT),
        (K, Reason.UNEXPECTED_ERROR),
    },
}
"""What a dialect can say, and so must come back as it was."""


def answer(email: str, verdict: Verdict, reason: Reason, evidence: Evidence) -> Verification:
    points = score(verdict, reason, evidence)
    return Verification(syntax.parse_address(email), verdict, reason, points, evidence, CHECKS, AT)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_dialect_can_say_comes_back(name: str) -> None:
    answers = {
        # without a dot in its domain it is malformed, yet has all its parts
        f"a{n}@{'dd' if said[1] is Reason.INVALID_EMAIL else 'example.com'}": said
        for n, said in enumerate(SAYABLE)
    }
    found = verified(name, [answer(email, *said, SAYABLE[said]) for email, said in answers.items()])
    same = {said for email, said in answers.items() if email in found and _says(found[email], said)}
    assert same == COME_BACK[name]


def _says(told: UpstreamResult, said: tuple[Verdict, Reason]) -> bool:
    return (told.verdict, told.reason) == said


CASES = [
    *((verdict, reason) for verdict, reasons in HONEST.items() for reason in reasons),
    (U, Reason.INVALID_SMTP),
]
LEFT_OUT = {"whoisxml": {Reason.UNEXPECTED_ERROR}}
"""Of which a list says less than an answer of its own: they are asked about one by one."""


@pytest.mark.parametrize("name", NAMES)
def test_a_row_says_what_an_answer_says(name: str) -> None:
    answers = [
        replace(
            verification(verdict, reason, evidence),
            address=syntax.parse_address(f"a{n}@example.com"),
        )
        for n, ((verdict, reason), evidence) in enumerate(product(CASES, EVIDENCES))
    ]
    found = verified(name, answers)
    for v in answers:
        if v.reason in LEFT_OUT.get(name, ()):
            assert v.address.raw not in found
            continue
        row, alone = found[v.address.raw], single(name, v)
        assert (row.verdict, row.reason, row.score) == (alone.verdict, alone.reason, alone.score)
        if name == "validto":
            # a file has no column for a domain that is no catch-all
            assert row.evidence == replace(alone.evidence, catch_all=row.evidence.catch_all)
            assert row.evidence.catch_all in (alone.evidence.catch_all, None)
        else:
            assert row.evidence == alone.evidence
        assert (row.verdict is D) <= (v.verdict is D)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.PAUSED])
def test_a_job_of_the_same_dialect_is_waited_for(name: str, state: JobState) -> None:
    vendor = lists(name)
    v = answer("ann@example.com", D, Reason.ACCEPTED_EMAIL, FOUND)
    server = Server(name, [v])
    job_id = parse_create(vendor, server.reply(build_create(vendor, [v.address]), state))
    assert isinstance(job_id, str)
    found = parse_poll(vendor, server.reply(build_poll(vendor, job_id), state))
    assert isinstance(found, Pending)


def test_a_job_of_many_pages_comes_back_whole() -> None:
    answers = [
        answer(f"a{n}@example.com", D, Reason.ACCEPTED_EMAIL, Evidence()) for n in range(2_500)
    ]
    assert len(verified("generic", answers)) == 2_500


# -- anything ------------------------------------------------------------------------------

WORDS = [
    *("id", "jobId", "job_id", "success", "status", "result", "message", "error", "errors"),
    *("response", "emails", "state", "email", "reason", "score", "total", "processed"),
    *("total_counts", "mx_record", "gender", "first_name", "ready", "processed_emails"),
    *("emailAddress", "formatCheck", "smtpCheck", "dnsCheck", "mxRecords", "ErrorMessage"),
    *("results", "data", "items", "limit", "tier", "mx", "exchange", "priority", "smtp"),
    *("connected", "responseCode", "catchAll", "is_catch_all", "verifiedAt", "provider"),
    *("test_result", "result_cause", "test_score", "email_avatar", "isv_nocatchall"),
    *("completed", "failed", "ready", "deliverable", "risky", "true", "false", "1", ""),
    *("Email", "Verification Result", "Verified At", "col0"),
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=25,
)
CELLS = st.lists(st.sampled_from([*WORDS, '"', "\r", "\0"]) | st.text(max_size=6), max_size=6)
FILES = st.lists(CELLS, max_size=5).map(lambda rows: "\n".join(map(",".join, rows)))
HEADED = FILES.map(lambda text: f"Email,Verification Result,Verified At\n{text}")
BODIES = (
    st.binary()
    | VALUES.map(json.dumps).map(str.encode)
    | (FILES | HEADED).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
STATUSES = st.sampled_from([200, 200, 200, 201, 202, 204, 249, 302, 400, 402, 403, 404, 422, 503])
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "ratelimit-reset"]),
    st.text(st.characters(codec="latin-1"), max_size=8) | st.integers().map(str),
)
STEP_NAMES = {
    "validto": ("start", "download"),
    "whoisxml": ("completed", "failed"),
    "generic": ("1", "50"),
}


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(body=BODIES, status=STATUSES, headers=HEADERS)
def test_nothing_that_a_vendor_sends_is_raised_at_us(
    name: str, body: bytes, status: int, headers: dict[str, str]
) -> None:
    vendor = lists(name)
    sent = UpstreamReply(status, headers, body, AT.timestamp())
    assert isinstance(parse_create(vendor, sent), str | Fault)
    pages = [parse_poll(vendor, sent)]
    pages += [parse_page(vendor, step, sent) for step in STEP_NAMES.get(name, ("",))]
    for page in pages:
        assert isinstance(page, ResultPage | Pending | Fault)
        if isinstance(page, ResultPage):
            assert all(
                isinstance(email, str) and isinstance(told, UpstreamResult)
                for email, told in page.rows
            )
