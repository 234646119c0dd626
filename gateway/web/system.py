"""Veriplex's own paths: health, metrics, the native API and the sandbox's control API.

A request that is no dialect's and has none of these paths gets a problem document (RFC 9457).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
from importlib.metadata import version
from typing import Any, Protocol

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import StorageUnavailable
from gateway.observability.access_line import loggable_path
from gateway.observability.metrics import (
    AccessLogEntry,
    Metrics,
    MetricsAccess,
    MetricsUnavailable,
)
from gateway.outcomes.opening import OutcomeServices
from gateway.sandbox import Sandbox
from gateway.service import ServiceResult
from gateway.web.browsers import BrowserGuard
from gateway.web.compression import compressing
from gateway.web.console.services import ConsoleServices
from gateway.web.descriptions import ApiDescriptions
from gateway.web.exchange import verdict_of
from gateway.web.mail_events import MailEventCalls
from gateway.web.native import NativeApi
from gateway.web.native_batches import NativeBatches
from gateway.web.native_outcomes import NativeOutcomes
from gateway.web.native_sources import NativeSources
from gateway.web.paths import allowed_methods, without_last_slash
from gateway.web.problem_json import problem_response
from gateway.web.provenance import PRIVATE_HEADERS, provenance_headers, request_id
from gateway.web.routing import VendorRoutes
from gateway.web.sandbox_control import ControlApi
from gateway.web.start_page import StartPage
from gateway.web.unmatched import UnmatchedRequests
from gateway.web.vendors import STORAGE_RETRY_AFTER_S, VendorApp

log = logging.getLogger(__name__)

NO_RESULT = ServiceResult(None)

NATIVE_PREFIX = "/veriplex/v1"
STORAGE_PROBLEM = "The database does not answer now."


class SystemServices(Protocol):
    """The services of a running server, as far as these paths show them."""

    @property
    def routes(self) -> VendorRoutes: ...

    @property
    def vendor_app(self) -> VendorApp: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def metrics_access(self) -> MetricsAccess: ...

    @property
    def native(self) -> NativeApi: ...

    @property
    def sandbox(self) -> Sandbox: ...

    @property
    def browser_guard(self) -> BrowserGuard: ...

    @property
    def console(self) -> ConsoleServices | None: ...

    @property
    def outcomes(self) -> OutcomeServices | None: ...

    @property
    def degraded(self) -> tuple[str, ...]:
        """What is away that can be done without."""
        ...

    async def not_ready_reason(self) -> str | None:
        """Why requests cannot be served now; None if they can."""

    async def is_stuck(self) -> bool:
        """Whether the process does no work any more, which a restart would cure."""
        ...


def create_system_app(services: SystemServices) -> ASGIApp:
    """The Starlette application for all requests that are no dialect's."""
    endpoints = _SystemEndpoints(services)
    control = ControlApi(
        services.sandbox, services.native, services.browser_guard, services.routes.dialects
    )
    batches = NativeBatches(services.native)
    outcomes = NativeOutcomes(services.native, services.outcomes)
    sources = NativeSources(services.console)
    events = MailEventCalls(services.outcomes)
    descriptions = ApiDescriptions(services.routes.dialects)
    console = services.console
    page = StartPage(
        services.routes.dialects,
        with_test_keys=services.sandbox.standalone,
        console_admits=lambda request: (
            console is not None and console.guard.knows_host(request.headers.get("host", ""))
        ),
    )
    own = [
        Route("/", page.start),
        Route(NATIVE_PREFIX, page.calls),
        *endpoints.health_routes(),
        Route("/openapi", descriptions.index),
        Route("/openapi/{name}.json", descriptions.show),
        Route(f"{NATIVE_PREFIX}/verify", services.native.verify),
        Route(f"{NATIVE_PREFIX}/batches", batches.submit, methods=["POST"]),
        Route(f"{NATIVE_PREFIX}/batches", batches.list),
        Route(f"{NATIVE_PREFIX}/batches/{{id}}", batches.show),
        Route(f"{NATIVE_PREFIX}/batches/{{id}}", batches.delete, methods=["DELETE"]),
        Route(f"{NATIVE_PREFIX}/batches/{{id}}/cancel", batches.cancel, methods=["POST"]),
        Route(f"{NATIVE_PREFIX}/batches/{{id}}/results", batches.results),
        Route(f"{NATIVE_PREFIX}/usage", services.native.usage),
        Route(f"{NATIVE_PREFIX}/standing", services.native.reputation),
        Route(f"{NATIVE_PREFIX}/sources", services.native.sources),
        Route(f"{NATIVE_PREFIX}/sources/report", outcomes.report),
        Route(f"{NATIVE_PREFIX}/sources/report/candidates", outcomes.candidates),
        Route(f"{NATIVE_PREFIX}/sources/{{name}}/pause", sources.pause, methods=["POST"]),
        Route(f"{NATIVE_PREFIX}/sources/{{name}}/resume", sources.resume, methods=["POST"]),
        Route(f"{NATIVE_PREFIX}/sources/{{name}}/try", sources.try_now, methods=["POST"]),
        Route(f"{NATIVE_PREFIX}/outcomes", outcomes.submit, methods=["POST"]),
        Route(f"{NATIVE_PREFIX}/outcomes/{{service}}", events.receive, methods=["POST"]),
    ]
    # not mounted: a path that none of them has is then found by the application itself
    own += [
        Route(f"{NATIVE_PREFIX}{route.path}", route.endpoint, methods=route.methods)
        for route in control.routes()
    ]
    page.list_calls(own)
    if console is not None:
        pages = _Console(console, starts_quickly=services.sandbox.standalone)
        own += [Route("/console", pages), Route("/console/{path:path}", pages)]
    paths = tuple(
        dict.fromkeys(
            route.path for route in own if route.path not in ("/", "/console/{path:path}")
        )
    )
    unmatched = UnmatchedRequests(services.routes, services.native, services.sandbox, paths)

    async def http_error(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        if exc.status_code == 404 and "endpoint" not in request.scope:
            return await unmatched.answer(request)
        headers = dict(exc.headers or {})
        if exc.status_code == 405:
            headers["Allow"] = allowed_methods(own, request.scope)
        return problem_response(exc.status_code, exc.detail, headers=headers)

    app = Starlette(
        routes=own,
        exception_handlers={
            HTTPException: http_error,
            StorageUnavailable: _storage_error_response,
            Exception: _internal_error_response,
        },
    )
    return _observed(app, services)


class _Console:
    """The pages under `/console`. A sandbox imports what they need at the first request for one."""

    __name__ = "console"

    def __init__(self, services: ConsoleServices, *, starts_quickly: bool) -> None:
        self._services = services
        self._app = None if starts_quickly else self._create()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            self._app = self._create()
        await self._app(scope, receive, send)

    def _create(self) -> ASGIApp:
        from gateway.web.console.opening import create_console

        return create_console(self._services)


def create_health_app(services: SystemServices) -> ASGIApp:
    """The application of a worker, which serves no clients."""
    endpoints = _SystemEndpoints(services)

    async def http_error(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        return problem_response(exc.status_code, exc.detail, headers=exc.headers)

    app = Starlette(
        routes=endpoints.health_routes(),
        exception_handlers={HTTPException: http_error, Exception: _internal_error_response},
    )
    return _observed(app, services)


class _SystemEndpoints:
    def __init__(self, services: SystemServices) -> None:
        self._services = services
        self._version = version("veriplex")  # read from a file each time

    def health_routes(self) -> list[Route]:
        return [
            Route("/livez", self.alive),
            Route("/healthz", self.alive),
            Route("/readyz", self.ready),
            Route("/metrics", self.metrics),
        ]

    async def alive(self, _: Request) -> Response:
        """Whether a restart would be of no use: the process answers, and is not stuck."""
        if await self._services.is_stuck():
            return _json_response({"status": "the work is stuck"}, 503)
        return _json_response({"status": "ok", "version": self._version})

    async def ready(self, _: Request) -> Response:
        """Whether requests can be served, and the server is not stopping."""
        reason = await self._services.not_ready_reason()
        body: dict[str, Any] = {"status": reason or "ok"}
        if degraded := self._services.degraded:
            body["degraded"] = degraded
        return _json_response(body, 503 if reason else 200)

    async def metrics(self, request: Request) -> Response:
        """Metrics for Prometheus."""
        access = self._services.metrics_access
        if not access.enabled:
            raise HTTPException(404)
        if access.token is not None and not _has_token(request, access.token):
            return problem_response(
                401,
                "Send the token of metrics.token as `Authorization: Bearer …`.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        try:
            text = await self._services.metrics.text()
        except MetricsUnavailable as exc:
            return problem_response(503, str(exc))
        return Response(text, media_type=CONTENT_TYPE_LATEST)


def _has_token(request: Request, token: str) -> bool:
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    # in the same time for every wrong token
    is_equal = hmac.compare_digest(sent.strip().encode(), token.encode())
    return scheme.lower() == "bearer" and bool(token) and is_equal


def _json_response(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


async def _storage_error_response(request: Request, exc: Exception) -> Response:
    extra = {"request_id": request.state.request_id, "error": str(exc)}
    log.warning("request.storage_unavailable", extra=extra)
    request.state.problem = "unavailable"
    headers = {"Retry-After": str(STORAGE_RETRY_AFTER_S)}
    return problem_response(503, STORAGE_PROBLEM, title="unavailable", headers=headers)


async def _internal_error_response(request: Request, exc: Exception) -> Response:
    if isinstance(exc.__cause__, StorageUnavailable):
        # after the beginning of a download: the client sees that it is not whole
        log.warning("reply.cut_off", extra={"error": str(exc.__cause__)})
        return problem_response(503)
    extra = {"method": request.method, "path": request.url.path}
    log.error("request.failed", extra=extra, exc_info=exc)
    return problem_response(500)


def _observed(app: ASGIApp, services: SystemServices) -> ASGIApp:
    """Add the headers that vendors' replies have too (`gateway.web.provenance`), count the request
    and log it."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        scope["path"] = without_last_slash(scope["path"])
        at, began = time.time(), time.perf_counter()
        sent_id = next((v for k, v in scope["headers"] if k == b"x-request-id"), b"")
        own_id = request_id(sent_id.decode("latin-1"))
        id_header = (b"x-request-id", own_id.encode("latin-1"))
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = own_id
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                result: ServiceResult[Any] = state.get("answer", NO_RESULT)
                provenance = provenance_headers(result.source, result.attempts, result.cache_status)
                headers = message["headers"]
                if any(name == b"cache-control" for name, _ in headers):
                    # a file of the console, which is public; it has the private headers that it may
                    provenance = tuple(each for each in provenance if each not in PRIVATE_HEADERS)
                message["headers"] = [*headers, id_header, *provenance]
            await send(message)

        accepted = next((v for k, v in scope["headers"] if k == b"accept-encoding"), b"")
        compressed = compressing(sending, accepted.decode("latin-1"))
        try:
            # Starlette raises an exception again after `_internal_error_response` has answered it
            with contextlib.suppress(Exception):
                await app(scope, receive, compressed)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not services.vendor_app.is_ending or task is None or status:
                raise
            task.uncancel()
            await problem_response(503, "The server is stopping.")(scope, receive, sending)
        result = state.get("answer", NO_RESULT)
        verdict = verdict_of(result.outcome)
        client = scope.get("client")
        endpoint = getattr(scope.get("endpoint"), "__name__", "")
        services.metrics.record_request(
            AccessLogEntry(
                own_id,
                "veriplex",
                # not the path, which a client can choose freely
                endpoint or state.get("endpoint_name", ""),
                scope["method"],
                status,
                result.source,
                time.perf_counter() - began,
                state.get("key_label", ""),
                state.get("domain", ""),
                state.get("problem", ""),
                at,
                loggable_path(scope["path"], is_known=bool(endpoint)),
                verdict,
                result.cache_status if verdict else "",
                client[0] if client else "",
                state.get("hint", ""),
            )
        )

    return wrapped
