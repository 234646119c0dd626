"""The words that Emailable and Kickbox share: four states, and eleven reasons.

Both vendors have the same words with the same meanings, so that they are said once for both, for
replies that we write and for those that we read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.kit.words import parse_bool, word_for
from engine.model import Reason, Verdict, Verification

# -- writing ------------------------------------------------------------------------------

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
"""Each state has its own reasons (Emailable's page on states, Kickbox's on terminology). The lists
have eleven words, so that several of our reasons share one."""

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
"""Lowest and highest score of each state, of 100 (Emailable's page on the score)."""


ALL_REASON_WORDS: tuple[str, ...] = tuple(
    sorted({word for words in REASONS.values() for word in words.values()})
)


def state_word(v: Verification) -> str:
    return STATES[v.verdict]


def reason_word(v: Verification) -> str:
    return word_for(v, REASONS, FALLBACK_REASON_WORDS)


# -- reading ------------------------------------------------------------------------------

VERDICTS_BY_STATE: Mapping[str, Verdict] = {word: verdict for verdict, word in STATES.items()}
REASONS_BY_WORD: Mapping[str, Reason] = {
    "accepted_email": Reason.ACCEPTED_EMAIL,
    "rejected_email": Reason.REJECTED_EMAIL,
    "invalid_email": Reason.INVALID_EMAIL,
    "invalid_domain": Reason.INVALID_DOMAIN,
    "invalid_smtp": Reason.INVALID_SMTP,
    "low_quality": Reason.LOW_QUALITY,
    # the mail was accepted, but the address is risky; the flags may show why
    "low_deliverability": Reason.ACCEPTED_EMAIL,
    "no_connect": Reason.NO_CONNECT,
    "timeout": Reason.TIMEOUT,
    "unavailable_smtp": Reason.UNAVAILABLE_SMTP,
    "unexpected_error": Reason.UNEXPECTED_ERROR,
}
FALLBACK_REASONS: Mapping[Verdict, Reason] = {
    Verdict.DELIVERABLE: Reason.ACCEPTED_EMAIL,
    Verdict.UNDELIVERABLE: Reason.REJECTED_EMAIL,
    Verdict.RISKY: Reason.LOW_QUALITY,
    Verdict.UNKNOWN: Reason.UNEXPECTED_ERROR,
}
"""For a word that is unknown, or is none of its state's."""
_RISKY_FLAGS = (
    ("low_quality", "disposable", Reason.DISPOSABLE),
    ("low_deliverability", "mailbox_full", Reason.MAILBOX_FULL),
    ("low_deliverability", "accept_all", Reason.CATCH_ALL),
)
"""The two words of risky addresses are vague, and a flag says more."""


def parse_words(
    state: str, word: str, flags: Mapping[str, Any]
) -> tuple[Verdict, Reason, str | None]:
    """The verdict, the reason, and the raw words if one of them is unknown.

    `flags` are the members of the result, by the vendor's names.
    """
    verdict = VERDICTS_BY_STATE.get(state)
    if verdict is None:
        return Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR, f"{state} {word}"
    raw_words = None if word in REASONS_BY_WORD else f"{state} {word}"
    return verdict, _reason(verdict, word, flags), raw_words


def _reason(verdict: Verdict, word: str, flags: Mapping[str, Any]) -> Reason:
    if verdict is Verdict.RISKY:
        for shown_word, flag, reason in _RISKY_FLAGS:
            if word == shown_word and parse_bool(flags.get(flag)):
                return reason
    found = REASONS_BY_WORD.get(word)
    fitting = found in REASONS[verdict] or verdict is Verdict.RISKY
    return found if found and fitting else FALLBACK_REASONS[verdict]
