"""The control API under `/veriplex/v1/`, by which tests inspect and steer the sandbox.

A standalone sandbox needs no key; a request with one (`?key=` or a bearer token) sees and changes
only what is in the key's scope. On a server with live keys a test key is required, moving the clock
moves it for that key alone, and no keys can be made. Web pages of other sites can call nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from adapters.contract.dialect import Dialect
from adapters.contract.json_values import BYTE_ORDER_MARK
from adapters.registry import DIALECTS
from gateway.sandbox import Sandbox
from gateway.sandbox.clock import ClockOutOfRange
from gateway.sandbox.faults import InjectedFault, TooManyFaults
from gateway.sandbox.requests import ExchangeFilter, TooManyWaiters
from gateway.web.browsers import BrowserGuard
from gateway.web.control_input import (
    ControlApiError,
    ControlNames,
    check_parameters,
    mistakes_text,
    parse_number,
)
from gateway.web.native import NativeApi
from gateway.web.problem_json import problem_response

NOT_ALONE = (
    "Several processes serve this port or this database, and each knows only its own requests,"
    " faults and clock. The control API needs one process: `veriplex sandbox`, or one `veriplex"
    " serve` without --workers."
)
MAX_SHOWN = 1_000
"""Requests of the log in one answer."""
MAX_WAIT_S = 60.0
MAX_BODY_BYTES = 64 * 1024

T = TypeVar("T")


class ClockChange(BaseModel):
    """Changes to the clock, applied in this order: `frozen`, `at`, `advance_s`."""

    model_config = ConfigDict(extra="forbid")

    at: datetime | None = None
    """Without a time zone it is UTC."""
    advance_s: float = Field(default=0.0, allow_inf_nan=False, ge=-1e10, le=1e10)
    frozen: bool | None = None


ADAPTERS: Mapping[type, TypeAdapter[Any]] = {
    type_: TypeAdapter(type_) for type_ in (InjectedFault, ClockChange)
}

Handler = Callable[[Request], Awaitable[object]]


class ControlApi:
    """The endpoints: each returns what its answer shows as JSON. Raises ControlApiError."""

    def __init__(
        self,
        sandbox: Sandbox,
        native: NativeApi,
        guard: BrowserGuard,
        dialects: Iterable[Dialect] = DIALECTS,
    ) -> None:
        self._names = ControlNames(dialects)
        self._sandbox = sandbox
        self._native = native
        self._guard = guard

    def routes(self) -> list[Route]:
        table: tuple[tuple[str, str, Handler], ...] = (
            ("GET", "/sandbox", self.describe),
            ("POST", "/keys", self.make_keys),
            ("GET", "/requests", self.list_requests),
            ("DELETE", "/requests", self.clear_requests),
            ("GET", "/requests/last", self.last_request),
            ("GET", "/requests/count", self.count_requests),
            ("GET", "/requests/wait", self.wait_for_requests),
            ("GET", "/requests/{id:number}", self.show_request),
            ("GET", "/faults", self.list_faults),
            ("POST", "/faults", self.add_fault),
            ("DELETE", "/faults", self.clear_faults),
            ("DELETE", "/faults/{id:number}", self.remove_fault),
            ("GET", "/webhooks", self.list_webhooks),
            ("GET", "/webhooks/wait", self.wait_for_webhooks),
            ("GET", "/clock", self.show_clock),
            ("POST", "/clock", self.set_clock),
            ("DELETE", "/clock", self.reset_clock),
            ("POST", "/reset", self.reset),
        )
        return [
            Route(path, self._endpoint(handler), methods=[method])
            for method, path, handler in table
        ]

    def _endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        # these check their parameters themselves
        filtered = (
            self.list_requests,
            self.last_request,
            self.count_requests,
            self.wait_for_requests,
            self.list_webhooks,
            self.wait_for_webhooks,
        )

        @wraps(handler)
        async def endpoint(request: Request) -> Response:
            try:
                if refusal := self._guard.refusal(request.headers):
                    raise ControlApiError(403, refusal)
                is_alone = self._sandbox.is_alone and not self._sandbox.has_other_servers()
                if not is_alone and handler != self.describe:
                    raise ControlApiError(501, NOT_ALONE)
                _check_body_is_json(request)
                if handler not in filtered:
                    check_parameters(request, ())
                shown = await handler(request)
            except ControlApiError as refused:
                return problem_response(refused.status, refused.detail)
            if isinstance(shown, Response):
                return shown
            return Response(orjson.dumps(shown), media_type="application/json")

        return endpoint

    # -- the sandbox ---------------------------------------------------------------------

    async def describe(self, request: Request) -> object:
        """What this sandbox is: its URL, keys and words."""
        await self._scope(request)
        url = str(request.base_url).rstrip("/").removesuffix("/veriplex/v1")
        return {
            "seed": self._sandbox.seed,
            "base_urls": {d.name: f"{url}/{d.name}{d.base_path}" for d in DIALECTS},
            "keys": self._sandbox.keys.well_known,
        }

    async def make_keys(self, request: Request) -> object:
        """Make test keys with a scope of their own (standalone sandboxes only)."""
        if not self._sandbox.standalone:
            raise ControlApiError(
                403, "This server has live keys; make test keys with `veriplex keys`."
            )
        scope, keys = self._sandbox.keys.create_account()
        return {"scope": scope, "keys": keys}

    async def reset(self, request: Request) -> object:
        """Forget everything since the start, or only what is in the scope of the key."""
        scope = await self._scope(request)
        self._sandbox.request_log.clear(scope)
        self._sandbox.faults.remove(scope)
        await self._sandbox.jobs.clear(scope)
        self._sandbox.use.clear(scope)
        self._sandbox.filters.clear(scope)
        self._sandbox.webhooks.clear(scope)
        self._sandbox.clocks.reset(scope)
        return {"reset": "all" if scope is None else "this key's"}

    # -- the request log -----------------------------------------------------------------

    async def list_requests(self, request: Request) -> object:
        """The request log, filtered by the query."""
        scope = await self._scope(request)
        limit = parse_number(request, "limit", 100, 1, MAX_SHOWN)
        return await self._page(scope, self._names.parse_filter(request, "limit"), limit)

    async def last_request(self, request: Request) -> object:
        """The newest request of the log that matches the query."""
        scope = await self._scope(request)
        found, _ = await self._sandbox.request_log.find(
            scope, self._names.parse_filter(request), limit=1
        )
        exchange = self._sandbox.request_log.get(scope, found[0]) if found else None
        if exchange is None:
            raise ControlApiError(404, "No request in the log matches.")
        return await self._sandbox.request_log.show(exchange)

    async def show_request(self, request: Request) -> object:
        """One request of the log."""
        scope = await self._scope(request)
        exchange = self._sandbox.request_log.get(scope, request.path_params["id"])
        if exchange is None:
            raise ControlApiError(404, "This request is not in the log, or not any more.")
        return await self._sandbox.request_log.show(exchange)

    async def count_requests(self, request: Request) -> object:
        """How many requests of the log match the query."""
        scope = await self._scope(request)
        found, _ = await self._sandbox.request_log.find(scope, self._names.parse_filter(request))
        return {"count": len(found)}

    async def wait_for_requests(self, request: Request) -> object:
        """Answers as soon as `count` requests match; 408 if that takes longer than `timeout_s`."""
        scope = await self._scope(request)
        count = parse_number(request, "count", 1, 1, MAX_SHOWN)
        timeout_s = _parse_seconds(request, "timeout_s", 5.0, MAX_WAIT_S)
        wanted = self._names.parse_filter(request, "count", "timeout_s")
        try:
            arrived = await self._sandbox.request_log.wait_for(scope, wanted, count, timeout_s)
        except TooManyWaiters:
            raise ControlApiError(429, "Too many calls wait for requests already.") from None
        if arrived < count:
            raise ControlApiError(
                408, f"{arrived} of {count} requests came within {timeout_s:g} s."
            )
        return await self._page(scope, wanted, MAX_SHOWN)

    async def _page(self, scope: int | None, wanted: ExchangeFilter, limit: int) -> Response:
        found, more = await self._sandbox.request_log.find(scope, wanted, limit=limit)
        pieces = self._sandbox.request_log.render(scope, found[::-1], more=more)
        return StreamingResponse(pieces, media_type="application/json")

    async def clear_requests(self, request: Request) -> object:
        """Empty the request log."""
        return {"cleared": self._sandbox.request_log.clear(await self._scope(request))}

    # -- faults --------------------------------------------------------------------------

    async def list_faults(self, request: Request) -> object:
        """The faults that are set."""
        scope = await self._scope(request)
        return {"faults": [armed.to_json() for armed in self._sandbox.faults.in_scope(scope)]}

    async def add_fault(self, request: Request) -> object:
        """Set a fault: an error, a delay or a broken reply for coming requests."""
        scope = await self._scope(request)
        fault = self._names.resolve_fault(await _read_body(request, InjectedFault))
        try:
            armed = self._sandbox.faults.add(scope, fault)
        except TooManyFaults:
            raise ControlApiError(409, "There are too many faults, or limits, already.") from None
        return armed.to_json()

    async def clear_faults(self, request: Request) -> object:
        """Remove all faults."""
        return {"cleared": self._sandbox.faults.remove(await self._scope(request))}

    async def remove_fault(self, request: Request) -> object:
        """Remove one fault."""
        scope = await self._scope(request)
        if not self._sandbox.faults.remove(scope, request.path_params["id"]):
            raise ControlApiError(404, "No such fault is set, or it is over.")
        return {"cleared": 1}

    # -- webhooks ------------------------------------------------------------------------

    async def list_webhooks(self, request: Request) -> object:
        """What became of the webhooks: the oldest first."""
        scope = await self._scope(request)
        limit = parse_number(request, "limit", 100, 1, MAX_SHOWN)
        found = self._sandbox.webhooks.log.find(
            scope, self._names.parse_delivery_filter(request, "limit")
        )
        return {"webhooks": [record.to_json() for record in found[-limit:]]}

    async def wait_for_webhooks(self, request: Request) -> object:
        """Answers as soon as `count` webhooks match; 408 if that takes longer than `timeout_s`."""
        scope = await self._scope(request)
        count = parse_number(request, "count", 1, 1, MAX_SHOWN)
        timeout_s = _parse_seconds(request, "timeout_s", 5.0, MAX_WAIT_S)
        wanted = self._names.parse_delivery_filter(request, "count", "timeout_s")
        try:
            found = await self._sandbox.webhooks.log.wait_for(scope, wanted, count, timeout_s)
        except TooManyWaiters:
            raise ControlApiError(429, "Too many calls wait for webhooks already.") from None
        if len(found) < count:
            raise ControlApiError(
                408, f"{len(found)} of {count} webhooks came so far within {timeout_s:g} s."
            )
        return {"webhooks": [record.to_json() for record in found]}

    # -- the clock -----------------------------------------------------------------------

    async def show_clock(self, request: Request) -> object:
        """The sandbox's clock."""
        scope, clocks = await self._scope(request), self._sandbox.clocks
        return {
            "now": datetime.fromtimestamp(clocks.now(scope), UTC),
            "frozen": clocks.is_frozen(scope),
            "moved": clocks.is_moved(scope),
        }

    async def set_clock(self, request: Request) -> object:
        """Set, freeze or advance the sandbox's clock."""
        scope, clocks = await self._scope(request), self._sandbox.clocks
        change = await _read_body(request, ClockChange)
        at = change.at
        if at is not None and at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        clock = clocks.shared if scope is None else clocks.own_clock(scope)
        assert clock is not None  # without a key: a standalone sandbox, whose clock can be moved
        try:
            clock.change(
                frozen=change.frozen,
                at=None if at is None else at.timestamp(),
                advance_s=change.advance_s,
            )
        except ClockOutOfRange:
            raise ControlApiError(400, "The clock can show the years 1970 to 9998.") from None
        return await self.show_clock(request)

    async def reset_clock(self, request: Request) -> object:
        """Let the clock show the real time again."""
        self._sandbox.clocks.reset(await self._scope(request))
        return await self.show_clock(request)

    # -- scopes --------------------------------------------------------------------------

    async def _scope(self, request: Request) -> int | None:
        """The scope of the request's key; None for all scopes, in a standalone sandbox."""
        key = request.query_params.get("key", "")
        if not key:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            key = token.strip() if scheme.lower() == "bearer" else ""
        if not key:
            if self._sandbox.standalone:
                return None
            raise ControlApiError(401, "Send a key of any dialect as `Authorization: Bearer …`.")
        caller = await self._native.find_caller(key)
        if caller is None:
            raise ControlApiError(401, "This key is not known, or was revoked.")
        if not (caller.test or self._sandbox.live_control):
            raise ControlApiError(403, "The sandbox is for test keys (see sandbox.live_control).")
        return caller.sandbox_scope


def _check_body_is_json(request: Request) -> None:
    """Raises ControlApiError for a body of another type, which a form of any web page can send."""
    has_body = (
        "transfer-encoding" in request.headers
        or request.headers.get("content-length", "0").strip("0") != ""
    )
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if has_body and media_type != "application/json":
        raise ControlApiError(415, "Send the body with Content-Type: application/json.")


async def _read_body(request: Request, type_: type[T]) -> T:
    """Raises ControlApiError."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise ControlApiError(413, "The body is too large.")
    except ClientDisconnect:
        raise ControlApiError(400, "The body is not whole.") from None
    try:
        found: T = ADAPTERS[type_].validate_json(body.removeprefix(BYTE_ORDER_MARK) or b"{}")
    except ValidationError as exc:
        raise ControlApiError(400, mistakes_text(exc.errors(), type_)) from None
    return found


def _parse_seconds(request: Request, name: str, default: float, maximum: float) -> float:
    text = request.query_params.get(name, "")
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= maximum:
        raise ControlApiError(400, f"{name} should be a number of seconds up to {maximum:g}.")
    return seconds
