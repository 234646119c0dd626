"""Vendor jobs at ValidTo: the file of results, and the start of a list that stays ready."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from adapters.contract.upstream import FaultKind, Pending, UpstreamResult
from engine.model import Evidence, Reason
from tests.adapters.vendor_jobs import (
    D,
    K,
    R,
    U,
    kind_of,
    lists,
    parse_page,
    reply,
    rows_of,
)


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
def test_a_list_that_stays_ready_is_started(status: int, body: object, kind: str | None) -> None:
    found = parse_page(lists("validto"), "start", reply(status, body))
    assert isinstance(found, Pending) if kind is None else kind_of(found) == kind


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
VALIDTO_VERDICTS = {
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
    assert {
        email: (result.verdict, result.reason) for email, result in found.items()
    } == VALIDTO_VERDICTS
    assert found["a@x.com"].evidence.free
    assert found["a@x.com"].verified_at == datetime(2024, 7, 20, 9, 52, 19, 734000, UTC)
    assert found["d@x.com"].evidence.disposable
    role = found["info@x.com"].evidence
    assert (role.role, role.catch_all, role.spamtrap) == (True, True, True)
    other = found["b@x.com"].evidence
    assert (other.role, other.catch_all, other.spamtrap) == (False, None, None)


def test_the_column_of_the_address_is_found() -> None:
    file = '"name","email","Verification Result"\n"b@x.com","a@x.com","deliverable"\n'
    assert list(validto_file(file)) == ["a@x.com"]


def test_missing_columns_and_cells_are_not_known() -> None:
    file = "Email,Verification Result,Verified At\na@x.com,deliverable\nb@x.com\n,deliverable\n\n"
    found = validto_file(file)
    assert list(found) == ["a@x.com"]
    assert found["a@x.com"] == UpstreamResult(D, Reason.ACCEPTED_EMAIL, Evidence())


def test_a_cell_may_hold_quotes_and_line_ends() -> None:
    file = '"Email","Verification Result"\n"""a\u2028b""@x.com","unknown"\n"c\nd","unknown"\n'
    assert list(validto_file(file)) == ['"a\u2028b"@x.com', "c\nd"]


def test_an_unknown_word_is_kept() -> None:
    result = validto_file('"Email","Verification Result"\n"a@x.com","Quarantined"\n')["a@x.com"]
    assert (result.verdict, result.reason) == (K, Reason.UNEXPECTED_ERROR)
    assert result.evidence.raw_word == "quarantined"


@pytest.mark.parametrize("moment", ["", "yesterday", "2024-07-20", "0001-01-01T00:00:00+14:00"])
def test_a_cell_without_a_date_is_the_present_time(moment: str) -> None:
    file = f'"Email","Verification Result","Verified At"\n"a@x.com","unknown","{moment}"\n'
    assert validto_file(file)["a@x.com"].verified_at is None


def test_a_file_with_only_a_header_has_no_rows() -> None:
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
def test_a_reply_without_a_file_is_a_fault(status: int, body: object, kind: FaultKind) -> None:
    page = parse_page(lists("validto"), "download", reply(status, body))
    assert kind_of(page) is kind
