"""One address."""

from __future__ import annotations

from typing import Any

from adapters.contract.operations import Verify
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.generic.words import LABELS, provider_name, result_word, tier_score, tier_word
from adapters.kit.words import parse_bool, utc_millis
from engine.model import Checks, Reason, Verification

MAX_EMAIL_CHARACTERS = 320

REASONS_FROM_SERVER = frozenset(
    {
        Reason.ACCEPTED_EMAIL,
        Reason.REJECTED_EMAIL,
        Reason.CATCH_ALL,
        Reason.MAILBOX_FULL,
        Reason.GREYLISTED,
    }
)
"""Reasons that only a mail server can give: a result without a recorded dialogue, such as an
upstream's, is shown as `connected` for them."""

REASONS_ACCEPTED = frozenset({Reason.ACCEPTED_EMAIL, Reason.CATCH_ALL})
"""Likewise for `mailboxExists`."""

# -- reading ------------------------------------------------------------------------------


def read_verify(request: WireRequest) -> Verify:
    body = request.json_object
    refresh = parse_bool(body.get("refresh", False))
    if refresh is None:
        raise Problem(ProblemKind.INVALID, "refresh must be true or false.", "refresh")
    return Verify(
        email=_parse_email(body.get("email")), checks=Checks(policies=True), refresh=refresh
    )


def _parse_email(value: object) -> str:
    """An address that has a domain, which the answer must show; else a `Problem`.

    Any other fault of the address becomes a verdict.
    """
    if value is None:
        raise Problem(ProblemKind.MISSING, field="email")
    if not isinstance(value, str):
        raise Problem(ProblemKind.INVALID, "email must be a string.", "email")
    email = value.strip()
    if not email:
        raise Problem(ProblemKind.MISSING, field="email")
    if len(email) > MAX_EMAIL_CHARACTERS:
        text = f"email must have at most {MAX_EMAIL_CHARACTERS} characters."
        raise Problem(ProblemKind.INVALID, text, "email")
    _, at, domain = email.rpartition("@")
    if not at or not domain:
        raise Problem(ProblemKind.INVALID, "email must have the form name@domain.", "email")
    return email


# -- writing ------------------------------------------------------------------------------


def write_verify(_: Verify, v: Verification) -> WireReply:
    return json_reply(verification_json(v))


def verification_json(v: Verification) -> dict[str, Any]:
    word = result_word(v)
    return {
        "email": v.address.normalized,
        "domain": v.address.domain,
        "score": tier_score(v),
        "tier": tier_word(v),
        "tierLabel": LABELS[word],
        "result": word,
        "quality": tier_word(v),
        "provider": provider_name(v),
        "isRole": v.evidence.role,
        "isDisposable": v.evidence.disposable,
        "mx": [{"exchange": mx.host, "priority": mx.preference} for mx in v.evidence.mx],
        "smtp": _smtp_json(v),
        # these three are booleans: an unknown value is shown as false
        "catchAll": {"isCatchAll": v.evidence.catch_all is True or v.reason is Reason.CATCH_ALL},
        "spf": v.evidence.spf is True,
        "dmarc": v.evidence.dmarc is True,
        "verifiedAt": utc_millis(v.verified_at),
        "cached": v.cached,
    }


def _smtp_json(v: Verification) -> dict[str, object]:
    smtp = v.evidence.smtp
    if smtp is None:
        return {
            "connected": v.reason in REASONS_FROM_SERVER,
            "mailboxExists": v.reason in REASONS_ACCEPTED,
            "responseCode": None,
            "latencyMs": None,
        }
    return {
        "connected": smtp.connected,
        "mailboxExists": smtp.accepted is True,
        "responseCode": smtp.code,
        # as without a dialogue: a host that was not reached has no latency
        "latencyMs": smtp.latency_ms if smtp.connected else None,
    }
