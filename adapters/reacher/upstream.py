"""The vendor as a source: requests to it, and the meaning of its replies.

`/v0/check_email` is asked, which the hosted service has too; both places of the key are filled in,
since the two look at one each.
"""

from __future__ import annotations

import re
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
from adapters.kit.faults import FaultWords, fault_from_status, fault_from_words
from adapters.kit.words import parse_bool, parse_integer, parse_mx_hosts, text_or_none
from adapters.reacher.problems import SECRET_HEADER
from adapters.reacher.words import NEEDS_REVERSE_DNS, VERDICTS
from engine.model import Dns, Evidence, Meaning, MxHost, Reason, Smtp, Stage, Verdict

FAULT_WORDS = (
    FaultWords(SECRET_HEADER, FaultKind.DEAD_KEY),
    FaultWords("api token", FaultKind.DEAD_KEY),
    FaultWords("this month", FaultKind.NO_CREDITS),
    FaultWords("account", FaultKind.BANNED),
    FaultWords("failed requests", FaultKind.BANNED),
)
_WAIT = re.compile(r"\b([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s)\b")
"""`12.345678901s` or `850ms`, in the text of a 429."""

TRANSIENT_REASONS: tuple[tuple[str, Reason], ...] = (
    ("greylist", Reason.GREYLISTED),
    ("graylist", Reason.GREYLISTED),
    ("grey list", Reason.GREYLISTED),
)
"""Parts of a temporary refusal in lower case; any other is `UNAVAILABLE_SMTP`."""
BLOCKED_WORDS = ("blocked", "blacklist", "block list", "denylist", "spamhaus", "barracuda")
"""Parts of a refusal in lower case that say that it is about the client."""


def headers_for(key: str) -> dict[str, str]:
    return {SECRET_HEADER: key, "authorization": key, "content-type": "application/json"}


def build_verify(key: str, query: UpstreamQuery) -> UpstreamRequest:
    body = orjson.dumps({"to_email": query.address.raw})
    return UpstreamRequest("POST", "/v0/check_email", headers=headers_for(key), body=body)


def parse_verify(reply: UpstreamReply, _: UpstreamQuery) -> UpstreamResult | Pending | Fault:
    body = reply.json_object
    if reply.status != 200 or not is_result(body):
        return parse_fault(reply)
    return parse_result(body)


def parse_fault(reply: UpstreamReply) -> Fault:
    """The fault of a reply without a result: its error may be wrapped once more by the service."""
    error = reply.json_object.get("error")
    while isinstance(error, dict):
        error = error.get("error")
    text = error or reply.body[:500].decode("utf-8", "replace")
    if reply.status // 100 == 2:
        return fault_from_status(reply, text)
    fault = fault_from_words(reply, text, FAULT_WORDS)
    if fault.kind is not FaultKind.TOO_FAST or fault.retry_after_s is not None:
        return fault
    wait = _WAIT.search(str(text))
    wait_s = float(wait[1]) / (1000 if wait[2] == "ms" else 1) if wait else None
    return Fault(fault.kind, fault.detail, fault.status, wait_s)


def is_result(body: Mapping[str, Any]) -> bool:
    members = ("misc", "mx", "smtp", "syntax")
    return "is_reachable" in body and all(isinstance(body.get(name), dict) for name in members)


def parse_result(body: Mapping[str, Any]) -> UpstreamResult:
    """The result in an object for which `is_result` holds."""
    word = str(body["is_reachable"])
    verdict, reason = _verdict(body, word)
    misc, smtp, syntax = body["misc"], body["smtp"], body["syntax"]
    mx = _parse_mx(body["mx"])
    connected = parse_bool(smtp.get("can_connect_smtp"), False) or reason is Reason.GREYLISTED
    evidence = Evidence(
        disposable=parse_bool(misc.get("is_disposable"), False),
        free=parse_bool(misc.get("is_b2c"), False),
        role=parse_bool(misc.get("is_role_account"), False),
        did_you_mean=text_or_none(syntax.get("suggestion")),
        dns=Dns.MX if mx else Dns.NOT_CHECKED,
        mx=mx,
        smtp=_parse_smtp(body, reason) if connected or "error" in smtp else None,
        # false is also the value of a check that was not made; so here and below
        catch_all=True if parse_bool(smtp.get("is_catch_all")) else None,
        mailbox_full=True if parse_bool(smtp.get("has_full_inbox")) else None,
        mailbox_disabled=True if parse_bool(smtp.get("is_disabled")) else None,
        avatar=text_or_none(misc.get("gravatar_url")),
        raw_word=None if word in VERDICTS else word,
    )
    return UpstreamResult(verdict, reason, evidence)


