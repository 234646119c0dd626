"""Reacher's words for our verdicts, and what stands for a reason in `mx` and `smtp`."""

from __future__ import annotations

from collections.abc import Mapping

from engine.model import Reason, Verdict, Verification

REACHABLE: Mapping[Verdict, str] = {
    Verdict.DELIVERABLE: "safe",
    Verdict.RISKY: "risky",
    Verdict.UNDELIVERABLE: "invalid",
    Verdict.UNKNOWN: "unknown",
}
VERDICTS: Mapping[str, Verdict] = {word: verdict for verdict, word in REACHABLE.items()}

NO_MAIL_HOST = frozenset({Reason.INVALID_EMAIL, Reason.INVALID_DOMAIN, Reason.INVALID_SMTP})
"""Reasons of an undeliverable address for which no mail host was asked."""

SmtpError = tuple[str, object, str]
"""`type`, `message` and `description`, which is empty for none."""

ERRORS: Mapping[Reason, SmtpError] = {
    Reason.NO_CONNECT: ("IOError", "Connection refused (os error 111)", ""),
    # the only message that is an object
    Reason.TIMEOUT: ("Timeout", {"secs": 45, "nanos": 0}, ""),
    Reason.UNAVAILABLE_SMTP: ("AsyncSmtpError", "transient: {text}", ""),
    Reason.GREYLISTED: ("AsyncSmtpError", "transient: {text}", ""),
    Reason.INVALID_SMTP: ("AsyncSmtpError", "io: {text}", ""),
    Reason.BLOCKED: ("AsyncSmtpError", "permanent: {text}", "IpBlacklisted"),
    Reason.UNEXPECTED_ERROR: ("AnyhowError", "{text}", ""),
}
"""What `smtp` shows of an unknown address, by its reason."""
NEEDS_REVERSE_DNS = "NeedsRDNS"
"""The description of a refusal for want of a PTR record."""
TEXTS: Mapping[Reason, str] = {
    Reason.UNAVAILABLE_SMTP: "Service not available",
    Reason.GREYLISTED: "Greylisted, please try again later",
    Reason.INVALID_SMTP: "invalid response",
    Reason.BLOCKED: "Service refused, client host is blocked",
    Reason.UNEXPECTED_ERROR: "Unexpected error",
}
"""The `{text}` where the mail host's own is not known."""


def reachable_word(v: Verification) -> str:
    """`is_reachable`: a full mailbox is risky, whatever we advise."""
    if v.verdict is Verdict.UNDELIVERABLE and v.reason is Reason.MAILBOX_FULL:
        return REACHABLE[Verdict.RISKY]
    return REACHABLE[v.verdict]
