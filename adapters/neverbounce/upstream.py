"""The vendor as a source: requests to it, and the meaning of its replies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from adapters.contract.upstream import (
    Call,
    Fault,
    FaultKind,
    Pending,
    Upstream,
    UpstreamQuery,
    UpstreamReply,
    UpstreamRequest,
    UpstreamResult,
)
from adapters.contract.upstream_jobs import JobQuery, ResultPage, VendorJobs
from adapters.kit.faults import FaultWords, fault_from_status, fault_from_words
from adapters.kit.paging import FIRST_PAGE, page_after
from adapters.kit.words import first_job_id, parse_integer, text_or_none
from adapters.neverbounce.problems import AUTH, AWAY, REFERRER, THROTTLED
from adapters.neverbounce.single import MAX_TIMEOUT_S
from engine.model import Address, Checks, Dns, Evidence, Meaning, Reason, Smtp, Stage, Verdict

FAULTS: Mapping[str, FaultKind] = {
    AUTH: FaultKind.DEAD_KEY,
    AWAY: FaultKind.SERVER_ERROR,
    THROTTLED: FaultKind.TOO_FAST,
    REFERRER: FaultKind.BANNED,
}
"""By `status`."""
FAULT_WORDS = (
    FaultWords("credit", FaultKind.NO_CREDITS),
    FaultWords("parameter 'key'", FaultKind.DEAD_KEY),
    FaultWords("account is", FaultKind.BANNED),
)
"""By the message of a `general_failure`."""
JSON_HEADERS = {"content-type": "application/json"}
MAX_ADDRESSES = 50_000
ROWS_PER_PAGE = 1_000


def build_verify(key: str, query: UpstreamQuery) -> UpstreamRequest:
    params = {
        "email": query.address.raw,
        "timeout": str(max(1, min(int(query.wait_s), MAX_TIMEOUT_S))),
    }
    if query.refresh:
        params["request_meta_data[leverage_historical_data]"] = "0"
    return UpstreamRequest("GET", "/v4.2/single/check", query={**params, "key": key})


def parse_verify(reply: UpstreamReply, _: UpstreamQuery) -> UpstreamResult | Pending | Fault:
    body = reply.json_object
    if reply.status != 200 or body.get("status") != "success" or "result" not in body:
        return parse_fault(reply)
    return parse_result(body)


def parse_fault(reply: UpstreamReply) -> Fault:
    body = reply.json_object
    status, message = body.get("status"), body.get("message")
    kind = FAULTS.get(str(status))
    if kind is not None and reply.status < 500:
        found = fault_from_words(reply, message, FAULT_WORDS)
        chosen = found.kind if found.kind is FaultKind.BANNED else kind
        return Fault(chosen, found.detail or str(status), reply.status, reply.retry_after_s)
    if status in (None, "success"):
        return fault_from_status(reply, message)
    return fault_from_words(reply, message or str(status), FAULT_WORDS)


def parse_result(body: Mapping[str, Any]) -> UpstreamResult:
    """The result in an object with `result` and `flags`."""
    word = str(body["result"])
    value = body.get("flags")
    flags = {flag for flag in value if isinstance(flag, str)} if isinstance(value, list) else set()
    verdict, reason = _verdict(word, flags)
    known = reason is not Reason.UNEXPECTED_ERROR or word == "unknown"
    evidence = Evidence(
        disposable="disposable_email" in flags or reason is Reason.DISPOSABLE,
        free="free_email_host" in flags,
        role="role_account" in flags,
        did_you_mean=text_or_none(body.get("suggested_correction")),
        dns=Dns.MX if "has_dns_mx" in flags else Dns.NOT_CHECKED,
        smtp=_parse_smtp(reason, flags),
        catch_all=True if "accepts_all" in flags or reason is Reason.CATCH_ALL else None,
        mailbox_full=True if "mailbox_full" in flags else None,
        spamtrap=True if "spamtrap_network" in flags else None,
        raw_word=None if known else word,
    )
    return UpstreamResult(verdict, reason, evidence)


def _verdict(word: str, flags: set[str]) -> tuple[Verdict, Reason]:
    """The first row of the word's that has no flag, or one that is there, counts."""
    for flag, verdict, reason in ROWS.get(word, ()):
        if not flag or flag in flags or (flag == "no has_dns" and "has_dns" not in flags):
            return verdict, reason
    return Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR


