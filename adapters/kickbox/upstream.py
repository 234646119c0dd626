"""The vendor as a source: requests to it, and the meaning of its replies."""

from __future__ import annotations

import math
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
from adapters.kickbox.single import MAX_TIMEOUT_MS, MIN_TIMEOUT_MS
from adapters.kit.eleven_reasons import parse_words
from adapters.kit.faults import FaultWords, fault_from_status, fault_from_words
from adapters.kit.words import bearer, parse_bool, parse_integer, text_or_none
from engine.model import Evidence, Verdict

FAULT_WORDS = (
    # "Insufficient balance" and "Balance Depleted": the vendor has no 402
    FaultWords("balance depleted", FaultKind.NO_CREDITS),
    FaultWords("insufficient balance", FaultKind.NO_CREDITS),
    FaultWords("error retrieving your balance", FaultKind.SERVER_ERROR),
    FaultWords("rate limit", FaultKind.TOO_FAST),
)


def build_verify(key: str, query: UpstreamQuery) -> UpstreamRequest:
    timeout_ms = min(max(int(query.wait_s * 1000), MIN_TIMEOUT_MS), MAX_TIMEOUT_MS)
    return UpstreamRequest(
        "GET",
        "/v2/verify",
        query={"email": query.address.raw, "timeout": str(timeout_ms)},
        headers=bearer(key),
    )


def parse_verify(reply: UpstreamReply, _: UpstreamQuery) -> UpstreamResult | Pending | Fault:
    body = reply.json_object
    if reply.status != 200 or "result" not in body or body.get("success") is False:
        return parse_fault(reply)
    return parse_result(body)


def parse_fault(reply: UpstreamReply) -> Fault:
    message = reply.json_object.get("message")
    if message and reply.status < 500:
        return fault_from_words(reply, message, FAULT_WORDS)
    return fault_from_status(reply, message)


def parse_result(members: Mapping[str, Any]) -> UpstreamResult:
    """The result in an object with a `result`, or in a row of a file."""
    verdict, reason, raw_words = parse_words(
        str(members["result"]), str(members.get("reason")), members
    )
    accept_all = parse_bool(members.get("accept_all"))
    return UpstreamResult(
        verdict=verdict,
        reason=reason,
        evidence=Evidence(
            disposable=parse_bool(members.get("disposable")) is True,
            free=parse_bool(members.get("free")) is True,
            role=parse_bool(members.get("role")) is True,
            did_you_mean=text_or_none(members.get("did_you_mean")),
            # false is also the value of a check that was not made
            catch_all=accept_all if accept_all or verdict is Verdict.DELIVERABLE else None,
            raw_word=raw_words,
        ),
        score=_score(members.get("sendex")) if verdict is not Verdict.UNKNOWN else None,
    )


def _score(sendex: object) -> int | None:
    """Of 100; None for 0, which grades none of the undeliverable addresses."""
    try:
        number = float(str(sendex))
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return round(min(max(number, 0.0), 1.0) * 100) or None


def build_balance(key: str) -> UpstreamRequest:
    return UpstreamRequest("GET", "/v2/balance", headers=bearer(key), is_billed=False)


def parse_balance(reply: UpstreamReply) -> int | Fault:
    body = reply.json_object
    credits = parse_integer(body.get("balance"))
    if reply.status == 200 and credits is not None and body.get("success") is not False:
        return credits
    return parse_fault(reply)


UPSTREAM = Upstream(
    verify=Call(build_verify, parse_verify),
    balance=Call(build_balance, parse_balance),
    always_reports=frozenset({"disposable", "free", "role", "did_you_mean"}),
    free_verdicts=frozenset({Verdict.UNKNOWN}),
    # the `timeout` of a request that has none, which all its clients send
    usual_answer_s=6.0,
    # the open API has hosts of its own
    other_hosts={
        "api.kickbox.com": {"/v1/": "open.kickbox.com"},
        "api.kickbox.io": {"/v1/": "open.kickbox.io"},
    },
)
