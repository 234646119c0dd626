"""ValidTo, `https://api.validto.com/v1`, and Bouncify, the same API under another brand.

Documentation: https://validto.readme.io/reference/responses and the pages beside it,
https://bouncify.io/docs/api-docs/, seen 2026-11; fixtures in `compat_fixtures/validto`.

Quirks that are copied on purpose:
- error text lives in `result`, success text in `message`;
- `success` is the string "false", and first, on a single verification's 401, 402 and 429,
  a boolean, and last, everywhere else (fixtures `verify_401`, `verify_400_missing_email`);
- `/info` spells "API key" with a small k.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from engine.model import Reason, Verdict, Verification

# -- vocabulary --------------------------------------------------------------------------

RESULTS: Mapping[Verdict, Mapping[Reason, str]] = {
    Verdict.DELIVERABLE: {},
    Verdict.UNDELIVERABLE: {},
    Verdict.RISKY: {
        Reason.CATCH_ALL: "accept-all",
        # seen live: addresses of disposable domains are called undeliverable
        Reason.DISPOSABLE: "undeliverable",
        # the vendor has no "maybe" but accept-all; mail to a full mailbox bounces
        Reason.MAILBOX_FULL: "undeliverable",
    },
    Verdict.UNKNOWN: {},
}

OTHER_RESULT: Mapping[Verdict, str] = {
    Verdict.DELIVERABLE: "deliverable",
    Verdict.UNDELIVERABLE: "undeliverable",
    Verdict.RISKY: "unknown",
    Verdict.UNKNOWN: "unknown",
}

MESSAGES: Mapping[str, str] = {
    "deliverable": "This address can receive emails.",
    # only the first is published; clients must ignore the others (contract, section 9)
    "undeliverable": "This address cannot receive emails.",
    "accept-all": "The domain accepts emails for any address.",
    "unknown": "Unable to verify this address.",
}

ACCEPT_ALL: Mapping[bool | None, int] = {True: 1, False: 0, None: 2}
"""2 is "not probed or undetermined": the vendor's sample shows it beside a deliverable."""

DEFAULT_WAIT_MS, MIN_WAIT_MS, MAX_WAIT_MS = 180_000, 30_000, 180_000
"""Of `timeout`; out of bounds is clamped."""


# -- reading -----------------------------------------------------------------------------


def credential(request: WireRequest) -> str | None:
    return request.query.get("apikey") or None


def read_verify(request: WireRequest) -> Verify:
    # many clients do not encode the address, so that a `+` arrives as a blank
    email = request.query.get("email", "").strip().replace(" ", "+")
    if not email:
        raise Problem(ProblemKind.MISSING, field="email")
    return Verify(
        email=email,
        wait_s=_wait_ms(request.query.get("timeout", "")) / 1000,
        refuse_malformed=True,
    )


def read_info(request: WireRequest) -> ShowAccount:
    return ShowAccount()


def _wait_ms(value: str) -> int:
    try:
        wanted = int(value)
    except ValueError:
        return DEFAULT_WAIT_MS
    return min(max(wanted, MIN_WAIT_MS), MAX_WAIT_MS)


# -- writing -----------------------------------------------------------------------------


def write_verify(_: Verify, v: Verification) -> WireReply:
    result = _result(v)
    return json_reply(
        {
            "result": result,
            "message": MESSAGES[result],
            "email": v.address.raw,
            "user": v.address.local,
            "domain": v.address.domain,
            "accept_all": ACCEPT_ALL[v.evidence.catch_all],
            "role": int(v.evidence.role),
            "free_email": int(v.evidence.free),
            "disposable": int(v.evidence.disposable),
            "spamtrap": int(v.evidence.spamtrap is True),
            "success": True,
        }
    )


def write_info(_: ShowAccount, account: Account) -> WireReply:
    return json_reply(
        {"success": True, "credits_info": {"credits_remaining": account.credits_shown}}
    )


