"""The ASGI application: passes each request to its dialect, or to Veriplex's own paths."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.observability.metrics import Metrics, MetricsAccess
from gateway.outcomes.opening import OutcomeServices
from gateway.patience import PATIENCE, Patience
from gateway.sandbox import Sandbox
from gateway.web.browsers import BrowserGuard
from gateway.web.console.services import ConsoleServices
from gateway.web.native import NativeApi
from gateway.web.routing import VendorRoutes, fold_slashes
from gateway.web.vendors import VendorApp

Application: TypeAlias = ASGIApp
"""For the rooms that may not import Starlette."""


class WebServices(Protocol):
    """The services of a running server, as far as the application uses them."""

    @property
    def routes(self) -> VendorRoutes: ...

    @property
    def vendor_app(self) -> VendorApp: ...

    @property
    def native(self) -> NativeApi: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def metrics_access(self) -> MetricsAccess: ...

    @property
    def sandbox(self) -> Sandbox: ...

    @property
    def browser_guard(self) -> BrowserGuard: ...

    @property
    def console(self) -> ConsoleServices | None: ...

    @property
    def outcomes(self) -> OutcomeServices | None: ...

    @property
    def degraded(self) -> tuple[str, ...]: ...

    async def not_ready_reason(self) -> str | None:
        """Why requests cannot be served now; None if they can."""

    async def is_stuck(self) -> bool:
        """Whether the process does no work any more, which a restart would cure."""
        ...


def create_app(services: WebServices, *, starts_quickly: bool = False) -> Application:
    """The ASGI application of a server.

    With `starts_quickly` what vendors' clients never need is imported at its first request, which
    all other requests wait for: for a sandbox, not for a server with live traffic.
    """
    routes, vendor_app = services.routes, services.vendor_app
    system_app = None if starts_quickly else _system_app(services)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal system_app
        if scope["type"] == "http":
            if "//" in scope["path"]:
                scope["path"] = fold_slashes(scope["path"])
            host = next((v for k, v in scope["headers"] if k == b"host"), b"")
            vendor_path = routes.match(
                host.decode("latin-1"),
                scope["path"],
                scope["query_string"].decode("latin-1"),
                method=scope["method"],
                headers=scope["headers"],
            )
            if vendor_path is not None:
                await vendor_app(vendor_path, scope, receive, send)
                return
        if system_app is None:
            system_app = _system_app(services)
        await system_app(scope, receive, send)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        token = PATIENCE.set(Patience() if scope["type"] == "http" else None)
        try:
            await answer(scope, receive, send)
        finally:
            PATIENCE.reset(token)

    return app


def _system_app(services: WebServices) -> ASGIApp:
    from gateway.web.system import create_system_app

    return create_system_app(services)
