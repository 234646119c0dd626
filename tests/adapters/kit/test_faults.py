"""Faults from statuses and error texts."""

import pytest

from adapters.contract.upstream import Fault, FaultKind, UpstreamReply
from adapters.kit.faults import (
    MAX_DETAIL_CHARACTERS,
    FaultWords,
    fault_from_status,
    fault_from_words,
)

ROWS = (
    FaultWords("invalid api key or", FaultKind.NO_CREDITS, ask_balance=True),
    FaultWords("api key", FaultKind.DEAD_KEY),
)
HTML = {"content-type": "text/html; charset=UTF-8"}


def reply(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> UpstreamReply:
    return UpstreamReply(status, headers or {}, body, 0.0)


STATUSES: list[tuple[int, FaultKind]] = [
    (200, FaultKind.GARBAGE),
    (302, FaultKind.GARBAGE),
    (400, FaultKind.REFUSED),
    (401, FaultKind.DEAD_KEY),
    (402, FaultKind.NO_CREDITS),
    (404, FaultKind.SERVER_ERROR),
    (422, FaultKind.REFUSED),
    (429, FaultKind.TOO_FAST),
    (500, FaultKind.SERVER_ERROR),
    (599, FaultKind.SERVER_ERROR),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_a_status_is_a_fault(status: int, kind: FaultKind) -> None:
    assert fault_from_status(reply(status), "why") == Fault(kind, "why", status)


def test_without_a_text_the_body_is_the_detail() -> None:
    found = fault_from_status(reply(500, body=b"<html>\n  " + b"x" * 1000))
    assert found.detail.startswith("<html> x")
    assert len(found.detail) <= MAX_DETAIL_CHARACTERS


def test_a_detail_that_is_not_a_text_is_shown_as_json() -> None:
    assert fault_from_status(reply(500), {"code": [1, None]}).detail == '{"code":[1,null]}'


def test_a_body_that_is_nested_too_deeply_is_shown_as_text() -> None:
    nested = b'{"message":' * 1_000 + b"1" + b"}" * 1_000
    found = fault_from_status(reply(500, body=nested), reply(500, body=nested).json_object)
    assert found.detail == nested[:MAX_DETAIL_CHARACTERS].decode()


def test_the_first_matching_row_counts() -> None:
    text = "Invalid API key or your account ran out of credits"
    assert fault_from_words(reply(200), text, ROWS) == Fault(
        FaultKind.NO_CREDITS, text, 200, ask_balance=True
    )
    assert fault_from_words(reply(200), "Invalid API key", ROWS).kind is FaultKind.DEAD_KEY


def test_a_text_without_a_row_is_a_refusal_or_a_fault_of_its_status() -> None:
    assert fault_from_words(reply(200), "No such file.", ROWS).kind is FaultKind.REFUSED
    assert fault_from_words(reply(500), "No such file.", ROWS).kind is FaultKind.SERVER_ERROR
    assert fault_from_words(reply(200), "", ROWS).kind is FaultKind.GARBAGE


def test_the_text_of_a_firewall_page_is_ignored() -> None:
    assert fault_from_words(reply(403, HTML), "api key", ROWS).kind is FaultKind.BANNED


def test_the_pause_is_kept() -> None:
    later = reply(429, {"retry-after": "7"})
    assert fault_from_status(later).retry_after_s == 7
    assert fault_from_words(later, "api key", ROWS).retry_after_s == 7
