"""From evidence to a verdict: one table by DNS answer, one by SMTP meaning, and a few rules.

What a refusal says of the mailbox was decided before, in `engine.smtp.reply`; here it is only
decided what to advise. Where a choice could have gone another way, its reason stands with the
row. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engine.model import Address, Checks, Dns, Evidence, Meaning, Reason, Stage, Verdict

Judgement = tuple[Verdict, Reason]

VERDICT_BY_DNS: dict[Dns, Judgement | None] = {
    # None: DNS is no obstacle, look on.
    Dns.NOT_CHECKED: None,
    Dns.MX: None,
    Dns.IMPLICIT_MX: None,
    Dns.NULL_MX: (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
    Dns.NXDOMAIN: (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
    Dns.NODATA: (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
    Dns.UNRESOLVABLE: (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
    # A name server that fails, refuses or stays silent says nothing of the domain.
    Dns.SERVFAIL: (Verdict.UNKNOWN, Reason.DNS_ERROR),
    Dns.REFUSED: (Verdict.UNKNOWN, Reason.DNS_ERROR),
    # Not Reason.TIMEOUT, which sends its reader to look at the mail server.
    Dns.TIMEOUT: (Verdict.UNKNOWN, Reason.DNS_ERROR),
}

VERDICT_BY_MEANING: dict[Meaning, Judgement] = {
    Meaning.ACCEPTED: (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
    # It exists, and gets its mail once the rate is down.
    Meaning.MAILBOX_RATE_LIMITED: (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
    # 252: the server would not say. Not accepted_email, which promises that it did.
    Meaning.CANNOT_VERIFY: (Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
    Meaning.MAILBOX_NOT_FOUND: (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    Meaning.MAILBOX_DISABLED: (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    # 551: mail to this address goes nowhere, even if its owner has another.
    Meaning.MAILBOX_MOVED: (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    # It exists, and may have room tomorrow.
    Meaning.MAILBOX_FULL: (Verdict.RISKY, Reason.MAILBOX_FULL),
    # The hosts that DNS names for the domain all say that they do not serve it.
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
    # Postfix answers 450 to every recipient while `soft_bounce` is on: not a "no" yet.
    Meaning.UNVERIFIED: (Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
    # Every server of the domain lacks the extension (RFC 6531) without which this address
    # cannot be written: no mail can reach it.
    Meaning.SMTPUTF8_UNSUPPORTED: (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    Meaning.PROTOCOL_ERROR: (Verdict.UNKNOWN, Reason.INVALID_SMTP),
    # Permanent, and not in the words of a missing mailbox. Such refusals are mostly about the
    # sender; "unavailable" would invite a retry that cannot help.
    Meaning.REJECTED_UNRECOGNISED: (Verdict.UNKNOWN, Reason.BLOCKED),
    Meaning.UNREACHABLE: (Verdict.UNKNOWN, Reason.NO_CONNECT),
    Meaning.NOT_ALLOWED: (Verdict.UNKNOWN, Reason.NO_CONNECT),
    Meaning.TIMED_OUT: (Verdict.UNKNOWN, Reason.TIMEOUT),
    Meaning.DROPPED: (Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
    Meaning.NOT_SMTP: (Verdict.UNKNOWN, Reason.INVALID_SMTP),
}


class VerdictRule(NamedTuple):
    """Holds for a draft judgement and its evidence; then the judgement becomes another."""

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
        "A throw-away domain takes mail today; that it also accepts every name adds nothing.",
    ),
    VerdictRule(
        lambda draft, evidence: evidence.spamtrap is True and draft[0] is Verdict.DELIVERABLE,
        (Verdict.RISKY, Reason.LOW_QUALITY),
        "A trap accepts mail in order to report its sender.",
    ),
    VerdictRule(
        lambda draft, evidence: evidence.catch_all is True and draft[0] is Verdict.DELIVERABLE,
        (Verdict.RISKY, Reason.CATCH_ALL),
        "The domain accepts names that nobody has, so its yes says little of this one.",
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
        "Nothing answered at all: that is no mail server that stopped answering.",
    ),
)
"""First match wins. Role addresses have no rule: they take mail, and only score lower."""


def judge(address: Address, evidence: Evidence, checks: Checks) -> Judgement:
    """What to do with the address, and why.

    Without an SMTP conversation (`checks.smtp` false) the mailbox is unknown, reason
    `not_checked`, unless syntax, DNS or the lists decide: half an answer is not sold as a
    whole one, and the evidence still shows the half.
    """
    draft = _verdict_before_rules(address, evidence, checks)
    return next((rule.becomes for rule in VERDICT_RULES if rule.holds(draft, evidence)), draft)


def _verdict_before_rules(address: Address, evidence: Evidence, checks: Checks) -> Judgement:
    if not address.valid:
        return Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL
    by_dns = VERDICT_BY_DNS[evidence.dns]
    if by_dns is not None:
        return by_dns
    if evidence.smtp is not None:
        return VERDICT_BY_MEANING[evidence.smtp.meaning]
    # A conversation that was wanted, that DNS does not stand against, and that never was.
    return Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR if checks.smtp else Reason.NOT_CHECKED