def _result(v: Verification) -> str:
    # a proven catch-all is accept-all, whatever else is wrong with the address
    reason = Reason.CATCH_ALL if v.evidence.catch_all else v.reason
    return RESULTS[v.verdict].get(reason, OTHER_RESULT[v.verdict])


# -- problems ----------------------------------------------------------------------------

REQUIRED_EMAIL = "Invalid request. Required email."

PROBLEMS: Mapping[ProblemKind, tuple[int, str]] = {
    ProblemKind.UNREADABLE: (400, REQUIRED_EMAIL),
    ProblemKind.MISSING: (400, REQUIRED_EMAIL),
    ProblemKind.INVALID: (400, REQUIRED_EMAIL),
    ProblemKind.TOO_LARGE: (400, REQUIRED_EMAIL),
    ProblemKind.SUSPENDED: (400, "Verify restricted"),
    ProblemKind.UNCONFIRMED: (400, "Verify restricted"),
    ProblemKind.CLIENT_BLOCKED: (400, "Verify restricted"),
    # text seen live, status recommended: a 408 makes some HTTP stacks repeat the call
    ProblemKind.NOT_READY: (400, "Validation timedout"),
    ProblemKind.NO_CREDENTIAL: (401, "Invalid API Key"),
    ProblemKind.BAD_CREDENTIAL: (401, "Invalid API Key"),
    ProblemKind.NO_CREDITS: (402, "Insufficient verification credits"),
    ProblemKind.UNKNOWN_PATH: (404, "Not found"),
    ProblemKind.WRONG_METHOD: (404, "Not found"),
    ProblemKind.TOO_FAST: (429, "Too many requests"),
    ProblemKind.INTERNAL: (500, "Internal server error"),
    ProblemKind.UNAVAILABLE: (503, "Service unavailable"),
}

INFO_TEXTS: Mapping[ProblemKind, str] = {
    ProblemKind.NO_CREDENTIAL: "Invalid API key",
    ProblemKind.BAD_CREDENTIAL: "Invalid API key",
}

TEXT_SUCCESS = (401, 402, 429)
"""Statuses on which a single verification says `"false"` in quotes."""


def write_problem(_: WireRequest, problem: Problem, endpoint: Endpoint[Any] | None) -> WireReply:
    status, text = PROBLEMS[problem.kind]
    headers: tuple[tuple[str, str], ...] = ()
    if problem.retry_after_s is not None:
        headers = (("Retry-After", str(problem.retry_after_s)),)
    if endpoint is not None and endpoint.name == "verify" and status in TEXT_SUCCESS:
        return json_reply({"success": "false", "result": text}, status, headers=headers)
    if endpoint is not None and endpoint.name == "info":
        text = INFO_TEXTS.get(problem.kind, text)
    return json_reply({"result": text, "success": False}, status, headers=headers)


# -- the dialect -------------------------------------------------------------------------

DIALECT = Dialect(
    name="validto",
    title="ValidTo and Bouncify",
    aliases=("bouncify",),
    hosts=("api.validto.com", "api.bouncify.io"),
    base_path="/v1",
    root_paths=(
        RootPath("/v1/verify", parameter="apikey"),
        RootPath("/v1/bulk"),
        RootPath("/v1/download"),
        RootPath("/v1/info"),
    ),
    endpoints=(
        Endpoint(
            name="verify",
            methods=("GET",),
            path="/v1/verify",
            read=read_verify,
            write=write_verify,
            bucket="all",
        ),
        Endpoint(
            name="info",
            methods=("GET",),
            path="/v1/info",
            read=read_info,
            write=write_info,
            bucket="all",
        ),
    ),
    credential=credential,
    write_problem=write_problem,
    key_shape=KeyShape(length=32),
    sandbox_key="sandbox0000000000000000000000000",
    plans=(Plan("validto", "ValidTo", rates={"all": Rate(120, 60)}),),
)
