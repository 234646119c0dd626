"""The vendor as a source: requests to it, and the meaning of its replies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
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
from adapters.kit.csv import NotCsv, csv_line, read_lines, read_table
from adapters.kit.faults import FaultWords, fault_from_status, fault_from_words
from adapters.kit.multipart import FormField, FormFile, multipart_body
from adapters.kit.words import (
    datetime_or_none,
    first_job_id,
    parse_bool,
    parse_integer,
    parse_mx_hosts,
    text_or_none,
)
from adapters.zerobounce.problems import NOT_FOUND
from adapters.zerobounce.single import MAX_AT_ONCE
from engine.model import (
    Address,
    Checks,
    Dns,
    Evidence,
    Gender,
    Meaning,
    Person,
    Reason,
    Smtp,
    Stage,
    Verdict,
)

BULK_HOST = "bulkapi.zerobounce.net"
API_HOSTS = ("api.zerobounce.net", "api-us.zerobounce.net", "api-eu.zerobounce.net")
BULK_PATHS = ("/v2/sendfile", "/v2/filestatus", "/v2/getfile", "/v2/deletefile", "/v2/scoring/")
MAX_ADDRESSES = 50_000
FIRST_PAGE = "1"

FAULT_WORDS = (
    FaultWords("invalid api key or", FaultKind.NO_CREDITS, ask_balance=True),
    FaultWords("api key", FaultKind.DEAD_KEY),
    FaultWords("api_key", FaultKind.DEAD_KEY),
    FaultWords("error code: 1020", FaultKind.DEAD_KEY),
    FaultWords("suspended", FaultKind.BANNED),
    FaultWords("not confirmed", FaultKind.BANNED),
    FaultWords("blocked", FaultKind.BANNED),
)

D, U, R, K = Verdict.DELIVERABLE, Verdict.UNDELIVERABLE, Verdict.RISKY, Verdict.UNKNOWN

RESULTS: Mapping[str, Mapping[str, tuple[Verdict, Reason]]] = {
    "valid": {},
    "invalid": {
        "failed_syntax_check": (U, Reason.INVALID_EMAIL),
        "possible_typo": (U, Reason.INVALID_EMAIL),
        "no_dns_entries": (U, Reason.INVALID_DOMAIN),
        "does_not_accept_mail": (U, Reason.INVALID_DOMAIN),
        "unroutable_ip_address": (U, Reason.INVALID_SMTP),
        "mailbox_quota_exceeded": (U, Reason.MAILBOX_FULL),
    },
    "catch-all": {},
    "do_not_mail": {
        "disposable": (R, Reason.DISPOSABLE),
        "role_based_catch_all": (R, Reason.CATCH_ALL),
        "blocked": (U, Reason.REJECTED_EMAIL),
    },
    "spamtrap": {},
    "abuse": {},
    "unknown": {
        "antispam_system": (K, Reason.BLOCKED),
        "greylisted": (K, Reason.GREYLISTED),
        "timeout_exceeded": (K, Reason.TIMEOUT),
        "failed_smtp_connection": (K, Reason.NO_CONNECT),
        "mail_server_temporary_error": (K, Reason.UNAVAILABLE_SMTP),
        "mail_server_did_not_respond": (K, Reason.INVALID_SMTP),
        "forcible_disconnect": (K, Reason.INVALID_SMTP),
    },
}
"""By status and sub-status."""
OTHER_RESULTS: Mapping[str, tuple[Verdict, Reason]] = {
    "valid": (D, Reason.ACCEPTED_EMAIL),
    "invalid": (U, Reason.REJECTED_EMAIL),
    "catch-all": (R, Reason.CATCH_ALL),
    "do_not_mail": (R, Reason.LOW_QUALITY),
    "spamtrap": (R, Reason.LOW_QUALITY),
    "abuse": (R, Reason.LOW_QUALITY),
    "unknown": (K, Reason.UNEXPECTED_ERROR),
}
"""By status, for any other sub-status."""
MEANINGS: Mapping[Reason, Meaning] = {
    Reason.ACCEPTED_EMAIL: Meaning.ACCEPTED,
    Reason.CATCH_ALL: Meaning.ACCEPTED,
    Reason.REJECTED_EMAIL: Meaning.MAILBOX_NOT_FOUND,
    Reason.MAILBOX_FULL: Meaning.MAILBOX_FULL,
    Reason.GREYLISTED: Meaning.GREYLISTED,
    Reason.UNAVAILABLE_SMTP: Meaning.TEMPORARY,
    Reason.BLOCKED: Meaning.IP_BLOCKED,
}
"""Of the mail host's reply, where there must have been one."""


