"""Emailable, `https://api.emailable.com/v1`.

Documentation: https://emailable.com/docs/api/ (emails, account, status codes, rate limits,
authentication), seen 2026-11; fixtures in `compat_fixtures/emailable`.

Quirks that its official clients rely on:
- 249 is a success that says "ask again"; the Ruby client knows just the eight error codes
  below and fails on any other, so there is no 405, 413 or 422 here;
- Python sends `Bearer None` for "no key" and options in the query of a POST, Ruby sends
  `Bearer` with nothing behind it and a content type on bodiless GETs;
- every error is `{"message": …}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from adapters.dialect import (
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
    Verify,
)
from adapters.wire import WireReply, WireRequest, json_reply
from engine.model import Checks, Reason, Verdict, Verification

# -- vocabulary --------------------------------------------------------------------------

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
        Reason.LOW_QUALITY: "low_quality",
        Reason.DISPOSABLE: "low_quality",
        Reason.CATCH_ALL: "low_deliverability",
        Reason.MAILBOX_FULL: "low_deliverability",
    },
    Verdict.UNKNOWN: {
        Reason.NO_CONNECT: "no_connect",
        Reason.DNS_ERROR: "no_connect",
        Reason.NOT_CHECKED: "no_connect",
        Reason.TIMEOUT: "timeout",
        Reason.UNAVAILABLE_SMTP: "unavailable_smtp",
        Reason.GREYLISTED: "unavailable_smtp",
        Reason.BLOCKED: "unavailable_smtp",
        Reason.INVALID_SMTP: "unavailable_smtp",
        Reason.UNEXPECTED_ERROR: "unexpected_error",
    },
}
"""Each state has reasons of its own; the vendor has no words for our finer ones."""

OTHER_REASON: Mapping[Verdict, str] = {
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

DEFAULT_WAIT_S, MIN_WAIT_S, MAX_WAIT_S = 5, 2, 10
"""Of `timeout`. Out of bounds is clamped: the Python client's own README passes 25."""


# -- reading -----------------------------------------------------------------------------


def credential(request: WireRequest) -> str | None:
    """A non-empty bearer token, then `api_key`, then `access_token`."""
    if request.bearer:
        return request.bearer
    params = _params(request)
    return next((str(params[key]) for key in ("api_key", "access_token") if params.get(key)), None)


def read_verify(request: WireRequest) -> Verify:
    params = _params(request)
    email = params.get("email")
    if email is None or email == "":
        raise Problem(ProblemKind.MISSING, field="email")
    if not isinstance(email, str):
        raise Problem(ProblemKind.INVALID, field="email")
    if not email.strip():
        raise Problem(ProblemKind.MISSING, field="email")
    return Verify(
        email=email.strip(),
        checks=Checks(
            smtp=_boolean(params.get("smtp"), True),
            catch_all=_boolean(params.get("accept_all"), False),
        ),
        wait_s=_wait_s(params.get("timeout")),
    )


def read_account(request: WireRequest) -> ShowAccount:
    return ShowAccount()


def _params(request: WireRequest) -> Mapping[str, Any]:
    """Query parameters overlaid by the body's, as the clients between them need it."""
    if request.method != "POST":
        return request.query
    return {**request.query, **request.fields}


def _boolean(value: object, default: bool) -> bool:
    """JSON booleans, and text in any case (Python sends `True`); else the default."""
    word = str(value).strip().lower()
    return {"true": True, "1": True, "false": False, "0": False}.get(word, default)


def _wait_s(value: object) -> float:
    try:
        wanted = int(str(value))
    except ValueError:
        return DEFAULT_WAIT_S
    return min(max(wanted, MIN_WAIT_S), MAX_WAIT_S)


# -- writing -----------------------------------------------------------------------------


def write_verify(_: Verify, v: Verification) -> WireReply:
    row = {name: show(v) for name, show in ATTRIBUTES.items()}
    return json_reply({**row, "duration": round(v.duration_s, 3)}, sort_keys=True)


def write_account(_: ShowAccount, account: Account) -> WireReply:
    return json_reply(
        {"owner_email": account.owner_email, "available_credits": account.credits_shown}
    )


def _reason(v: Verification) -> str:
    return REASONS[v.verdict].get(v.reason, OTHER_REASON[v.verdict])


def _score(v: Verification) -> int:
    lowest, highest = SCORES[v.verdict]
    return min(max(v.score, lowest), highest)


