"""Vendor jobs in every dialect: requests, and how replies are read.

Each vendor's requests and replies are in `compat_fixtures/<dialect>/_vendor_jobs.json`.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.contract.jobs import JobState
from adapters.contract.upstream import (
    Fault,
    FaultKind,
    Pending,
    UpstreamReply,
    UpstreamRequest,
    UpstreamResult,
)
from adapters.contract.upstream_jobs import ResultPage
from engine.address import syntax
from engine.model import Dns, Evidence, Meaning, MxHost, Reason, Smtp, Stage, Verdict
from tests.adapters.test_upstream_round_trip import EVIDENCES, HONEST, verification, wire
from tests.adapters.vendor_jobs import (
    ADDRESSES,
    AT,
    EMAILS,
    KEY,
    D,
    K,
    R,
    Server,
    U,
    answer,
    build_create,
    build_page,
    build_poll,
    kind_of,
    lists,
    parse_create,
    parse_page,
    parse_poll,
    reply,
    single,
    verified,
)
from tests.dialects import FACTS, VENDOR_JOBS, WITH_JOBS

# -- requests ------------------------------------------------------------------------------


def rows_of(table: str) -> list[Any]:
    """The rows of one table of all dialects."""
    return [
        pytest.param(name, row, id=f"{name}-{number}")
        for name, facts in VENDOR_JOBS.items()
        for number, row in enumerate(facts.get(table, ()))
    ]


def body_of(row: Mapping[str, Any]) -> object:
    return row["json"] if "json" in row else row["text"]


def _with_each(value: Any) -> Any:
    """The value with `{"each": …}` as a list that has the pattern for each address."""
    if isinstance(value, dict) and value.keys() == {"each"}:
        pattern = json.dumps(value["each"])
        return [json.loads(pattern.replace('"<email>"', json.dumps(email))) for email in EMAILS]
    if isinstance(value, dict):
        return {name: _with_each(member) for name, member in value.items()}
    return value


def filled(value: object) -> Any:
    """A part of a request with its key and addresses."""
    text = (
        json.dumps(_with_each(value))
        .replace('"<emails>"', json.dumps(EMAILS))
        .replace("<key>", KEY)
    )
    return json.loads(text)


def check_request(request: UpstreamRequest, wanted: Mapping[str, Any]) -> None:
    assert (request.method, request.path) == (wanted["method"], wanted["path"])
    assert request.link == wanted.get("link", "")
    assert request.query == filled(wanted.get("query", {}))
    if "multipart" in wanted:
        assert request.headers.keys() == {"content-type"}
    else:
        assert request.headers == filled(wanted.get("headers", {}))
        if "csv" in wanted:
            check_csv(request.body.decode(), wanted["csv"])
        else:
            body = json.loads(request.body) if request.body else None
            assert body == filled(wanted.get("json"))


def check_csv(text: str, wanted: Sequence[Any]) -> None:
    """A list with a header, and an address in each row."""
    (header, _) = wanted
    assert list(csv.reader(text.splitlines())) == [header, *([email] for email in EMAILS)]


@pytest.mark.parametrize("name", VENDOR_JOBS)
def test_a_create_is_the_vendors_request(name: str) -> None:
    wanted = VENDOR_JOBS[name]["create"]
    request = build_create(lists(name), ADDRESSES)
    check_request(request, wanted)
    assert request.is_billed
    for part, row in zip(
        wire(request).parts if "multipart" in wanted else (),
        wanted.get("multipart", ()),
        strict=True,
    ):
        assert (part.name, part.filename) == (row["name"], row.get("filename"))
        if "csv" in row:
            check_csv(part.text, row["csv"])
        else:
            assert part.text == row["text"]


@pytest.mark.parametrize("name", [n for n, v in VENDOR_JOBS.items() if "without_retries" in v])
def test_a_create_passes_on_that_the_client_wants_no_retries(name: str) -> None:
    vendor = lists(name)
    assert vendor.without_retries is not None
    request = vendor.without_retries(build_create(vendor, ADDRESSES))
    check_request(request, VENDOR_JOBS[name]["without_retries"])
    assert request.is_billed


def test_the_vendors_with_such_an_option_are_those_of_the_fixtures() -> None:
    found = {name for name in WITH_JOBS if lists(name).without_retries is not None}
    assert found == {name for name, facts in VENDOR_JOBS.items() if "without_retries" in facts}


@pytest.mark.parametrize(
    ("emails", "sent"),
    [
        # emailable.com/docs/api/emails (documented), 2026-11
        (["a@example.com", "b@example.com"], "a@example.com,b@example.com"),
        # an array, as its Python client sends (seen)
        (['"a,b"@example.com', "c@example.com"], ['"a,b"@example.com', "c@example.com"]),
    ],
)
def test_emailable_gets_addresses_separated_by_commas_unless_one_holds_a_comma(
    emails: list[str], sent: object
) -> None:
    request = build_create(lists("emailable"), [syntax.parse_address(email) for email in emails])
    assert request.json == {"emails": sent}


@pytest.mark.parametrize(("name", "row"), rows_of("steps"))
def test_polls_and_pages_are_the_vendors_requests(name: str, row: dict[str, Any]) -> None:
    vendor, page = lists(name), row["page"]
    request = build_poll(vendor, "7") if page is None else build_page(vendor, "7", page)
    check_request(request, row)
    # the vendor charges when a job is started
    assert request.is_billed is row["billed"]


@pytest.mark.parametrize("name", WITH_JOBS)
@pytest.mark.parametrize("job_id", ["a/../b", "a?b=c", "a b", "a%2Fb", "\u00e4"])
def test_an_id_stays_one_segment_of_a_path(name: str, job_id: str) -> None:
    request = build_poll(lists(name), job_id)
    assert re.fullmatch(r"/[\w/.-]+/[\w.%-]+", request.path, re.ASCII)
    assert request.path.count("/") == build_poll(lists(name), "7").path.count("/")


@pytest.mark.parametrize("name", VENDOR_JOBS)
def test_the_limits_are_those_of_the_vendor(name: str) -> None:
    found = lists(name)
    wanted = {key: value for key, value in VENDOR_JOBS[name]["limits"].items() if key != "why"}
    assert {key: getattr(found, key) for key in wanted} == wanted


# -- creating ------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "body"), rows_of("created"))
@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize("job_id", ["0KVBG3TK6QXFJKIYY6Z4ECA7AXZ", 5])
def test_a_job_id_is_read_from_any_success(
    name: str, body: object, status: int, job_id: str | int
) -> None:
    text = json.dumps(body).replace('"<id>"', json.dumps(job_id))
    assert parse_create(lists(name), reply(status, text)) == str(job_id)


@pytest.mark.parametrize(("name", "body"), rows_of("created"))
@pytest.mark.parametrize("job_id", ["", " ", None, True, 1.5, ["5"], {}, "x" * 201])
def test_a_success_without_an_id_is_garbage(name: str, body: object, job_id: object) -> None:
    text = json.dumps(body).replace('"<id>"', json.dumps(job_id))
    found = parse_create(lists(name), reply(200, text))
    assert isinstance(found, Fault)
    assert found.kind is FaultKind.GARBAGE
    # a 4xx status would mean that there is no job
    assert found.status == 200


GARBAGE = [b"", b"\xff\xfe", "<html>busy</html>", "null", "[]", "7", '"id"', '{"id', "{}"]


@pytest.mark.parametrize("name", WITH_JOBS)
@pytest.mark.parametrize("body", GARBAGE)
def test_a_create_without_a_usable_reply_is_garbage(name: str, body: str | bytes) -> None:
    assert kind_of(parse_create(lists(name), reply(200, body))) is FaultKind.GARBAGE


@pytest.mark.parametrize(("name", "row"), rows_of("create_errors"))
def test_an_error_on_create_is_a_fault(name: str, row: dict[str, Any]) -> None:
    found = parse_create(lists(name), reply(row["status"], body_of(row)))
    assert isinstance(found, Fault)
    assert (found.kind, found.status) == (row["fault"], row["status"])


@pytest.mark.parametrize("name", WITH_JOBS)
def test_an_error_with_an_id_in_it_creates_nothing(name: str) -> None:
    ids = {"id": "5", "jobId": "5", "job_id": "5", "file_id": "5"}
    body = {**ids, "success": True, "response": {"id": 5}}
    assert kind_of(parse_create(lists(name), reply(500, body))) is FaultKind.SERVER_ERROR


@pytest.mark.parametrize("name", WITH_JOBS)
@pytest.mark.parametrize(
    ("text", "after_s"),
    [
        ("17", 17.0),
        ("Fri, 15 May 2026 10:30:30 GMT", 30.0),
        # none of these is a time
        ("soon", None),
        ("\u00b2", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_the_pause_is_read_from_a_429(name: str, text: str, after_s: float | None) -> None:
    too_fast = reply(429, {}, {"retry-after": text})
    for found in (
        parse_create(lists(name), too_fast),
        parse_poll(lists(name), too_fast),
        *(parse_page(lists(name), page, too_fast) for page in pages_of(name)),
    ):
        assert isinstance(found, Fault)
        assert (found.kind, found.retry_after_s) == (FaultKind.TOO_FAST, after_s)


def pages_of(name: str) -> list[str]:
    """The pages that a dialect's jobs have."""
    steps = VENDOR_JOBS.get(name, {}).get("steps", ())
    return [row["page"] for row in steps if row["page"] is not None] or ["1"]


