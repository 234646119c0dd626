"""A dialect of no vendor, with the awkward shapes of real ones. It is never registered.

It has what the dialects in `adapters/` do not need, and others do: errors with status 200, one text
for a bad key and an empty account, a key in the query, in JSON under another content type or in a
form behind the file, a synchronous batch, files with a column number, another host under the same
base path, an option that changes the errors, headers with the balance and the time in each reply,
results that cost nothing, and test addresses for live keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import orjson

from adapters.contract.batch_rules import BatchRules, BatchWebhook, JobEvent, is_success
from adapters.contract.credential import Credential, KeyInBody, KeyInQuery
from adapters.contract.dialect import AnyEndpoint, Dialect, Endpoint, KeyShape, RootPath
from adapters.contract.jobs import BatchEntry, Job, JobRow, JobRows, JobState
from adapters.contract.operations import (
    AccountInfo,
    Acknowledge,
    CheckDisposable,
    DeleteJob,
    ReadRows,
    ShowAccount,
    ShowJob,
    SubmitJob,
    Verify,
    VerifyMany,
)
from adapters.contract.options import DialectOptions, option
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.samples import Sample
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
from adapters.contract.wire import StreamReply, WireReply, WireRequest, json_reply
from adapters.kit.csv import CSV_MEDIA_TYPE, NotCsv, csv_line, read_lines, read_table
from adapters.kit.faults import FaultWords, fault_from_status, fault_from_words
from adapters.kit.multipart import FormField, FormFile, multipart_body
from adapters.kit.problems import problem_headers
from adapters.kit.words import (
    bool_word,
    datetime_or_none,
    first_job_id,
    parse_bool,
    parse_integer,
    parse_mx_hosts,
    random_id,
    text_or_none,
    utc_millis,
    word_for,
)
from engine.model import Address, Checks, Dns, Evidence, Meaning, Reason, Verdict, Verification

MAX_AT_ONCE = 100
BODY_LIMIT = 20 * 1024 * 1024

# -- words -------------------------------------------------------------------------------

Words = tuple[str, str]
"""`status` and `sub_status`."""

WORDS: Mapping[Verdict, Mapping[Reason, Words]] = {
    Verdict.DELIVERABLE: {},
    Verdict.UNDELIVERABLE: {
        Reason.INVALID_EMAIL: ("invalid", "failed_syntax_check"),
        Reason.INVALID_DOMAIN: ("invalid", "no_dns_entries"),
    },
    Verdict.RISKY: {
        Reason.CATCH_ALL: ("catch-all", ""),
        Reason.DISPOSABLE: ("do_not_mail", "disposable"),
        # it has no word for a risky address whose mailbox is full
        Reason.MAILBOX_FULL: ("invalid", "mailbox_quota_exceeded"),
    },
    Verdict.UNKNOWN: {
        Reason.TIMEOUT: ("unknown", "timeout_exceeded"),
        Reason.GREYLISTED: ("unknown", "greylisted"),
    },
}
FALLBACK_WORDS: Mapping[Verdict, Words] = {
    Verdict.DELIVERABLE: ("valid", ""),
    Verdict.UNDELIVERABLE: ("invalid", "mailbox_not_found"),
    Verdict.RISKY: ("do_not_mail", "toxic"),
    Verdict.UNKNOWN: ("unknown", "mail_server_temporary_error"),
}
RESULTS: Mapping[Words, tuple[Verdict, Reason]] = {
    ("valid", ""): (Verdict.DELIVERABLE, Reason.ACCEPTED_EMAIL),
    ("invalid", "failed_syntax_check"): (Verdict.UNDELIVERABLE, Reason.INVALID_EMAIL),
    ("invalid", "no_dns_entries"): (Verdict.UNDELIVERABLE, Reason.INVALID_DOMAIN),
    ("invalid", "mailbox_not_found"): (Verdict.UNDELIVERABLE, Reason.REJECTED_EMAIL),
    ("invalid", "mailbox_quota_exceeded"): (Verdict.UNDELIVERABLE, Reason.MAILBOX_FULL),
    ("catch-all", ""): (Verdict.RISKY, Reason.CATCH_ALL),
    ("do_not_mail", "disposable"): (Verdict.RISKY, Reason.DISPOSABLE),
    ("do_not_mail", "toxic"): (Verdict.RISKY, Reason.LOW_QUALITY),
    ("unknown", "timeout_exceeded"): (Verdict.UNKNOWN, Reason.TIMEOUT),
    ("unknown", "greylisted"): (Verdict.UNKNOWN, Reason.GREYLISTED),
    ("unknown", "mail_server_temporary_error"): (Verdict.UNKNOWN, Reason.UNAVAILABLE_SMTP),
}


def words_of(v: Verification) -> Words:
    if v.reason is Reason.MAILBOX_FULL and v.verdict is Verdict.UNDELIVERABLE:
        return "invalid", "mailbox_quota_exceeded"
    return word_for(v, WORDS, FALLBACK_WORDS)


# -- reading -----------------------------------------------------------------------------


def read_verify(request: WireRequest) -> Verify:
    email = request.query.get("email", "").strip()
    if not email:
        raise Problem(ProblemKind.MISSING, field="email")
    return Verify(email=email)


def read_many(request: WireRequest) -> VerifyMany:
    rows = request.json_object.get("email_batch")
    if not isinstance(rows, list) or not rows:
        raise Problem(ProblemKind.MISSING, field="email_batch")
    if len(rows) > MAX_AT_ONCE:
        raise Problem(ProblemKind.TOO_MANY, limit=MAX_AT_ONCE)
    emails = [row.get("email_address") if isinstance(row, dict) else None for row in rows]
    if not all(isinstance(email, str) and email.strip() for email in emails):
        raise Problem(ProblemKind.INVALID, field="email_address")
    return VerifyMany(emails=tuple(str(email).strip() for email in emails), wait_s=70.0)


def read_file(request: WireRequest) -> SubmitJob:
    if request.content_type != "multipart/form-data":
        raise Problem(ProblemKind.MISSING, field="file")
    file = next((part for part in request.parts if part.filename is not None), None)
    fields = {part.name: part.text for part in request.parts if part.filename is None}
    column = parse_integer(fields.get("email_address_column"))
    if file is None or not column:
        raise Problem(ProblemKind.MISSING, field="file" if file is None else "email_address_column")
    try:
        table = read_table(
            read_lines(file.chunks()), has_header=parse_bool(fields.get("has_header_row"), False)
        )
    except NotCsv as exc:
        raise Problem(ProblemKind.INVALID, f"The file {exc}.", "file") from exc
    if column > table.width:
        raise Problem(ProblemKind.INVALID, field="email_address_column")

    def entries() -> Iterator[BatchEntry]:
        try:
            for row in table.rows:
                if len(row) >= column and row[column - 1].strip():
                    yield BatchEntry(row[column - 1].strip(), tuple(row))
        except NotCsv as exc:
            raise Problem(ProblemKind.INVALID, f"The file {exc}.", "file") from exc

    return SubmitJob(
        entries=entries(),
        headers=table.headers,
        name=file.filename or "",
        webhook_url=fields.get("return_url", ""),
        options={"hook": fields.get("hook", "")},
    )


def _file_id(request: WireRequest) -> str:
    file_id = request.query.get("file_id", "").strip()
    if not file_id:
        raise Problem(ProblemKind.MISSING, field="file_id")
    return file_id


def read_status(request: WireRequest) -> ShowJob:
    return ShowJob(job_id=_file_id(request))


def read_results(request: WireRequest) -> ReadRows:
    return ReadRows(job_id=_file_id(request))


def read_delete(request: WireRequest) -> DeleteJob:
    return DeleteJob(job_id=_file_id(request))


def read_credits(_: WireRequest) -> ShowAccount:
    return ShowAccount()


def read_disposable(request: WireRequest) -> CheckDisposable:
    return CheckDisposable(text=request.path_params["text"])


def read_ping(_: WireRequest) -> Acknowledge:
    return Acknowledge()


# -- writing -----------------------------------------------------------------------------


def verification_json(v: Verification) -> dict[str, Any]:
    status, sub_status = words_of(v)
    return {
        "address": v.address.raw,
        "status": status,
        "sub_status": sub_status,
        "free_email": v.evidence.free,
        "did_you_mean": v.evidence.did_you_mean,
        "mx_found": bool_word(bool(v.evidence.mx)),
        "mx_record": v.evidence.mx_host,
        "processed_at": utc_millis(v.verified_at),
    }


def write_verify(_: Verify, v: Verification) -> WireReply:
    return json_reply(verification_json(v))


def write_many(_: VerifyMany, found: tuple[Verification, ...]) -> WireReply:
    errors = [
        {"email_address": v.address.raw, "error": "Invalid email address"}
        for v in found
        if not v.address.valid
    ]
    rows = [verification_json(v) for v in found if v.address.valid]
    return json_reply({"email_batch": rows, "errors": errors})


def write_submitted(_: SubmitJob, job: Job) -> WireReply:
    return json_reply({"success": True, "message": "File Accepted", "file_id": job.id}, 201)


def write_status(_: ShowJob, job: Job) -> WireReply:
    state = {JobState.COMPLETED: "Complete", JobState.FAILED: "Failed"}.get(job.state, "Processing")
    percent = (
        100 if job.state is JobState.COMPLETED else 100 * job.done_count // (job.row_count or 1)
    )
    return json_reply(
        {
            "success": True,
            "file_id": job.id,
            "file_status": state,
            "complete_percentage": f"{percent}%",
        }
    )


def write_results(_: ReadRows, found: JobRows) -> StreamReply:
    if found.job.state is not JobState.COMPLETED:
        raise Problem(ProblemKind.JOB_STATE, job_state=found.job.state)
    return StreamReply(
        rows=found.rows,
        head=csv_line((*found.job.headers, "Status", "Sub Status"), quote_all=True),
        render=_render_row,
        media_type=CSV_MEDIA_TYPE,
    )


def _render_row(row: JobRow) -> bytes:
    return csv_line((*row.cells, *words_of(row.verification)), quote_all=True)


def write_deleted(_: DeleteJob, job: Job) -> WireReply:
    return json_reply({"success": True, "message": "File Deleted", "file_id": job.id})


def write_credits(_: ShowAccount, account: AccountInfo) -> WireReply:
    return json_reply({"Credits": str(account.credits_shown)})


def write_disposable(_: CheckDisposable, found: bool) -> WireReply:
    return json_reply({"disposable": found})


def write_pong(_: Acknowledge, __: None) -> WireReply:
    return json_reply({"pong": True})


def write_event(event: str, job: Job) -> bytes:
    return orjson.dumps({"job": job.id, "event": event, "name": job.name})


def write_row_event(job: Job, row: JobRow) -> bytes:
    return orjson.dumps({"job": job.id, "row": row.email, "word": row.word})


KEY_OR_CREDITS = "Invalid API key or your account ran out of credits"
PROBLEMS: Mapping[ProblemKind, tuple[int, str]] = {
    **dict.fromkeys(ProblemKind, (400, "Bad request")),
    ProblemKind.MISSING: (400, "Missing parameter: {field}."),
    ProblemKind.NO_CREDENTIAL: (400, "Missing parameter: api_key."),
    ProblemKind.BAD_CREDENTIAL: (200, KEY_OR_CREDITS),
    ProblemKind.NO_CREDITS: (200, KEY_OR_CREDITS),
    ProblemKind.SUSPENDED: (403, "The account is suspended"),
    ProblemKind.UNCONFIRMED: (403, "The account is not confirmed"),
    ProblemKind.CLIENT_BLOCKED: (403, "Your address is blocked"),
    ProblemKind.UNKNOWN_PATH: (404, "Not found"),
    ProblemKind.WRONG_METHOD: (405, "Method not allowed"),
    ProblemKind.TOO_LARGE: (413, "Too large"),
    ProblemKind.TOO_FAST: (429, "Too many requests"),
    ProblemKind.BATCHES_WAITING: (429, "Too many files"),
    ProblemKind.BATCHES_RUNNING: (429, "Too many files"),
    ProblemKind.BATCHES_SPENT: (429, "Too many files"),
    ProblemKind.INTERNAL: (500, "Internal error"),
    ProblemKind.UNAVAILABLE: (503, "Not available"),
    ProblemKind.NOT_READY: (504, "Timed out"),
}
FILE_MESSAGES: Mapping[ProblemKind, str] = {
    ProblemKind.JOB_MALFORMED: "File cannot be found.",
    ProblemKind.JOB_UNKNOWN: "File cannot be found.",
    ProblemKind.JOB_STATE: "File not processed.",
}


def write_problem(
    key_error: str, _: WireRequest, problem: Problem, __: AnyEndpoint | None
) -> WireReply:
    status, text = PROBLEMS[problem.kind]
    headers = problem_headers(problem)
    if problem.kind in FILE_MESSAGES:
        return json_reply({"success": False, "message": FILE_MESSAGES[problem.kind]})
    if problem.kind is ProblemKind.BAD_CREDENTIAL and key_error == "shield":
        return WireReply(403, b"error code: 1020", "text/plain; charset=UTF-8", headers)
    return json_reply({"error": text.format(field=problem.field)}, status, headers=headers)


# -- test addresses ----------------------------------------------------------------------

SAMPLES: Mapping[str, Sample | ProblemKind] = {
    "disposable": Sample(
        Verdict.RISKY, Reason.DISPOSABLE, Meaning.ACCEPTED, {"disposable": True}, score=7
    ),
    "no_credits": ProblemKind.NO_CREDITS,
}


def choose_sample(address: Address) -> Sample | ProblemKind | None:
    return SAMPLES.get(address.user) if address.ascii_domain == "toy.test" else None


@dataclass(frozen=True, slots=True)
class Options:
    key_error: Literal["json", "shield"] = option("json", "How a bad key is answered.")


def configure(dialect: Dialect, options: Options) -> Dialect:
    return replace(dialect, write_problem=partial(write_problem, options.key_error))


# -- as a source -------------------------------------------------------------------------

FAULT_WORDS = (
    FaultWords("invalid api key or", FaultKind.NO_CREDITS, ask_balance=True),
    FaultWords("api_key", FaultKind.DEAD_KEY),
    FaultWords("suspended", FaultKind.BANNED),
    FaultWords("not confirmed", FaultKind.BANNED),
    FaultWords("blocked", FaultKind.BANNED),
)


def parse_fault(reply: UpstreamReply) -> Fault:
    body = reply.json_object
    text = body.get("error") or body.get("message")
    if reply.status in (200, 400, 403) and text:
        return fault_from_words(reply, text, FAULT_WORDS)
    return fault_from_status(reply, text)


def build_verify(key: str, query: UpstreamQuery) -> UpstreamRequest:
    params = {"api_key": key, "email": query.address.raw}
    return UpstreamRequest("GET", "/v9/validate", query=params)


def parse_verify(reply: UpstreamReply, _: UpstreamQuery) -> UpstreamResult | Pending | Fault:
    body = reply.json_object
    if reply.status == 200 and isinstance(body.get("status"), str):
        return parse_result(body)
    return parse_fault(reply)


def parse_result(body: Mapping[str, Any]) -> UpstreamResult:
    words = str(body["status"]), text_or_none(body.get("sub_status")) or ""
    verdict, reason = RESULTS.get(words, (Verdict.UNKNOWN, Reason.UNEXPECTED_ERROR))
    mx = parse_mx_hosts(body.get("mx_record"))
    evidence = Evidence(
        free=parse_bool(body.get("free_email"), False),
        did_you_mean=text_or_none(body.get("did_you_mean")),
        dns=Dns.MX if mx else Dns.NOT_CHECKED,
        mx=mx,
        disposable=reason is Reason.DISPOSABLE,
        mailbox_full=True if reason is Reason.MAILBOX_FULL else None,
        catch_all=True if reason is Reason.CATCH_ALL else None,
        raw_word=None if words in RESULTS else " ".join(words),
    )
    verified_at = datetime_or_none(body.get("processed_at"))
    return UpstreamResult(verdict, reason, evidence, verified_at=verified_at)


def build_balance(key: str) -> UpstreamRequest:
    return UpstreamRequest("GET", "/v9/getcredits", query={"api_key": key}, is_billed=False)


def parse_balance(reply: UpstreamReply) -> int | Fault:
    credits = parse_integer(reply.json_object.get("Credits"))
    return parse_fault(reply) if credits is None else credits


def build_create(key: str, addresses: Sequence[Address], _: Checks) -> UpstreamRequest:
    if len(addresses) <= MAX_AT_ONCE:
        rows = [{"email_address": address.raw} for address in addresses]
        body = orjson.dumps({"api_key": key, "email_batch": rows})
        headers = {"content-type": "text/plain;charset=UTF-8"}
        return UpstreamRequest("POST", "/v9/validatebatch", headers=headers, body=body)
    lines = (("email",), *((address.raw,) for address in addresses))
    file = b"".join(csv_line(line, quote_all=True) for line in lines)
    content_type, body = multipart_body(
        (
            FormField("email_address_column", "1"),
            FormField("has_header_row", "true"),
            FormFile("file", "list.csv", file),
            FormField("api_key", key),
        )
    )
    headers = {"content-type": content_type}
    return UpstreamRequest("POST", "/v9/sendfile", headers=headers, body=body)


def parse_create(
    reply: UpstreamReply, _: Sequence[Address], __: Checks
) -> str | ResultPage | Fault:
    body = reply.json_object
    file_id = first_job_id(body.get("file_id"))
    if reply.status == 201 and file_id is not None:
        return file_id
    rows = body.get("email_batch")
    if reply.status == 200 and isinstance(rows, list) and rows:
        return ResultPage(tuple(_parse_rows(rows)))
    return parse_fault(reply)


def _parse_rows(rows: Sequence[object]) -> Iterator[tuple[str, UpstreamResult]]:
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("address"), str) and "status" in row:
            yield row["address"], parse_result(row)


def _file_call(path: str, key: str, job: JobQuery) -> UpstreamRequest:
    query = {"file_id": job.job_id, "api_key": key}
    return UpstreamRequest("GET", f"/v9/{path}", query=query, is_billed=False)


def parse_poll(reply: UpstreamReply, _: JobQuery) -> ResultPage | Pending | Fault:
    state = reply.json_object.get("file_status")
    if reply.status != 200 or not isinstance(state, str):
        return parse_fault(reply)
    if state == "Failed":
        return Fault(FaultKind.REFUSED, "the file failed", 200)
    return ResultPage((), "1") if state == "Complete" else Pending()


def parse_page(reply: UpstreamReply, _: JobQuery) -> ResultPage | Pending | Fault:
    # any JSON is an error
    if reply.status != 200 or reply.json is not None:
        return parse_fault(reply)
    try:
        table = read_table(read_lines(iter((reply.body,))), has_header=True)
        at = table.headers.index("Status"), table.headers.index("Sub Status")
        rows = [(row[0], row[at[0]], row[at[1]]) for row in table.rows if len(row) > max(at)]
    except (NotCsv, ValueError):
        return parse_fault(reply)
    return ResultPage(
        tuple(
            (email, parse_result({"status": status, "sub_status": sub_status}))
            for email, status, sub_status in rows
        )
    )


# -- the dialect -------------------------------------------------------------------------

QUERY_KEY = Credential((KeyInQuery("api_key"),))

DIALECT = Dialect(
    name="toy",
    title="A toy",
    hosts=("api.toy.test", "bulk.toy.test"),
    base_path="/v9",
    root_paths=(RootPath("/v9/", when=lambda head: head.method in ("GET", "POST")),),
    endpoints=(
        Endpoint(
            name="verify",
            methods=("GET",),
            path="/v9/validate",
            read=read_verify,
            write=write_verify,
            bucket="verify",
        ),
        Endpoint(
            name="many",
            methods=("POST",),
            path="/v9/validatebatch",
            read=read_many,
            write=write_many,
            credential=Credential((KeyInBody("api_key", always_json=True),)),
        ),
        Endpoint(
            name="file",
            methods=("POST",),
            path="/v9/sendfile",
            read=read_file,
            write=write_submitted,
            credential=Credential((KeyInQuery("api_key"), KeyInBody("api_key"))),
            body_limit=BODY_LIMIT,
            accepts_body_file=True,
        ),
        Endpoint(
            name="status",
            methods=("GET",),
            path="/v9/filestatus",
            read=read_status,
            write=write_status,
        ),
        Endpoint(
            name="results",
            methods=("GET",),
            path="/v9/getfile",
            read=read_results,
            write=write_results,
        ),
        Endpoint(
            name="delete",
            methods=("GET",),
            path="/v9/deletefile",
            read=read_delete,
            write=write_deleted,
        ),
        Endpoint(
            name="credits",
            methods=("GET",),
            path="/v9/getcredits",
            read=read_credits,
            write=write_credits,
        ),
        Endpoint(
            name="disposable",
            methods=("GET",),
            path="/v9/disposable/{text}",
            read=read_disposable,
            write=write_disposable,
            needs_key=False,
        ),
        Endpoint(
            name="ping",
            methods=("GET",),
            path="/v9/ping",
            read=read_ping,
            write=write_pong,
            needs_key=False,
        ),
    ),
    credential=QUERY_KEY,
    write_problem=partial(write_problem, "json"),
    key_shape=KeyShape("toy_", "toytest_", length=20),
    sandbox_key="toytest_00000000000000000000",
    batch_rules=BatchRules(
        new_id=random_id("0123456789abcdef", 16),
        row_word=lambda v: words_of(v)[0],
        retention_s=lambda _: 86_400,
        webhook=BatchWebhook(
            events={
                JobEvent.SUBMITTED: ("parsing", "parsed"),
                JobEvent.STARTED: ("started",),
                JobEvent.COMPLETED: ("finished",),
                JobEvent.DELETED: ("deleted",),
            },
            write_event=write_event,
            write_row=write_row_event,
            headers=lambda job: {"X-Hook": str(job.options.get("hook", ""))},
            is_accepted=is_success,
            retry_interval_s=60,
            give_up_after_s=120,
        ),
    ),
    choose_sample=choose_sample,
    samples_for_live_keys=True,
    refunds=lambda v: v.reason is Reason.TIMEOUT,
    timing_header="X-Toy-Milliseconds",
    account_headers=lambda account: (("X-Toy-Balance", str(account.credits_shown)),),
    options=DialectOptions(Options, configure),
    upstream=Upstream(
        verify=Call(build_verify, parse_verify),
        balance=Call(build_balance, parse_balance),
        always_reports=frozenset({"free", "did_you_mean"}),
        other_hosts={
            "api.toy.test": dict.fromkeys(
                ("/v9/sendfile", "/v9/filestatus", "/v9/getfile"), "bulk.toy.test"
            )
        },
    ),
    vendor_jobs=VendorJobs(
        max_addresses=50_000,
        create=Call(build_create, parse_create),
        poll=Call(partial(_file_call, "filestatus"), parse_poll),
        page=Call(partial(_file_call, "getfile"), parse_page),
        create_timeout_s=70.0,
    ),
)

FACTS: Mapping[str, Any] = {
    "keys": {"live": "toy_[a-z0-9]{20}", "test": "toytest_[a-z0-9]{20}"},
    "statuses": [200, 201, 400, 403, 404, 405, 413, 429, 503, 504],
    "error_bodies": [{"error": "<text>"}, {"success": False, "message": "<text>"}],
    "simulated_statuses": [{"status": "401", "becomes": 200}, {"status": "402", "becomes": 200}],
    "retry_after": True,
    "collapses": [{"verdict": "risky", "reason": "mailbox_full", "becomes": "undeliverable"}],
    "never_says": ["role", "provider", "spf", "dmarc", "person", "no_reply"],
    "batch_rows_say": [
        ["deliverable", "accepted_email"],
        ["undeliverable", "rejected_email"],
        ["undeliverable", "invalid_domain"],
        ["risky", "catch_all"],
        ["risky", "disposable"],
        ["risky", "low_quality"],
        ["unknown", "timeout"],
        ["unknown", "unavailable_smtp"],
    ],
    "batch_rows_left_out": [],
    "not_in_batch_rows": ["dns", "mx", "free", "did_you_mean"],
    "retention": [{"entries": 1, "days": 1, "job_goes_too": True}],
    "refusals": [
        {"status": 200, "json": {"error": KEY_OR_CREDITS}, "fault": "no_credits"},
        {"status": 403, "json": {"error": "Your address is blocked"}, "fault": "banned"},
        {"status": 200, "json": {"error": "No such thing"}, "fault": "refused"},
    ],
    "submit": {
        "path": "/v9/sendfile",
        "multipart": {"email_address_column": "1", "file": "<emails>", "api_key": "<key>"},
    },
    "job_states": [
        {
            "method": "GET",
            "path": "/v9/filestatus?file_id=ID",
            "states": [
                {
                    "words": "preparing importing ready queued slow",
                    "status": 200,
                    "shows": {"file_status": "Processing", "complete_percentage": "0%"},
                },
                {
                    "words": "running verifying paused cancelled",
                    "status": 200,
                    "shows": {"file_status": "Processing", "complete_percentage": "50%"},
                },
                {"words": "failed", "status": 200, "shows": {"file_status": "Failed"}},
                {
                    "words": "completed",
                    "status": 200,
                    "shows": {"file_status": "Complete", "complete_percentage": "100%"},
                },
            ],
        }
    ],
}
