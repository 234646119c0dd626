"""Batches of all accounts: their progress, results and end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from adapters.contract.jobs import Job, JobRow, JobState
from adapters.contract.problems import Problem, ProblemKind
from adapters.kit.csv import csv_line, neutralise_formula
from gateway.batches.oversight import BatchOversight, BatchSummary
from gateway.web.console.batch_upload import BatchUpload
from gateway.web.console.services import ConsoleServices
from gateway.web.console.visit import PAGE_HEADERS, PageRoute, Section, Visit
from gateway.web.native_batches import row_as_dict

PER_PAGE = 50
ROWS_PER_PAGE = 100
MAX_WORDS_CHARACTERS = 200
MAX_PAGE = 100_000
COLUMNS = ("verdict", "reason", "score", "source", "did_you_mean")
"""Columns of a downloaded file, after those of the list."""
STATE_KINDS = {
    JobState.COMPLETED: "ok",
    JobState.FAILED: "bad",
    JobState.CANCELLED: "bad",
    JobState.PAUSED: "warn",
}
"""Colours of states; others are those of work under way."""


def section(services: ConsoleServices) -> Section | None:
    if services.batches is None or services.accounts is None:
        return None
    pages = BatchPages(services.batches)
    upload = BatchUpload(services, services.accounts, services.batches)
    routes = (
        PageRoute("/batches", pages.list),
        *upload.routes(),
        PageRoute("/batches/{id:number}", pages.show),
        PageRoute("/batches/{id:number}/cancel", pages.cancel, "POST"),
        PageRoute("/batches/{id:number}/delete", pages.delete, "POST"),
        PageRoute("/batches/{id:number}/results.{format}", pages.download),
    )
    return Section("Batches", "/batches", "batches", routes)


class BatchPages:
    def __init__(self, batches: BatchOversight) -> None:
        self._batches = batches

    async def list(self, visit: Visit) -> Response:
        """The batches, the newest first."""
        words = visit.query.get("words", "").strip()[:MAX_WORDS_CHARACTERS]
        state = visit.query.get("state", "")
        page = _page_number(visit)
        states = [JobState(state)] if state in tuple(JobState) else []
        rows, total = await self._batches.find_page(
            words, states, offset=(page - 1) * PER_PAGE, limit=PER_PAGE
        )
        query = {"words": words, "state": state if states else ""}
        return visit.render(
            "batches.html",
            rows=rows,
            total=total,
            under_way=any(not each.state.is_final for each in rows),
            page=page,
            pages=max(1, -(-total // PER_PAGE)),
            query=query,
            link=urlencode({name: value for name, value in query.items() if value}),
            again=f"/console/batches?{urlencode({**query, 'page': page})}",
            states=list(JobState),
            kinds=STATE_KINDS,
        )

    async def show(self, visit: Visit) -> Response:
        """A batch with a page of its results."""
        batch, job = await self._find(visit)
        is_part = "hx-request" in visit.request.headers
        # of a page that is open, only the progress is loaded again
        known = [] if is_part else await self._batches.row_words(batch.id)
        word = visit.query.get("word", "")
        words = frozenset({word}) if word in dict(known) else None
        page = _page_number(visit)
        count = dict(known)[word] if words else sum(number for _, number in known)
        rows: list[JobRow] = []
        if not job.rows_expired and not is_part:
            found = self._batches.read_rows(
                job, words=words, offset=(page - 1) * ROWS_PER_PAGE, limit=ROWS_PER_PAGE
            )
            rows = [row async for row in found.rows]
        response = visit.render(
            "batch.html",
            batch=batch,
            job=job,
            words=known,
            word=word if words else "",
            rows=rows,
            count=count,
            page=page,
            pages=max(1, -(-count // ROWS_PER_PAGE)),
            kinds=STATE_KINDS,
        )
        if batch.state.is_final and is_part:
            # it has ended since the page was loaded, which then shows all results
            response.headers["HX-Refresh"] = "true"
        return response

    async def cancel(self, visit: Visit) -> Response:
        batch, _ = await self._find(visit)
        try:
            refund = await self._batches.cancel(batch.id)
        except Problem as problem:
            if problem.kind is not ProblemKind.JOB_STATE:
                raise HTTPException(404) from None
            return visit.redirect(f"/batches/{batch.id}", "The batch had ended already.")
        visit.log_change("batch.cancel", batch=batch.id, refunded=refund)
        note = f"The batch is cancelled; {refund:,} credits are given back."
        return visit.redirect(f"/batches/{batch.id}", note)

    async def delete(self, visit: Visit) -> Response:
        """Delete a batch that has ended, with its results, as its owner could."""
        batch, job = await self._find(visit)
        try:
            await self._batches.delete(batch.id)
        except Problem as problem:
            if problem.kind is not ProblemKind.JOB_STATE:
                raise HTTPException(404) from None
            return visit.redirect(f"/batches/{batch.id}", "Cancel the batch first, or let it end.")
        visit.log_change("batch.delete", batch=batch.id, account=batch.account_id)
        return visit.redirect("/batches", f"The batch {job.name or batch.job_id} is deleted.")

    async def download(self, visit: Visit) -> Response:
        """All results so far, with the cells of the list, as CSV or as lines of JSON."""
        batch, job = await self._find(visit)
        form = visit.request.path_params["format"]
        if form not in ("csv", "jsonl") or job.rows_expired:
            raise HTTPException(404)
        word = visit.query.get("word", "")
        words = frozenset({word}) if word else None
        found = self._batches.read_rows(job, words=words, offset=0, limit=None)
        pieces = self._csv(job, found.rows) if form == "csv" else _lines(found.rows)
        headers = PAGE_HEADERS | {
            "Content-Disposition": f'attachment; filename="batch-{batch.id}.{form}"'
        }
        media_type = "text/csv; charset=utf-8" if form == "csv" else "application/jsonl"
        # what is wrong with the database is found before the reply begins, as far as it can be
        first = [piece async for piece in _first(pieces)]
        return StreamingResponse(_chain(first, pieces), headers=headers, media_type=media_type)

    async def _csv(self, job: Job, rows: AsyncIterator[JobRow]) -> AsyncIterator[bytes]:
        """Cells that a spreadsheet would run as formulas are made harmless: an operator opens the
        lists of strangers. The lines of JSON have them as they are."""

        def fit(cells: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(map(neutralise_formula, cells))

        yield csv_line((*fit(job.headers or ("email",)), *COLUMNS))
        async for row in rows:
            v = row.verification
            facts = (v.verdict, v.reason, str(v.score), v.source, v.evidence.did_you_mean or "")
            yield csv_line((*fit(row.cells or (row.email,)), *facts))

    async def _find(self, visit: Visit) -> tuple[BatchSummary, Job]:
        try:
            return await self._batches.find(visit.request.path_params["id"])
        except (Problem, OverflowError):
            raise HTTPException(404) from None


async def _first(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The titles and the first row."""
    for _ in range(2):
        if piece := await anext(pieces, b""):
            yield piece


async def _chain(first: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for piece in first:
        yield piece
    async for piece in rest:
        yield piece


async def _lines(rows: AsyncIterator[JobRow]) -> AsyncIterator[bytes]:
    async for row in rows:
        yield orjson.dumps(row_as_dict(row)) + b"\n"


def _page_number(visit: Visit) -> int:
    text: Any = visit.query.get("page", "1")
    return min(max(int(text), 1), MAX_PAGE) if text.isdecimal() and len(text) < 9 else 1
