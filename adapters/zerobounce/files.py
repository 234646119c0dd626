"""Files: sent, shown, fetched and deleted; for validation and for scores."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC

import orjson

from adapters.contract.batch_rules import (
    MAX_ENTRY_CHARACTERS,
    BatchRules,
    BatchWebhook,
    is_success,
)
from adapters.contract.jobs import BatchEntry, Job, JobRow, JobRows, JobState
from adapters.contract.operations import DeleteJob, JobRunner, ReadRows, ShowJob, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import Reply, StreamReply, WireReply, WireRequest, json_reply
from adapters.kit.csv import NotCsv, csv_line
from adapters.kit.file_names import ascii_file_name, extended_file_name
from adapters.kit.list_file import ListOptions, NoColumn, read_list
from adapters.kit.words import bool_word, parse_bool, parse_integer
from adapters.zerobounce import greylist
from adapters.zerobounce.single import params_of, required
from adapters.zerobounce.validation import validation
from adapters.zerobounce.words import is_free, tenths, words_of
from engine.model import Verification

BODY_LIMIT = 25 * 1024 * 1024
MAX_CELLS = 1_000
FILE_MEDIA_TYPE = "application/octet-stream"
FREE = "free"
"""The counter of rows that cost nothing."""
COLUMNS = (
    "ZB Status", "ZB Sub Status", "ZB Account", "ZB Domain", "ZB First Name", "ZB Last Name",
    "ZB Gender", "ZB Free Email", "ZB MX Found", "ZB MX Record", "ZB SMTP Provider",
    "ZB Did You Mean",
)  # fmt: skip
ACTIVITY_COLUMN = "ZB Active In Days"
SCORES = "scores"
"""The option of a file that says whether it was sent for scores."""
SCORE_COLUMN = "ZeroBounceQualityScore"
STATES = {
    JobState.QUEUED: "Queued",
    JobState.PREPARING: "Queued",
    JobState.READY: "Queued",
    JobState.COMPLETED: "Complete",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Failed",
}
"""Any other is `Processing`."""


# -- reading ------------------------------------------------------------------------------


def read_send(request: WireRequest) -> SubmitJob:
    if request.content_type != "multipart/form-data":
        raise _refusal("Invalid file format.", "file")
    file = next((part for part in request.parts if part.filename is not None), None)
    fields = {part.name: part.text for part in request.parts if part.filename is None}
    if file is None:
        raise _refusal("Invalid file format.", "file")
    column = parse_integer(fields.get("email_address_column"))
    if not column or column < 1:
        raise _refusal("email_address_column is required.", "email_address_column")
    has_header = parse_bool(fields.get("has_header_row"), False)
    options = ListOptions(
        column=str(column), has_header=has_header, otherwise="cp1252", max_cells=MAX_CELLS
    )
    try:
        found = read_list(file.chunks, options)
    except NoColumn as exc:
        raise _no_such_column() from exc
    except NotCsv as exc:
        raise _refusal(f"The file {exc}.", "file") from exc
    if not found.headers:
        raise _no_such_column()
    headers = list(found.headers)
    if not has_header:
        headers[found.email_at] = "Email Address"

    removes_duplicates = parse_bool(fields.get("remove_duplicate"), True)

    def entries() -> Iterator[BatchEntry]:
        seen: set[str] = set()
        row_count = removed = 0
        try:
            for entry in found.entries:
                if len(entry.email) > MAX_ENTRY_CHARACTERS:
                    raise _refusal("Invalid file format.", "file")
                row_count += 1
                if removes_duplicates and entry.email:
                    address = entry.email.lower()
                    if address in seen:
                        removed += 1
                        continue
                    seen.add(address)
                yield entry
        except NotCsv as exc:
            raise _refusal(f"The file {exc}.", "file") from exc
        if removed * 2 > row_count:
            raise _refusal("More than half of the rows are duplicates.", "file")

    url = fields.get("return_url", "").strip()
    return SubmitJob(
        entries=entries(),
        headers=tuple(headers),
        name=file.filename or "file.csv",
        webhook_url="" if url == "null" else url,
        options={"return_url": url or None, "phase_2": "allow_phase_2" in fields},
    )


def _no_such_column() -> Problem:
    return _refusal("email_address_column is beyond the last column.", "email_address_column")


def _refusal(text: str, field: str) -> Problem:
    return Problem(ProblemKind.INVALID, text, field, word="text")


def _file_id(request: WireRequest) -> str:
    text = required(params_of(request), "file_id")
    try:
        return str(uuid.UUID(text))
    except ValueError as exc:
        raise Problem(ProblemKind.JOB_MALFORMED) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowFile(ShowJob):
    """A file of one of the two kinds."""

    scores: bool

    async def run_on(self, jobs: JobRunner) -> Job:
        return _of_kind(await jobs.show(self), scores=self.scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetFile(ReadRows):
    """The results of a file of one of the two kinds."""

    scores: bool
    with_activity: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteFile(DeleteJob):
    """A file of scores is deleted at any time, the other kind when it is complete."""

    scores: bool

    async def run_on(self, jobs: JobRunner) -> Job:
        _of_kind(await jobs.show(ShowJob(job_id=self.job_id)), scores=self.scores)
        return await jobs.delete(self)


def _of_kind(job: Job, *, scores: bool) -> Job:
    """The file, if it is of this kind; the sandbox's examples are of both."""
    if job.options.get(SCORES, scores) != scores:
        raise Problem(ProblemKind.JOB_UNKNOWN)
    return job