# -- polling -------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "row"), rows_of("pending"))
def test_an_unfinished_job_is_pending(name: str, row: dict[str, Any]) -> None:
    assert isinstance(parse_poll(lists(name), reply(row["status"], body_of(row))), Pending)


@pytest.mark.parametrize(("name", "row"), rows_of("done"))
def test_a_finished_job_leads_to_its_rows(name: str, row: dict[str, Any]) -> None:
    assert parse_poll(lists(name), reply(200, row["json"])) == ResultPage((), row["page"])


@pytest.mark.parametrize(("name", "row"), rows_of("over"))
def test_a_failed_job_is_a_fault(name: str, row: dict[str, Any]) -> None:
    found = parse_poll(lists(name), reply(row["status"], body_of(row)))
    assert kind_of(found) is FaultKind(row["fault"])


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
"""Faults after which the next poll may succeed."""


@pytest.mark.parametrize(("name", "row"), rows_of("shut_out"))
def test_nothing_is_requested_after_our_address_is_refused(name: str, row: dict[str, Any]) -> None:
    headers = {"content-type": row.get("content_type", "")}
    shut = reply(row["status"], body_of(row), headers)
    assert kind_of(parse_poll(lists(name), shut)) not in ASKED_AGAIN
    # the last page, since the first may be a start, which is refused for other reasons
    assert kind_of(parse_page(lists(name), pages_of(name)[-1], shut)) not in ASKED_AGAIN


