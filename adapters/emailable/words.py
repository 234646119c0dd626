"""The vendor's words for our verdicts and reasons."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.kit.words import word_for
from engine.model import Reason, Verdict, Verification

STATES: Mapping[Verdict, str] = {
    Verdict.DELIVERABLE: "deliverable",
    Verdict.UNDELIVERABLE: "undeliverable",
    Verdict.RISKY: "risky",
    Verdict.UNKNOWN: "unknown",
}

REASONS: Mapping[Verdict, Mapping[Reason, str]] = {
    Verdict.DELIVERABLE: {Reason.ACCEPTED_EMAIL: "accepted_email"},
    Verdict.UNDELIVERABLE: {
        Reason.REJECTED_EMAIL: "rejected_email",
        Reason.INVALID_EMAIL: "invalid_email",
        Reason.INVALID_DOMAIN: "invalid_domain",
        Reason.INVALID_SMTP: "invalid_smtp",
    },
    Verdict.RISKY: {
        # about the address: it may accept mail, and still be worth little
        Reason.LOW_QUALITY: "low_quality",
        Reason.DISPOSABLE: "low_quality",
        # about delivery: the server accepts mail that may reach no one
        Reason.CATCH_ALL: "low_deliverability",
        Reason.MAILBOX_FULL: "low_deliverability",
    },
    Verdict.UNKNOWN: {
        Reason.NO_CONNECT: "no_connect",
        # without DNS, or with `smtp=false`, there was no connection either
        Reason.DNS_ERROR: "no_connect",
        Reason.NOT_CHECKED: "no_connect",
        Reason.TIMEOUT: "timeout",
        Reason.UNAVAILABLE_SMTP: "unavailable_smtp",
        # a server that refuses us, or does not speak SMTP, has not decided about the address:
        # `rejected_email` and `invalid_smtp` are words of undeliverable addresses
        Reason.GREYLISTED: "unavailable_smtp",
        Reason.BLOCKED: "unavailable_smtp",
        Reason.INVALID_SMTP: "unavailable_smtp",
        Reason.UNEXPECTED_ERROR: "unexpected_error",
    },
}
"""Each state has its own reasons (the vendor's page on states). Its list has eleven words, so that
several of our reasons share one."""

FALLBACK_REASON_WORDS: Mapping[Verdict, str] = {
    Verdict.DELIVERABLE: "accepted_email",
    Verdict.UNDELIVERABLE: "rejected_email",
    Verdict.RISKY: "low_deliverability",
    Verdict.UNKNOWN: "unexpected_error",
}

SCORES: Mapping[Verdict, tuple[int, int]] = {
    Verdict.DELIVERABLE: (80, 100),
    Verdict.UNDELIVERABLE: (0, 0),
    Verdict.RISKY: (1, 79),
    Verdict.UNKNOWN: (0, 0),
}
"""Lowest and highest score of each state (the vendor's page on the score)."""


def reason_word(v: Verification) -> str:
    return word_for(v, REASONS, FALLBACK_REASON_WORDS)
