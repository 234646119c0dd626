"""`jobs/create`: a job with the rows that the request has, or with those of a list at a URL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from adapters.contract.batch_rules import MAX_ENTRY_CHARACTERS
from adapters.contract.jobs import BatchEntry, Job
from adapters.contract.operations import JobOperation, OpenChunks, SubmitJob
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.remote_jobs import SubmitRemoteJob
from adapters.contract.wire import WireReply, WireRequest
from adapters.kit.csv import NotCsv
from adapters.kit.list_file import AddressList, ListOptions, read_list
from adapters.neverbounce.entries import MAX_COLUMNS, read_rows
from adapters.neverbounce.jobs import FAILURE, PARSED, SAMPLED, write_success
from adapters.neverbounce.params import is_set, params_of, required, text_of
from adapters.neverbounce.single import may_be_historical

BODY_LIMIT = 25 * 1024 * 1024
"""Bytes, of a request and of a list at a URL."""
MAX_URL_CHARACTERS = 2_000
SUPPLIED, REMOTE = "supplied", "remote_url"


def read_create(request: WireRequest) -> JobOperation[Job]:
    params = params_of(request)
    location = str(required(params, "input_location"))
    if location not in (SUPPLIED, REMOTE):
        raise Problem(ProblemKind.INVALID, field="input_location")
    is_sample = is_set(params, "run_sample")
    is_started = is_set(params, "auto_start")
    is_parsed = is_started or is_set(params, "auto_parse")
    submit = partial(
        SubmitJob,
        start=is_started or (is_sample and is_parsed),
        is_sample=is_sample,
        refresh=not may_be_historical(params),
        webhook_url=_callback_url(params),
        name=text_of(params, "filename"),
    )
    options = {
        PARSED: is_parsed,
        SAMPLED: is_sample,
        "callback_headers": _callback_headers(params),
    }
    if location == REMOTE:
        return SubmitRemoteJob(
            url=_remote_url(params),
            max_bytes=BODY_LIMIT,
            read=partial(_read_list, submit, options),
            fail=lambda reason: submit(
                entries=(),
                start=False,
                is_sample=False,
                failure=reason,
                options={**options, FAILURE: reason},
            ),
        )
    columns, entries, _ = read_rows(_input(request, params))
    return submit(entries=entries, headers=columns, options=options)


def write_created(_: JobOperation[Job], job: Job) -> WireReply:
    return write_success({"job_id": int(job.id)})


def _callback_url(params: Mapping[str, Any]) -> str:
    value = params.get("callback_url", "")
    if not isinstance(value, str):
        raise Problem(ProblemKind.INVALID, field="callback_url")
    return value.strip()


def _callback_headers(params: Mapping[str, Any]) -> dict[str, str]:
    """Values by name; PHP writes an empty object as a list."""
    given = params.get("callback_headers") or {}
    if not isinstance(given, dict):
        raise Problem(ProblemKind.INVALID, field="callback_headers")
    headers = {name: value for name, value in given.items() if value is not None}
    if any(isinstance(value, dict | list) for value in headers.values()):
        raise Problem(ProblemKind.INVALID, field="callback_headers")
    return {name: str(value) for name, value in headers.items()}


def _input(request: WireRequest, params: Mapping[str, Any]) -> object:
    """The rows; a form has each cell in a field of its own, `input[0][1]=a@b.c`."""
    value = params.get("input")
    if value is not None and not isinstance(value, str):
        return value
    rows: dict[str, dict[str, str]] = {}
    for name, cell in {**request.query, **request.fields}.items():
        if name.startswith("input[") and name.endswith("]"):
            row, _, column = name[6:-1].partition("][")
            rows.setdefault(row, {})[column or "0"] = cell
    if rows:
        return rows
    raise Problem(ProblemKind.MISSING, field="input")


# -- a list at a URL ----------------------------------------------------------------------


def _remote_url(params: Mapping[str, Any]) -> str:
    """The URL; version 5 of the Node client puts it into a list."""
    given = required(params, "input")
    url = given[0] if isinstance(given, list) and len(given) == 1 else given
    if not isinstance(url, str) or len(url) > MAX_URL_CHARACTERS:
        raise Problem(ProblemKind.INVALID, field="input")
    url = url.strip()
    if not url.lower().startswith(("http://", "https://")):
        raise Problem(ProblemKind.INVALID, field="input")
    return url


def _read_list(submit: partial[SubmitJob], options: Any, open_chunks: OpenChunks) -> SubmitJob:
    try:
        found = read_list(open_chunks, ListOptions(otherwise="cp1252", max_cells=MAX_COLUMNS))
    except NotCsv as exc:
        raise _refusal(f"The list {exc}.") from exc
    # a list of addresses alone has no titles
    return submit(entries=_entries(found), headers=found.headers or ("email",), options=options)


def _entries(found: AddressList) -> Iterator[BatchEntry]:
    is_empty = True
    try:
        for email, cells in found.entries:
            if len(email) > MAX_ENTRY_CHARACTERS:
                raise _refusal("An address in the list is too long.")
            is_empty = False
            yield BatchEntry(email, cells or (email,))
    except NotCsv as exc:
        raise _refusal(f"The list {exc}.") from exc
    if is_empty:
        raise _refusal("The list is empty.")


def _refusal(text: str) -> Problem:
    return Problem(ProblemKind.INVALID, text, "input")
