"""Admits visitors of the console, and passes each request to its page."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from gateway.accounts.console_access import ConsoleAccess, Role, Session
from gateway.errors import StorageUnavailable
from gateway.web.browsers import BrowserGuard, is_loopback
from gateway.web.console.assets import PREFIX as ASSETS_PREFIX
from gateway.web.console.assets import asset
from gateway.web.console.login import Login
from gateway.web.console.templates import render
from gateway.web.console.visit import PAGE_HEADERS, ROOT, PageRoute, Section, Visit
from gateway.web.paths import allowed_methods

log = logging.getLogger("veriplex.console")

ENDPOINT_NAME = "console"
"""In metrics and in the access log."""
MAX_FORM_FIELDS = 200
CSRF_FIELD = "csrf"
CSRF_HEADER = "x-csrf-token"
STORAGE_PROBLEM = "The database does not answer now. Load the page again in a moment."


@dataclass(frozen=True, slots=True)
class ConsoleServer:
    """What the console needs of the server, beside the services of its sections."""

    access: ConsoleAccess
    guard: BrowserGuard
    url: Callable[[], str]
    """The base URL of the server."""
    is_sandbox: bool
    """Whether it is `veriplex sandbox`, which needs no login on loopback."""
    own_session: Session = field(
        default_factory=lambda: Session(secrets.token_urlsafe(32), Role.OPERATOR)
    )
    """Of everybody who needs no login."""

    def is_secure(self, request: Request) -> bool:
        """Whether the browser has called us by HTTPS."""
        public = urlsplit(self.url())
        is_public = request.headers.get("host", "").lower() == public.netloc.lower()
        return request.url.scheme == "https" or (public.scheme == "https" and is_public)

    def is_open_to(self, request: Request) -> bool:
        """Whether no login is needed."""
        client = request.client
        return (
            self.is_sandbox
            and client is not None
            and is_loopback(client.host)
            and is_loopback(request.url.hostname or "")
        )


class ConsoleApp:
    """The ASGI application of all paths below `/console`."""

    __name__ = ENDPOINT_NAME

    def __init__(self, server: ConsoleServer, sections: Sequence[Section]) -> None:
        self._server = server
        self._menu = tuple(sections)
        login = Login(server.access, server.is_secure)
        self._login = login
        routes: list[Route] = [
            Route(f"{ASSETS_PREFIX}/{{digest}}/{{name}}", _named(asset)),
            Route(f"{ROOT}/login", _named(self._guarded(login.show))),
            Route(f"{ROOT}/login", _named(self._guarded(login.log_in)), methods=["POST"]),
            self._route(PageRoute("/logout", login.log_out, "POST", Role.VIEWER), None),
        ]
        for section in self._menu:
            routes += [self._route(route, section) for route in section.routes]
        self.routes: Sequence[Route] = routes
        self._app = Starlette(
            routes=routes,
            exception_handlers={
                HTTPException: self._http_error,
                StorageUnavailable: self._storage_error,
                Exception: self._internal_error,
            },
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def _route(self, route: PageRoute, section: Section | None) -> Route:
        async def answer(request: Request) -> Response:
            session = await self._session(request)
            if session is None:
                return self._login.lead_to_login(request)
            if session.role is Role.VIEWER and route.needed_role is Role.OPERATOR:
                raise HTTPException(403, "Viewers can change nothing. Log in as an operator.")
            if route.method == "GET":
                return await route.handler(self._visit(request, session, FormData(), section))
            async with _FormOf(request, route.max_body_bytes) as form:
                sent = request.headers.get(CSRF_HEADER) or form.get(CSRF_FIELD)
                if not isinstance(sent, str) or not session.is_signed("csrf", sent):
                    raise HTTPException(
                        403, "This form is of another session. Load its page again, and repeat."
                    )
                return await route.handler(self._visit(request, session, form, section))

        return Route(f"{ROOT}{route.path}", _named(self._guarded(answer)), methods=[route.method])

    def _guarded(
        self, handler: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Refuse what pages of other sites ask for, but let their links lead here."""

        async def answer(request: Request) -> Response:
            is_link = request.method in ("GET", "HEAD") and "origin" not in request.headers
            headers = dict(request.headers)
            if is_link and headers.get("sec-fetch-mode", "navigate") == "navigate":
                headers.pop("sec-fetch-site", None)
            if refusal := self._server.guard.refusal(headers):
                raise HTTPException(403, refusal)
            return await handler(request)

        return answer

    async def _session(self, request: Request) -> Session | None:
        if self._server.is_open_to(request):
            return self._server.own_session
        return await self._login.find_session(request)

    def _visit(
        self, request: Request, session: Session, form: FormData, section: Section | None
    ) -> Visit:
        return Visit(
            request,
            session,
            form,
            self._menu,
            section,
            is_open=session is self._server.own_session,
            is_secure=self._server.is_secure(request),
            is_sandbox=self._server.is_sandbox,
        )

    # -- errors --------------------------------------------------------------------------

    async def _http_error(self, request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        has_words = exc.detail != HTTPStatus(exc.status_code).phrase
        detail = exc.detail if has_words else ERROR_WORDS.get(exc.status_code, "")
        headers = dict(exc.headers or {})
        if exc.status_code == 405:
            headers["Allow"] = allowed_methods(self.routes, request.scope)
        return _error_page(exc.status_code, detail, headers)

    async def _storage_error(self, request: Request, exc: Exception) -> Response:
        log.warning("console.storage_unavailable", extra={"error": str(exc)})
        return _error_page(503, STORAGE_PROBLEM, {"Retry-After": "2"})

    async def _internal_error(self, request: Request, exc: Exception) -> Response:
        # Starlette raises the exception again, and the application around this one logs it
        return _error_page(500, "This is a fault of Veriplex; its log says more.", {})


ERROR_WORDS = {
    404: "There is no such page, or what it was about is gone.",
    405: "This page cannot be used in this way.",
}


def _error_page(status: int, detail: str, headers: dict[str, str]) -> Response:
    values = {"status": status, "phrase": HTTPStatus(status).phrase, "detail": detail}
    page = render("error.html", values)
    return Response(page, status, {**PAGE_HEADERS, **headers}, media_type="text/html")


class _FormOf:
    """A context with the form of a request; its files are closed at the end."""

    def __init__(self, request: Request, max_bytes: int) -> None:
        self._request = Request(request.scope, _limited(request.receive, max_bytes))

    async def __aenter__(self) -> FormData:
        try:
            return await self._request.form(max_fields=MAX_FORM_FIELDS, max_files=1)
        except ClientDisconnect:
            raise HTTPException(400, "The form did not arrive whole.") from None

    async def __aexit__(self, *_: object) -> None:
        await self._request.close()


def _limited(receive: Receive, max_bytes: int) -> Receive:
    """Raise 413 for a body that is larger."""
    left = max_bytes

    async def limited() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, f"At most {max_bytes:,} bytes can be sent here.")
        return message

    return limited


def _named(
    handler: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """The handler under the name that metrics and the access log have for the console."""

    async def answer(request: Request) -> Response:
        return await handler(request)

    answer.__name__ = ENDPOINT_NAME
    return answer
