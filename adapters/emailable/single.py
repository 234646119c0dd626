"""One address, and the account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from adapters.contract.forms import list_value
from adapters.contract.operations import AccountInfo, ShowAccount, Verify
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.kit.eleven_reasons import SCORES, reason_word, state_word
from adapters.kit.words import clamped_integer, clamped_score, parse_bool
from engine.model import Checks, Verdict, Verification

DEFAULT_WAIT_S, MIN_WAIT_S, MAX_WAIT_S = 5, 2, 10
"""Of `timeout`. Other values are clamped: the Python client's own README passes 25."""


# -- reading ------------------------------------------------------------------------------


def read_verify(request: WireRequest) -> Verify:
    params = request_params(request)
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
            smtp=parse_bool(params.get("smtp"), True),
            catch_all=parse_bool(params.get("accept_all"), False),
        ),
        wait_s=clamped_integer(params.get("timeout"), DEFAULT_WAIT_S, MIN_WAIT_S, MAX_WAIT_S),
    )


def read_account(request: WireRequest) -> ShowAccount:
    return ShowAccount()


def request_params(request: WireRequest) -> Mapping[str, Any]:
    """The query's parameters, and a POST's own, which outrank them.

    The Python client sends the options of a POST in the query, the others in the body.
    """
    if request.method != "POST":
        return request.query
    return {**request.query, **request.fields}


def request_list(request: WireRequest, name: str) -> Any:
    """A parameter that is a list: an array, or a text, which a form may have in several fields."""
    body = request.fields if request.method == "POST" else {}
    return list_value(name, body, request.query)


# -- writing ------------------------------------------------------------------------------


def write_verify(_: Verify, v: Verification) -> WireReply:
    row = {name: show(v) for name, show in ATTRIBUTES.items()}
    return json_reply({**row, "duration": round(v.duration_s, 3)}, sort_keys=True)


def write_account(_: ShowAccount, account: AccountInfo) -> WireReply:
    return json_reply(
        {"owner_email": account.owner_email, "available_credits": account.credits_shown}
    )


def _person_part(v: Verification, part: str) -> str | None:
    """The name's parts, all null for an undeliverable address (the Python suite asserts it)."""
    person = v.evidence.person
    if person is None or v.verdict is Verdict.UNDELIVERABLE:
        return None
    value: str | None = getattr(person, part)
    return value


ATTRIBUTES: Mapping[str, Callable[[Verification], object]] = {
    # null where it was not checked, as in the sample
    "accept_all": lambda v: v.evidence.catch_all,
    "did_you_mean": lambda v: v.evidence.did_you_mean,
    "disposable": lambda v: v.evidence.disposable,
    "domain": lambda v: v.address.domain_as_written,
    "email": lambda v: v.address.raw,
    "first_name": lambda v: _person_part(v, "first"),
    "free": lambda v: v.evidence.free,
    "full_name": lambda v: _person_part(v, "full"),
    "gender": lambda v: _person_part(v, "gender"),
    "last_name": lambda v: _person_part(v, "last"),
    # never null in samples: false is also "not known"
    "mailbox_full": lambda v: v.evidence.mailbox_full is True,
    "mx_record": lambda v: v.evidence.mx_host,
    "no_reply": lambda v: v.evidence.no_reply,
    "reason": reason_word,
    "role": lambda v: v.evidence.role,
    "score": lambda v: clamped_score(v, SCORES),
    "smtp_provider": lambda v: v.evidence.provider,
    "state": state_word,
    "tag": lambda v: v.address.tag,
    "user": lambda v: v.address.user,
}
"""The names that `response_fields` may list; a single verify adds `duration`."""
