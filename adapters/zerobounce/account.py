"""What an account keeps: its use by day, and its allow list and block list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from adapters.contract.account_operations import AddFilter, DeleteFilter, ShowFilters, ShowUse
from adapters.contract.filters import MAX_VALUE_CHARACTERS, AddressFilter, FilterTarget
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.zerobounce.single import params_of, required
from adapters.zerobounce.words import words_of
from engine.model import Verification

# -- use ----------------------------------------------------------------------------------

TOTAL = "total"
STATUSES = ("valid", "invalid", "catch_all", "do_not_mail", "spamtrap", "unknown")
"""There is none for `abuse`, which is in the total alone."""
SUB_STATUSES = (
    "toxic", "disposable", "role_based", "possible_trap", "global_suppression",
    "timeout_exceeded", "mail_server_temporary_error", "mail_server_did_not_respond",
    "greylisted", "antispam_system", "does_not_accept_mail", "exception_occurred",
    "failed_syntax_check", "mailbox_not_found", "unroutable_ip_address", "possible_typo",
    "no_dns_entries", "role_based_catch_all", "mailbox_quota_exceeded", "forcible_disconnect",
    "failed_smtp_connection", "leading_period_removed", "alias_address", "mx_forward",
    "alternate", "blocked", "allowed", "accept_all", "gold", "role_based_accept_all",
)  # fmt: skip
USE_WORDS = (
    TOTAL,
    *(f"status_{word}" for word in STATUSES),
    *(f"sub_status_{word}" for word in SUB_STATUSES),
)
"""In the order of the reply."""


def use_words(v: Verification) -> Iterator[str]:
    """What a result of `validate` or `validatebatch` counts as; files do not count."""
    status, sub_status = words_of(v)
    yield TOTAL
    yield f"status_{status.replace('-', '_')}"
    if sub_status:
        yield f"sub_status_{sub_status}"


def read_usage(request: WireRequest) -> ShowUse:
    params = params_of(request)
    return ShowUse(first=_day(params, "start_date"), last=_day(params, "end_date"))


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


def write_usage(op: ShowUse, found: Mapping[str, int]) -> WireReply:
    return json_reply(
        {
            **{word: found.get(word, 0) for word in USE_WORDS},
            "start_date": _american(op.first),
            "end_date": _american(op.last),
        }
    )


def _american(day: date) -> str:
    return f"{day.month}/{day.day}/{day.year}"


# -- filters ------------------------------------------------------------------------------

RULES: Mapping[str, bool] = {"allow": True, "block": False}
RULE_WORDS: Mapping[bool, str] = {allows: word for word, allows in RULES.items()}


def _filter(request: WireRequest) -> AddressFilter:
    params = params_of(request)
    rule = required(params, "rule").lower()
    target = required(params, "target").lower()
    value = required(params, "value").lower()
    if rule not in RULES:
        raise Problem(ProblemKind.INVALID, field="rule")
    if target not in tuple(FilterTarget):
        raise Problem(ProblemKind.INVALID, field="target")
    if target == FilterTarget.DOMAIN:
        value = value.removeprefix("@")
    elif target == FilterTarget.TLD:
        value = value.removeprefix(".")
    is_address = value.count("@") == 1
    if (
        len(value) > MAX_VALUE_CHARACTERS
        or not value.isprintable()
        or " " in value
        or is_address != (target == FilterTarget.EMAIL)
        or (target == FilterTarget.TLD and "." in value)
        or not value.strip("@.")
    ):
        raise Problem(ProblemKind.INVALID, field="value")
    return AddressFilter(RULES[rule], FilterTarget(target), value)


def read_filters(_: WireRequest) -> ShowFilters:
    return ShowFilters()


def write_filters(_: ShowFilters, found: Sequence[AddressFilter]) -> WireReply:
    return json_reply(
        [
            {"rule": RULE_WORDS[each.allows], "target": each.target.value, "value": each.value}
            for each in found
        ]
    )


def read_add(request: WireRequest) -> AddFilter:
    return AddFilter(filter=_filter(request))


def write_added(_: AddFilter, __: None) -> WireReply:
    return json_reply({"Message": "Filter successfully added"})


def read_delete(request: WireRequest) -> DeleteFilter:
    return DeleteFilter(filter=_filter(request))


def write_deleted(_: DeleteFilter, was_there: bool) -> WireReply:
    if not was_there:
        raise Problem(ProblemKind.INVALID, "Filter not found", "value", word="text")
    return json_reply({"Message": "Filter successfully deleted"})