@pytest.mark.parametrize("name", WITH_JOBS)
@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_error_ends_no_job(name: str, status: int) -> None:
    down = reply(status, "<html>")
    assert kind_of(parse_poll(lists(name), down)) is FaultKind.SERVER_ERROR
    assert kind_of(parse_page(lists(name), pages_of(name)[-1], down)) is FaultKind.SERVER_ERROR


# -- round trip ----------------------------------------------------------------------------

MX = (MxHost("mx1.example.com", 0), MxHost("mx2.example.com", 10))
FOUND = Evidence(dns=Dns.MX, mx=MX)


def evidence_with_reply(meaning: Meaning, **members: Any) -> Evidence:
    return replace(FOUND, smtp=Smtp(meaning, Stage.RCPT, connected=True), **members)


VERDICTS_OF_ROWS: dict[tuple[Verdict, Reason], Evidence] = {
    (D, Reason.ACCEPTED_EMAIL): evidence_with_reply(Meaning.ACCEPTED),
    (U, Reason.REJECTED_EMAIL): evidence_with_reply(Meaning.MAILBOX_NOT_FOUND),
    (U, Reason.INVALID_EMAIL): Evidence(),
    (U, Reason.INVALID_DOMAIN): Evidence(dns=Dns.NXDOMAIN),
    (U, Reason.INVALID_SMTP): FOUND,
    (U, Reason.DISPOSABLE): replace(FOUND, disposable=True),
    (R, Reason.CATCH_ALL): evidence_with_reply(Meaning.ACCEPTED, catch_all=True),
    (R, Reason.MAILBOX_FULL): evidence_with_reply(Meaning.MAILBOX_FULL, mailbox_full=True),
    (R, Reason.LOW_QUALITY): FOUND,
    (R, Reason.DISPOSABLE): evidence_with_reply(Meaning.ACCEPTED, disposable=True),
    (K, Reason.DNS_ERROR): Evidence(dns=Dns.SERVFAIL),
    (K, Reason.NO_CONNECT): FOUND,
    (K, Reason.TIMEOUT): FOUND,
    (K, Reason.UNAVAILABLE_SMTP): evidence_with_reply(Meaning.TEMPORARY),
    (K, Reason.UNEXPECTED_ERROR): FOUND,
}


