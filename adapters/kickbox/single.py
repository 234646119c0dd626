"""One address, the balance, and whether a domain is disposable."""

from __future__ import annotations

from typing import Any

from adapters.contract.operations import AccountInfo, CheckDisposable, ShowAccount, Verify
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.kickbox.words import sendex
from adapters.kit.eleven_reasons import reason_word, state_word
from adapters.kit.words import clamped_integer
from engine.model import Verification

DEFAULT_TIMEOUT_MS, MIN_TIMEOUT_MS, MAX_TIMEOUT_MS = 6_000, 1_000, 30_000
SANDBOX_BALANCE = 100
"""Undocumented."""

CALL_WORKED: dict[str, Any] = {"success": True, "message": None}

# -- reading ------------------------------------------------------------------------------


def read_verify(request: WireRequest) -> Verify:
    email = request.query.get("email", "").strip()
    if not email:
        raise Problem(ProblemKind.MISSING, field="email")
    timeout_ms = clamped_integer(
        request.query.get("timeout"), DEFAULT_TIMEOUT_MS, MIN_TIMEOUT_MS, MAX_TIMEOUT_MS
    )
    # "timeout" is a verdict at this vendor
    return Verify(email=email, wait_s=timeout_ms / 1000, unknown_if_late=True)


def read_balance(_: WireRequest) -> ShowAccount:
    return ShowAccount()


def read_disposable(request: WireRequest) -> CheckDisposable:
    return CheckDisposable(text=request.path_params.get("text", ""))


# -- writing ------------------------------------------------------------------------------


def verification_members(v: Verification) -> dict[str, Any]:
    address = v.address
    return {
        "result": state_word(v),
        "reason": reason_word(v),
        "role": v.evidence.role,
        "free": v.evidence.free,
        "disposable": v.evidence.disposable,
        "accept_all": v.evidence.catch_all is True,
        "did_you_mean": v.evidence.did_you_mean,
        "sendex": sendex(v),
        # normalised, as the page shows it; a malformed one is repeated, and has no parts
        "email": address.normalized.lower() if address.valid else address.raw,
        "user": address.local.lower() if address.valid else None,
        "domain": address.domain if address.valid else None,
    }


def write_verify(_: Verify, v: Verification) -> WireReply:
    return json_reply({**verification_members(v), **CALL_WORKED})


def write_verify_newer(_: Verify, v: Verification) -> WireReply:
    """In the order that was seen in 2026."""
    return json_reply({**CALL_WORKED, **verification_members(v)})


def write_balance(_: ShowAccount, account: AccountInfo) -> WireReply:
    return json_reply({"balance": balance(account), **CALL_WORKED})


def balance(account: AccountInfo) -> int:
    return SANDBOX_BALANCE if account.is_test else account.credits_shown


def write_disposable(_: CheckDisposable, found: bool) -> WireReply:
    return json_reply({"disposable": found})