def build_verify(key: str, query: UpstreamQuery) -> UpstreamRequest:
    timeout = str(max(3, min(int(query.wait_s), 60)))
    params = {"api_key": key, "email": query.address.raw, "ip_address": "", "timeout": timeout}
    return UpstreamRequest("GET", "/v2/validate", query=params)


def parse_verify(reply: UpstreamReply, _: UpstreamQuery) -> UpstreamResult | Pending | Fault:
    body = reply.json_object
    if reply.status == 200 and isinstance(body.get("status"), str):
        return parse_result(body)
    if "still in progress" in str(body.get("Message")):
        return Pending(60.0)
    return parse_fault(reply)


def parse_fault(reply: UpstreamReply) -> Fault:
    body = reply.json_object
    errors = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else {}
    text = first.get("error") if isinstance(first, dict) else None
    text = text or next((body[name] for name in TEXTS if body.get(name)), None)
    if isinstance(text, list):
        text = " ".join(map(str, text))
    if reply.status == 403 and text is None:
        text = reply.body[:100].decode("utf-8", "replace")
    return fault_from_words(reply, text, FAULT_WORDS) if text else fault_from_status(reply)


TEXTS = ("error", "Error", "message", "Message")
"""Members with an error's text."""


def parse_result(body: Mapping[str, Any]) -> UpstreamResult:
    """The result in an object with a `status`."""
    status, sub_status = str(body["status"]), text_or_none(body.get("sub_status")) or ""
    other = OTHER_RESULTS.get(status, (K, Reason.UNEXPECTED_ERROR))
    verdict, reason = RESULTS.get(status, {}).get(sub_status, other)
    mx = parse_mx_hosts(body.get("mx_record")) if parse_bool(body.get("mx_found")) else ()
    is_catch_all = reason is Reason.CATCH_ALL or sub_status.endswith("accept_all")
    meaning = MEANINGS.get(reason)
    evidence = Evidence(
        free=parse_bool(body.get("free_email"), False),
        disposable=reason is Reason.DISPOSABLE,
        role=sub_status.startswith("role_based"),
        did_you_mean=text_or_none(body.get("did_you_mean")),
        dns=Dns.MX if mx else Dns.NOT_CHECKED,
        mx=mx,
        provider=text_or_none(body.get("smtp_provider")),
        smtp=Smtp(meaning=meaning, stage=Stage.RCPT, connected=True) if meaning else None,
        catch_all=True if is_catch_all else None,
        mailbox_full=True if reason is Reason.MAILBOX_FULL else None,
        spamtrap=True if status == "spamtrap" else None,
        person=_parse_person(body),
        raw_word=None if status in OTHER_RESULTS else f"{status} {sub_status}".strip(),
    )
    verified_at = datetime_or_none(f"{body.get('processed_at')}+00:00")
    return UpstreamResult(verdict, reason, evidence, verified_at=verified_at)


def _parse_person(body: Mapping[str, Any]) -> Person | None:
    first, last = text_or_none(body.get("firstname")), text_or_none(body.get("lastname"))
    gender = {"male": Gender.MALE, "female": Gender.FEMALE}.get(str(body.get("gender")).lower())
    return Person(first, last, gender) if first or last or gender else None


def build_balance(key: str) -> UpstreamRequest:
    return UpstreamRequest("GET", "/v2/getcredits", query={"api_key": key}, is_billed=False)


def parse_balance(reply: UpstreamReply) -> int | Fault:
    value = reply.json_object.get("Credits")
    if str(value) == "-1":
        return Fault(FaultKind.DEAD_KEY, "the key is unknown", reply.status)
    credits = parse_integer(value)
    return parse_fault(reply) if credits is None else credits


UPSTREAM = Upstream(
    verify=Call(build_verify, parse_verify),
    balance=Call(build_balance, parse_balance),
    # the longest `timeout` of a single validation
    usual_answer_s=60.0,
    always_reports=frozenset({"free", "did_you_mean"}),
    other_hosts={host: dict.fromkeys(BULK_PATHS, BULK_HOST) for host in API_HOSTS},
)


