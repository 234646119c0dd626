"""The sandbox: its request log, faults, webhooks, batches and clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from adapters.contract.jobs import Job
from adapters.contract.problems import Problem
from adapters.kit.words import is_digits
from gateway.sandbox.batch import SandboxBatch
from gateway.sandbox.clock import ClockOutOfRange
from gateway.sandbox.deliveries import DeliveryFilter
from gateway.sandbox.faults import ConnectionFault, InjectedFault, TooManyFaults
from gateway.sandbox.keys import WELL_KNOWN_ACCOUNT
from gateway.sandbox.requests import ExchangeFilter
from gateway.sandbox.simulate import JOB_WORDS, KIND_WORDS, STATUS_KINDS
from gateway.web.console.services import ConsoleServices
from gateway.web.console.visit import Handler, PageRoute, Section, Visit
from gateway.web.control_input import ControlApiError, ControlNames, mistakes_text
from gateway.web.sandbox_control import ADAPTERS, NOT_ALONE

SHOWN = 100
"""Requests, webhooks or batches on a page, the newest ones."""
MAX_TEXT_CHARACTERS = 256
FAULT_FIELDS = (
    "dialect",
    "operation",
    "simulate",
    "connection",
    "times",
    "skip",
    "latency_ms",
    "percent",
    "limit_count",
    "limit_per_s",
)
"""Of the form for a fault."""
UNITS = {"seconds": 1, "minutes": 60, "hours": 3_600, "days": 86_400}


def section(services: ConsoleServices) -> Section:
    page = SandboxPages(services)
    if not services.sandbox.is_alone:
        return Section("Sandbox", "/sandbox", "sandbox", (PageRoute("/sandbox", page.explain),))
    routes: tuple[PageRoute, ...] = (
        PageRoute("/sandbox", page.requests),
        PageRoute("/sandbox/requests/{id:number}", page.request),
        PageRoute("/sandbox/requests/clear", page.clear_requests, "POST"),
        PageRoute("/sandbox/faults", page.faults),
        PageRoute("/sandbox/faults", page.add_fault, "POST"),
        PageRoute("/sandbox/faults/remove", page.remove_faults, "POST"),
        PageRoute("/sandbox/webhooks", page.webhooks),
        PageRoute("/sandbox/batches", page.batches),
        PageRoute("/sandbox/batches", page.set_state, "POST"),
        PageRoute("/sandbox/clock", page.clock),
        PageRoute("/sandbox/clock", page.set_clock, "POST"),
        PageRoute("/sandbox/reset", page.reset, "POST"),
    )
    routes = tuple(replace(route, handler=page.alone(route.handler)) for route in routes)
    return Section("Sandbox", "/sandbox", "sandbox", routes)


class SandboxPages:
    def __init__(self, services: ConsoleServices) -> None:
        self._services = services
        self._sandbox = services.sandbox
        self._dialects = {dialect.name: dialect for dialect in services.dialects}
        self._names = ControlNames(services.dialects)

    def _page(self, visit: Visit, template: str, status: int = 200, **values: Any) -> Response:
        scope = _scope(visit)
        return visit.render(
            template,
            status,
            scope=scope,
            scopes=[(each, _scope_words(each)) for each in self._scopes(scope)],
            suffix="" if scope is None else f"?{urlencode({'scope': scope})}",
            dialects=self._dialects,
            shown=SHOWN,
            **values,
        )

    def _scopes(self, chosen: int | None) -> list[int]:
        """The keys that have something to show."""
        found = {WELL_KNOWN_ACCOUNT, *self._sandbox.request_log.scopes, *self._sandbox.jobs.scopes}
        found |= {chosen} if chosen is not None else set()
        return sorted(found, reverse=True)

    def alone(self, handler: Handler) -> Handler:
        """The page, or `explain` while other servers are on the same database."""

        async def answer(visit: Visit) -> Response:
            is_alone = not self._sandbox.has_other_servers()
            return await (handler(visit) if is_alone else self.explain(visit))

        return answer

    async def explain(self, visit: Visit) -> Response:
        """Why there is nothing to see where each process has a sandbox of its own."""
        return visit.render("sandbox_apart.html", reason=NOT_ALONE)

    # -- requests ------------------------------------------------------------------------

    async def requests(self, visit: Visit) -> Response:
        """The request log, the newest first."""
        scope = _scope(visit)
        status = visit.query.get("status", "")
        text = visit.query.get("text", "").strip()[:MAX_TEXT_CHARACTERS]
        wanted = ExchangeFilter(
            dialect=visit.query.get("dialect") or None,
            status=int(status) if status.isdecimal() and len(status) == 3 else None,
            text=text or None,
        )
        ids, more = await self._sandbox.request_log.find(scope, wanted, limit=SHOWN)
        rows = []
        for exchange_id in ids:
            exchange = self._sandbox.request_log.get(scope, exchange_id)
            if exchange is not None:
                shown = await self._sandbox.request_log.show(exchange)
                rows.append(shown | {"scope": _scope_words(exchange.scope)})
        query = {name: value for name, value in visit.query.items() if value}
        return self._page(
            visit,
            "sandbox_requests.html",
            rows=rows,
            more=more,
            filter={"dialect": wanted.dialect or "", "status": status, "text": text},
            again=f"/console/sandbox?{urlencode(query)}",
            is_filtered=bool(query),
        )

    async def request(self, visit: Visit) -> Response:
        """One request with its reply, whole, with its keys cut."""
        exchange = self._sandbox.request_log.get(None, visit.request.path_params["id"])
        if exchange is None:
            raise HTTPException(404, "This request is not in the log, or not any more.")
        shown = await self._sandbox.request_log.show(exchange)
        return self._page(
            visit,
            "sandbox_request.html",
            each=shown,
            owner=_scope_words(exchange.scope),
            body=_pretty(shown["body"]),
            reply=_pretty(shown["reply"]),
        )

    async def clear_requests(self, visit: Visit) -> Response:
        count = self._sandbox.request_log.clear(_scope(visit))
        visit.log_change("sandbox.clear_requests", count=count)
        return visit.redirect("/sandbox", f"The log is empty; it had {count:,} requests.")

    # -- faults --------------------------------------------------------------------------

    async def faults(self, visit: Visit, error: str = "") -> Response:
        """The faults that are set, and a form for another."""
        active = list(self._sandbox.faults.in_scope(_scope(visit)))
        return self._page(
            visit,
            "sandbox_faults.html",
            400 if error else 200,
            faults=[
                {"owner": _scope_words(each.scope, "all test keys"), **each.to_json()}
                for each in active
            ],
            statuses=list(STATUS_KINDS),
            kinds=sorted(KIND_WORDS),
            connections=list(ConnectionFault),
            operations={
                name: sorted({endpoint.name for endpoint in dialect.endpoints})
                for name, dialect in self._dialects.items()
            },
            sent={name: visit.text(name) for name in FAULT_FIELDS},
            error=error,
        )

    async def add_fault(self, visit: Visit) -> Response:
        scope = _scope(visit)
        try:
            given = dict(_fault_members(visit))
            fault = self._names.resolve_fault(ADAPTERS[InjectedFault].validate_python(given))
            active = self._sandbox.faults.add(scope, fault)
        except ValidationError as exc:
            return await self.faults(visit, mistakes_text(exc.errors(), InjectedFault))
        except ControlApiError as exc:
            return await self.faults(visit, exc.detail)
        except TooManyFaults:
            return await self.faults(visit, "There are too many faults already.")
        visit.log_change("sandbox.add_fault", fault=active.id)
        return visit.redirect(f"/sandbox/faults{_suffix(scope)}", f"Fault {active.id} is set.")

    async def remove_faults(self, visit: Visit) -> Response:
        """One by its number, or all."""
        text = visit.text("id")
        fault_id = int(text) if is_digits(text) else None
        self._sandbox.faults.remove(_scope(visit), fault_id)
        visit.log_change("sandbox.remove_faults", fault=fault_id or "all")
        note = "All faults are removed." if fault_id is None else f"Fault {fault_id} is removed."
        return visit.redirect(f"/sandbox/faults{_suffix(_scope(visit))}", note)

    # -- webhooks and batches ------------------------------------------------------------

    async def webhooks(self, visit: Visit) -> Response:
        """What became of the webhooks, the newest first."""
        found = self._sandbox.webhooks.log.find(_scope(visit), DeliveryFilter())
        return self._page(visit, "sandbox_webhooks.html", rows=found[: -SHOWN - 1 : -1])

    async def batches(self, visit: Visit) -> Response:
        """The batches of test keys, the newest first."""
        await self._sandbox.jobs.refresh()
        found = self._sandbox.jobs.in_scope(_scope(visit))[: -SHOWN - 1 : -1]
        rows = [(batch, job) for batch in found if (job := self._job(batch)) is not None]
        return self._page(
            visit,
            "sandbox_batches.html",
            rows=[(batch, job, _scope_words(batch.scope)) for batch, job in rows],
            words=list(JOB_WORDS),
        )

    def _job(self, batch: SandboxBatch) -> Job | None:
        """None if it has just expired."""
        try:
            return self._sandbox.jobs.job_now(batch, "", batch.base_url)
        except Problem:
            return None

    async def set_state(self, visit: Visit) -> Response:
        """Show a batch in a state from now on, or as usual."""
        word, job_id, name = visit.text("word"), visit.text("id"), visit.text("dialect")
        await self._sandbox.jobs.refresh()
        batch = next(
            (
                each
                for each in self._sandbox.jobs.in_scope(_scope(visit))
                if (each.dialect.name, each.id) == (name, job_id)
            ),
            None,
        )
        if batch is None or (word and word not in JOB_WORDS):
            raise HTTPException(404)
        await self._sandbox.jobs.set_word(batch, word)
        visit.log_change("sandbox.set_state", dialect=name, job_id=job_id, state=word or "usual")
        note = f"Batch {job_id} is {word} from now on." if word else f"Batch {job_id} goes on."
        return visit.redirect(f"/sandbox/batches{_suffix(_scope(visit))}", note)

    # -- the clock -----------------------------------------------------------------------

    async def clock(self, visit: Visit, error: str = "") -> Response:
        """The clock of all test keys, or of one."""
        scope, clocks = _scope(visit), self._sandbox.clocks
        return self._page(
            visit,
            "sandbox_clock.html",
            400 if error else 200,
            now=datetime.fromtimestamp(clocks.now(scope), UTC),
            frozen=clocks.is_frozen(scope),
            moved=clocks.is_moved(scope),
            may_move=scope is not None or clocks.shared is not None,
            units=list(UNITS),
            error=error,
        )

    async def set_clock(self, visit: Visit) -> Response:
        scope, clocks = _scope(visit), self._sandbox.clocks
        clock = clocks.shared if scope is None else clocks.own_clock(scope)
        if clock is None:
            return await self.clock(visit, "Choose a key: this server keeps the real time.")
        action = visit.text("action")
        try:
            match action:
                case "advance":
                    count = float(visit.text("count", "0"))
                    clock.change(advance_s=count * UNITS[visit.text("unit")])
                case "set":
                    at = datetime.fromisoformat(visit.text("at")).replace(tzinfo=UTC)
                    clock.change(at=at.timestamp())
                case "freeze" | "go on":
                    clock.change(frozen=action == "freeze")
                case "reset":
                    clocks.reset(scope)
                case _:
                    raise HTTPException(400)
        except (ValueError, KeyError, OverflowError):
            return await self.clock(visit, "Give a time, or a number of seconds, hours or days.")
        except ClockOutOfRange:
            return await self.clock(visit, "The clock can show the years 1970 to 9998.")
        visit.log_change("sandbox.clock", change=action)
        return visit.redirect(f"/sandbox/clock{_suffix(scope)}", "The clock is changed.")

    async def reset(self, visit: Visit) -> Response:
        """Forget everything since the start, or all of one key."""
        scope = _scope(visit)
        self._sandbox.request_log.clear(scope)
        self._sandbox.faults.remove(scope)
        await self._sandbox.jobs.clear(scope)
        self._sandbox.webhooks.clear(scope)
        self._sandbox.clocks.reset(scope)
        visit.log_change("sandbox.reset", scope=_scope_words(scope, "all"))
        return visit.redirect("/sandbox", "The sandbox is as it was at its start.")


def _scope(visit: Visit) -> int | None:
    """The key that the page is about; None for all."""
    text = visit.text("scope") or visit.query.get("scope", "")
    try:
        return int(text) if text and len(text) < 12 else None
    except ValueError:
        return None


def _suffix(scope: int | None) -> str:
    return "" if scope is None else f"?scope={scope}"


def _scope_words(scope: int | None, nothing: str = "no valid key") -> str:
    if scope is None:
        return nothing
    if scope == WELL_KNOWN_ACCOUNT:
        return "published test keys"
    return f"test keys {-scope}" if scope < 0 else f"key {scope}"


def _fault_members(visit: Visit) -> Iterator[tuple[str, Any]]:
    """What the form sent of a fault, by the names of the control API."""
    for name in ("dialect", "operation", "simulate", "connection"):
        if value := visit.text(name):
            yield name, value
    for name in ("times", "skip", "latency_ms"):
        if value := visit.text(name):
            yield name, value
    if percent := visit.text("percent"):
        yield "rate", _share(percent)
    if count := visit.text("limit_count"):
        yield "limit", {"count": count, "per_s": visit.text("limit_per_s") or 60}


def _share(percent: str) -> float | str:
    try:
        return float(percent) / 100
    except ValueError:
        return percent


def _pretty(value: Any) -> str:
    if isinstance(value, str) or value is None:
        return value or ""
    return json.dumps(value, indent=2, ensure_ascii=False)
