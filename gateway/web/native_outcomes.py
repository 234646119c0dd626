"""The native API's calls about outcomes: what became of mails, and how right each source was."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from adapters.contract.problems import Problem, ProblemKind
from gateway.outcomes.candidates import candidates_as_dict, make_candidates, read_candidates
from gateway.outcomes.opening import OutcomeServices
from gateway.outcomes.reading import ReadOutcomes, UnreadableOutcomes, read_outcomes
from gateway.outcomes.report import make_report, read_report, report_as_dict
from gateway.web.native import Asker, NativeApi
from gateway.web.native_batches import read_body

SERVICE = "api"
"""Who told the outcomes of this call."""
MAX_WRONG = 100
"""Reasons for wrong verdicts, or candidates, in one report."""


class NativeOutcomes:
    """Without services, as in the sandbox, outcomes are read and not kept."""

    def __init__(self, native: NativeApi, outcomes: OutcomeServices | None) -> None:
        self._native = native
        self._outcomes = outcomes if outcomes is not None and outcomes.is_kept else None

    async def submit(self, request: Request) -> Response:
        """Tell what became of mails: JSON, an object a line, or CSV."""

        async def answer(asker: Asker) -> Response:
            body = await read_body(request)
            content_type = request.headers.get("content-type", "")
            try:
                read = await asyncio.to_thread(read_outcomes, body, content_type, time.time())
            except UnreadableOutcomes as exc:
                raise Problem(ProblemKind.UNREADABLE, str(exc)) from exc
            if not read.outcomes:
                row, why = read.refused[0]
                raise Problem(ProblemKind.UNREADABLE, f"No row is an outcome; row {row} {why}.")
            is_stored = self._outcomes is not None and not asker.caller.test
            known = 0
            if self._outcomes is not None and is_stored:
                known = await self._outcomes.add(read.outcomes, SERVICE)
            summary = outcomes_as_dict(read, len(read.outcomes) if is_stored else 0, known)
            return _json(summary)

        return await self._native.answer(request, answer)

    async def report(self, request: Request) -> Response:
        """Show how right each source was. Test keys get an empty report."""

        async def answer(asker: Asker) -> Response:
            report = make_report({}, (), ())
            if self._outcomes is not None and not asker.caller.test:
                report = await read_report(self._outcomes.records, MAX_WRONG)
            return _json(report_as_dict(report))

        return await self._native.answer(request, answer)

    async def candidates(self, request: Request) -> Response:
        """Show what the engine would have to change. Test keys get an empty list."""

        async def answer(asker: Asker) -> Response:
            found = make_candidates((), ())
            if self._outcomes is not None and not asker.caller.test:
                found = await read_candidates(self._outcomes.records, MAX_WRONG)
            return _json(candidates_as_dict(found))

        return await self._native.answer(request, answer)


def outcomes_as_dict(read: ReadOutcomes, stored: int, known: int) -> dict[str, Any]:
    return {
        "received": len(read.outcomes) + read.refused_count,
        "stored": stored,
        "known_addresses": known,
        "refused": read.refused_count,
        "refused_rows": [{"row": row, "why": why} for row, why in read.refused],
    }


def _json(body: Any) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
