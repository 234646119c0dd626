"""Vendor jobs at Emailable: the status reply has the rows."""

from __future__ import annotations

from adapters.contract.upstream import UpstreamResult
from engine.model import MxHost, Reason
from tests.adapters.vendor_jobs import (
    D,
    K,
    U,
    lists,
    parse_poll,
    reply,
    rows_of,
)

COUNTS = {"deliverable": 1, "duplicate": 0, "processed": 1, "risky": 0, "total": 1}
REASON_COUNTS = {"accepted_email": 1}


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


def test_a_row_is_read_as_a_single_result() -> None:
    result = emailable_rows(EMAILABLE_ROW)["john.smith@gmail.com"]
    assert (result.verdict, result.reason, result.score) == (D, Reason.ACCEPTED_EMAIL, 100)
    assert result.evidence.free
    assert result.evidence.mx == (MxHost("aspmx.l.google.com", 0),)
    assert result.evidence.person is not None
    assert result.evidence.raw_word is None


def test_a_row_without_a_result_is_left_out() -> None:
    repeat = {**EMAILABLE_ROW, "state": "duplicate", "reason": None, "score": None}
    odd: list[object] = [None, "a@example.com", {"email": "a@example.com"}, {"state": "risky"}]
    found = emailable_rows(EMAILABLE_ROW, repeat, *odd)
    assert [result.verdict for result in found.values()] == [D]


def test_an_unknown_word_is_kept() -> None:
    found = emailable_rows(
        {"email": "a@example.com", "state": "bouncing", "reason": "meteor"},
        {"email": "b@example.com", "state": "undeliverable", "reason": "meteor"},
        {"email": "c@example.com", "state": "undeliverable"},
    )
    assert {
        email: (result.verdict, result.evidence.raw_word) for email, result in found.items()
    } == {
        "a@example.com": (K, "bouncing meteor"),
        "b@example.com": (U, "undeliverable meteor"),
        "c@example.com": (U, "undeliverable None"),
    }
