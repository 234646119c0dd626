"""The sendex, and the vendor's test addresses. The words are those of `kit.eleven_reasons`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.contract.problems import ProblemKind
from adapters.contract.samples import Sample
from adapters.kit.eleven_reasons import SCORES
from adapters.kit.words import clamped_score
from engine.model import Address, Meaning, Reason, Verdict, Verification

SCORE_RANGES: Mapping[Verdict, tuple[int, int]] = {
    **SCORES,
    # the sandbox's disposable address has 0
    Verdict.RISKY: (0, 79),
}


def sendex_percent(v: Verification) -> int:
    return clamped_score(v, SCORE_RANGES)


def sendex(v: Verification) -> int | float:
    return whole_or_decimal(sendex_percent(v) / 100)


def whole_or_decimal(number: float) -> int | float:
    """Whole values are integers: the PHP client's suite compares the type."""
    return int(number) if number == int(number) else number


# -- test addresses ----------------------------------------------------------------------

D, U, R, K = Verdict.DELIVERABLE, Verdict.UNDELIVERABLE, Verdict.RISKY, Verdict.UNKNOWN
NO_FLAGS: Mapping[str, Any] = {
    "role": False,
    "free": False,
    "disposable": False,
    "catch_all": False,
    "did_you_mean": None,
}


def _sample(
    verdict: Verdict, reason: Reason, meaning: Meaning | None, score: int = 0, **flags: Any
) -> Sample:
    return Sample(verdict, reason, meaning, {**NO_FLAGS, **flags}, score=score)


INSUFFICIENT_BALANCE = "insufficient-balance"
DID_YOU_MEAN = "did-you-mean"
SAMPLES: Mapping[str, Sample | ProblemKind] = {
    "deliverable": _sample(D, Reason.ACCEPTED_EMAIL, Meaning.ACCEPTED, 100),
    "rejected-email": _sample(U, Reason.REJECTED_EMAIL, Meaning.MAILBOX_NOT_FOUND),
    "invalid-domain": _sample(U, Reason.INVALID_DOMAIN, None),
    # unlike a malformed address it has its parts (the PHP client's suite)
    "invalid-email": _sample(U, Reason.INVALID_EMAIL, None),
    "invalid-smtp": _sample(U, Reason.INVALID_SMTP, None),
    "low-quality": _sample(R, Reason.LOW_QUALITY, Meaning.ACCEPTED, 50, free=True),
    "accept-all": _sample(R, Reason.CATCH_ALL, Meaning.ACCEPTED, 70, catch_all=True),
    "role": _sample(R, Reason.LOW_QUALITY, Meaning.ACCEPTED, 70, role=True),
    "disposable": _sample(
        R, Reason.DISPOSABLE, Meaning.ACCEPTED, 0, disposable=True, catch_all=True
    ),
    "timeout": _sample(K, Reason.TIMEOUT, Meaning.TIMED_OUT),
    "unexpected-error": _sample(K, Reason.UNEXPECTED_ERROR, None),
    "no-connect": _sample(K, Reason.NO_CONNECT, Meaning.UNREACHABLE),
    "unavailable-smtp": _sample(K, Reason.UNAVAILABLE_SMTP, Meaning.TEMPORARY),
    INSUFFICIENT_BALANCE: ProblemKind.NO_CREDITS,
}
"""The page on the sandbox, and the PHP client's suite for the flags and the sendex."""
DEFAULT_SAMPLE = Sample(
    D,
    Reason.ACCEPTED_EMAIL,
    Meaning.ACCEPTED,
    {"role": False, "disposable": False, "catch_all": False},
    score=100,
)
"""For every other address: the sandbox "will return deliverable". So it has none of the flags whose
addresses are risky at this vendor."""


def choose_sample(address: Address) -> Sample | ProblemKind | None:
    """By the whole local part, or by what follows its plus; at any domain."""
    for word in (address.local, address.tag or ""):
        word = word.lower()
        if word in SAMPLES:
            return SAMPLES[word]
        if word == DID_YOU_MEAN:
            # the page gives neither its reason nor the suggestion
            suggestion = f"{address.local}@gmail.com"
            return _sample(
                U, Reason.REJECTED_EMAIL, Meaning.MAILBOX_NOT_FOUND, did_you_mean=suggestion
            )
    return None