@dataclass(frozen=True, slots=True)
class Kind:
    """What files are sent for. A file of one kind is not found by the calls for the other."""

    name: str
    """The beginning of the names of its endpoints."""
    path: str
    scores: bool

    def read_send(self, request: WireRequest) -> SubmitJob:
        found = read_send(request)
        return replace(found, options={**found.options, SCORES: self.scores})

    def read_status(self, request: WireRequest) -> ShowFile:
        return ShowFile(job_id=_file_id(request), scores=self.scores)

    def read_get(self, request: WireRequest) -> GetFile:
        with_activity = parse_bool(params_of(request).get("activity_data"), False)
        return GetFile(job_id=_file_id(request), scores=self.scores, with_activity=with_activity)

    def read_delete(self, request: WireRequest) -> DeleteFile:
        return DeleteFile(job_id=_file_id(request), scores=self.scores, at_any_time=self.scores)


VALIDATION = Kind("file", "", scores=False)
SCORING = Kind("score_file", "scoring/", scores=True)


# -- writing ------------------------------------------------------------------------------


def write_sent(_: SubmitJob, job: Job) -> WireReply:
    body = {"success": True, "message": "File Accepted", "file_name": job.name, "file_id": job.id}
    return json_reply(body, 201)


def write_status(_: ShowFile, job: Job) -> WireReply:
    body = {
        "success": True,
        "file_id": job.id,
        "file_name": job.name,
        "upload_date": _date(job),
        "file_status": _state(job),
    }
    if job.options.get("phase_2"):
        body["file_phase_2_status"] = "N/A"
    has_failed = job.state in (JobState.FAILED, JobState.CANCELLED)
    return json_reply(
        {
            **body,
            "complete_percentage": f"{_percent(job)}%",
            "error_reason": "The file could not be read." if has_failed else None,
            "return_url": job.options.get("return_url"),
        }
    )


def write_score_status(_: ShowFile, job: Job) -> WireReply:
    is_done = job.state is JobState.COMPLETED
    return json_reply(
        {
            "success": True,
            "file_id": job.id,
            "file_name": job.name,
            "upload_date": _date(job),
            "file_status": "Complete" if is_done else "Queued",
            "complete_percentage": f"{100 if is_done else 0}% Complete.",
            "return_url": job.options.get("return_url"),
        }
    )


