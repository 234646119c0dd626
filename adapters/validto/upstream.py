"""The vendor as a source: requests to it, and what its replies say.

Status first, then `success`, and only then `result`, which holds the error's text when there
is one. Texts differ between the brands and are looked at only where nothing else tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.contract.upstream import (
    STATUS_FAULTS,
    Fault,
    FaultKind,
    Pending,
    Question,
    Told,
    Upstream,
    UpstreamReply,
    UpstreamRequest,
    fault_of,
    flag,
    text_of,
)
from engine.model import Evidence, Reason, Verdict

MIN_WAIT_MS, MAX_WAIT_MS = 30_000, 180_000
"""Of `timeout`."""
MIN_PAUSE_S = 60.0
"""After a 429: the limit is one of a minute."""

READ_RESULTS: Mapping[str, tuple[Verdict, Reason]] = {
    "deliverable": (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
    "undeliverable": (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    "accept-all": (Verdict.RISKY, Reason.CATCH_ALL),
    # it does not say why
    "unknown": (Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
}

FAULTS: Mapping[int, FaultKind] = STATUS_FAULTS
WORDS_FOR: tuple[tuple[str, FaultKind], ...] = (
    ("api key", FaultKind.DEAD_KEY),
    ("insufficient", FaultKind.NO_CREDITS),
    ("too many", FaultKind.TOO_FAST),
    # "Verify restricted", "Verification restricted due to account status."
    ("restricted", FaultKind.BANNED),
    ("timedout", FaultKind.PENDING),
)
"""What the words of an error mean where its status does not tell: 400 is a missing address, an
account under review and a time-out; some failures are reported with 200."""


def build_verify(key: str, question: Question) -> UpstreamRequest:
    wait_ms = int(min(max(question.wait_s * 1000, MIN_WAIT_MS), MAX_WAIT_MS))
    return UpstreamRequest(
        "GET",
        "/v1/verify",
        query={"apikey": key, "email": question.address.raw, "timeout": str(wait_ms)},
    )


def parse_verify(_: Question, reply: UpstreamReply) -> Told | Pending | Fault:
    body = reply.json_object
    if reply.status // 100 != 2 or flag(body.get("success")) is not True:
        return fault(reply, body)
    verdict, reason, raw_word = read_result(body.get("result"))
    disposable = flag(body.get("disposable")) is True
    if verdict is Verdict.UNDELIVERABLE and disposable:
        # seen live: throw-away domains are called undeliverable for what they are
        reason = Reason.DISPOSABLE
    evidence = Evidence(
        disposable=disposable,
        free=flag(body.get("free_email")) is True,
        role=flag(body.get("role")) is True,
        # 2 is "not probed"
        catch_all=flag(body.get("accept_all")),
        spamtrap=True if flag(body.get("spamtrap")) else None,
        raw_word=raw_word,
    )
    return Told(verdict, reason, evidence)


def read_result(told: object) -> tuple[Verdict, Reason, str | None]:
    """A verdict's word, which is kept if it is new to us."""
    # seen as `accept-all`, `accept_all` and `accept all`
    word = str(told).strip().lower().replace("_", "-").replace(" ", "-")
    if word in READ_RESULTS:
        return *READ_RESULTS[word], None
    return Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR, word


def fault(reply: UpstreamReply, body: Mapping[str, Any]) -> Fault:
    words = body.get("result") or body.get("message")
    if reply.status in (200, 400) and flag(body.get("success")) is False:
        text = str(words).lower()
        kind = next((kind for part, kind in WORDS_FOR if part in text), FaultKind.REFUSED)
        return Fault(kind, text_of(words), reply.status, reply.retry_after_s)
    return fault_of(reply, FAULTS, words)


def build_balance(key: str) -> UpstreamRequest:
    return UpstreamRequest("GET", "/v1/info", query={"apikey": key}, bills=False)


def parse_balance(reply: UpstreamReply) -> int | Fault:
    body = reply.json_object
    info = body.get("credits_info")
    credits = info.get("credits_remaining") if isinstance(info, dict) else None
    if reply.status // 100 == 2 and flag(body.get("success")) and isinstance(credits, int):
        return credits
    return fault(reply, body)


UPSTREAM = Upstream(
    build_verify=build_verify,
    parse_verify=parse_verify,
    tells=frozenset({"disposable", "free", "role"}),
    build_balance=build_balance,
    parse_balance=parse_balance,
    min_wait_s=MIN_PAUSE_S,
)
