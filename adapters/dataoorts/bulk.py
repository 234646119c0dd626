"""Many addresses: a batch is queued at `/bulk/v1` and fetched from `/bulk_results/v1`."""

from __future__ import annotations

import string

import orjson

from adapters.contract.batch_rules import MAX_BATCH_ENTRIES, MAX_ENTRY_CHARACTERS, BatchRules
from adapters.contract.jobs import BatchEntry, Job, JobRow, JobRows, JobState
from adapters.contract.operations import ReadRows, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import Reply, StreamReply, WireReply, WireRequest, json_reply
from adapters.dataoorts.single import verification_json
from adapters.dataoorts.words import CAUSES, cause_word
from adapters.kit.words import random_id
from engine.model import Verification

BODY_LIMIT = 20 * 1024 * 1024
"""Bytes: 50,000 addresses of 320 characters, in quotes."""
ID_ALPHABET = string.digits + string.ascii_uppercase
ID_LENGTH = 27
RETENTION_S = 30 * 86_400

PENDING_STATUS, PENDING_BODY = 202, {"status": "processing"}
"""Undocumented; a client can confuse neither its status nor its type with results."""

# -- reading ------------------------------------------------------------------------------


def read_submit(request: WireRequest) -> SubmitJob:
    emails = request.json_object.get("emails")
    if not isinstance(emails, list) or not emails:
        raise Problem(ProblemKind.INVALID, field="emails")
    if len(emails) > MAX_BATCH_ENTRIES:
        raise Problem(ProblemKind.TOO_MANY, field="emails", limit=MAX_BATCH_ENTRIES)
    entries = []
    for email in emails:
        if not isinstance(email, str) or not email.strip() or len(email) > MAX_ENTRY_CHARACTERS:
            raise Problem(ProblemKind.INVALID, field="emails")
        entries.append(BatchEntry(email.strip()))
    return SubmitJob(entries=entries)


def read_results(request: WireRequest) -> ReadRows:
    job_id = request.json_object.get("id")
    if not isinstance(job_id, str) or not job_id.strip():
        raise Problem(ProblemKind.INVALID, field="id")
    # the sample has the reverse order, which clients that match rows by position should notice
    return ReadRows(job_id=job_id.strip(), reverse_order=True)


# -- writing ------------------------------------------------------------------------------


def write_submitted(_: SubmitJob, job: Job) -> WireReply:
    return json_reply({"id": job.id})


def write_results(_: ReadRows, found: JobRows) -> Reply:
    if not found.job.state.is_final:
        return json_reply(PENDING_BODY, PENDING_STATUS)
    if found.job.state is not JobState.COMPLETED or found.job.rows_expired:
        raise Problem(ProblemKind.JOB_UNKNOWN)
    return StreamReply(rows=found.rows, head=b"[", render=_render_row, separator=b",", tail=b"]")


def _render_row(row: JobRow) -> bytes:
    v = row.verification
    block = {**verification_json(v), "username": v.address.local}
    return orjson.dumps(block, option=orjson.OPT_SORT_KEYS)


# -- rules --------------------------------------------------------------------------------


def _row_word(v: Verification) -> str:
    return CAUSES[cause_word(v)].test_result


BATCH_RULES = BatchRules(
    new_id=random_id(ID_ALPHABET, ID_LENGTH),
    row_word=_row_word,
    # undocumented
    retention_s=lambda _: RETENTION_S,
)