def write_deleted(_: DeleteFile, job: Job) -> WireReply:
    return json_reply(
        {"success": True, "message": "File Deleted", "file_name": job.name, "file_id": job.id}
    )


def write_file(op: GetFile, found: JobRows) -> StreamReply:
    job = _complete(_of_kind(found.job, scores=op.scores))
    activity = (ACTIVITY_COLUMN,) if op.with_activity else ()
    # nobody here knows when a mailbox was used last
    unknown = ("",) * len(activity)
    name = f"{job.name.removesuffix('.csv')}_processed.csv"
    plain = ascii_file_name(name).replace(" ", "_")
    disposition = f"attachment; filename={plain}; filename*={extended_file_name(name)}"
    return StreamReply(
        rows=found.rows,
        head=csv_line((*job.headers, *COLUMNS, *activity), quote_all=True),
        render=lambda row: csv_line(
            (*row.cells, *_cells(row.verification), *unknown), quote_all=True
        ),
        media_type=FILE_MEDIA_TYPE,
        headers=(("Content-Disposition", disposition),),
    )


def write_score_file(op: GetFile, found: JobRows) -> StreamReply:
    job = _complete(_of_kind(found.job, scores=op.scores))
    return StreamReply(
        rows=found.rows,
        head=csv_line((*job.headers, SCORE_COLUMN), quote_all=True),
        render=lambda row: csv_line(_with_score(row), quote_all=True),
        media_type=FILE_MEDIA_TYPE,
        headers=(("Content-Disposition", 'attachment; filename="scoring_all_results.csv"'),),
    )


def _with_score(row: JobRow) -> tuple[str, ...]:
    return (*row.cells, str(tenths(row.verification)))


def _cells(v: Verification) -> tuple[str, ...]:
    found = validation(v)
    words = words_of(v)
    names = ("account", "domain", "firstname", "lastname", "gender")
    return (
        *words,
        *(found[name] or "" for name in names),
        "True" if found["free_email"] else "False",
        bool_word(bool(v.evidence.mx)),
        found["mx_record"],
        found["smtp_provider"] or "",
        found["did_you_mean"] or "",
    )


def _complete(job: Job) -> Job:
    if job.state is not JobState.COMPLETED:
        raise Problem(ProblemKind.JOB_STATE, job_state=job.state)
    if job.rows_expired:
        raise Problem(ProblemKind.JOB_UNKNOWN)
    return job


def _state(job: Job) -> str:
    """`Greylisted` if all rows that are left were refused for now."""
    if job.postponed_count and job.done_count + job.postponed_count >= job.row_count:
        return "Greylisted"
    return STATES.get(job.state, "Processing")


def _percent(job: Job) -> int:
    if job.state is JobState.COMPLETED:
        return 100
    return min(100 * job.done_count // (job.row_count or 1), 99)


def _date(job: Job) -> str:
    return job.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# -- rules --------------------------------------------------------------------------------


def write_event(_: ReadRows, found: JobRows) -> Reply:
    job = found.job
    if job.options.get(greylist.OPTION):
        return greylist.write_callback(found)
    body = {"file_id": job.id, "file_name": job.name, "upload_date": _date(job)}
    return WireReply(200, orjson.dumps(body))


def _extra_counters(v: Verification) -> tuple[str, ...]:
    return (FREE,) if is_free(v) else ()


BATCH_RULES = BatchRules(
    new_id=lambda source: str(uuid.UUID(int=source.random_below(2**128), version=4)),
    row_word=lambda v: words_of(v).status,
    extra_counters=_extra_counters,
    refund_word=FREE,
    shows_names=True,
    # until the client deletes it
    retention_s=lambda _: None,
    own_retention_s=lambda options: greylist.KEPT_S if options.get(greylist.OPTION) else None,
    webhook=BatchWebhook(
        write_body=write_event,
        is_accepted=is_success,
        retry_interval_s=30.0,
        give_up_after_s=100.0,
    ),
)