ROWS: Mapping[str, Sequence[tuple[str, Verdict, Reason]]] = {
    "valid": (
        ("spamtrap_network", Verdict.RISKY, Reason.LOW_QUALITY),
        ("", Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
    ),
    "invalid": (
        ("bad_syntax", Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL),
        ("bad_dns", Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
        ("mailbox_full", Verdict.UNDELIVERABLE, Reason.MAILBOX_FULL),
        ("no has_dns", Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
        ("connect_fails", Verdict.UNDELIVERABLE, Reason.INVALID_SMTP),
        ("", Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    ),
    "disposable": (("", Verdict.RISKY, Reason.DISPOSABLE),),
    "catchall": (("", Verdict.RISKY, Reason.CATCH_ALL),),
    "unknown": (
        ("temporary_dns_error", Verdict.UNKNOWN, Reason.DNS_ERROR),
        ("connect_fails", Verdict.UNKNOWN, Reason.NO_CONNECT),
        ("smtp_connectable", Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
    ),
}
"""By `result`: a flag, and what it says."""

MEANINGS: Mapping[Reason, Meaning] = {
    Reason.ACCEPTED_EMAIL: Meaning.ACCEPTED,
    Reason.CATCH_ALL: Meaning.ACCEPTED,
    Reason.DISPOSABLE: Meaning.ACCEPTED,
    Reason.LOW_QUALITY: Meaning.ACCEPTED,
    Reason.REJECTED_EMAIL: Meaning.MAILBOX_NOT_FOUND,
    Reason.MAILBOX_FULL: Meaning.MAILBOX_FULL,
    Reason.UNAVAILABLE_SMTP: Meaning.TEMPORARY,
}
"""Of the reply, where a mail host was reached."""


def _parse_smtp(reason: Reason, flags: set[str]) -> Smtp | None:
    meaning = MEANINGS.get(reason)
    if meaning is None or "smtp_connectable" not in flags:
        return None
    return Smtp(meaning=meaning, stage=Stage.RCPT, connected=True)


def build_balance(key: str) -> UpstreamRequest:
    return UpstreamRequest("GET", "/v4.2/account/info", query={"key": key}, is_billed=False)


def parse_balance(reply: UpstreamReply) -> int | Fault:
    body = reply.json_object
    credits = body.get("credits_info")
    if reply.status != 200 or body.get("status") != "success" or not isinstance(credits, dict):
        return parse_fault(reply)
    if "paid_credits_remaining" not in credits:
        return 1_000_000  # an account that pays by the month
    names = ("paid_credits_remaining", "free_credits_remaining")
    return sum(parse_integer(credits.get(name)) or 0 for name in names)


UPSTREAM = Upstream(
    verify=Call(build_verify, parse_verify),
    balance=Call(build_balance, parse_balance),
    # the `timeout` that its Python client sends
    usual_answer_s=30.0,
    always_reports=frozenset({"disposable", "role", "free", "did_you_mean"}),
)


# -- lists --------------------------------------------------------------------------------


def build_create(key: str, addresses: Sequence[Address], _: Checks) -> UpstreamRequest:
    body = {
        "input": [[address.raw] for address in addresses],
        "input_location": "supplied",
        "auto_parse": 1,
        "auto_start": 1,
        "key": key,
    }
    return UpstreamRequest(
        "POST", "/v4.2/jobs/create", headers=JSON_HEADERS, body=orjson.dumps(body)
    )


def parse_create(reply: UpstreamReply, _: Sequence[Address], __: Checks) -> str | Fault:
    body = reply.json_object
    job_id = first_job_id(body.get("job_id"))
    is_created = reply.status // 100 == 2 and body.get("status") == "success"
    return job_id if is_created and job_id is not None else parse_fault(reply)


def build_poll(key: str, job: JobQuery) -> UpstreamRequest:
    query = {"job_id": job.job_id, "key": key}
    return UpstreamRequest("GET", "/v4.2/jobs/status", query=query, is_billed=False)


def parse_poll(reply: UpstreamReply, _: JobQuery) -> ResultPage | Pending | Fault:
    body = reply.json_object
    state = body.get("job_status")
    if reply.status != 200 or body.get("status") != "success" or not isinstance(state, str):
        return _job_fault(reply)
    if state == "failed":
        return Fault(FaultKind.REFUSED, "the job failed", 200)
    return ResultPage((), FIRST_PAGE) if state == "complete" else Pending()


def build_page(key: str, job: JobQuery) -> UpstreamRequest:
    query = {"job_id": job.job_id, "page": job.page, "items_per_page": str(ROWS_PER_PAGE)}
    return UpstreamRequest(
        "GET", "/v4.2/jobs/results", query={**query, "key": key}, is_billed=False
    )


def parse_page(reply: UpstreamReply, job: JobQuery) -> ResultPage | Pending | Fault:
    body = reply.json_object
    rows = body.get("results")
    if reply.status != 200 or body.get("status") != "success" or not isinstance(rows, list):
        return _job_fault(reply)
    following = page_after(job.page, len(rows), per_page=ROWS_PER_PAGE, most=MAX_ADDRESSES)
    return ResultPage(tuple(_parse_rows(rows)), following)


def _parse_rows(rows: Sequence[object]) -> Iterator[tuple[str, UpstreamResult]]:
    for row in rows:
        verification = row.get("verification") if isinstance(row, dict) else None
        if not isinstance(row, dict) or not isinstance(verification, dict):
            continue
        email = _email(row, verification)
        if email and "result" in verification:
            yield email, parse_result(verification)


def _email(row: Mapping[str, Any], verification: Mapping[str, Any]) -> str | None:
    """The address as it was sent, in either part of a row."""
    info, data = verification.get("address_info"), row.get("data")
    found = info.get("original_email") if isinstance(info, dict) else None
    if not found and isinstance(data, dict):
        found = data.get("email") or data.get("0")
    return text_or_none(found)


def _job_fault(reply: UpstreamReply) -> Fault:
    if "job id" in str(reply.json_object.get("message")).lower():
        return Fault(FaultKind.REFUSED, "no such job", reply.status)
    return parse_fault(reply)


VENDOR_JOBS = VendorJobs(
    max_addresses=MAX_ADDRESSES,
    create=Call(build_create, parse_create),
    poll=Call(build_poll, parse_poll),
    page=Call(build_page, parse_page),
    first_poll_delay_s=2.0,
)
