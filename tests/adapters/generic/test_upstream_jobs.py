"""Vendor jobs at the generic API: pages of rows, in camel or snake case."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.contract.upstream import FaultKind, UpstreamResult
from adapters.contract.upstream_jobs import ResultPage
from engine.model import Dns, Evidence, Meaning, MxHost, Reason, Smtp, Stage
from tests.adapters.vendor_jobs import (
    AT,
    D,
    K,
    R,
    U,
    answer,
    kind_of,
    lists,
    parse_page,
    reply,
    verified,
)


def test_all_pages_of_a_job_are_read() -> None:
    answers = [
        answer(f"a{n}@example.com", D, Reason.ACCEPTED_EMAIL, Evidence()) for n in range(2_500)
    ]
    assert len(verified("generic", answers)) == 2_500


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
def test_rows_are_found_in_any_envelope(row: dict[str, Any], wrapped: str) -> None:
    result = dict(generic_page({wrapped: [row]} if wrapped else [row]).rows)["john@example.com"]
    assert result == UpstreamResult(
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


def test_unknown_words_and_unusable_rows() -> None:
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
    assert {email: (result.verdict, result.reason) for email, result in found.items()} == {
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
        # rows that cannot be read count as rows of the page
        (1_000, "49", {}, "50"),
        # as many as a job may have: more would be a server with endless pages
        (1_000, "50", {}, ""),
        # a server that allows fewer rows, and shows how many
        (100, "1", {"limit": 100}, "2"),
        (99, "2", {"limit": 100}, ""),
        (100, "500", {"limit": 100}, ""),
        # numbers of rows that make no sense
        (100, "1", {"limit": 0}, ""),
        (100, "1", {"limit": -1}, ""),
        (100, "1", {"limit": "100"}, ""),
        (1_000, "1", {"limit": 5_000}, "2"),
    ],
)
def test_pages_are_read_until_one_is_short(
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
def test_a_reply_without_a_page_is_a_fault(status: int, body: object, kind: FaultKind) -> None:
    assert kind_of(parse_page(lists("generic"), "1", reply(status, body))) is kind
