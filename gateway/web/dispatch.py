"""The front door: every request to its dialect, or to our own addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.web.routing import VendorRoutes
from gateway.web.vendors import VendorApp

Application: TypeAlias = ASGIApp
"""What the other rooms call an ASGI application."""


def create_dispatcher(
    routes: VendorRoutes, vendor_app: VendorApp, create_system_app: Callable[[], ASGIApp]
) -> ASGIApp:
    """The ASGI application. `create_system_app` is called when somebody first asks for it."""
    own: ASGIApp | None = None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal own
        if scope["type"] == "http":
            host = next((v for k, v in scope["headers"] if k == b"host"), b"")
            place = routes.match(
                host.decode("latin-1"),
                scope["path"],
                scope["query_string"].decode("latin-1"),
                method=scope["method"],
                headers=scope["headers"],
            )
            if place is not None:
                await vendor_app(place, scope, receive, send)
                return
        if own is None:
            own = create_system_app()
        await own(scope, receive, send)

    return app
