"""One address, the account, and the confirmation of the vendor's widget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from adapters.contract.jobs import JobState
from adapters.contract.operations import (
    AccountInfo,
    ListJobs,
    Operation,
    OperationRunner,
    ShowAccount,
    Verify,
)
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.kit.domain_parts import domain_parts
from adapters.kit.words import clamped_integer
from adapters.neverbounce.params import is_set, params_of, required, text_of
from adapters.neverbounce.words import OLD_SPELLINGS, flags_of, result_word
from engine.model import Address, Verification

MAX_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Verify):
    """A verification, and what its reply shows beside it."""

    with_address: bool
    with_credits: bool
    accounts: list[AccountInfo] = field(default_factory=list, compare=False)
    """The account after the verification, if its credits are shown."""

    async def run_by(self, runner: OperationRunner) -> Verification:
        v = await runner.verify(self)
        if not self.with_credits:
            return v
        self.accounts.append(await runner.show_account(ShowAccount()))
        # another object, so that no earlier reply with older credits is taken for this one's
        return replace(v)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowAccountAndJobs(Operation[tuple[AccountInfo, Mapping[str, int]]]):
    """The account, and how many jobs are in each state."""

    async def run_by(self, runner: OperationRunner) -> tuple[AccountInfo, Mapping[str, int]]:
        account = await runner.show_account(ShowAccount())
        jobs = runner.jobs("")
        counts = {
            word: (await jobs.list_page(ListJobs(per_page=1, states=states))).total
            for word, states in COUNTED_STATES.items()
        }
        return account, counts


COUNTED_STATES: Mapping[str, frozenset[JobState]] = {
    "completed": frozenset({JobState.COMPLETED}),
    "under_review": frozenset({JobState.PAUSED}),
    "queued": frozenset({JobState.QUEUED}),
    "processing": frozenset({JobState.RUNNING, JobState.PREPARING}),
}


def read_check(request: WireRequest) -> Check:
    params = params_of(request)
    required(params, "email")
    timeout_s = clamped_integer(params.get("timeout"), 30, 1, MAX_TIMEOUT_S)
    return Check(
        email=text_of(params, "email"),
        refresh=not may_be_historical(params),
        wait_s=timeout_s,
        unknown_if_late=True,
        with_address=is_set(params, "address_info"),
        with_credits=is_set(params, "credits_info"),
    )


def may_be_historical(params: Mapping[str, Any]) -> bool:
    """Whether a stored result will do; one client writes the name of the form in JSON."""
    meta = params.get("request_meta_data")
    found = meta.get("leverage_historical_data") if isinstance(meta, dict) else None
    if found is None:
        found = params.get("request_meta_data[leverage_historical_data]", 1)
    return str(found).strip().lower() not in ("0", "false")


def write_check(op: Check, v: Verification) -> WireReply:
    return _write_check(op, v, verification_members(v))


def write_check_before_4_2(op: Check, v: Verification) -> WireReply:
    return _write_check(op, v, members_before_4_2(v))


def _write_check(op: Check, v: Verification, members: Mapping[str, Any]) -> WireReply:
    body: dict[str, Any] = {"status": "success", **members}
    if op.with_address:
        body["address_info"] = address_info(v.address)
    for account in op.accounts:
        body["credits_info"] = credits_info(account)
    return json_reply({**body, "execution_time": round(v.duration_s * 1000)})


def verification_members(v: Verification) -> dict[str, Any]:
    return {
        "result": result_word(v),
        "flags": flags_of(v),
        "suggested_correction": v.evidence.did_you_mean or "",
    }


def members_before_4_2(v: Verification) -> dict[str, Any]:
    """The older versions misspell one flag."""
    members = verification_members(v)
    flags = [OLD_SPELLINGS.get(flag, flag) for flag in members["flags"]]
    return {**members, "flags": flags}


def address_info(address: Address) -> dict[str, str]:
    if not address.valid:
        names = ("normalized_email", "addr", "alias", "host", "fqdn", "domain", "subdomain", "tld")
        return {"original_email": address.raw, **dict.fromkeys(names, "")}
    host = address.domain_as_written
    parts = domain_parts(address)
    return {
        "original_email": address.raw,
        "normalized_email": f"{address.user}@{host}".lower(),
        "addr": address.user,
        "alias": address.tag or "",
        "host": host,
        "fqdn": host,
        "domain": parts.name,
        "subdomain": parts.subdomain,
        "tld": parts.suffix,
    }


def credits_info(account: AccountInfo) -> dict[str, int]:
    return {
        "paid_credits_used": account.used,
        "free_credits_used": 0,
        "paid_credits_remaining": account.credits_shown,
        "free_credits_remaining": 0,
    }


def read_account(_: WireRequest) -> ShowAccountAndJobs:
    return ShowAccountAndJobs()


def write_account(_: ShowAccountAndJobs, found: tuple[AccountInfo, Mapping[str, int]]) -> WireReply:
    account, counts = found
    return json_reply(
        {
            "status": "success",
            "credits_info": credits_info(account),
            "job_counts": dict(counts),
            "execution_time": 0,
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm(Operation[bool]):
    """Whether a token is that of the vendor's widget in a page, which none is to us.

    To a test key any token is, if the sandbox has the result that the client says it stands for.
    """

    email: str
    result: str

    async def run_by(self, runner: OperationRunner) -> bool:
        account = await runner.show_account(ShowAccount())
        if not account.is_test:
            return False
        return result_word(await runner.verify(Verify(email=self.email))) == self.result


def read_confirm(request: WireRequest) -> Confirm:
    params = params_of(request)
    for name in ("email", "transaction_id", "confirmation_token"):
        required(params, name)
    return Confirm(email=text_of(params, "email"), result=text_of(params, "result"))


def write_confirm(_: Confirm, is_confirmed: bool) -> WireReply:
    return json_reply({"status": "success", "token_confirmed": is_confirmed, "execution_time": 0})
