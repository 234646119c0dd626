"""The object that describes one verified address: in a check's reply, in rows and in webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.reacher.words import (
    ERRORS,
    NEEDS_REVERSE_DNS,
    NO_MAIL_HOST,
    TEXTS,
    reachable_word,
)
from engine.model import Address, Dns, Meaning, Reason, Verdict, Verification

BACKEND_NAME = "backend-dev"
"""What a server shows that was given no name."""
GMAIL_DOMAINS = frozenset({"gmail.com", "googlemail.com"})
IDENTITY: Mapping[str, object] = {
    "from_email": "hello@localhost",
    "hello_name": "localhost",
    "proxy": None,
    "smtp_port": 25,
    "smtp_timeout": None,
    "retries": 1,
}
"""The defaults of a server that was given none; ours are not shown."""
NO_FLAGS: Mapping[str, bool] = {
    "can_connect_smtp": False,
    "has_full_inbox": False,
    "is_catch_all": False,
    "is_deliverable": False,
    "is_disabled": False,
}
REACHED = frozenset({Verdict.DELIVERABLE, Verdict.RISKY})
"""Verdicts that need a mail host's reply, even if an upstream did not pass it on."""
REFUSED = frozenset({Reason.REJECTED_EMAIL, Reason.MAILBOX_FULL})
"""Likewise for reasons."""


def result_object(v: Verification) -> dict[str, Any]:
    """The object, its keys in the vendor's order."""
    return {
        "input": v.address.raw,
        "is_reachable": reachable_word(v),
        "misc": {
            "is_disposable": v.evidence.disposable or v.reason is Reason.DISPOSABLE,
            "is_role_account": v.evidence.role,
            "is_b2c": v.evidence.free,
            # the server fills neither in
            "gravatar_url": None,
            "haveibeenpwned": None,
        },
        "mx": _mx(v),
        "smtp": _smtp(v),
        "syntax": _syntax(v.address, v.evidence.did_you_mean),
        "debug": _debug(v),
    }


def error_of(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """The error in `mx` or `smtp`, if there is one."""
    for member in ("mx", "smtp"):
        error = result[member].get("error")
        if isinstance(error, dict):
            return error
    return None


def _ends_early(v: Verification) -> bool:
    """Whether no mail host was asked."""
    no_host = v.verdict is Verdict.UNDELIVERABLE and v.reason in NO_MAIL_HOST
    return no_host or v.reason in (Reason.DNS_ERROR, Reason.NOT_CHECKED)


def _mx(v: Verification) -> dict[str, Any]:
    if v.reason is Reason.DNS_ERROR:
        message = "DNS request timed out" if v.evidence.dns is Dns.TIMEOUT else "DNS lookup failed"
        return {"error": {"type": "ResolveError", "message": message}}
    if v.verdict is Verdict.UNDELIVERABLE and v.reason in NO_MAIL_HOST:
        return {"accepts_mail": False, "records": []}
    return {"accepts_mail": True, "records": [f"{mx.host}." for mx in v.evidence.mx]}


def _smtp(v: Verification) -> dict[str, Any]:
    if _ends_early(v):
        return dict(NO_FLAGS)
    if v.verdict is Verdict.UNKNOWN:
        return _smtp_error(v)
    evidence, smtp = v.evidence, v.evidence.smtp
    is_full = v.reason is Reason.MAILBOX_FULL
    if v.verdict is not Verdict.DELIVERABLE and evidence.mailbox_full:
        is_full = True
    is_reached = v.verdict in REACHED or v.reason in REFUSED
    if v.reason is Reason.DISPOSABLE and not is_full:  # the lists alone show that
        is_reached = False
    is_reached = is_reached or (smtp is not None and smtp.connected)
    accepted = smtp.accepted if smtp is not None else None
    return {
        "can_connect_smtp": is_reached,
        "has_full_inbox": is_full,
        "is_catch_all": evidence.catch_all is True or v.reason is Reason.CATCH_ALL,
        "is_deliverable": (
            is_reached and v.verdict in REACHED and not is_full and accepted is not False
        ),
        "is_disabled": evidence.mailbox_disabled is True,
    }


def _smtp_error(v: Verification) -> dict[str, Any]:
    reason = v.reason if v.reason in ERRORS else Reason.UNEXPECTED_ERROR
    kind, message, description = ERRORS[reason]
    smtp = v.evidence.smtp
    if isinstance(message, str):
        message = message.format(text=(smtp.text if smtp else None) or TEXTS.get(reason, ""))
    found: dict[str, Any] = {"error": {"type": kind, "message": message}}
    if description:
        needs_ptr = smtp is not None and smtp.meaning is Meaning.RDNS_REQUIRED
        found["description"] = NEEDS_REVERSE_DNS if needs_ptr else description
    return found


def _syntax(address: Address, suggestion: str | None) -> dict[str, Any]:
    if not address.valid:
        return {
            "address": None,
            "domain": "",
            "is_valid_syntax": False,
            "username": "",
            "normalized_email": None,
            "suggestion": suggestion,
        }
    return {
        "address": address.raw,
        "domain": address.domain_as_written,
        "is_valid_syntax": True,
        "username": address.local,
        "normalized_email": _normalized(address),
        "suggestion": suggestion,
    }


def _normalized(address: Address) -> str:
    """The address that all spellings of a mailbox share: Gmail ignores dots and tags."""
    if address.domain in GMAIL_DOMAINS:
        return f"{address.user.replace('.', '').lower()}@gmail.com"
    return f"{address.local}@{address.domain_as_written}"


def _debug(v: Verification) -> dict[str, Any]:
    duration = timedelta(0) if _ends_early(v) else timedelta(seconds=v.duration_s)
    ended = v.verified_at.astimezone(UTC)
    return {
        "backend_name": BACKEND_NAME,
        "start_time": _nanoseconds(ended - duration),
        "end_time": _nanoseconds(ended),
        "duration": {
            "secs": duration.days * 86_400 + duration.seconds,
            "nanos": duration.microseconds * 1_000,
        },
        "smtp": {"verif_method": _method(v)},
    }


def _method(v: Verification) -> dict[str, Any]:
    host = v.evidence.mx_host
    if _ends_early(v) or host is None:
        return {"type": "Skipped"}
    return {"type": "Smtp", "host": f"{host}.", "verif_method": dict(IDENTITY)}


def _nanoseconds(at: datetime) -> str:
    """`2026-03-09T10:34:08.123456000Z`."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
