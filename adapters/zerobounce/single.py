"""One address, a few at a time, and the small calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from adapters.contract.operations import (
    AccountInfo,
    Acknowledge,
    ShowAccount,
    Verify,
    VerifyMany,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.kit.words import bool_word, clamped_integer, parse_bool
from adapters.zerobounce.words import tenths, test_address, words_of
from engine.model import Verification

MAX_AT_ONCE = 100
BATCH_WAIT_S = 70.0
ABSENT = ("", "null", "None")
"""What clients write for a parameter that is not given."""
TEST_DOMAIN_AGE_DAYS = "9692"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validate(Verify):
    """A verification, and the members that its reply has only if they are asked for."""

    with_activity: bool
    with_domain: bool


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


# -- one address --------------------------------------------------------------------------


def read_validate(request: WireRequest) -> Validate:
    params = params_of(request)
    timeout = text_param(params, "timeout")
    return Validate(
        email=required(params, "email"),
        wait_s=clamped_integer(timeout, 60, 3, 60) if timeout else None,
        unknown_if_late=True,
        with_activity=parse_bool(params.get("activity_data"), False),
        with_domain=parse_bool(params.get("domain_info"), False),
    )


def write_validate(op: Validate, v: Verification) -> WireReply:
    return json_reply(validation(v, with_activity=op.with_activity, with_domain=op.with_domain))


def validation(
    v: Verification, *, with_activity: bool = False, with_domain: bool = False
) -> dict[str, Any]:
    """The object of one address, its members in the vendor's order."""
    words, evidence, address = words_of(v), v.evidence, v.address
    person = evidence.person
    is_test = v.source == "sandbox" and test_address(address) is not None
    body: dict[str, Any] = {
        "address": address.raw,
        "status": words.status,
        "sub_status": words.sub_status,
        "free_email": evidence.free,
        "did_you_mean": evidence.did_you_mean,
        "account": address.local if address.valid and not is_test else None,
        "domain": address.domain_as_written if address.valid else None,
        "domain_age_days": TEST_DOMAIN_AGE_DAYS if is_test else None,
    }
    if with_activity:
        body |= {"active_in_days": None, "active_first_seen": None}
    body |= {
        "smtp_provider": evidence.provider,
        "mx_found": bool_word(bool(evidence.mx)),
        "mx_record": evidence.mx_host or "",
        "firstname": person.first if person else None,
        "lastname": person.last if person else None,
        "gender": person.gender.value if person and person.gender else None,
        "country": None,
        "region": None,
        "city": None,
        "zipcode": None,
        "processed_at": processed_at(v.verified_at),
    }
    if with_domain:
        body["domain_website_exists"] = "unchecked"
        body["domain_registrant_company_name"] = "unchecked"
    return body


def processed_at(at: datetime) -> str:
    """`2025-10-16 08:28:31.200`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


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
    rows = [validation(v) for v in found]
    return json_reply({"email_batch": rows, "errors": list(op.errors)})


# -- small calls --------------------------------------------------------------------------


def read_credits(_: WireRequest) -> ShowAccount:
    return ShowAccount()


def write_credits(_: ShowAccount, account: AccountInfo) -> WireReply:
    return json_reply({"Credits": str(account.credits_shown)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowUsage(ShowAccount):
    """The usage between two days."""

    start: date
    end: date


def read_usage(request: WireRequest) -> ShowUsage:
    params = params_of(request)
    return ShowUsage(start=_day(params, "start_date"), end=_day(params, "end_date"))


def _day(params: Mapping[str, Any], name: str) -> date:
    """A day, `2023-09-04`; Python reads more forms of ISO 8601 than the vendor."""
    text = required(params, name)
    try:
        day = date.fromisoformat(text)
    except ValueError as exc:
        raise Problem(ProblemKind.INVALID, field=name) from exc
    if day.isoformat() != text:
        raise Problem(ProblemKind.INVALID, field=name)
    return day


STATUSES = ("valid", "invalid", "catch_all", "do_not_mail", "spamtrap", "unknown")
SUB_STATUSES = (
    "toxic", "disposable", "role_based", "possible_trap", "global_suppression",
    "timeout_exceeded", "mail_server_temporary_error", "mail_server_did_not_respond",
    "greylisted", "antispam_system", "does_not_accept_mail", "exception_occurred",
    "failed_syntax_check", "mailbox_not_found", "unroutable_ip_address", "possible_typo",
    "no_dns_entries", "role_based_catch_all", "mailbox_quota_exceeded", "forcible_disconnect",
    "failed_smtp_connection", "leading_period_removed", "alias_address", "mx_forward",
    "alternate", "blocked", "allowed", "accept_all", "gold", "role_based_accept_all",
)  # fmt: skip


def write_usage(op: ShowUsage, account: AccountInfo) -> WireReply:
    """The use of the present month, if the days are in it: it is kept by month, in one sum."""
    in_month = op.start.isoformat()[:7] <= account.month <= op.end.isoformat()[:7]
    names = (
        *(f"status_{word}" for word in STATUSES),
        *(f"sub_status_{word}" for word in SUB_STATUSES),
    )
    return json_reply(
        {
            "total": account.used if in_month else 0,
            **dict.fromkeys(names, 0),
            "start_date": f"{op.start.month}/{op.start.day}/{op.start.year}",
            "end_date": f"{op.end.month}/{op.end.day}/{op.end.year}",
        }
    )


def read_activity(request: WireRequest) -> Acknowledge:
    if not text_param(params_of(request), "email"):
        raise Problem(ProblemKind.INVALID, "email must be specified", "email", word="text")
    return Acknowledge()


def write_activity(_: Acknowledge, __: None) -> WireReply:
    """Nobody here knows when a mailbox was used last."""
    return json_reply({"found": False, "active_in_days": None})


def read_score(request: WireRequest) -> Verify:
    return Verify(email=required(params_of(request), "email"))


def write_score(_: Verify, v: Verification) -> WireReply:
    return json_reply({"email": v.address.raw, "score": tenths(v)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess(Acknowledge):
    """A search for the format of a domain's addresses, or for a person's address."""

    domain: str
    company: str
    is_person: bool


def read_guess(request: WireRequest) -> Guess:
    params = params_of(request)
    domain, company = text_param(params, "domain"), text_param(params, "company_name")
    if not domain and not company:
        raise Problem(ProblemKind.MISSING, field="domain")
    names = ("first_name", "middle_name", "last_name")
    is_person = any(text_param(params, name) for name in names)
    return Guess(domain=domain, company=company, is_person=is_person)


def write_guess(op: Guess, _: None) -> WireReply:
    """Nothing is found: no addresses of strangers are collected here."""
    rest = {"did_you_mean": "", "failure_reason": "No email format was found for this domain."}
    about = {"domain": op.domain, "company_name": op.company}
    if op.is_person:
        return json_reply({"email": "", "email_confidence": "undetermined", **about, **rest})
    found = {"format": "unknown", "confidence": "undetermined"}
    return json_reply({**about, **found, **rest, "other_domain_formats": []})


def read_filters(_: WireRequest) -> Acknowledge:
    return Acknowledge()


def write_filters(_: Acknowledge, __: None) -> WireReply:
    return json_reply([])


def read_filter_change(request: WireRequest) -> Acknowledge:
    """No filters are kept: a rule that nobody follows must not be acknowledged."""
    raise Problem(ProblemKind.INVALID, "Filters are not supported.", "rule", word="text")


def write_filter_change(_: Acknowledge, __: None) -> WireReply:
    return json_reply({"Message": ""})
