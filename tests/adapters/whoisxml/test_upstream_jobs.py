"""Vendor jobs at WhoisXML: rows of checks, and failed rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.contract.upstream import Fault, FaultKind, Pending, UpstreamResult
from adapters.contract.upstream_jobs import ResultPage
from engine.model import Dns, Evidence, MxHost, Reason, Verdict
from tests.adapters.vendor_jobs import (
    D,
    K,
    R,
    U,
    build_page,
    build_poll,
    kind_of,
    lists,
    parse_create,
    parse_page,
    reply,
)


@pytest.mark.parametrize("job_id", ["abc", "9" * 30, "\u0667"])
def test_an_id_that_is_not_a_number_is_sent_as_text(job_id: str) -> None:
    vendor = lists("whoisxml")
    assert json.loads(build_poll(vendor, job_id).body)["ids"] == [job_id]
    assert json.loads(build_page(vendor, job_id, "failed").body)["id"] == job_id


def test_the_text_of_a_bulk_error_is_kept() -> None:
    body = {"response": {"error": "old", "errors": ["one", "two"]}}
    found = parse_create(lists("whoisxml"), reply(400, body))
    assert isinstance(found, Fault)
    assert found.detail == "one; two"


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


def test_a_row_is_read_by_its_checks() -> None:
    found = completed(*WHOIS_ROWS, GOOD_ROW)
    assert {email: (result.verdict, result.reason) for email, result in found.items()} == {
        "alex@alex.edu": (U, Reason.INVALID_DOMAIN),
        "bob@google.com": (R, Reason.CATCH_ALL),
        "mila@yahoo.com": (R, Reason.CATCH_ALL),
        "foo@example.com": (U, Reason.REJECTED_EMAIL),
        "Ann@example.com": (D, Reason.ACCEPTED_EMAIL),
    }
    assert {email: result.evidence.dns for email, result in found.items()} == {
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
    assert all(result.evidence.raw_word is None for result in found.values())


@pytest.mark.parametrize("yes", ["true", True, 1, "1", "TRUE"])
@pytest.mark.parametrize("unknown", ["null", None, "", "maybe"])
def test_checks_are_read_in_any_spelling(yes: object, unknown: object) -> None:
    row = {**GOOD_ROW, "smtpCheck": yes, "dnsCheck": yes, "catchAllCheck": unknown}
    (result,) = completed(row).values()
    assert (result.verdict, result.evidence.catch_all) == (D, None)
    row["smtpCheck"] = unknown
    (result,) = completed({**row, "result": "unknown"}).values()
    assert (result.verdict, result.reason) == (K, Reason.UNAVAILABLE_SMTP)


@pytest.mark.parametrize(
    ("word", "verdict", "reason", "kept"),
    [
        ("ok", D, Reason.ACCEPTED_EMAIL, None),
        ("OK ", D, Reason.ACCEPTED_EMAIL, None),
        # `result` is worse than the checks
        ("bad", U, Reason.REJECTED_EMAIL, None),
        ("smtp-failed", U, Reason.REJECTED_EMAIL, None),
        ("unknown", K, Reason.UNAVAILABLE_SMTP, None),
        # for an unknown word the checks decide
        ("Splendid", D, Reason.ACCEPTED_EMAIL, "splendid"),
        (None, D, Reason.ACCEPTED_EMAIL, None),
        (7, D, Reason.ACCEPTED_EMAIL, None),
    ],
)
def test_the_checks_never_improve_a_result(
    word: object, verdict: Verdict, reason: Reason, kept: str | None
) -> None:
    (result,) = completed({**GOOD_ROW, "result": word}).values()
    assert (result.verdict, result.reason, result.evidence.raw_word) == (verdict, reason, kept)


def test_a_row_without_checks_is_left_out() -> None:
    odd: list[object] = [None, [], "a@example.com", {"formatCheck": "true"}]
    bare = {"emailAddress": "a@example.com", "result": "ok"}
    malformed = {"emailAddress": "b@example.com", "formatCheck": "false"}
    found = completed(GOOD_ROW, bare, malformed, *odd)
    assert {email: result.reason for email, result in found.items()} == {
        "Ann@example.com": Reason.ACCEPTED_EMAIL,
        "b@example.com": Reason.INVALID_EMAIL,
    }


def test_an_empty_list_is_pending() -> None:
    empty = reply(200, {"response": []})
    assert isinstance(parse_page(lists("whoisxml"), "completed", empty), Pending)
    assert parse_page(lists("whoisxml"), "failed", empty) == ResultPage(())


def test_a_failed_row_is_a_result_only_for_a_malformed_address() -> None:
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
def test_an_unknown_request_has_no_rows(
    step: str, status: int, body: object, kind: FaultKind
) -> None:
    found = parse_page(lists("whoisxml"), step, reply(status, body))
    assert kind_of(found) is kind
