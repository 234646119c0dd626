"""The batches of the native API: `/veriplex/v1/batches` and the paths below it.

A batch belongs to the account and the dialect of its key, so that the vendor's own calls find it
too; its id, its counters and its webhook are those of that dialect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from adapters.contract.batch_rules import MAX_BATCH_ENTRIES, parse_entries
from adapters.contract.jobs import BatchEntry, Job, JobRow
from adapters.contract.operations import (
    CancelJob,
    DeleteJob,
    ListJobs,
    ReadRows,
    ShowJob,
    SubmitJob,
)
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import UnreadableRequest, WireRequest
from adapters.kit.words import parse_integer
from engine.model import Checks
from gateway.verdicts.as_json import verification_as_dict
from gateway.web.native import Asker, NativeApi

MAX_BODY_BYTES = 16 * 1024 * 1024
"""50,000 addresses of 320 characters."""
MEMBERS = ("emails", "name", "webhook_url", "retry_greylisted", "checks")
CHECK_NAMES = ("smtp", "catch_all")
COLUMN = "email"
DEFAULT_PER_PAGE, MAX_PER_PAGE = 20, 100
DEFAULT_LIMIT, MAX_LIMIT = 100, 1_000
MAX_PAGE = 10**9


class NativeBatches:
    """The calls about batches; each is an endpoint of the native API."""

    def __init__(self, native: NativeApi) -> None:
        self._native = native

    async def submit(self, request: Request) -> Response:
        """Submit a batch: `emails`, and if wished `name`, `webhook_url`, `retry_greylisted`."""

        async def answer(asker: Asker) -> Response:
            if asker.dialect.batch_rules is None:
                raise Problem(ProblemKind.INVALID, "This key's dialect has no batches.")
            await self._native.count_request(asker, endpoint_takes_batches=True)
            body = await read_body(request)
            op = await asyncio.to_thread(_parse_submission, body)
            job = await self._native.run(request, asker, op)
            return _json(job_as_dict(job), 202)

        return await self._native.answer(request, answer)

    async def list(self, request: Request) -> Response:
        """List the batches of the key, the newest first, by `page` and `per_page`."""

        async def answer(asker: Asker) -> Response:
            page = _number(request, "page", 1, MAX_PAGE, lowest=1)
            per_page = _number(request, "per_page", DEFAULT_PER_PAGE, MAX_PER_PAGE, lowest=1)
            found = await self._native.run(request, asker, ListJobs(page=page, per_page=per_page))
            return _json(
                {
                    "batches": [job_as_dict(job) for job in found.jobs],
                    "page": page,
                    "per_page": per_page,
                    "total": found.total,
                }
            )

        return await self._native.answer(request, answer)

    async def show(self, request: Request) -> Response:
        """Show a batch."""
        return await self._about_one(request, lambda job_id: ShowJob(job_id=job_id))

    async def cancel(self, request: Request) -> Response:
        """End a batch before all of its addresses are verified; the others are refunded."""
        return await self._about_one(request, lambda job_id: CancelJob(job_id=job_id))

    async def delete(self, request: Request) -> Response:
        """Delete a batch that has ended."""
        return await self._about_one(request, lambda job_id: DeleteJob(job_id=job_id))

    async def _about_one(self, request: Request, make: Any) -> Response:
        async def answer(asker: Asker) -> Response:
            job = await self._native.run(request, asker, make(request.path_params["id"]))
            return _json(job_as_dict(job))

        return await self._native.answer(request, answer)

    async def results(self, request: Request) -> Response:
        """Show the results of a batch that are there so far, by `offset` and `limit`."""

        async def answer(asker: Asker) -> Response:
            offset = _number(request, "offset", 0, MAX_PAGE)
            limit = _number(request, "limit", DEFAULT_LIMIT, MAX_LIMIT, lowest=1)
            job_id = request.path_params["id"]
            op = ReadRows(job_id=job_id, offset=offset, limit=limit)
            found = await self._native.run(request, asker, op)
            if found.job.rows_expired:
                raise Problem(ProblemKind.JOB_UNKNOWN)
            rows = [row_as_dict(row) async for row in found.rows]
            return _json(
                {
                    "batch": job_as_dict(found.job),
                    "offset": offset,
                    "total": found.matching_count,
                    "results": rows,
                }
            )

        return await self._native.answer(request, answer)


def job_as_dict(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "name": job.name,
        "state": job.state,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "addresses": job.total,
        "rows": job.row_count,
        "done": job.done_count,
        "counts": dict(job.counts),
        "results_expired": job.rows_expired,
    }


def row_as_dict(row: JobRow) -> dict[str, Any]:
    """A verification as `/veriplex/v1/verify` shows it, with the address as it was submitted."""
    return {"email": row.email, **verification_as_dict(row.verification)}


async def read_body(request: Request) -> bytes:
    """Raises `Problem` (`TOO_LARGE`)."""
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise Problem(ProblemKind.TOO_LARGE)
    except ClientDisconnect as exc:
        raise Problem(ProblemKind.UNREADABLE, "The body did not arrive whole.") from exc
    return bytes(body)


def _parse_submission(body: bytes) -> SubmitJob:
    """Raises `Problem`."""
    try:
        # as a file, so that it is measured before it is parsed
        members = WireRequest("POST", "", body_file=BytesIO(body)).json_object
    except UnreadableRequest as exc:
        raise Problem(ProblemKind.UNREADABLE, str(exc)) from exc
    for name in members:
        if name not in MEMBERS:
            known = ", ".join(MEMBERS)
            raise Problem(ProblemKind.INVALID, f"There is no member {name[:60]}; use {known}.")
    emails = members.get("emails")
    if not isinstance(emails, list):
        raise Problem(ProblemKind.INVALID, "Send the addresses as the array `emails`.")
    if len(emails) > MAX_BATCH_ENTRIES:
        raise Problem(ProblemKind.TOO_MANY, f"A batch has at most {MAX_BATCH_ENTRIES} addresses.")
    entries = parse_entries(emails, "emails")
    if not entries:
        raise Problem(ProblemKind.INVALID, "`emails` has no address.")
    retry = members.get("retry_greylisted", True)
    if not isinstance(retry, bool):
        raise Problem(ProblemKind.INVALID, "`retry_greylisted` is true or false.")
    return SubmitJob(
        # with a column, as from a file, so that the vendor's own files show the address
        entries=tuple(BatchEntry(entry.email, (entry.email,)) for entry in entries),
        headers=(COLUMN,),
        retry_greylisted=retry,
        checks=_parse_checks(members.get("checks", {})),
        webhook_url=_parse_url(_text(members, "webhook_url")),
        name=_text(members, "name"),
    )


def _parse_checks(given: Any) -> Checks:
    is_known = isinstance(given, dict) and all(
        name in CHECK_NAMES and isinstance(value, bool) for name, value in given.items()
    )
    if not is_known:
        raise Problem(ProblemKind.INVALID, "`checks` has `smtp` and `catch_all`, true or false.")
    return Checks(**given)


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name, "")
    if not isinstance(value, str):
        raise Problem(ProblemKind.INVALID, f"`{name}` is a text.")
    return value.strip()


def _parse_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if text and not usable:
        raise Problem(ProblemKind.INVALID, "`webhook_url` is a URL with http or https.")
    return text


def _number(request: Request, name: str, default: int, highest: int, *, lowest: int = 0) -> int:
    text = request.query_params.get(name)
    number = default if text is None else parse_integer(text)
    if number is None or not lowest <= number <= highest:
        detail = f"`{name}` is a whole number from {lowest} to {highest}."
        raise Problem(ProblemKind.INVALID, detail)
    return number


def _json(body: Mapping[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
