"""ZeroBounce's words, `status` and `sub_status`, and its test addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from adapters.contract.filters import FILTER_SOURCE
from adapters.contract.problems import ProblemKind
from adapters.contract.samples import Sample
from adapters.kit.words import word_for
from engine.model import (
    Address,
    Dns,
    Gender,
    Meaning,
    MxHost,
    Person,
    Reason,
    Verdict,
    Verification,
)

D, U, R, K = Verdict.DELIVERABLE, Verdict.UNDELIVERABLE, Verdict.RISKY, Verdict.UNKNOWN


class Words(NamedTuple):
    """What the vendor says of an address."""

    status: str
    sub_status: str = ""


WORDS: Mapping[Verdict, Mapping[Reason, Words]] = {
    D: {},
    U: {
        Reason.INVALID_EMAIL: Words("invalid", "failed_syntax_check"),
        Reason.INVALID_DOMAIN: Words("invalid", "no_dns_entries"),
        Reason.INVALID_SMTP: Words("invalid", "unroutable_ip_address"),
        Reason.MAILBOX_FULL: Words("invalid", "mailbox_quota_exceeded"),
    },
    R: {
        Reason.CATCH_ALL: Words("catch-all"),
        Reason.DISPOSABLE: Words("do_not_mail", "disposable"),
        Reason.MAILBOX_FULL: Words("invalid", "mailbox_quota_exceeded"),
    },
    K: {
        Reason.NO_CONNECT: Words("unknown", "failed_smtp_connection"),
        Reason.TIMEOUT: Words("unknown", "timeout_exceeded"),
        Reason.UNAVAILABLE_SMTP: Words("unknown", "mail_server_temporary_error"),
        Reason.INVALID_SMTP: Words("unknown", "mail_server_did_not_respond"),
        Reason.GREYLISTED: Words("unknown", "greylisted"),
        Reason.BLOCKED: Words("unknown", "antispam_system"),
    },
}
FALLBACK_WORDS: Mapping[Verdict, Words] = {
    D: Words("valid"),
    U: Words("invalid", "mailbox_not_found"),
    R: Words("do_not_mail", "toxic"),
    K: Words("unknown", "exception_occurred"),
}
NULL_MX = Words("invalid", "does_not_accept_mail")
TYPO = Words("invalid", "possible_typo")
TRAP = Words("spamtrap")
ALLOWED, BLOCKED = Words("valid", "allowed"), Words("do_not_mail", "blocked")
ROLE: Mapping[Words, Words] = {
    Words("valid"): Words("do_not_mail", "role_based"),
    Words("catch-all"): Words("do_not_mail", "role_based_catch_all"),
    Words("do_not_mail", "toxic"): Words("do_not_mail", "role_based"),
}
"""The words of a role account, by those of any other."""

# -- test addresses ----------------------------------------------------------------------

TEST_DOMAIN = "example.com"
_FACTS: Mapping[str, Any] = {
    "person": Person("zero", "bounce", Gender.MALE, 1.0),
    "mx": (MxHost("mx.example.com", 10),),
    "dns": Dns.MX,
    "provider": "example",
    "role": False,
    "disposable": False,
    "did_you_mean": None,
}
"""Of all test addresses."""


class TestAddress(NamedTuple):
    """What the vendor answers for one of its test addresses."""

    words: Words
    verdict: Verdict
    reason: Reason
    score: int = 0
    """0..10, of the scoring."""


def _tests(status: str, verdict: Verdict, reasons: Mapping[str, Reason]) -> dict[str, TestAddress]:
    """Local parts whose sub-status is the local part itself."""
    return {name: TestAddress(Words(status, name), verdict, why) for name, why in reasons.items()}


TEST_ADDRESSES: Mapping[str, TestAddress] = {
    "valid": TestAddress(Words("valid"), D, Reason.ACCEPTED_EMAIL, 10),
    "free_email": TestAddress(Words("valid"), D, Reason.ACCEPTED_EMAIL),
    "aiagentmailbox": TestAddress(Words("valid", "ai_agent_mailbox"), D, Reason.ACCEPTED_EMAIL),
    **_tests(
        "valid",
        D,
        dict.fromkeys(
            ("gold", "leading_period_removed", "role_based_accept_all"), Reason.ACCEPTED_EMAIL
        ),
    ),
    "invalid": TestAddress(Words("invalid", "mailbox_not_found"), U, Reason.REJECTED_EMAIL, 10),
    **_tests(
        "invalid",
        U,
        {
            "mailbox_not_found": Reason.REJECTED_EMAIL,
            "does_not_accept_mail": Reason.INVALID_DOMAIN,
            "failed_syntax_check": Reason.INVALID_EMAIL,
            "mailbox_quota_exceeded": Reason.MAILBOX_FULL,
            "no_dns_entries": Reason.INVALID_DOMAIN,
            "possible_typo": Reason.INVALID_EMAIL,
            "unroutable_ip_address": Reason.INVALID_DOMAIN,
        },
    ),
    "catch_all": TestAddress(Words("catch-all"), R, Reason.CATCH_ALL, 10),
    "spamtrap": TestAddress(Words("spamtrap"), R, Reason.LOW_QUALITY),
    "abuse": TestAddress(Words("abuse"), R, Reason.LOW_QUALITY, 10),
    "unknown": TestAddress(
        Words("unknown", "mail_server_temporary_error"), K, Reason.UNAVAILABLE_SMTP, 10
    ),
    **_tests(
        "unknown",
        K,
        {
            "mail_server_temporary_error": Reason.UNAVAILABLE_SMTP,
            "antispam_system": Reason.BLOCKED,
            "exception_occurred": Reason.UNEXPECTED_ERROR,
            "failed_smtp_connection": Reason.NO_CONNECT,
            "forcible_disconnect": Reason.INVALID_SMTP,
            "greylisted": Reason.GREYLISTED,
            "mail_server_did_not_respond": Reason.INVALID_SMTP,
            "timeout_exceeded": Reason.TIMEOUT,
        },
    ),
    **_tests(
        "do_not_mail",
        R,
        {
            "disposable": Reason.DISPOSABLE,
            "global_suppression": Reason.LOW_QUALITY,
            "possible_trap": Reason.LOW_QUALITY,
            "role_based": Reason.LOW_QUALITY,
            "role_based_catch_all": Reason.CATCH_ALL,
        },
    ),
    "toxic": TestAddress(Words("do_not_mail", "toxic"), R, Reason.LOW_QUALITY, 2),
    "donotmail": TestAddress(Words("do_not_mail", "role_based"), R, Reason.LOW_QUALITY),
}
"""The page on the sandbox, and recordings of the service for the scores."""


def test_address(address: Address) -> TestAddress | None:
    return TEST_ADDRESSES.get(address.local) if address.domain == TEST_DOMAIN else None


def choose_sample(address: Address) -> Sample | ProblemKind | None:
    found = test_address(address)
    if found is None:
        return None
    facts = {**_FACTS, "free": address.local == "free_email"}
    if found.reason is Reason.CATCH_ALL:
        facts["catch_all"] = True
    meaning = Meaning.ACCEPTED if found.verdict is D else None
    return Sample(found.verdict, found.reason, meaning, facts, score=found.score * 10)


# -- words of a result -------------------------------------------------------------------


def words_of(v: Verification) -> Words:
    """The vendor's words for a result."""
    if v.source == FILTER_SOURCE:
        return ALLOWED if v.verdict is D else BLOCKED
    if v.source == "sandbox" and (found := test_address(v.address)):
        return found.words
    if v.evidence.spamtrap and v.verdict in (D, R):
        return TRAP
    words = word_for(v, WORDS, FALLBACK_WORDS)
    if words == WORDS[U][Reason.INVALID_EMAIL] and v.evidence.did_you_mean:
        return TYPO
    if words == WORDS[U][Reason.INVALID_DOMAIN] and v.evidence.dns is Dns.NULL_MX:
        return NULL_MX
    return ROLE.get(words, words) if v.evidence.role else words


def is_free(v: Verification) -> bool:
    """Unknown results cost nothing, nor do test addresses."""
    return v.verdict is K or (v.source == "sandbox" and test_address(v.address) is not None)


def tenths(v: Verification) -> int:
    """The score of 0 to 10."""
    return v.score // 10
