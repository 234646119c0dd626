"""One address, and the account."""

from __future__ import annotations

from adapters.contract.operations import AccountInfo, ShowAccount, Verify
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.kit.words import clamped_integer
from adapters.validto.words import ACCEPT_ALL_VALUES, RESULT_MESSAGES, result_word
from engine.model import Verification

DEFAULT_WAIT_MS, MIN_WAIT_MS, MAX_WAIT_MS = 180_000, 30_000, 180_000
"""Of `timeout`; other values are clamped."""

# -- reading ------------------------------------------------------------------------------


def read_verify(request: WireRequest) -> Verify:
    email = request.query.get("email", "").strip()
    if not email:
        raise Problem(ProblemKind.MISSING, field="email")
    timeout = request.query.get("timeout")
    return Verify(
        email=email,
        wait_s=clamped_integer(timeout, DEFAULT_WAIT_MS, MIN_WAIT_MS, MAX_WAIT_MS) / 1000,
        refuse_malformed=True,
    )


def read_info(request: WireRequest) -> ShowAccount:
    return ShowAccount()


# -- writing ------------------------------------------------------------------------------


def write_verify(_: Verify, v: Verification) -> WireReply:
    word = result_word(v)
    return json_reply(
        {
            "result": word,
            "message": RESULT_MESSAGES[word],
            "email": v.address.raw,
            "user": v.address.local,
            "domain": v.address.domain_as_written,
            "accept_all": ACCEPT_ALL_VALUES[v.evidence.catch_all],
            "role": int(v.evidence.role),
            "free_email": int(v.evidence.free),
            "disposable": int(v.evidence.disposable),
            "spamtrap": int(v.evidence.spamtrap is True),
            "success": True,
        }
    )


def write_info(_: ShowAccount, account: AccountInfo) -> WireReply:
    return json_reply(
        {"success": True, "credits_info": {"credits_remaining": account.credits_shown}}
    )
