"""Facts about people and their mailboxes that the vendor has collected, and nobody has here.

A test key gets answers that follow from its request, so that a client can see either kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.contract.operations import Operation, OperationRunner, ShowAccount, Verify
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.zerobounce.single import params_of, required_email, text_param
from engine.model import Verdict, Verification

ACTIVE_IN_DAYS = ("30", "60", "90", "180", "365", "365+")
NO_FORMAT = "No email format was found for this domain."
NO_DOMAIN = "There is no domain assigned for this company name."
NAMES = ("first_name", "middle_name", "last_name")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowActivity(Operation[Verification | None]):
    """When a mailbox was used last: for a test key as the sample has it, else not known."""

    email: str

    async def run_by(self, runner: OperationRunner) -> Verification | None:
        if not (await runner.show_account(ShowAccount())).is_test:
            return None
        return await runner.verify(Verify(email=self.email, is_counted=False))


def read_activity(request: WireRequest) -> ShowActivity:
    params = params_of(request)
    if not text_param(params, "email"):
        raise Problem(ProblemKind.INVALID, "email must be specified", "email", word="text")
    return ShowActivity(email=required_email(params))


def write_activity(_: ShowActivity, v: Verification | None) -> WireReply:
    if v is None or v.verdict is not Verdict.DELIVERABLE:
        return json_reply({"found": False, "active_in_days": None})
    days = ACTIVE_IN_DAYS[v.score % len(ACTIVE_IN_DAYS)]
    return json_reply({"found": True, "active_in_days": days})


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess(Operation[bool]):
    """A search for the format of a domain's addresses, or for a person's address.

    The outcome is whether it is found: for a test key if it names a domain, else never.
    """

    domain: str
    company: str
    names: tuple[str, ...]
    """Of the person; empty for the format alone."""

    async def run_by(self, runner: OperationRunner) -> bool:
        return bool(self.domain) and (await runner.show_account(ShowAccount())).is_test


def read_guess(request: WireRequest) -> Guess:
    params = params_of(request)
    domain, company = text_param(params, "domain"), text_param(params, "company_name")
    if not domain and not company:
        raise Problem(ProblemKind.MISSING, field="domain")
    names = tuple(filter(None, (text_param(params, name) for name in NAMES)))
    return Guess(domain=domain, company=company, names=names)


def _why_not(op: Guess, *, is_found: bool) -> str:
    if is_found:
        return ""
    return NO_FORMAT if op.domain else NO_DOMAIN


def _email(op: Guess, *, is_found: bool) -> str:
    if not is_found or not op.names:
        return ""
    return f"{'.'.join((op.names[0], *op.names[1:][-1:]))}@{op.domain}".lower().replace(" ", "")


def _other_formats(*, is_found: bool) -> list[Mapping[str, str]]:
    return [{"format": "first", "confidence": "low"}] if is_found else []


def write_guess(op: Guess, is_found: bool) -> WireReply:
    about = {"domain": op.domain, "company_name": op.company}
    rest = {"did_you_mean": "", "failure_reason": _why_not(op, is_found=is_found)}
    confidence = "high" if is_found else "undetermined"
    if op.names:
        email = _email(op, is_found=is_found)
        return json_reply({"email": email, "email_confidence": confidence, **about, **rest})
    found = {"format": "first.last" if is_found else "unknown", "confidence": confidence}
    others = _other_formats(is_found=is_found)
    return json_reply({**about, **found, **rest, "other_domain_formats": others})


def write_legacy_guess(op: Guess, is_found: bool) -> WireReply:
    """The reply before 2024, which zerobouncesdk 1.1.2 reads."""
    body: dict[str, Any] = {
        "email": _email(op, is_found=is_found),
        "domain": op.domain,
        "format": "first.last" if is_found else "unknown",
        "status": "valid" if is_found and op.names else "",
        "sub_status": "",
        "confidence": "high" if is_found else "undetermined",
        "did_you_mean": "",
        "failure_reason": _why_not(op, is_found=is_found),
        "other_domain_formats": _other_formats(is_found=is_found),
    }
    return json_reply(body)
