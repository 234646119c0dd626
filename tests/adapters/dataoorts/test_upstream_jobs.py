"""Vendor jobs at Dataoorts: rows in any order."""

from __future__ import annotations

from typing import Any

from adapters.contract.upstream import UpstreamResult
from engine.model import Evidence, Reason
from tests.adapters.vendor_jobs import (
    D,
    K,
    R,
    U,
    lists,
    parse_poll,
    reply,
    rows_of,
)

# the page's sample, which has another order than the addresses
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


def test_rows_are_matched_by_address() -> None:
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


def test_unknown_words_and_unusable_rows() -> None:
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
