"""The vendor's words for our verdicts and reasons, and what goes with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapters.kit.words import word_for
from engine.model import Reason, Verdict, Verification


@dataclass(frozen=True, slots=True)
class Cause:
    """The fields that depend on a `result_cause`."""

    test_result: str
    base_score: int
    """Before deductions for the address itself."""
    isv_format: bool = True
    isv_domain: bool = True
    isv_mx: bool | None = True


CAUSES: Mapping[str, Cause] = {
    # seen
    "accepted_email": Cause("deliverable", 100),
    "no_connect": Cause("unknown", 40, isv_mx=None),
    # words of mails.so, whose vocabulary this is; scores and flags are ours
    "timeout": Cause("unknown", 40, isv_mx=None),
    "catch_all": Cause("risky", 60),
    "disposable": Cause("risky", 40),
    "rejected_email": Cause("undeliverable", 0),
    "invalid_smtp": Cause("undeliverable", 0, isv_mx=False),
    "invalid_domain": Cause("undeliverable", 0, isv_domain=False, isv_mx=False),
    "invalid_format": Cause("undeliverable", 0, isv_format=False, isv_domain=False, isv_mx=False),
    # words of related vendors (Kickbox, Emailable), where those above do not fit; scores below 50,
    # since clients send to risky and unknown addresses from 50 up
    "low_quality": Cause("risky", 40),
    "low_deliverability": Cause("risky", 40),
    "unavailable_smtp": Cause("unknown", 40, isv_mx=None),
    "unexpected_error": Cause("unknown", 40, isv_mx=None),
}
"""Each cause has one result, so either of them suffices."""

REASONS: Mapping[Verdict, Mapping[Reason, str]] = {
    Verdict.DELIVERABLE: {},
    Verdict.RISKY: {
        Reason.CATCH_ALL: "catch_all",
        Reason.DISPOSABLE: "disposable",
        Reason.LOW_QUALITY: "low_quality",
    },
    Verdict.UNDELIVERABLE: {
        Reason.INVALID_EMAIL: "invalid_format",
        Reason.INVALID_DOMAIN: "invalid_domain",
        Reason.DNS_ERROR: "invalid_domain",
        Reason.INVALID_SMTP: "invalid_smtp",
        # `no_connect` has the result unknown, and an upstream may call such an address dead
        Reason.NO_CONNECT: "invalid_smtp",
    },
    Verdict.UNKNOWN: {
        Reason.NO_CONNECT: "no_connect",
        # without DNS, or without the SMTP check, there was no connection either
        Reason.DNS_ERROR: "no_connect",
        Reason.NOT_CHECKED: "no_connect",
        Reason.TIMEOUT: "timeout",
        Reason.UNEXPECTED_ERROR: "unexpected_error",
    },
}

FALLBACK_CAUSES: Mapping[Verdict, str] = {
    Verdict.DELIVERABLE: "accepted_email",
    # such as a full mailbox: the server knows the address, and mail to it bounces
    Verdict.RISKY: "low_deliverability",
    Verdict.UNDELIVERABLE: "rejected_email",
    # a refusal of us, or a temporary one: never `invalid_smtp`, which is about the mailbox
    Verdict.UNKNOWN: "unavailable_smtp",
}

DISPOSABLE_PENALTY, GENERIC_PENALTY = 30, 10
"""Deductions from the score; the first was seen, the second is ours."""

FREE_PROVIDERS: Mapping[str, str] = {"google": "gmail"}
"""`provider` of a free-mail domain; any other is null, as is every provider but this one in
the samples."""


def cause_word(v: Verification) -> str:
    return word_for(v, REASONS, FALLBACK_CAUSES)


def is_generic(v: Verification) -> bool:
    """Whether the address belongs to no single person."""
    return v.evidence.role or v.evidence.no_reply


def score(v: Verification) -> int:
    word = cause_word(v)
    points = CAUSES[word].base_score
    # the score of the cause `disposable` includes the deduction
    if v.evidence.disposable and word != "disposable":
        points -= DISPOSABLE_PENALTY
    if is_generic(v):
        points -= GENERIC_PENALTY
    return max(points, 0)
