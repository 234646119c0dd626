"""One address, a few at a time, and the small calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.contract.operations import (
    AccountInfo,
    OperationRunner,
    ShowAccount,
    Verify,
    VerifyMany,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.kit.words import clamped_integer, parse_bool
from adapters.zerobounce.greylist import refuse_while_pending, verify_again
from adapters.zerobounce.validation import validation
from adapters.zerobounce.words import tenths
from engine.model import Reason, Verification

MAX_AT_ONCE = 100
MAX_URL_CHARACTERS = 2_000
BATCH_WAIT_S = 70.0
ABSENT = ("", "null", "None")
"""What clients write for a parameter that is not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validate(Verify):
    """A verification, and the members that its reply has only if they are asked for."""

    with_activity: bool
    with_domain: bool
    is_repeated: bool = False
    """Whether a greylisted address is verified again later."""
    callback_url: str = ""
    """Gets the second result."""

    async def run_by(self, runner: OperationRunner) -> Verification:
        if not self.is_repeated:
            return await runner.verify(self)
        jobs = runner.jobs("")
        await refuse_while_pending(jobs, self.email)
        v = await runner.verify(self)
        if v.reason is Reason.GREYLISTED:
            await verify_again(jobs, self.email, self.callback_url)
        return v


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateMany(VerifyMany):
    """The rows that have an address, and an error for each that has none."""

    errors: tuple[Mapping[str, str], ...]


def params_of(request: WireRequest) -> Mapping[str, Any]:
    """Parameters of the query, or of a form that was posted."""
    return {**request.query, **request.fields}


def text_param(params: Mapping[str, Any], name: str) -> str:
    value = str(params.get(name) or "").strip()
    return "" if value in ABSENT else value


def required(params: Mapping[str, Any], name: str) -> str:
    value = text_param(params, name)
    if not value:
        raise Problem(ProblemKind.MISSING, field=name)
    return value


def required_email(params: Mapping[str, Any]) -> str:
    """The address. One client sends a `+` as it is, which arrives as a blank."""
    email = required(params, "email")
    return email if '"' in email else email.replace(" ", "+")


# -- one address --------------------------------------------------------------------------


def read_validate(request: WireRequest) -> Validate:
    params = params_of(request)
    timeout = text_param(params, "timeout")
    return Validate(
        email=required_email(params),
        wait_s=clamped_integer(timeout, 60, 3, 60) if timeout else None,
        unknown_if_late=True,
        with_activity=parse_bool(params.get("activity_data"), False),
        with_domain=parse_bool(params.get("domain_info"), False),
        is_repeated=parse_bool(params.get("greylist_processing"), False),
        callback_url=_callback_url(params),
    )


def _callback_url(params: Mapping[str, Any]) -> str:
    url = text_param(params, "callback_url")
    if len(url) > MAX_URL_CHARACTERS:
        raise Problem(ProblemKind.INVALID, field="callback_url")
    return url


def write_validate(op: Validate, v: Verification) -> WireReply:
    return json_reply(validation(v, with_activity=op.with_activity, with_domain=op.with_domain))


def write_validate_with_catch_all(op: Validate, v: Verification) -> WireReply:
    body = validation(
        v, with_activity=op.with_activity, with_domain=op.with_domain, with_catch_all=True
    )
    return json_reply(body)


# -- a few --------------------------------------------------------------------------------


def read_batch(request: WireRequest) -> ValidateMany:
    body = request.json_object
    rows = body.get("email_batch")
    if rows is None:
        raise Problem(ProblemKind.MISSING, field="email_batch")
    if not isinstance(rows, list) or not rows:
        raise Problem(ProblemKind.INVALID, field="email_address")
    if len(rows) > MAX_AT_ONCE:
        raise Problem(ProblemKind.TOO_MANY, limit=MAX_AT_ONCE)
    given = [row.get("email_address") if isinstance(row, dict) else None for row in rows]
    emails = [email.strip() for email in given if isinstance(email, str) and email.strip()]
    if not emails:
        raise Problem(ProblemKind.INVALID, field="email_address")
    missing = {
        "error": "Missing email_batch key: email_address.",
        "email_address": "unknown",
    }
    return ValidateMany(
        emails=tuple(emails),
        wait_s=float(clamped_integer(body.get("timeout"), int(BATCH_WAIT_S), 10, 120)),
        errors=(missing,) * (len(given) - len(emails)),
    )


def write_batch(op: ValidateMany, found: tuple[Verification, ...]) -> WireReply:
    return _batch(op, [validation(v) for v in found])


def write_batch_with_catch_all(op: ValidateMany, found: tuple[Verification, ...]) -> WireReply:
    return _batch(op, [validation(v, with_catch_all=True) for v in found])


def _batch(op: ValidateMany, rows: list[dict[str, Any]]) -> WireReply:
    return json_reply({"email_batch": rows, "errors": list(op.errors)})


# -- small calls --------------------------------------------------------------------------


def read_credits(_: WireRequest) -> ShowAccount:
    return ShowAccount()


def write_credits(_: ShowAccount, account: AccountInfo) -> WireReply:
    return json_reply({"Credits": str(account.credits_shown)})


def read_score(request: WireRequest) -> Verify:
    return Verify(email=required_email(params_of(request)), is_counted=False)


def write_score(_: Verify, v: Verification) -> WireReply:
    return json_reply({"email": v.address.raw, "score": tenths(v)})