def _verdict(body: Mapping[str, Any], word: str) -> tuple[Verdict, Reason]:
    """The first member that says why counts; the word itself only without one."""
    misc, mx, smtp = body["misc"], body["mx"], body["smtp"]
    if parse_bool(body["syntax"].get("is_valid_syntax")) is False:
        return Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL
    if "error" in mx:
        return Verdict.UNKNOWN, Reason.DNS_ERROR
    if parse_bool(mx.get("accepts_mail")) is False:
        return Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN
    if "error" in smtp or "description" in smtp:
        return Verdict.UNKNOWN, _error_reason(smtp)
    said = {name for part in (misc, smtp) for name, value in part.items() if value is True}
    if word == "unknown":
        is_reached = "can_connect_smtp" in said
        return Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR if is_reached else Reason.NOT_CHECKED
    if word == "invalid" and {"can_connect_smtp", "is_deliverable"} & said == {"can_connect_smtp"}:
        return Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL
    if word == "invalid" and "is_disposable" in said:
        return Verdict.UNDELIVERABLE, Reason.DISPOSABLE
    if "has_full_inbox" in said:
        return Verdict.RISKY, Reason.MAILBOX_FULL
    if "is_disposable" in said:
        return Verdict.RISKY, Reason.DISPOSABLE
    if "is_catch_all" in said:
        return Verdict.RISKY, Reason.CATCH_ALL
    if "can_connect_smtp" not in said:
        return Verdict.UNKNOWN, Reason.NOT_CHECKED
    if "is_disabled" in said or "is_deliverable" not in said:
        return Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL
    if "is_role_account" in said and word != "safe":
        return Verdict.RISKY, Reason.LOW_QUALITY
    return WITHOUT_GROUNDS.get(word, (Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR))


WITHOUT_GROUNDS: Mapping[str, tuple[Verdict, Reason]] = {
    "safe": (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
    "risky": (Verdict.RISKY, Reason.LOW_QUALITY),
    "invalid": (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
}
"""By the word, where no other member shows a reason."""


def _error_reason(smtp: Mapping[str, Any]) -> Reason:
    if "description" in smtp:
        return Reason.BLOCKED
    error = smtp["error"] if isinstance(smtp["error"], dict) else {}
    kind, message = str(error.get("type")), error.get("message")
    text = message.lower() if isinstance(message, str) else ""
    if kind == "Timeout" or text.startswith("timeout:"):
        return Reason.TIMEOUT
    if kind == "IOError" or text.startswith("could not resolve"):
        return Reason.NO_CONNECT
    if kind not in ("AsyncSmtpError", "SmtpError"):
        return Reason.UNEXPECTED_ERROR
    if text.startswith("io:"):
        return Reason.INVALID_SMTP
    if any(words in text for words in BLOCKED_WORDS):
        return Reason.BLOCKED
    found = (reason for words, reason in TRANSIENT_REASONS if words in text)
    return next(found, Reason.UNAVAILABLE_SMTP)


MEANINGS: Mapping[Reason, Meaning] = {
    Reason.ACCEPTED_EMAIL: Meaning.ACCEPTED,
    Reason.CATCH_ALL: Meaning.ACCEPTED,
    Reason.DISPOSABLE: Meaning.ACCEPTED,
    Reason.LOW_QUALITY: Meaning.ACCEPTED,
    Reason.REJECTED_EMAIL: Meaning.MAILBOX_NOT_FOUND,
    Reason.MAILBOX_FULL: Meaning.MAILBOX_FULL,
    Reason.GREYLISTED: Meaning.GREYLISTED,
    Reason.UNAVAILABLE_SMTP: Meaning.TEMPORARY,
    Reason.BLOCKED: Meaning.IP_BLOCKED,
    Reason.TIMEOUT: Meaning.TIMED_OUT,
    Reason.NO_CONNECT: Meaning.UNREACHABLE,
    Reason.INVALID_SMTP: Meaning.NOT_SMTP,
}


def _parse_smtp(body: Mapping[str, Any], reason: Reason) -> Smtp | None:
    meaning = MEANINGS.get(reason)
    if meaning is None:
        return None
    smtp = body["smtp"]
    if smtp.get("description") == NEEDS_REVERSE_DNS:
        meaning = Meaning.RDNS_REQUIRED
    if meaning is Meaning.MAILBOX_NOT_FOUND and parse_bool(smtp.get("is_disabled")):
        meaning = Meaning.MAILBOX_DISABLED
    host, latency_ms = _parse_debug(body.get("debug"))
    return Smtp(
        meaning=meaning,
        stage=Stage.CONNECT if meaning is Meaning.UNREACHABLE else Stage.RCPT,
        connected=meaning not in (Meaning.UNREACHABLE, Meaning.TIMED_OUT),
        host=host,
        text=_error_text(smtp),
        latency_ms=latency_ms,
    )


def _error_text(smtp: Mapping[str, Any]) -> str | None:
    """The mail host's words in an error of its refusal."""
    error = smtp.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    if not isinstance(message, str) or not message.startswith(("transient: ", "permanent: ")):
        return None
    return message.partition(": ")[2][:2_000] or None


def _parse_debug(debug: object) -> tuple[str | None, int | None]:
    """The host that was asked last, and how long it took in milliseconds."""
    if not isinstance(debug, dict):
        return None, None
    smtp = debug.get("smtp")
    method = smtp.get("verif_method") if isinstance(smtp, dict) else None
    host = text_or_none(method.get("host")) if isinstance(method, dict) else None
    duration = debug.get("duration")
    latency_ms = None
    if isinstance(duration, dict):
        secs, nanos = parse_integer(duration.get("secs")), parse_integer(duration.get("nanos"))
        latency_ms = (secs or 0) * 1_000 + (nanos or 0) // 1_000_000
    return host.rstrip(".").lower() if host else None, latency_ms


def _parse_mx(mx: Mapping[str, Any]) -> tuple[MxHost, ...]:
    records = mx.get("records")
    return parse_mx_hosts(*records) if isinstance(records, list) else ()


UPSTREAM = Upstream(
    verify=Call(build_verify, parse_verify),
    health=UpstreamRequest("GET", "/version", is_billed=False),
    # the time for one SMTP dialogue in its documentation; it runs several
    usual_answer_s=45.0,
    always_reports=frozenset({"disposable", "role", "free"}),
)
