"""The vendor as a source, version 3: requests to it, and the meaning of its replies.

It gives no verdict: that follows from the checks. An error can come with status 200, and then
has an `ErrorMessage`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
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
from adapters.kit.faults import (
    STATUS_FAULTS,
    FaultWords,
    detail_text,
    fault_from_status,
    fault_from_words,
)
from adapters.kit.words import parse_bool, parse_integer, parse_mx_hosts
from adapters.whoisxml.balance import PRODUCT_ID
from adapters.whoisxml.words import NULL_MX
from engine.model import Checks, Dns, Evidence, Meaning, Reason, Smtp, Stage, Verdict

FAULTS: Mapping[int, FaultKind] = {
    **STATUS_FAULTS,
    # in version 1 also a bad key: the milder fault is assumed, after which the key is tried again
    403: FaultKind.NO_CREDITS,
}

FAULT_WORDS = (
    # "Access restricted. Check credits balance or enter the correct API key."
    FaultWords("access restricted", FaultKind.NO_CREDITS, ask_balance=True),
    FaultWords("balance", FaultKind.NO_CREDITS),
    FaultWords("credit", FaultKind.NO_CREDITS),
    FaultWords("key", FaultKind.DEAD_KEY),
    FaultWords("auth", FaultKind.DEAD_KEY),
    FaultWords("suspended", FaultKind.BANNED),
    FaultWords("not allowed", FaultKind.BANNED),
    FaultWords("limit", FaultKind.TOO_FAST),
    FaultWords("too many", FaultKind.TOO_FAST),
)
"""Error texts of the two ambiguous statuses: 403 is an empty account or a bad key, and 200 may be
any failure."""

ACCEPTED_SMTP = Smtp(Meaning.ACCEPTED, Stage.RCPT, connected=True)
"""All that a true `smtpCheck` shows about the dialogue; a false one shows no reason."""


def build_verify(key: str, query: UpstreamQuery) -> UpstreamRequest:
    checks = query.checks
    params = {
        "apiKey": key,
        "emailAddress": query.address.raw,
        "outputFormat": "JSON",
        "validateDNS": str(int(checks.dns)),
        "validateSMTP": str(int(checks.smtp)),
        "checkCatchAll": str(int(checks.catch_all)),
    }
    if query.refresh:
        params["_hardRefresh"] = "1"
    return UpstreamRequest("GET", "/api/v3", query=params)


def parse_verify(reply: UpstreamReply, query: UpstreamQuery) -> UpstreamResult | Pending | Fault:
    body = reply.json_object
    if reply.status != 200 or "ErrorMessage" in body or "formatCheck" not in body:
        return parse_fault(reply, body)
    evidence = parse_evidence(body)
    verdict, reason = read_verdict(body, evidence, query.checks)
    return UpstreamResult(verdict, reason, evidence, verified_at=_parse_date(body.get("audit")))


def read_verdict(
    body: Mapping[str, Any], evidence: Evidence, checks: Checks
) -> tuple[Verdict, Reason]:
    """The first match decides: obstacles first, then acceptance."""
    smtp = parse_bool(body.get("smtpCheck"))
    dns = parse_bool(body.get("dnsCheck"))
    rows: tuple[tuple[bool, Verdict, Reason], ...] = (
        (parse_bool(body.get("formatCheck")) is False, Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL),
        (dns is False, Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
        (smtp is False, Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
        (smtp is True and evidence.disposable, Verdict.RISKY, Reason.DISPOSABLE),
        (smtp is True and evidence.catch_all is True, Verdict.RISKY, Reason.CATCH_ALL),
        (smtp is True, Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
        (not checks.smtp, Verdict.UNKNOWN, Reason.NOT_CHECKED),
        # "could not be completed, or the provider does not support it" (v2's page)
        (dns is True, Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
    )
    for holds, verdict, reason in rows:
        if holds:
            return verdict, reason
    return Verdict.UNKNOWN, Reason.DNS_ERROR


def parse_evidence(body: Mapping[str, Any]) -> Evidence:
    names = body.get("mxRecords")
    names = names if isinstance(names, list) else []
    null_mx = names == [NULL_MX]
    mx = () if null_mx else parse_mx_hosts(*names)
    if null_mx:
        dns = Dns.NULL_MX
    else:
        # mail can be received, although no mail host is named: an implicit MX
        can = parse_bool(body.get("dnsCheck"))
        dns = Dns.MX if mx else Dns.IMPLICIT_MX if can else Dns.NOT_CHECKED
    return Evidence(
        disposable=parse_bool(body.get("disposableCheck")) is True,
        free=parse_bool(body.get("freeCheck")) is True,
        dns=dns,
        mx=mx,
        smtp=ACCEPTED_SMTP if parse_bool(body.get("smtpCheck")) else None,
        catch_all=parse_bool(body.get("catchAllCheck")),
    )


def _parse_date(audit: object) -> datetime | None:
    """`YYYY-MM-DD HH:MM:SS[.mmm] UTC`."""
    text = str(audit.get("auditUpdatedDate")) if isinstance(audit, dict) else ""
    try:
        return datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=UTC)
    except ValueError:
        return None


def parse_fault(reply: UpstreamReply, body: Mapping[str, Any]) -> Fault:
    words = _error_text(body)
    if reply.status in (200, 403) and words:
        return fault_from_words(reply, words, FAULT_WORDS, FAULTS)
    return fault_from_status(reply, words, FAULTS)


def _error_text(body: Mapping[str, Any]) -> str:
    """Each version has it in another member, and so has the bulk API."""
    error, response = body.get("ErrorMessage"), body.get("response")
    found: object = None
    if isinstance(error, dict):
        found = error.get("msg") or error.get("Error")
    if isinstance(response, dict):
        errors = response.get("errors")
        found = "; ".join(map(str, errors)) if isinstance(errors, list) else response.get("error")
    found = found or body.get("messages") or body.get("message") or body.get("error")
    return detail_text(found) if found else ""


def build_balance(key: str) -> UpstreamRequest:
    return UpstreamRequest(
        "GET",
        "/user-service/account-balance",
        query={"apiKey": key, "productId": str(PRODUCT_ID)},
        is_billed=False,
    )


def parse_balance(reply: UpstreamReply) -> int | Fault:
    body = reply.json_object
    rows = body.get("data")
    if reply.status == 200 and isinstance(rows, list):
        for row in rows:
            if isinstance(row, dict) and row.get("product_id") == PRODUCT_ID:
                credits = parse_integer(row.get("credits"))
                if credits is not None:
                    return credits
    return parse_fault(reply, body)


UPSTREAM = Upstream(
    verify=Call(build_verify, parse_verify),
    always_reports=frozenset({"disposable", "free"}),
    balance=Call(build_balance, parse_balance),
    other_hosts={
        "emailverification.whoisxmlapi.com": {"/user-service/": "user.whoisxmlapi.com"},
    },
    # its listing on RapidAPI reports 9 to 15 s; it gives itself two minutes (v1's page)
    usual_answer_s=15.0,
)
