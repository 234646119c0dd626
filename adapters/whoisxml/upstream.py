"""The vendor as a source, version 3: requests to it, and what its replies say.

It gives no verdict: that is read off the checks. An error can come with status 200, and then
has an `ErrorMessage`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
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
    mx_hosts,
    text_of,
)
from adapters.whoisxml.balance import PRODUCT_ID
from adapters.whoisxml.words import NULL_MX
from engine.model import Checks, Dns, Evidence, Meaning, Reason, Smtp, Stage, Verdict

FAULTS: Mapping[int, FaultKind] = {
    **STATUS_FAULTS,
    # a bad key is a 401 since version 2; an empty account is asked about again soon
    403: FaultKind.NO_CREDITS,
}

WORDS_FOR: tuple[tuple[str, FaultKind], ...] = (
    ("balance", FaultKind.NO_CREDITS),
    ("credit", FaultKind.NO_CREDITS),
    ("key", FaultKind.DEAD_KEY),
    ("auth", FaultKind.DEAD_KEY),
    ("suspended", FaultKind.BANNED),
    ("not allowed", FaultKind.BANNED),
    ("limit", FaultKind.TOO_FAST),
    ("too many", FaultKind.TOO_FAST),
)
"""What the words of an error mean where its status does not tell: 403 is an empty balance or a
bad key or both ("Check credits balance or enter the correct API key"), and 200 may be anything.
"""


ACCEPTED = Smtp(Meaning.ACCEPTED, Stage.RCPT, connected=True)
"""All that a true `smtpCheck` tells of the conversation; a false one does not tell why."""


def build_verify(key: str, question: Question) -> UpstreamRequest:
    checks = question.checks
    query = {
        "apiKey": key,
        "emailAddress": question.address.raw,
        "outputFormat": "JSON",
        "validateDNS": str(int(checks.dns)),
        "validateSMTP": str(int(checks.smtp)),
        "checkCatchAll": str(int(checks.catch_all)),
    }
    if question.refresh:
        query["_hardRefresh"] = "1"
    return UpstreamRequest("GET", "/api/v3", query=query)


def parse_verify(question: Question, reply: UpstreamReply) -> Told | Pending | Fault:
    body = reply.json_object
    if reply.status != 200 or "ErrorMessage" in body or "formatCheck" not in body:
        return fault(reply, body)
    evidence = evidence_of(body)
    verdict, reason = judge(body, evidence, question.checks)
    return Told(verdict, reason, evidence, verified_at=_moment(body.get("audit")))


def judge(body: Mapping[str, Any], evidence: Evidence, checks: Checks) -> tuple[Verdict, Reason]:
    """First match wins: what stands in the way first, then what takes the mail."""
    smtp = flag(body.get("smtpCheck"))
    dns = flag(body.get("dnsCheck"))
    rows: tuple[tuple[bool, Verdict, Reason], ...] = (
        (flag(body.get("formatCheck")) is False, Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL),
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


def evidence_of(body: Mapping[str, Any]) -> Evidence:
    names = body.get("mxRecords")
    names = names if isinstance(names, list) else []
    null_mx = names == [NULL_MX]
    mx = () if null_mx else mx_hosts(*names)
    if null_mx:
        dns = Dns.NULL_MX
    else:
        # that mail can be received, without a word on where, is told by an implicit MX
        can = flag(body.get("dnsCheck"))
        dns = Dns.MX if mx else Dns.IMPLICIT_MX if can else Dns.NOT_CHECKED
    return Evidence(
        disposable=flag(body.get("disposableCheck")) is True,
        free=flag(body.get("freeCheck")) is True,
        dns=dns,
        mx=mx,
        smtp=ACCEPTED if flag(body.get("smtpCheck")) else None,
        catch_all=flag(body.get("catchAllCheck")),
    )


def _moment(audit: object) -> datetime | None:
    """`YYYY-MM-DD HH:MM:SS[.mmm] UTC`."""
    text = str(audit.get("auditUpdatedDate")) if isinstance(audit, dict) else ""
    try:
        return datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=UTC)
    except ValueError:
        return None


def fault(reply: UpstreamReply, body: Mapping[str, Any]) -> Fault:
    words = _error_text(body)
    if reply.status in (200, 403) and words:
        kind = next((kind for part, kind in WORDS_FOR if part in words.lower()), None)
        if kind is not None:
            return Fault(kind, words, reply.status, reply.retry_after_s)
        if reply.status == 200:
            return Fault(FaultKind.REFUSED, words, 200)
    return fault_of(reply, FAULTS, words)


def _error_text(body: Mapping[str, Any]) -> str:
    """Every version has its own place for it, and the bulk API another."""
    error, response = body.get("ErrorMessage"), body.get("response")
    found: object = None
    if isinstance(error, dict):
        found = error.get("msg") or error.get("Error")
    if isinstance(response, dict):
        errors = response.get("errors")
        found = "; ".join(map(str, errors)) if isinstance(errors, list) else response.get("error")
    found = found or body.get("messages") or body.get("message") or body.get("error")
    return text_of(found) if found else ""


def build_balance(key: str) -> UpstreamRequest:
    return UpstreamRequest(
        "GET",
        "/user-service/account-balance",
        query={"apiKey": key, "productId": str(PRODUCT_ID)},
        bills=False,
    )


def parse_balance(reply: UpstreamReply) -> int | Fault:
    body = reply.json_object
    rows = body.get("data")
    if reply.status == 200 and isinstance(rows, list):
        for row in rows:
            if isinstance(row, dict) and row.get("product_id") == PRODUCT_ID:
                credits = row.get("credits")
                if isinstance(credits, int):
                    return credits
    return fault(reply, body)


UPSTREAM = Upstream(
    build_verify=build_verify,
    parse_verify=parse_verify,
    tells=frozenset({"disposable", "free"}),
    build_balance=build_balance,
    parse_balance=parse_balance,
    other_hosts={
        "emailverification.whoisxmlapi.com": {"/user-service/": "user.whoisxmlapi.com"},
    },
)
