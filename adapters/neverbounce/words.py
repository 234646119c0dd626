"""NeverBounce's words for results, and the flags beside them."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.kit.domain_parts import domain_parts
from adapters.kit.words import word_for
from engine.model import Dns, Reason, Smtp, Verdict, Verification

RESULTS: Mapping[Verdict, Mapping[Reason, str]] = {
    Verdict.DELIVERABLE: {},
    Verdict.UNDELIVERABLE: {},
    Verdict.RISKY: {
        Reason.CATCH_ALL: "catchall",
        Reason.DISPOSABLE: "disposable",
        Reason.MAILBOX_FULL: "invalid",
    },
    Verdict.UNKNOWN: {},
}
FALLBACK_RESULTS: Mapping[Verdict, str] = {
    Verdict.DELIVERABLE: "valid",
    Verdict.UNDELIVERABLE: "invalid",
    # a mailbox that was accepted; the flags say what is doubtful
    Verdict.RISKY: "valid",
    Verdict.UNKNOWN: "unknown",
}
NUMBERS: Mapping[str, int] = {
    "valid": 0,
    "invalid": 1,
    "disposable": 2,
    "catchall": 3,
    "unknown": 4,
}
"""`email_status_int` of a result file."""

FLAGS = (
    "has_dns",
    "has_dns_mx",
    "bad_syntax",
    "free_email_host",
    "profanity",
    "role_account",
    "disposable_email",
    "government_host",
    "academic_host",
    "military_host",
    "international_host",
    "squatter_host",
    "spelling_mistake",
    "bad_dns",
    "temporary_dns_error",
    "connect_fails",
    "accepts_all",
    "contains_alias",
    "contains_subdomain",
    "smtp_connectable",
    "spamtrap_network",
    "historical_response",
)
"""In the order of the vendor's list."""
OLD_SPELLINGS = {"academic_host": "acedemic_host"}
"""Of versions before 4.2."""

NO_DOMAIN = frozenset({Reason.INVALID_DOMAIN, Reason.DNS_ERROR})
NO_CONNECTION = frozenset({Reason.NO_CONNECT, Reason.TIMEOUT, Reason.INVALID_SMTP})
NOT_ASKED = frozenset({Reason.NOT_CHECKED, Reason.UNEXPECTED_ERROR})


def result_word(v: Verification) -> str:
    if v.reason is Reason.INVALID_EMAIL and v.verdict is Verdict.RISKY:
        return FALLBACK_RESULTS[Verdict.UNDELIVERABLE]
    return word_for(v, RESULTS, FALLBACK_RESULTS)


def flags_of(v: Verification) -> list[str]:
    """The flags, in the order of the vendor's list. A malformed address has no others."""
    if not v.address.valid or v.reason is Reason.INVALID_EMAIL:
        return ["bad_syntax"]
    evidence = v.evidence
    found = {
        "free_email_host": evidence.free,
        "role_account": evidence.role,
        "disposable_email": evidence.disposable or v.reason is Reason.DISPOSABLE,
        "spelling_mistake": evidence.did_you_mean is not None,
        "accepts_all": evidence.catch_all is True or v.reason is Reason.CATCH_ALL,
        "contains_alias": v.address.tag is not None,
        **_domain_flags(v),
        "spamtrap_network": evidence.spamtrap is True or _is_doubtful(v),
        **_network_flags(v),
    }
    return [flag for flag in FLAGS if found.get(flag)]


HOST_KINDS: Mapping[str, frozenset[str]] = {
    "government_host": frozenset({"gov", "gob", "gouv", "govt", "gub"}),
    "academic_host": frozenset({"edu", "ac"}),
    "military_host": frozenset({"mil"}),
}
"""First labels of the public suffixes that registries keep for them, as in `ac.uk`."""
COUNTRY_ALONE = frozenset({"ac"})
"""Of these, those that are countries' own where no other label follows."""


def _domain_flags(v: Verification) -> dict[str, bool]:
    """What the name of the domain shows."""
    parts = domain_parts(v.address)
    kind, _, country = parts.suffix.partition(".")
    return {
        **{
            flag: kind in labels and bool(country or kind not in COUNTRY_ALONE)
            for flag, labels in HOST_KINDS.items()
        },
        "contains_subdomain": bool(parts.subdomain),
    }


def _is_doubtful(v: Verification) -> bool:
    """Risky for a reason that has no other flag."""
    return v.verdict is Verdict.RISKY and v.reason not in RESULTS[Verdict.RISKY]


def _network_flags(v: Verification) -> dict[str, bool]:
    """What DNS and the mail hosts showed, as far as the reason or the evidence says it."""
    dns, smtp = v.evidence.dns, v.evidence.smtp
    if v.reason in NO_DOMAIN:
        is_final = v.reason is Reason.INVALID_DOMAIN
        return {"bad_dns": is_final, "temporary_dns_error": not is_final}
    if v.reason in NOT_ASKED:
        has_dns = dns.can_receive is True
        return {"has_dns": has_dns, "has_dns_mx": dns is Dns.MX}
    fails = v.reason in NO_CONNECTION
    connected = not fails and (v.reason is not Reason.DISPOSABLE or _is_connected(smtp))
    return {
        "has_dns": True,
        "has_dns_mx": dns is not Dns.IMPLICIT_MX,
        "connect_fails": fails,
        "smtp_connectable": connected,
    }


def _is_connected(smtp: Smtp | None) -> bool:
    return smtp is not None and smtp.connected
