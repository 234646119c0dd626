"""The vendor's words: the value of each check for a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engine.model import Dns, Reason, Verdict, Verification

CHECK_WORDS: Mapping[bool | None, str] = {True: "true", False: "false", None: "null"}

SMTP_CHECKS: Mapping[Verdict, Mapping[Reason, bool | None]] = {
    Verdict.DELIVERABLE: {},
    Verdict.UNDELIVERABLE: {
        # not applicable: another check is false
        Reason.INVALID_EMAIL: None,
        Reason.INVALID_DOMAIN: None,
    },
    Verdict.RISKY: {
        Reason.CATCH_ALL: True,
        # it exists and "temporarily couldn't receive messages" (v2's page): mail to it bounces
        Reason.MAILBOX_FULL: False,
    },
    # The page allows false for a temporary refusal, too. All of these are null, since clients drop
    # an address for a false, and greylisting, a block list or a busy server shows nothing about
    # the mailbox.
    Verdict.UNKNOWN: {},
}

FALLBACK_SMTP_CHECKS: Mapping[Verdict, bool | None] = {
    Verdict.DELIVERABLE: True,
    Verdict.UNDELIVERABLE: False,
    # a true without a warning in another check would read as deliverable
    Verdict.RISKY: None,
    Verdict.UNKNOWN: None,
}

REASONS_FROM_SERVER = frozenset(
    {
        Reason.ACCEPTED_EMAIL,
        Reason.REJECTED_EMAIL,
        Reason.MAILBOX_FULL,
        Reason.CATCH_ALL,
        Reason.GREYLISTED,
        Reason.BLOCKED,
        Reason.UNAVAILABLE_SMTP,
        Reason.INVALID_SMTP,
    }
)
"""Reasons that show that DNS led to a mail server, for results without evidence of DNS."""

NULL_MX = "."
"""RFC 7505: the root as only mail host (seen in the vendor's bulk fixtures)."""

DNS_CHECK, SMTP_CHECK, CATCH_ALL_CHECK = "dnsCheck", "smtpCheck", "catchAllCheck"


def is_well_formed(v: Verification) -> bool:
    return v.address.valid and v.reason is not Reason.INVALID_EMAIL


def _smtp_check(v: Verification) -> bool | None:
    """The verdict decides first: an upstream gives one without evidence of an SMTP dialogue."""
    found = SMTP_CHECKS[v.verdict]
    if v.reason in found:
        return found[v.reason]
    if (v.verdict, v.reason) == (Verdict.RISKY, Reason.DISPOSABLE) and v.evidence.smtp:
        # `disposableCheck` warns of it, so this check can show the result of the dialogue
        return v.evidence.smtp.accepted
    return FALLBACK_SMTP_CHECKS[v.verdict]


def _dns_check(v: Verification) -> bool | None:
    if v.reason is Reason.INVALID_DOMAIN:
        return False
    if v.evidence.dns is Dns.NOT_CHECKED:
        return True if v.reason in REASONS_FROM_SERVER else None
    return v.evidence.dns.can_receive


def _catch_all_check(v: Verification) -> bool | None:
    return True if v.reason is Reason.CATCH_ALL else v.evidence.catch_all


CHECKS: Mapping[str, Callable[[Verification], bool | None]] = {
    SMTP_CHECK: _smtp_check,
    DNS_CHECK: _dns_check,
    "freeCheck": lambda v: v.evidence.free,
    "disposableCheck": lambda v: v.evidence.disposable,
    CATCH_ALL_CHECK: _catch_all_check,
}
"""In the order of the samples."""