def _person(v: Verification, part: str) -> str | None:
    """The name's parts, all null for an undeliverable address (the Python suite asserts it)."""
    person = v.evidence.person
    if person is None or v.verdict is Verdict.UNDELIVERABLE:
        return None
    value: str | None = getattr(person, part)
    return value


ATTRIBUTES: Mapping[str, Callable[[Verification], object]] = {
    "accept_all": lambda v: v.evidence.catch_all,
    "did_you_mean": lambda v: v.evidence.did_you_mean,
    "disposable": lambda v: v.evidence.disposable,
    "domain": lambda v: v.address.domain,
    "email": lambda v: v.address.raw,
    "first_name": lambda v: _person(v, "first"),
    "free": lambda v: v.evidence.free,
    "full_name": lambda v: _person(v, "full"),
    "gender": lambda v: _person(v, "gender"),
    "last_name": lambda v: _person(v, "last"),
    "mailbox_full": lambda v: v.evidence.mailbox_full is True,
    "mx_record": lambda v: v.evidence.mx_host,
    "no_reply": lambda v: v.evidence.no_reply,
    "reason": _reason,
    "role": lambda v: v.evidence.role,
    "score": _score,
    "smtp_provider": lambda v: v.evidence.provider,
    "state": lambda v: STATES[v.verdict],
    "tag": lambda v: v.address.tag,
    "user": lambda v: v.address.user,
}
"""The names that `response_fields` may list; a single verify adds `duration`."""


# -- problems ----------------------------------------------------------------------------

PROBLEMS: Mapping[ProblemKind, tuple[int, str]] = {
    ProblemKind.UNREADABLE: (400, "The request is not well-formed."),
    ProblemKind.MISSING: (400, "The {field} parameter is required."),
    ProblemKind.INVALID: (400, "The {field} parameter is invalid."),
    ProblemKind.TOO_LARGE: (400, "The request is too large."),
    ProblemKind.NO_CREDENTIAL: (401, "API key is required"),
    ProblemKind.NO_CREDITS: (402, "You do not have enough credits."),
    ProblemKind.BAD_CREDENTIAL: (403, "API key is invalid"),
    ProblemKind.SUSPENDED: (403, "Your account has been suspended."),
    ProblemKind.UNCONFIRMED: (403, "Your email address has not been confirmed."),
    ProblemKind.CLIENT_BLOCKED: (403, "Your IP address is not allowed."),
    ProblemKind.UNKNOWN_PATH: (404, "Not Found"),
    ProblemKind.WRONG_METHOD: (404, "Not Found"),
    ProblemKind.TOO_FAST: (429, "Rate Limit Exceeded"),
    ProblemKind.NOT_READY: (
        249,
        "Your request is taking longer than normal. Please send your request again.",
    ),
    ProblemKind.INTERNAL: (500, "Internal Server Error"),
    ProblemKind.UNAVAILABLE: (503, "Service Unavailable"),
}
"""249, 401 and 429 carry the documented texts; the others are ours (contract, section 12)."""


def write_problem(_: WireRequest, problem: Problem, __: Endpoint[Any] | None) -> WireReply:
    status, text = PROBLEMS[problem.kind]
    headers: tuple[tuple[str, str], ...] = ()
    if problem.kind is ProblemKind.TOO_FAST:
        headers = (
            ("ratelimit-limit", str(problem.limit)),
            ("ratelimit-remaining", "0"),
            ("ratelimit-reset", str(problem.reset_at)),
        )
    return json_reply({"message": text.format(field=problem.field)}, status, headers=headers)


# -- the dialect -------------------------------------------------------------------------

DIALECT = Dialect(
    name="emailable",
    title="Emailable",
    hosts=("api.emailable.com",),
    base_path="/v1",
    root_paths=(RootPath("/v1/"),),
    endpoints=(
        Endpoint(
            name="verify",
            methods=("GET", "POST"),
            path="/v1/verify",
            read=read_verify,
            write=write_verify,
            bucket="verify",
            cors=True,
        ),
        Endpoint(
            name="account",
            methods=("GET",),
            path="/v1/account",
            read=read_account,
            write=write_account,
            bucket="account",
        ),
    ),
    credential=credential,
    write_problem=write_problem,
    key_shape=KeyShape("live_", "test_", alphabet="0123456789abcdef", length=20),
    sandbox_key="test_7aff7fc0142c65f86a00",
    plans=(
        Plan(
            "emailable",
            "Emailable standard",
            rates={"verify": Rate(25, 1), "batch": Rate(5, 1), "account": Rate(5, 1)},
        ),
    ),
)
