"""Try: an address, what happens while it is verified, and each dialect's answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import Response, StreamingResponse

from adapters.contract.dialect import Dialect
from adapters.contract.operations import Verify
from adapters.contract.problems import Problem, ProblemKind
from engine.model import Checks, Step, Verification
from gateway.accounts.caller import Caller
from gateway.errors import NoAnswer, StorageUnavailable
from gateway.sandbox.magic import MAGIC_DOMAIN, MAGIC_SAMPLES
from gateway.sandbox.simulate import SimulatedProblem
from gateway.verdicts.in_words import EVIDENCE_ROWS
from gateway.web.console.answers import Answer, answer_of
from gateway.web.console.services import ConsoleServices
from gateway.web.console.templates import render
from gateway.web.console.visit import PAGE_HEADERS, PageRoute, Section, Visit

log = logging.getLogger("veriplex.console")

MAX_EMAIL_CHARACTERS = 1_000
MAX_WAITING_STEPS = 1_000
"""Lines of a transcript that are not sent yet."""
LIVE = "<!-- live -->"
"""Where the page goes on as soon as there is more to show."""


def section(services: ConsoleServices) -> Section:
    page = TryPage(services)
    routes = (PageRoute("/try", page.show), PageRoute("/try", page.run, "POST"))
    return Section("Try", "/try", "try", routes)


class TryPage:
    def __init__(self, services: ConsoleServices) -> None:
        self._services = services
        self._is_sandbox = services.sandbox.standalone

    async def show(self, visit: Visit) -> Response:
        """The form."""
        return self._page(visit, "", Checks(), refresh=True)

    async def run(self, visit: Visit) -> Response:
        """The page again, which goes on while the address is verified.

        It is one reply, so that it needs no script, and no other process has to know of it.
        """
        email = visit.text("email")[:MAX_EMAIL_CHARACTERS]
        checks = Checks(
            smtp=bool(visit.text("smtp")), catch_all=bool(visit.text("catch_all")), policies=True
        )
        refresh = bool(visit.text("refresh"))
        page = self._page(visit, email, checks, refresh=refresh)
        if not email:
            return page
        before, between, after = bytes(page.body).decode().split(LIVE)
        found = self._answers_of_sandbox if self._is_sandbox else self._answers_of_server
        pieces = found(email, checks, refresh, before, between, after)
        return StreamingResponse(pieces, headers=PAGE_HEADERS, media_type="text/html")

    def _page(self, visit: Visit, email: str, checks: Checks, *, refresh: bool) -> Response:
        return visit.render(
            "try.html",
            email=email,
            checks=checks,
            refresh=refresh,
            live=LIVE,
            examples=[f"{local}@{MAGIC_DOMAIN}" for local in MAGIC_SAMPLES],
        )

    # -- a sandbox -----------------------------------------------------------------------

    async def _answers_of_sandbox(
        self, email: str, checks: Checks, refresh: bool, before: str, between: str, after: str
    ) -> AsyncIterator[str]:
        """Each dialect has a sample of its own."""
        yield before + between
        first: dict[str, Verification] = {}

        def find(dialect: Dialect, op: Verify) -> Verification:
            found = self._services.sandbox.verify(dialect, self._test_caller(dialect), op)
            first.setdefault("", found)
            return found

        answers = self._answers(email, find)
        yield render("try_result.html", _result_values(first.get(""), answers, None)) + after

    def _test_caller(self, dialect: Dialect) -> Caller:
        return self._services.sandbox.keys.callers[dialect.name, dialect.sandbox_key]

    # -- a server ------------------------------------------------------------------------

    async def _answers_of_server(
        self, email: str, checks: Checks, refresh: bool, before: str, between: str, after: str
    ) -> AsyncIterator[str]:
        from engine.probe import watching

        yield before
        steps: asyncio.Queue[Step | None] = asyncio.Queue(MAX_WAITING_STEPS)

        def add(step: Step | None) -> None:
            with contextlib.suppress(asyncio.QueueFull):
                steps.put_nowait(step)

        with watching(add):
            task = asyncio.create_task(
                self._services.service.verify_for_operator(email, checks, refresh=refresh)
            )
        task.add_done_callback(lambda _: add(None))
        began = time.perf_counter()
        try:
            while True:
                if task.done() and steps.empty():
                    break
                step = await steps.get()
                if step is not None:
                    yield render("try_step.html", {"step": step})
            yield between
            verification, problem = await _outcome(task)
        finally:
            task.cancel()
        values = _result_values(
            verification,
            [] if verification is None else self._answers(email, lambda *_: verification),
            problem,
        )
        seconds = time.perf_counter() - began
        yield render("try_result.html", values | {"seconds": seconds}) + after

    def _answers(self, email: str, find: Callable[[Dialect, Verify], Verification]) -> list[Answer]:
        sandbox = self._services.sandbox
        found = [
            answer_of(
                dialect,
                email,
                find,
                url=sandbox.url,
                key=dialect.sandbox_key if self._is_sandbox else "$KEY",
                now=sandbox.clocks.now(None),
            )
            for dialect in self._services.dialects
        ]
        return [answer for answer in found if answer is not None]


async def _outcome(task: asyncio.Task[Any]) -> tuple[Verification | None, Problem | None]:
    try:
        found: Verification = (await task).outcome
    except SimulatedProblem:
        return None, None
    except Problem as problem:
        return None, problem
    except StorageUnavailable as exc:
        log.warning("console.storage_unavailable", extra={"error": str(exc)})
        return None, Problem(ProblemKind.UNAVAILABLE, "The database does not answer now.")
    except Exception as exc:
        # the page has begun, so that no other page can be shown in its place
        log.error("request.failed", extra={"path": "/console/try"}, exc_info=exc)
        return None, Problem(
            ProblemKind.INTERNAL, "This is a fault of Veriplex; its log says more."
        )
    return found, None


def _result_values(
    v: Verification | None, answers: list[Answer], problem: Problem | None
) -> dict[str, Any]:
    rows = [] if v is None else [(label, words(v.evidence)) for label, words in EVIDENCE_ROWS]
    attempts = v.attempts if v is not None else ()
    if isinstance(problem, NoAnswer):
        attempts = problem.attempts
    return {
        "v": v,
        "rows": [row for row in rows if row[1]],
        "answers": answers,
        "problem": problem,
        "attempts": attempts,
        "seconds": None,
    }
