"""The vendor as a source: requests to it, and the meaning of its replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from adapters.contract.upstream import (
    Call,
    Fault,
    FaultKind,
    Pending,
    Upstream,
    UpstreamQuery,
    UpstreamReply,
    UpstreamRequest,
    UpstreamResult,
)
from adapters.generic.words import FREE_MAIL_PROVIDERS, PROVIDERS, TIERS
from adapters.kit.faults import STATUS_FAULTS, fault_from_status
from adapters.kit.words import bearer, datetime_or_none, parse_bool, parse_integer, text_or_none
from engine.model import Dns, Evidence, Meaning, MxHost, Reason, Smtp, Stage, Verdict

VERDICTS_BY_TIER: Mapping[str, Verdict] = {word: verdict for verdict, word in TIERS.items()}
PROVIDERS_BY_NAME: Mapping[str, str] = {
    name: word for names in (PROVIDERS, FREE_MAIL_PROVIDERS) for word, name in names.items()
}
FAULTS: Mapping[int, FaultKind] = {
    **STATUS_FAULTS,
    # an unknown key gets a 401; this is an account that is suspended or not confirmed
    403: FaultKind.BANNED,
}

MEANINGS: Mapping[tuple[Verdict, bool], Meaning] = {
    (Verdict.DELIVERABLE, True): Meaning.ACCEPTED,
    (Verdict.RISKY, True): Meaning.ACCEPTED,
    (Verdict.UNKNOWN, True): Meaning.ACCEPTED,
    (Verdict.UNDELIVERABLE, True): Meaning.ACCEPTED,
    # with another tier, false may also be a refusal of the vendor's server
    (Verdict.UNDELIVERABLE, False): Meaning.MAILBOX_NOT_FOUND,
}
"""By tier and `mailboxExists`, if the mail server replied. Other pairs are `CANNOT_VERIFY`."""


def build_verify(key: str, query: UpstreamQuery) -> UpstreamRequest:
    body: dict[str, object] = {"email": query.address.raw}
    if query.refresh:
        body["refresh"] = True
    return UpstreamRequest(
        "POST",
        "/api/v1/verify",
        headers={**bearer(key), "content-type": "application/json"},
        body=orjson.dumps(body),
    )


def parse_verify(reply: UpstreamReply, query: UpstreamQuery) -> UpstreamResult | Pending | Fault:
    body = reply.json_object
    if reply.status != 200 or "tier" not in body:
        return fault_from_status(reply, body.get("message"), FAULTS)
    return parse_result(body, valid=query.address.valid)


def parse_result(body: Mapping[str, Any], *, valid: bool) -> UpstreamResult:
    """The result in an object with a `tier`, of a reply or of a job's row.

    `valid`: whether the address is well formed, which the object does not show.
    """
    tier = str(body["tier"])
    verdict = VERDICTS_BY_TIER.get(tier)
    mx = _parse_mx(body.get("mx"))
    smtp = _parse_smtp(verdict or Verdict.UNKNOWN, body.get("smtp"))
    catch_all = body.get("catchAll")
    is_catch_all = parse_bool(catch_all.get("isCatchAll")) if isinstance(catch_all, dict) else None
    free, provider = _parse_provider(body.get("provider"))
    evidence = Evidence(
        disposable=parse_bool(body.get("isDisposable")) is True,
        free=free,
        role=parse_bool(body.get("isRole")) is True,
        dns=Dns.MX if mx else Dns.NOT_CHECKED,
        mx=mx,
        provider=provider,
        # false is also the value of a check that was not made; so here and below
        spf=True if parse_bool(body.get("spf")) else None,
        dmarc=True if parse_bool(body.get("dmarc")) else None,
        smtp=smtp,
        catch_all=True if is_catch_all else None,
        raw_word=None if verdict else tier,
    )
    score = parse_integer(body.get("score"))
    return UpstreamResult(
        verdict=verdict or Verdict.UNKNOWN,
        reason=_reason(verdict, valid, str(body.get("result")), evidence),
        evidence=evidence,
        score=score if verdict else None,
        verified_at=datetime_or_none(body.get("verifiedAt")),
    )


def _reason(verdict: Verdict | None, valid: bool, result: str, e: Evidence) -> Reason:
    """The vendor has no reasons; most of them follow from the other members."""
    connected = e.smtp is not None
    match verdict:
        case Verdict.DELIVERABLE:
            return Reason.ACCEPTED_EMAIL
        case Verdict.RISKY if result == "catch_all":
            return Reason.CATCH_ALL
        case Verdict.RISKY:
            return Reason.DISPOSABLE if e.disposable else Reason.LOW_QUALITY
        case Verdict.UNDELIVERABLE if not valid:
            return Reason.INVALID_EMAIL
        case Verdict.UNDELIVERABLE if connected:
            return Reason.REJECTED_EMAIL
        case Verdict.UNDELIVERABLE:
            return Reason.INVALID_SMTP if e.mx else Reason.INVALID_DOMAIN
        case Verdict.UNKNOWN if connected:
            return Reason.UNAVAILABLE_SMTP
        case Verdict.UNKNOWN:
            return Reason.NO_CONNECT if e.mx else Reason.DNS_ERROR
    return Reason.UNEXPECTED_ERROR


def _parse_smtp(verdict: Verdict, value: object) -> Smtp | None:
    """The SMTP dialogue, if there was one: without `connected` the other members are
    meaningless."""
    if not isinstance(value, dict) or not parse_bool(value.get("connected")):
        return None
    exists = parse_bool(value.get("mailboxExists")) is True
    return Smtp(
        meaning=MEANINGS.get((verdict, exists), Meaning.CANNOT_VERIFY),
        stage=Stage.RCPT,
        connected=True,
        code=parse_integer(value.get("responseCode")),
        latency_ms=parse_integer(value.get("latencyMs")),
    )


def _parse_mx(value: object) -> tuple[MxHost, ...]:
    rows = value if isinstance(value, list) else []
    hosts = [
        MxHost(row["exchange"].rstrip(".").lower(), int(row.get("priority") or 0))
        for row in rows
        if isinstance(row, dict)
        and isinstance(row.get("exchange"), str)
        and isinstance(row.get("priority"), int | None)
    ]
    return tuple(host for host in hosts if host.host)


def _parse_provider(value: object) -> tuple[bool, str | None]:
    """Whether the name is that of a free-mail service, and our word for it."""
    name = text_or_none(value)
    if name is None:
        return False, None
    return name in FREE_MAIL_PROVIDERS.values(), PROVIDERS_BY_NAME.get(name, name.lower())


def build_balance(key: str) -> UpstreamRequest:
    return UpstreamRequest("GET", "/api/v1/account", headers=bearer(key), is_billed=False)


def parse_balance(reply: UpstreamReply) -> int | Fault:
    """The rest of the month's verifications; at least a million on a plan that bills overage, whose
    requests are not refused at 0."""
    body: Mapping[str, Any] = reply.json_object
    remaining = parse_integer(body.get("remaining"))
    if reply.status != 200 or remaining is None:
        return fault_from_status(reply, body.get("message"), FAULTS)
    return remaining if body.get("overageRate") is None else max(remaining, 1_000_000)


UPSTREAM = Upstream(
    verify=Call(build_verify, parse_verify),
    always_reports=frozenset({"disposable", "role"}),
    balance=Call(build_balance, parse_balance),
    # "2 to 15 seconds"
    usual_answer_s=15.0,
)
