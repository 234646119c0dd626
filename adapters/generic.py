"""The generic "API Documentation v1", keys `ev_live_…`: VerifyCatch's API.

Documentation: https://www.verifycatch.com/docs, seen 2026-11; fixtures in
`compat_fixtures/generic`. The page shows one error code, one verification and one account;
whatever it leaves open is a constant here.

Quirks:
- an error is `{"error": code, "message": text}`, and what belongs to it stands beside them;
- the sample clients poll twelve times a minute where the free plan allows ten requests, so
  that only a POST counts against the minute;
- a score never leaves the range of its tier.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from adapters.dialect import (
    UNLIMITED_CREDITS,
    Account,
    Dialect,
    Endpoint,
    KeyShape,
    Plan,
    Problem,
    ProblemKind,
    Rate,
    RootPath,
    ShowAccount,
    ShowPlans,
    Verify,
)
from adapters.wire import WireReply, WireRequest, json_reply
from engine.model import Reason, Verdict, Verification

# -- vocabulary --------------------------------------------------------------------------

TIERS: Mapping[Verdict, str] = {
    Verdict.DELIVERABLE: "deliverable",
    Verdict.RISKY: "risky",
    Verdict.UNDELIVERABLE: "undeliverable",
    Verdict.UNKNOWN: "unknown",
}

RESULTS: Mapping[Verdict, Mapping[Reason, str]] = {
    Verdict.DELIVERABLE: {},
    Verdict.RISKY: {Reason.CATCH_ALL: "catch_all"},
    Verdict.UNDELIVERABLE: {},
    Verdict.UNKNOWN: {},
}

OTHER_RESULT: Mapping[Verdict, str] = {
    Verdict.DELIVERABLE: "ok",
    Verdict.RISKY: "risky",
    Verdict.UNDELIVERABLE: "invalid",
    Verdict.UNKNOWN: "unknown",
}

LABELS: Mapping[str, str] = {
    "ok": "OK",
    # only the first is published
    "risky": "Risky",
    "catch_all": "Catch-All",
    "invalid": "Invalid",
    "unknown": "Unknown",
}
"""`tierLabel`, by result."""

SCORES: Mapping[Verdict, tuple[int, int]] = {
    Verdict.DELIVERABLE: (80, 100),
    Verdict.RISKY: (40, 79),
    Verdict.UNDELIVERABLE: (0, 39),
    # "varies", but never the score of a deliverable address
    Verdict.UNKNOWN: (0, 79),
}
"""Lowest and highest score of each tier."""

PROVIDERS: Mapping[str, tuple[str, str]] = {
    "google": ("Google Workspace", "Gmail"),
    "microsoft": ("Microsoft 365", "Outlook.com"),
}
"""Display names, for an organisation's domain and for a free-mail domain.

The page's sample says "Google Workspace" and its table "Google, Microsoft 365, etc.".
"""

SPOKEN_TO = frozenset(
    {
        Reason.ACCEPTED_EMAIL,
        Reason.REJECTED_EMAIL,
        Reason.CATCH_ALL,
        Reason.MAILBOX_FULL,
        Reason.GREYLISTED,
    }
)
"""Reasons that only a mail server can give: what an answer without a conversation on record,
such as an upstream's, shows as `connected`."""

ACCEPTED = frozenset({Reason.ACCEPTED_EMAIL, Reason.CATCH_ALL})
"""Likewise for `mailboxExists`."""

MAX_EMAIL_CHARACTERS = 320


# -- reading -----------------------------------------------------------------------------


def credential(request: WireRequest) -> str | None:
    """A bearer token, else `X-API-Key`."""
    return request.bearer or request.headers.get("x-api-key", "").strip() or None


def read_verify(request: WireRequest) -> Verify:
    body = request.json_object
    refresh = body.get("refresh", False)
    if not isinstance(refresh, bool):
        raise Problem(ProblemKind.INVALID, "refresh must be true or false.", "refresh")
    return Verify(email=_email(body.get("email")), refresh=refresh)


def read_account(request: WireRequest) -> ShowAccount:
    return ShowAccount()