# -- lists --------------------------------------------------------------------------------


def build_create(key: str, addresses: Sequence[Address], _: Checks) -> UpstreamRequest:
    if len(addresses) <= MAX_AT_ONCE:
        rows = [{"email_address": address.raw, "ip_address": ""} for address in addresses]
        body = orjson.dumps({"api_key": key, "email_batch": rows})
        headers = {"content-type": "application/json"}
        return UpstreamRequest("POST", "/v2/validatebatch", headers=headers, body=body)
    lines = (("email",), *((address.raw,) for address in addresses))
    file = b"".join(csv_line(line, quote_all=True) for line in lines)
    content_type, body = multipart_body(
        (
            FormField("has_header_row", "true"),
            FormField("remove_duplicate", "false"),
            FormField("api_key", key),
            FormField("email_address_column", "1"),
            FormFile("file", "list.csv", file),
        )
    )
    headers = {"content-type": content_type}
    return UpstreamRequest("POST", "/v2/sendfile", headers=headers, body=body)


def parse_create(
    reply: UpstreamReply, _: Sequence[Address], __: Checks
) -> str | ResultPage | Fault:
    body = reply.json_object
    file_id = first_job_id(body.get("file_id"))
    if reply.status // 100 == 2 and file_id is not None:
        return file_id
    rows = body.get("email_batch")
    if reply.status == 200 and isinstance(rows, list) and rows:
        return ResultPage(tuple(_parse_rows(rows)))
    if body.get("success") is True:
        return fault_from_status(reply, "no file_id")
    return parse_fault(reply)


def _parse_rows(rows: Sequence[object]) -> Iterator[tuple[str, UpstreamResult]]:
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("address"), str) and "status" in row:
            yield row["address"], parse_result(row)


def _file_call(path: str, key: str, job: JobQuery) -> UpstreamRequest:
    query = {"file_id": job.job_id, "api_key": key}
    return UpstreamRequest("GET", f"/v2/{path}", query=query, is_billed=False)


def parse_poll(reply: UpstreamReply, _: JobQuery) -> ResultPage | Pending | Fault:
    state = reply.json_object.get("file_status")
    if reply.status != 200 or not isinstance(state, str):
        return _file_fault(reply)
    if state == "Failed":
        return Fault(FaultKind.REFUSED, "the file failed", 200)
    return ResultPage((), FIRST_PAGE) if state == "Complete" else Pending()


FILE_MEMBERS: Mapping[str, str] = {
    "status": "ZB Status",
    "sub_status": "ZB Sub Status",
    "firstname": "ZB First Name",
    "lastname": "ZB Last Name",
    "gender": "ZB Gender",
    "free_email": "ZB Free Email",
    "mx_found": "ZB MX Found",
    "mx_record": "ZB MX Record",
    "smtp_provider": "ZB SMTP Provider",
    "did_you_mean": "ZB Did You Mean",
}
"""The columns of a result file, by the member of a single validation."""


def parse_page(reply: UpstreamReply, _: JobQuery) -> ResultPage | Pending | Fault:
    # any JSON is an error
    if reply.status != 200 or reply.json is not None:
        return _file_fault(reply)
    try:
        table = read_table(read_lines(iter((reply.body,))), has_header=True)
        at = {name: table.headers.index(title) for name, title in FILE_MEMBERS.items()}
        rows = [row for row in table.rows if len(row) > max(at.values())]
    except (NotCsv, ValueError):
        return parse_fault(reply)
    return ResultPage(
        tuple(
            (row[0], parse_result({name: row[place] for name, place in at.items()})) for row in rows
        )
    )


def _file_fault(reply: UpstreamReply) -> Fault:
    if reply.json_object.get("message") == NOT_FOUND:
        return Fault(FaultKind.REFUSED, "no such file", reply.status)
    return parse_fault(reply)


VENDOR_JOBS = VendorJobs(
    max_addresses=MAX_ADDRESSES,
    create=Call(build_create, parse_create),
    poll=Call(partial(_file_call, "filestatus"), parse_poll),
    page=Call(partial(_file_call, "getfile"), parse_page),
    create_timeout_s=100.0,
    first_poll_delay_s=5.0,
)
