"""The vendor as a source: requests to it, and the meaning of its replies.

Its errors are undocumented, and it blocks client addresses permanently after failed attempts: a
refused key is not tried again without a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

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
from adapters.dataoorts.words import CAUSES, FREE_PROVIDERS
from adapters.kit.faults import STATUS_FAULTS, fault_from_status
from adapters.kit.words import bearer, parse_bool, parse_integer, parse_mx_hosts, text_or_none
from engine.model import Dns, Evidence, Reason, Verdict

VERDICTS_BY_RESULT: Mapping[str, Verdict] = {verdict.value: verdict for verdict in Verdict}

REASONS_BY_CAUSE: Mapping[str, Reason] = {
    "accepted_email": Reason.ACCEPTED_EMAIL,
    "no_connect": Reason.NO_CONNECT,
    "timeout": Reason.TIMEOUT,
    "catch_all": Reason.CATCH_ALL,
    "disposable": Reason.DISPOSABLE,
    "rejected_email": Reason.REJECTED_EMAIL,
    "invalid_smtp": Reason.INVALID_SMTP,
    "invalid_domain": Reason.INVALID_DOMAIN,
    "invalid_format": Reason.INVALID_EMAIL,
    "low_quality": Reason.LOW_QUALITY,
    # the mail was accepted, but the address is risky for a reason that is not given
    "low_deliverability": Reason.ACCEPTED_EMAIL,
    "unavailable_smtp": Reason.UNAVAILABLE_SMTP,
    "unexpected_error": Reason.UNEXPECTED_ERROR,
}

FALLBACK_REASONS: Mapping[Verdict, Reason] = {
    Verdict.DELIVERABLE: Reason.ACCEPTED_EMAIL,
    Verdict.UNDELIVERABLE: Reason.REJECTED_EMAIL,
    Verdict.RISKY: Reason.LOW_QUALITY,
    Verdict.UNKNOWN: Reason.UNEXPECTED_ERROR,
}
"""For an unknown cause, or one that contradicts its result."""

PROVIDERS_BY_NAME: Mapping[str, str] = {name: word for word, name in FREE_PROVIDERS.items()}
FAULTS: Mapping[int, FaultKind] = {
    **STATUS_FAULTS,
    # a bad key should get a 401: a 403 is read as the permanent block of our IP address
    403: FaultKind.BANNED,
}


def build_verify(key: str, query: UpstreamQuery) -> UpstreamRequest:
    return UpstreamRequest(
        "POST",
        "/ai_mails_api/v1",
        headers=request_headers(key),
        # the samples send the word
        body=orjson.dumps({"email": query.address.raw, "info": "false"}),
    )


def parse_verify(reply: UpstreamReply, _: UpstreamQuery) -> UpstreamResult | Pending | Fault:
    body = reply.json_object
    info = body.get("info")
    if reply.status != 200 or not isinstance(info, dict) or "test_result" not in info:
        return fault_from_status(reply, body.get("error"), FAULTS)
    return parse_result(info)


def parse_result(info: Mapping[str, Any]) -> UpstreamResult:
    """The result in a block with a `test_result`, of a reply or of a batch's row."""
    result, cause = str(info["test_result"]), str(info.get("result_cause"))
    verdict = VERDICTS_BY_RESULT.get(result)
    reason = REASONS_BY_CAUSE.get(cause)
    if verdict is None:
        fitting = Reason.UNEXPECTED_ERROR
    elif reason is not None and CAUSES[cause].test_result == result:
        fitting = reason
    else:
        fitting = FALLBACK_REASONS[verdict]
    score = parse_integer(info.get("test_score"))
    return UpstreamResult(
        verdict=verdict or Verdict.UNKNOWN,
        reason=fitting,
        evidence=_evidence(info, None if verdict and reason else f"{result} {cause}"),
        score=score if verdict else None,
    )


def _evidence(info: Mapping[str, Any], raw_word: str | None) -> Evidence:
    mx = parse_mx_hosts(info.get("mx_record"))
    return Evidence(
        disposable=parse_bool(info.get("is_disposable")) is True,
        free=parse_bool(info.get("is_free")) is True,
        role=parse_bool(info.get("isv_nogeneric")) is False,
        dns=Dns.MX if mx else Dns.NOT_CHECKED,
        mx=mx,
        provider=PROVIDERS_BY_NAME.get(str(info.get("provider"))),
        # true proves nothing: it is also the value if nothing could be tested
        catch_all=True if parse_bool(info.get("isv_nocatchall")) is False else None,
        avatar=text_or_none(info.get("email_avatar")),
        spamtrap=True if parse_bool(info.get("isv_noblock")) is False else None,
        raw_word=raw_word,
    )


def request_headers(key: str) -> dict[str, str]:
    return {**bearer(key), "content-type": "application/json"}


UPSTREAM = Upstream(
    verify=Call(build_verify, parse_verify),
    always_reports=frozenset({"disposable", "free", "role"}),
    health=UpstreamRequest("GET", "/ai_mails_api/v1", is_billed=False),
)