def read_plans(request: WireRequest) -> ShowPlans:
    return ShowPlans()


def _email(value: object) -> str:
    """An address that has a domain, which the answer must show; else a `Problem`.

    Whatever else is wrong with it is a verdict.
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


# -- writing -----------------------------------------------------------------------------


def write_verify(_: Verify, v: Verification) -> WireReply:
    return json_reply(_verification(v))


def write_account(_: ShowAccount, account: Account) -> WireReply:
    included = _included(account)
    return json_reply(
        {
            "plan": account.plan.name,
            "planName": account.plan.title,
            "month": account.month,
            "used": account.used,
            "included": included,
            "remaining": max(0, included - account.used),
            "overage": max(0, account.used - included),
            "overageRate": account.plan.overage_rate,
            "rateLimit": _per_minute(account.plan),
        }
    )


def write_plans(_: ShowPlans, plans: tuple[Plan, ...]) -> WireReply:
    return json_reply(
        {
            "plans": [
                {
                    "plan": plan.name,
                    "planName": plan.title,
                    "price": plan.price,
                    "currency": "usd",
                    "included": plan.included,
                    "overageRate": plan.overage_rate,
                    "rateLimit": _per_minute(plan),
                }
                for plan in plans
            ]
        }
    )


def _verification(v: Verification) -> dict[str, Any]:
    result = RESULTS[v.verdict].get(v.reason, OTHER_RESULT[v.verdict])
    lowest, highest = SCORES[v.verdict]
    verified_at = v.verified_at.astimezone(UTC).isoformat(timespec="milliseconds")
    return {
        "email": v.address.normalized,
        "domain": v.address.domain,
        "score": min(max(v.score, lowest), highest),
        "tier": TIERS[v.verdict],
        "tierLabel": LABELS[result],
        "result": result,
        "quality": TIERS[v.verdict],
        "provider": _provider(v),
        "isRole": v.evidence.role,
        "isDisposable": v.evidence.disposable,
        "mx": [{"exchange": mx.host, "priority": mx.preference} for mx in v.evidence.mx],
        "smtp": _smtp(v),
        # these three know no third value: what is not known is false
        "catchAll": {"isCatchAll": v.evidence.catch_all is True or v.reason is Reason.CATCH_ALL},
        "spf": v.evidence.spf is True,
        "dmarc": v.evidence.dmarc is True,
        "verifiedAt": verified_at.replace("+00:00", "Z"),
        "cached": v.cached,
    }


def _smtp(v: Verification) -> dict[str, object]:
    smtp = v.evidence.smtp
    if smtp is None:
        return {
            "connected": v.reason in SPOKEN_TO,
            "mailboxExists": v.reason in ACCEPTED,
            "responseCode": None,
            "latencyMs": None,
        }
    return {
        "connected": smtp.connected,
        "mailboxExists": smtp.accepted is True,
        "responseCode": smtp.code,
        "latencyMs": smtp.latency_ms,
    }


def _provider(v: Verification) -> str | None:
    word = v.evidence.provider
    if word is None:
        return None
    organisation, free_mail = PROVIDERS.get(word, (word, word))
    return free_mail if v.evidence.free else organisation


def _included(account: Account) -> int:
    if account.plan.included is not None:
        return account.plan.included
    if account.credits is not None:
        return account.used + account.credits
    return UNLIMITED_CREDITS


def _per_minute(plan: Plan) -> int:
    rate = plan.rates.get(BUCKET)
    return UNLIMITED_CREDITS if rate is None else rate.count * 60 // rate.per_s


# -- problems ----------------------------------------------------------------------------

PROBLEMS: Mapping[ProblemKind, tuple[int, str, str]] = {
    ProblemKind.UNREADABLE: (400, "invalid_request", "The request body must be a JSON object."),
    ProblemKind.MISSING: (400, "invalid_request", "{field} is required."),
    ProblemKind.INVALID: (400, "invalid_request", "{detail}"),
    ProblemKind.NO_CREDENTIAL: (401, "unauthorized", "API key is missing."),
    ProblemKind.BAD_CREDENTIAL: (401, "unauthorized", "API key is invalid."),
    ProblemKind.NO_CREDITS: (
        402,
        "usage_limit_reached",
        "Monthly limit reached ({limit} verifications). Upgrade to continue.",
    ),
    ProblemKind.SUSPENDED: (403, "account_suspended", "Your account has been suspended."),
    ProblemKind.UNCONFIRMED: (
        403,
        "email_not_verified",
        "Verify the email address of your account first.",
    ),
    ProblemKind.CLIENT_BLOCKED: (403, "forbidden", "Your IP address is not allowed."),
    ProblemKind.UNKNOWN_PATH: (404, "not_found", "Not found."),
    ProblemKind.WRONG_METHOD: (405, "method_not_allowed", "Method not allowed."),
    ProblemKind.TOO_LARGE: (413, "payload_too_large", "The request body is too large."),
    ProblemKind.TOO_FAST: (
        429,
        "rate_limit_exceeded",
        "Rate limit exceeded. Retry in {retry_after_s} seconds.",
    ),
    ProblemKind.INTERNAL: (500, "server_error", "Internal server error."),
    ProblemKind.NOT_READY: (503, "server_error", "The verification takes too long. Retry later."),
    ProblemKind.UNAVAILABLE: (503, "server_error", "Service unavailable. Retry later."),
}
"""Only the row of 402 is published in full, of the others the statuses 400 to 403, 429 and 500."""


def write_problem(_: WireRequest, problem: Problem, __: Endpoint[Any] | None) -> WireReply:
    status, code, text = PROBLEMS[problem.kind]
    message = text.format(
        field=problem.field,
        detail=problem.detail or "A parameter is invalid.",
        limit=problem.limit,
        retry_after_s=problem.retry_after_s,
    )
    body: dict[str, object] = {"error": code, "message": message}
    headers: tuple[tuple[str, str], ...] = ()
    if problem.field:
        body["field"] = problem.field
    if problem.kind is ProblemKind.NO_CREDITS:
        body |= {"used": problem.used, "limit": problem.limit}
    if problem.retry_after_s is not None:
        body["retryAfter"] = problem.retry_after_s
        headers += (("Retry-After", str(problem.retry_after_s)),)
    if problem.allow:
        headers += (("Allow", ", ".join(problem.allow)),)
    return json_reply(body, status, headers=headers)


# -- the dialect -------------------------------------------------------------------------

BUCKET = "verify"
"""What the plans limit a minute; GETs are never counted (see the quirks)."""


def _plan(
    name: str, price: int, per_minute: int, included: int, overage_rate: float | None
) -> Plan:
    return Plan(
        name,
        name.title(),
        rates={BUCKET: Rate(per_minute, 60)},
        included=included,
        hard_cap=overage_rate is None,
        price=price,
        overage_rate=overage_rate,
    )


DIALECT = Dialect(
    name="generic",
    title="API v1 (VerifyCatch)",
    hosts=("www.verifycatch.com", "verifycatch.com"),
    base_path="/api/v1",
    root_paths=(RootPath("/api/v1/"),),
    endpoints=(
        Endpoint(
            name="verify",
            methods=("POST",),
            path="/api/v1/verify",
            read=read_verify,
            write=write_verify,
            bucket=BUCKET,
        ),
        Endpoint(
            name="account",
            methods=("GET",),
            path="/api/v1/account",
            read=read_account,
            write=write_account,
        ),
        Endpoint(
            name="plans",
            methods=("GET",),
            path="/api/v1/plans",
            read=read_plans,
            write=write_plans,
            needs_key=False,
        ),
    ),
    credential=credential,
    write_problem=write_problem,
    key_shape=KeyShape("ev_live_", "ev_test_", length=24),
    sandbox_key="ev_test_sandbox",
    plans=(
        _plan("free", 0, 10, 100, None),
        _plan("starter", 29, 60, 5_000, 0.008),
        _plan("pro", 99, 300, 25_000, 0.005),
        _plan("enterprise", 299, 1_000, 100_000, 0.003),
    ),
)