@pytest.mark.parametrize("name", WITH_JOBS)
def test_verdicts_and_reasons_of_rows_are_read_back(name: str) -> None:
    answers = {
        # a domain without a dot is malformed, and the address still has all parts
        f"a{n}@{'dd' if expected[1] is Reason.INVALID_EMAIL else 'example.com'}": expected
        for n, expected in enumerate(VERDICTS_OF_ROWS)
    }
    found = verified(
        name, [answer(email, *pair, VERDICTS_OF_ROWS[pair]) for email, pair in answers.items()]
    )
    same = {
        expected
        for email, expected in answers.items()
        if email in found and _is_result(found[email], expected)
    }
    assert same == FACTS[name].batch_rows_say


def _is_result(result: UpstreamResult, expected: tuple[Verdict, Reason]) -> bool:
    return (result.verdict, result.reason) == expected


CASES = [
    *((verdict, reason) for verdict, reasons in HONEST.items() for reason in reasons),
    (U, Reason.INVALID_SMTP),
]


@pytest.mark.parametrize("name", WITH_JOBS)
def test_a_row_has_the_facts_of_a_single_verification(name: str) -> None:
    answers = [
        replace(
            verification(verdict, reason, evidence),
            address=syntax.parse_address(f"a{n}@example.com"),
        )
        for n, ((verdict, reason), evidence) in enumerate(product(CASES, EVIDENCES))
    ]
    found = verified(name, answers)
    for v in answers:
        if v.reason in FACTS[name].batch_rows_left_out:
            assert v.address.raw not in found
            continue
        row, alone = found[v.address.raw], single(name, v)
        assert (row.verdict, row.reason) == (alone.verdict, alone.reason)
        assert row.score == alone.score
        for fact in FACTS[name].facts_in_rows:
            assert getattr(row.evidence, fact) == getattr(alone.evidence, fact), fact
        assert (row.verdict is D) <= (v.verdict is D)


@pytest.mark.parametrize("name", WITH_JOBS)
@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.PAUSED])
def test_an_unfinished_job_of_our_own_server_is_pending(name: str, state: JobState) -> None:
    vendor = lists(name)
    # more than a vendor verifies before it replies
    found = [answer(f"a{n}@example.com", D, Reason.ACCEPTED_EMAIL, FOUND) for n in range(200)]
    server = Server(name, found)
    created = server.reply(build_create(vendor, [v.address for v in found]), state)
    job_id = parse_create(vendor, created)
    assert isinstance(job_id, str)
    polled = parse_poll(vendor, server.reply(build_poll(vendor, job_id), state))
    assert isinstance(polled, Pending)


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


@pytest.mark.parametrize("name", WITH_JOBS)
@settings(deadline=None)
@given(body=BODIES, status=STATUSES, headers=HEADERS)
def test_no_reply_of_a_vendor_raises(
    name: str, body: bytes, status: int, headers: dict[str, str]
) -> None:
    vendor = lists(name)
    sent = UpstreamReply(status, headers, body, AT.timestamp())
    assert isinstance(parse_create(vendor, sent), str | ResultPage | Fault)
    pages = [parse_poll(vendor, sent)]
    pages += [parse_page(vendor, step, sent) for step in pages_of(name)]
    for page in pages:
        assert isinstance(page, ResultPage | Pending | Fault)
        if isinstance(page, ResultPage):
            assert all(
                isinstance(email, str) and isinstance(found, UpstreamResult)
                for email, found in page.rows
            )
