"""The ASGI application: passes each request to its dialect, or to Veriplex's own paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.web.routing import VendorRoutes
from gateway.web.vendors import VendorApp

Application: TypeAlias = ASGIApp
"""For the rooms that may not import Starlette."""


def create_dispatcher(
    routes: VendorRoutes, vendor_app: VendorApp, create_system_app: Callable[[], ASGIApp]
) -> ASGIApp:
    """`create_system_app` is called with the first request that is no dialect's."""
    system_app: ASGIApp | None = None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal system_app
        if scope["type"] == "http":
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
            system_app = create_system_app()
        await system_app(scope, receive, send)

    return app
