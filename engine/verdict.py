"""From evidence to a verdict: a table by DNS outcome, a table by SMTP meaning, and a few rules.

`engine.smtp.reply` decides what a reply means; this module only decides what to advise. A row
whose choice is open to argument carries its reason. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engine.model import Address, Checks, Dns, Evidence, Meaning, Reason, Stage, Verdict

Judgement = tuple[Verdict, Reason]

VERDICT_BY_DNS: dict[Dns, Judgement | None] = {
    # None: DNS does not decide; the SMTP session does.
    Dns.NOT_CHECKED: None,
    Dns.MX: None,
    Dns.IMPLICIT_MX: None,
    Dns.NULL_MX: (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
    Dns.NXDOMAIN: (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
    Dns.NODATA: (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
    Dns.UNRESOLVABLE: (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
    # A name server that fails, refuses or does not respond shows nothing about the domain.
    Dns.SERVFAIL: (Verdict.UNKNOWN, Reason.DNS_ERROR),
    Dns.REFUSED: (Verdict.UNKNOWN, Reason.DNS_ERROR),
    # Not Reason.TIMEOUT, which points its reader to the mail server.
    Dns.TIMEOUT: (Verdict.UNKNOWN, Reason.DNS_ERROR),
}

VERDICT_BY_MEANING: dict[Meaning, Judgement] = {
    Meaning.ACCEPTED: (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
    # The mailbox exists, and accepts mail again once its rate has fallen.
    Meaning.MAILBOX_RATE_LIMITED: (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
    # 252: the server did not verify the mailbox, as accepted_email would claim.
    Meaning.CANNOT_VERIFY: (Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
    Meaning.MAILBOX_NOT_FOUND: (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    Meaning.MAILBOX_DISABLED: (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    # 551: mail to this address is not delivered, even if its owner has another address.
    Meaning.MAILBOX_MOVED: (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    # The mailbox exists, and its owner may make room.
    Meaning.MAILBOX_FULL: (Verdict.RISKY, Reason.MAILBOX_FULL),
    # All hosts that DNS names for the domain refuse to relay mail to it.
    Meaning.DOMAIN_NOT_SERVED: (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    Meaning.IP_BLOCKED: (Verdict.UNKNOWN, Reason.BLOCKED),
    Meaning.RDNS_REQUIRED: (Verdict.UNKNOWN, Reason.BLOCKED),
    Meaning.SENDER_AUTH_FAILED: (Verdict.UNKNOWN, Reason.BLOCKED),
    Meaning.SENDER_REJECTED: (Verdict.UNKNOWN, Reason.BLOCKED),
    Meaning.HELO_REJECTED: (Verdict.UNKNOWN, Reason.BLOCKED),
    Meaning.AUTH_REQUIRED: (Verdict.UNKNOWN, Reason.BLOCKED),
    Meaning.TLS_REQUIRED: (Verdict.UNKNOWN, Reason.BLOCKED),
    Meaning.POLICY: (Verdict.UNKNOWN, Reason.BLOCKED),
    Meaning.GREYLISTED: (Verdict.UNKNOWN, Reason.GREYLISTED),
    Meaning.THROTTLED: (Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
    Meaning.TEMPORARY: (Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
    # Postfix replies 450 to every recipient while `soft_bounce` is on: this proves nothing yet.
    Meaning.UNVERIFIED: (Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
    # No server of the domain has the extension that this address needs (RFC 6531), so that no
    # mail can reach it.
    Meaning.SMTPUTF8_UNSUPPORTED: (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    Meaning.PROTOCOL_ERROR: (Verdict.UNKNOWN, Reason.INVALID_SMTP),
    # A permanent refusal whose text does not say that the mailbox is missing. Most of these are
    # about the sender; `unavailable_smtp` would invite a retry that cannot help.
    Meaning.REJECTED_UNRECOGNISED: (Verdict.UNKNOWN, Reason.BLOCKED),
    Meaning.UNREACHABLE: (Verdict.UNKNOWN, Reason.NO_CONNECT),
    Meaning.NOT_ALLOWED: (Verdict.UNKNOWN, Reason.NO_CONNECT),
    Meaning.TIMED_OUT: (Verdict.UNKNOWN, Reason.TIMEOUT),
    Meaning.DROPPED: (Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
    Meaning.NOT_SMTP: (Verdict.UNKNOWN, Reason.INVALID_SMTP),
}


class VerdictRule(NamedTuple):
    """Replaces the verdict and reason of the tables where `holds` is true of them."""

    holds: Callable[[Judgement, Evidence], bool]
    becomes: Judgement
    why: str


VERDICT_RULES: tuple[VerdictRule, ...] = (
    VerdictRule(
        lambda draft, evidence: (
            evidence.disposable
            and (draft[0] in (Verdict.DELIVERABLE, Verdict.RISKY) or draft[1] is Reason.NOT_CHECKED)
        ),
        (Verdict.RISKY, Reason.DISPOSABLE),
        "A disposable domain accepts mail today; that it accepts every name adds nothing.",
    ),
    VerdictRule(
        lambda draft, evidence: evidence.spamtrap is True and draft[0] is Verdict.DELIVERABLE,
        (Verdict.RISKY, Reason.LOW_QUALITY),
        "A spam trap accepts mail in order to report the sender.",
    ),
    VerdictRule(
        lambda draft, evidence: evidence.catch_all is True and draft[0] is Verdict.DELIVERABLE,
        (Verdict.RISKY, Reason.CATCH_ALL),
        "The domain accepts names that do not exist, so its acceptance proves little.",
    ),
    VerdictRule(
        lambda draft, evidence: (
            evidence.catch_all is True
            and evidence.smtp is not None
            and evidence.smtp.meaning is Meaning.REJECTED_UNRECOGNISED
        ),
        (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
        "A random name was accepted and this one was not: the refusal is about this name.",
    ),
    VerdictRule(
        lambda draft, evidence: (
            evidence.smtp is not None
            and evidence.smtp.meaning is Meaning.TIMED_OUT
            and evidence.smtp.stage is Stage.CONNECT
        ),
        (Verdict.UNKNOWN, Reason.NO_CONNECT),
        "No connection was made, which differs from a mail server that stopped replying.",
    ),
)
"""The first match wins. Role addresses have no rule: they accept mail, and only score lower."""


def judge(address: Address, evidence: Evidence, checks: Checks) -> Judgement:
    """The verdict on an address, and its reason.

    Without the SMTP check (`checks.smtp` is false) the verdict is `unknown` with the reason
    `not_checked`, unless syntax, DNS or the lists decide: that DNS names a mail host for the
    domain does not show that the mailbox exists.
    """
    draft = _verdict_before_rules(address, evidence, checks)
    return next((rule.becomes for rule in VERDICT_RULES if rule.holds(draft, evidence)), draft)


TEMPORARY_MEANINGS = frozenset(
    {
        Meaning.GREYLISTED,
        Meaning.THROTTLED,
        Meaning.TEMPORARY,
        Meaning.UNVERIFIED,
        # The host may be restarting, or its network may be down.
        Meaning.UNREACHABLE,
        Meaning.TIMED_OUT,
        Meaning.DROPPED,
    }
)
"""What a mail host may answer otherwise a few minutes later."""


def is_temporary(evidence: Evidence) -> bool:
    """Whether the mail hosts refused an answer for now, or could not be reached."""
    return evidence.smtp is not None and evidence.smtp.meaning in TEMPORARY_MEANINGS


def _verdict_before_rules(address: Address, evidence: Evidence, checks: Checks) -> Judgement:
    if not address.valid:
        return Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL
    by_dns = VERDICT_BY_DNS[evidence.dns]
    if by_dns is not None:
        return by_dns
    if evidence.smtp is not None:
        return VERDICT_BY_MEANING[evidence.smtp.meaning]
    # With `checks.smtp` and mail hosts there should have been a session.
    return Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR if checks.smtp else Reason.NOT_CHECKED
