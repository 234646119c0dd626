"""Dataoorts Unify API "AI Mails", `https://cloud.dataoorts.com/ai_mails_api`.

Documentation: https://docs.dataoorts.com/docs/api-email-verification/, seen 2026-11; fixtures
in `compat_fixtures/dataoorts`. The page shows neither an error nor the whole list of causes;
what it leaves open is a table here.

Quirks that are copied on purpose:
- `info` asks for `user_info`, while the block named `info` is always there; the samples send
  it as the text "true" or "false" (fixture `verify_and_predict`);
- the keys of every object are sorted;
- `isv_mx` says whether the mail server answered well, not whether there is an MX record: it is
  null beside a filled `mx_record` (the same fixture);
- an address that keeps failing to authenticate is locked out for good; here that is a setting.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from adapters.dialect import (
    CheckHealth,
    Dialect,
    Endpoint,
    GuessPerson,
    KeyShape,
    PersonGuess,
    Plan,
    Problem,
    ProblemKind,
    RootPath,
    Verify,
)
from adapters.wire import WireReply, WireRequest, json_reply
from engine.model import Person, Reason, Verdict, Verification

# -- vocabulary --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cause:
    """What goes with a `result_cause`."""

    test_result: str
    score: int
    """Before what the address itself costs."""
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
    # words of its relatives (Kickbox, Emailable), for what the above cannot say; below 50, from
    # where on consumers send to what is risky or unknown
    "low_quality": Cause("risky", 40),
    "low_deliverability": Cause("risky", 40),
    "unavailable_smtp": Cause("unknown", 40, isv_mx=None),
    "unexpected_error": Cause("unknown", 40, isv_mx=None),
}
"""Each cause has one result, so that either says enough."""

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
        Reason.NO_CONNECT: "invalid_smtp",
    },
    Verdict.UNKNOWN: {
        Reason.NO_CONNECT: "no_connect",
        Reason.DNS_ERROR: "no_connect",
        Reason.NOT_CHECKED: "no_connect",
        Reason.TIMEOUT: "timeout",
        Reason.UNEXPECTED_ERROR: "unexpected_error",
    },
}

OTHER_CAUSE: Mapping[Verdict, str] = {
    Verdict.DELIVERABLE: "accepted_email",
    Verdict.RISKY: "low_deliverability",
    Verdict.UNDELIVERABLE: "rejected_email",
    # a refusal of us, or for now: never `invalid_smtp`, which would condemn the mailbox
    Verdict.UNKNOWN: "unavailable_smtp",
}

DISPOSABLE_COSTS, GENERIC_COSTS = 30, 10
"""Off the score; the first is seen, the second ours."""

FREE_PROVIDERS: Mapping[str, str] = {"google": "gmail"}
"""`provider` of a free-mail domain; any other is null, as is every provider but this one in
the samples."""

SWITCH: Mapping[str, bool] = {"true": True, "false": False}
"""`info`, in any case."""


# -- reading -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyAndPredict(Verify):
    """A verification that may also show who the owner seems to be."""

    predict: bool = False


def credential(request: WireRequest) -> str | None:
    return request.bearer


def read_verify(request: WireRequest) -> VerifyAndPredict:
    return VerifyAndPredict(email=_email(request), predict=_info(request))


def read_predict(request: WireRequest) -> GuessPerson:
    return GuessPerson(email=_email(request))


def read_health(_: WireRequest) -> CheckHealth:
    return CheckHealth()


def _email(request: WireRequest) -> str:
    """Any text but a blank one: a malformed address is a verdict (`invalid_format`)."""
    email = request.json_object.get("email")
    if not isinstance(email, str) or not email.strip():
        raise Problem(ProblemKind.INVALID, field="email")
    return email.strip()


def _info(request: WireRequest) -> bool:
    """Off by default: the smaller answer is the whole verification."""
    value = request.json_object.get("info", False)
    if isinstance(value, str):
        value = SWITCH.get(value.strip().lower())
    if not isinstance(value, bool):
        raise Problem(ProblemKind.INVALID, field="info")
    return value


# -- writing -----------------------------------------------------------------------------


def write_verify(op: VerifyAndPredict, v: Verification) -> WireReply:
    body: dict[str, object] = {"info": _info_block(v)}
    if op.predict:
        body["user_info"] = _user_info(v.address.local, v.evidence.person)
    return json_reply(body, sort_keys=True)


def write_predict(_: GuessPerson, guess: PersonGuess) -> WireReply:
    return json_reply({"user_info": _user_info(guess.user, guess.person)}, sort_keys=True)


def write_health(_: CheckHealth, __: None) -> WireReply:
    return json_reply({"status": "All Services Operational"})


def _info_block(v: Verification) -> dict[str, object]:
    word = REASONS[v.verdict].get(v.reason, OTHER_CAUSE[v.verdict])
    cause = CAUSES[word]
    best = v.evidence.mx[0].host if v.evidence.mx else v.evidence.mx_host
    provider = v.evidence.provider if v.evidence.free else None
    return {
        "domain": v.address.domain,
        "email": v.address.raw,
        "email_avatar": v.evidence.avatar,
        "is_disposable": v.evidence.disposable,
        "is_free": v.evidence.free,
        "isv_domain": cause.isv_domain,
        "isv_format": cause.isv_format,
        "isv_mx": cause.isv_mx,
        # a list the address is on; those that we are on say nothing of it
        "isv_noblock": v.evidence.spamtrap is not True,
        # false makes consumers call it a catch-all whatever the result: not beside a name
        # that an otherwise catch-all domain refused
        "isv_nocatchall": not (
            word == "catch_all"
            or (v.evidence.catch_all is True and v.verdict is not Verdict.UNDELIVERABLE)
        ),
        "isv_nogeneric": not _generic(v),
        "mx_record": best or "",
        "provider": FREE_PROVIDERS.get(provider or ""),
        "result_cause": word,
        "test_result": cause.test_result,
        "test_score": _score(cause, v, disposable_costs=word != "disposable"),
    }


def _generic(v: Verification) -> bool:
    return v.evidence.role or v.evidence.no_reply


def _score(cause: Cause, v: Verification, *, disposable_costs: bool) -> int:
    score = cause.score
    if v.evidence.disposable and disposable_costs:
        score -= DISPOSABLE_COSTS
    if _generic(v):
        score -= GENERIC_COSTS
    return max(score, 0)


def _user_info(user: str, person: Person | None) -> dict[str, object]:
    name = person.full if person else None
    accuracy = round(person.accuracy, 2) if person and name else 0.0
    return {"accuracy": accuracy, "name": name, "username": user}


# -- problems ----------------------------------------------------------------------------

PROBLEMS: Mapping[ProblemKind, tuple[int, str]] = {
    ProblemKind.UNREADABLE: (400, "Invalid request body"),
    ProblemKind.MISSING: (400, "Invalid request body"),
    ProblemKind.INVALID: (400, "Invalid request body"),
    ProblemKind.NO_CREDENTIAL: (401, "Unauthorized"),
    ProblemKind.BAD_CREDENTIAL: (401, "Unauthorized"),
    ProblemKind.NO_CREDITS: (402, "Insufficient credits"),
    ProblemKind.CLIENT_BLOCKED: (403, "IP address blocked"),
    ProblemKind.SUSPENDED: (403, "Account suspended"),
    ProblemKind.UNCONFIRMED: (403, "Account not confirmed"),
    ProblemKind.UNKNOWN_PATH: (404, "Not found"),
    ProblemKind.WRONG_METHOD: (405, "Method not allowed"),
    ProblemKind.TOO_LARGE: (413, "Payload too large"),
    ProblemKind.TOO_FAST: (429, "Too many requests"),
    ProblemKind.INTERNAL: (500, "Internal server error"),
    ProblemKind.NOT_READY: (503, "Service unavailable"),
    ProblemKind.UNAVAILABLE: (503, "Service unavailable"),
}
"""None is published: statuses and texts are ours."""


def write_problem(_: WireRequest, problem: Problem, __: Endpoint[Any] | None) -> WireReply:
    status, text = PROBLEMS[problem.kind]
    headers: tuple[tuple[str, str], ...] = ()
    if problem.retry_after_s is not None:
        headers += (("Retry-After", str(problem.retry_after_s)),)
    if problem.allow:
        headers += (("Allow", ", ".join(problem.allow)),)
    return json_reply({"error": text}, status, headers=headers)


# -- the dialect -------------------------------------------------------------------------


def _health(name: str, path: str) -> Endpoint[CheckHealth]:
    return Endpoint(
        name=name,
        methods=("GET",),
        path=path,
        read=read_health,
        write=write_health,
        needs_key=False,
    )


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    _health("health", "/ai_mails_api/v1"),
    Endpoint(
        name="verify",
        methods=("POST",),
        path="/ai_mails_api/v1",
        read=read_verify,
        write=write_verify,
        bucket="verify",
    ),
    # seen on /v1 and /bulk/v1 alone
    _health("data_health", "/ai_mails_api/data/v1"),
    Endpoint(
        name="data",
        methods=("POST",),
        path="/ai_mails_api/data/v1",
        read=read_predict,
        write=write_predict,
    ),
    _health("bulk_health", "/ai_mails_api/bulk/v1"),
    _health("bulk_results_health", "/ai_mails_api/bulk_results/v1"),
)

DIALECT = Dialect(
    name="dataoorts",
    title="Dataoorts AI Mails",
    hosts=("cloud.dataoorts.com",),
    base_path="/ai_mails_api",
    root_paths=(RootPath("/ai_mails_api/"),),
    endpoints=tuple(
        replace(endpoint, path=endpoint.path + slash)
        # the version is the path's end, and some write a slash behind it
        for slash in ("", "/")
        for endpoint in ENDPOINTS
    ),
    credential=credential,
    write_problem=write_problem,
    failed_attempts=frozenset({ProblemKind.NO_CREDENTIAL, ProblemKind.BAD_CREDENTIAL}),
    key_shape=KeyShape("", "test_", alphabet=string.ascii_letters + string.digits, length=40),
    sandbox_key="test_sandbox",
    plans=(Plan("dataoorts", "Dataoorts Unify", batches_per_day=3),),
)
