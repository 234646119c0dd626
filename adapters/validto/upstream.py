"""The vendor as a source: requests to it, and the meaning of its replies.

The status decides first, then `success`, then `result`, which is the text of an error if there is
one. Texts differ between the brands, so they count only if nothing else decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.contract.upstream import (
    Call,
    Fault,
    FaultKind,
    Pending,
    Upstream,
    UpstreamQuery,
    UpstreamReply,
    UpstreamRequest,
    UpstreamResult,
)
from adapters.kit.faults import FaultWords, fault_from_status, fault_from_words
from adapters.kit.words import parse_bool, parse_integer
from engine.model import Evidence, Reason, Verdict

MIN_WAIT_MS, MAX_WAIT_MS = 30_000, 180_000
"""Of `timeout`."""
DEFAULT_RETRY_AFTER_S = 60.0
"""After a 429: the limit is by the minute."""

VERDICTS_BY_RESULT: Mapping[str, tuple[Verdict, Reason]] = {
    "deliverable": (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
    "undeliverable": (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    "accept-all": (Verdict.RISKY, Reason.CATCH_ALL),
    # the vendor gives no reasons; this one promises the least
    "unknown": (Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
}

FAULT_WORDS = (
    FaultWords("api key", FaultKind.DEAD_KEY),
    FaultWords("insufficient", FaultKind.NO_CREDITS),
    FaultWords("too many", FaultKind.TOO_FAST),
    # "Verify restricted", "Verification restricted due to account status."
    FaultWords("restricted", FaultKind.BANNED),
    FaultWords("timedout", FaultKind.PENDING),
)
"""Error texts of the two ambiguous statuses: 400 is a missing address, an account under review or a
time-out, and 200 may be any failure."""


def build_verify(key: str, query: UpstreamQuery) -> UpstreamRequest:
    wait_ms = int(min(max(query.wait_s * 1000, MIN_WAIT_MS), MAX_WAIT_MS))
    return UpstreamRequest(
        "GET",
        "/v1/verify",
        query={"apikey": key, "email": query.address.raw, "timeout": str(wait_ms)},
    )


def parse_verify(reply: UpstreamReply, _: UpstreamQuery) -> UpstreamResult | Pending | Fault:
    body = reply.json_object
    if reply.status // 100 != 2 or parse_bool(body.get("success")) is not True:
        return parse_fault(reply, body)
    verdict, reason, raw_word = parse_result_word(body.get("result"))
    disposable = parse_bool(body.get("disposable")) is True
    if verdict is Verdict.UNDELIVERABLE and disposable:
        # seen live: addresses of disposable domains are called undeliverable
        reason = Reason.DISPOSABLE
    evidence = Evidence(
        disposable=disposable,
        free=parse_bool(body.get("free_email")) is True,
        role=parse_bool(body.get("role")) is True,
        # 2 is "not probed"
        catch_all=parse_bool(body.get("accept_all")),
        spamtrap=True if parse_bool(body.get("spamtrap")) else None,
        raw_word=raw_word,
    )
    return UpstreamResult(verdict, reason, evidence)


def parse_result_word(value: object) -> tuple[Verdict, Reason, str | None]:
    """A verdict's word, which is preserved if it is unknown."""
    # seen as `accept-all`, `accept_all` and `accept all`
    word = str(value).strip().lower().replace("_", "-").replace(" ", "-")
    if word in VERDICTS_BY_RESULT:
        return *VERDICTS_BY_RESULT[word], None
    return Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR, word


def parse_fault(reply: UpstreamReply, body: Mapping[str, Any]) -> Fault:
    words = body.get("result") or body.get("message")
    if reply.status in (200, 400) and parse_bool(body.get("success")) is False:
        return fault_from_words(reply, words, FAULT_WORDS)
    return fault_from_status(reply, words)


def build_balance(key: str) -> UpstreamRequest:
    return UpstreamRequest("GET", "/v1/info", query={"apikey": key}, is_billed=False)


def parse_balance(reply: UpstreamReply) -> int | Fault:
    body = reply.json_object
    info = body.get("credits_info")
    credits = parse_integer(info.get("credits_remaining")) if isinstance(info, dict) else None
    if reply.status // 100 == 2 and parse_bool(body.get("success")) and credits is not None:
        return credits
    return parse_fault(reply, body)


UPSTREAM = Upstream(
    verify=Call(build_verify, parse_verify),
    always_reports=frozenset({"disposable", "free", "role"}),
    balance=Call(build_balance, parse_balance),
    default_retry_after_s=DEFAULT_RETRY_AFTER_S,
    # the least `timeout` that it accepts
    usual_answer_s=30.0,
)
