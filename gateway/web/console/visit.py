"""What a page gets of a request, and how it answers."""

from __future__ import annotations

import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.accounts.console_access import Role, Session
from gateway.web.console.templates import render

log = logging.getLogger("veriplex.console")

ROOT = "/console"
NOTE_COOKIE = "veriplex_console_note"
NOTE_S = 60
"""How long the line about a change waits for the page that shows it."""
MAX_NOTE_CHARACTERS = 500
MAX_FORM_BYTES = 256 * 1024
"""Of a form without a file."""

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # not `no-referrer`, with which a browser sends no Origin of its own forms
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

Handler: TypeAlias = Callable[["Visit"], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class PageRoute:
    """A path below `/console`, and what answers there."""

    path: str
    """Such as `/keys/{key_id}`; Starlette's notation."""
    handler: Handler
    method: str = "GET"
    """A GET changes nothing; any other wants a CSRF token."""
    role: Role | None = None
    """Who may use it; None: everybody for a GET, operators for any other."""
    max_body_bytes: int = MAX_FORM_BYTES

    @property
    def needed_role(self) -> Role:
        if self.role is not None:
            return self.role
        return Role.VIEWER if self.method == "GET" else Role.OPERATOR


@dataclass(frozen=True, slots=True)
class Section:
    """An entry of the menu, with its pages."""

    title: str
    path: str
    """Of its first page, below `/console`; empty for the console itself."""
    icon: str
    """The id of a picture in `static/icons.svg`."""
    routes: tuple[PageRoute, ...]

    @property
    def url(self) -> str:
        return f"{ROOT}{self.path}"


class Visit:
    """One request of somebody who is logged in."""

    def __init__(
        self,
        request: Request,
        session: Session,
        form: FormData,
        menu: tuple[Section, ...],
        section: Section | None,
        *,
        is_open: bool,
        is_secure: bool,
        is_sandbox: bool,
    ) -> None:
        """`is_open` says that this console needs no login."""
        self.request = request
        self.session = session
        self.form = form
        """What was sent; its CSRF token was right."""
        self.section = section
        self._menu = menu
        self._is_open = is_open
        self._is_secure = is_secure
        self._is_sandbox = is_sandbox

    @property
    def may_change(self) -> bool:
        return self.session.role is Role.OPERATOR

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    def text(self, name: str, default: str = "") -> str:
        """A field of the form that is no file, without space around it."""
        value = self.form.get(name, default)
        return value.strip() if isinstance(value, str) else default

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page. Templates extend `base.html`, and get `visit` and `note` beside `values`."""
        note = self._note()
        page = render(template, {"visit": self, "note": note, "menu": self._menu, **values})
        response = Response(page, status, headers=PAGE_HEADERS, media_type="text/html")
        if note:
            response.delete_cookie(NOTE_COOKIE, path=ROOT)
        return response

    def redirect(self, path: str, note: str = "") -> Response:
        """Lead to another page of the console, which shows `note`; after each change."""
        response = RedirectResponse(f"{ROOT}{path}", 303, headers=PAGE_HEADERS)
        if note:
            text = note[:MAX_NOTE_CHARACTERS]
            encoded = urlsafe_b64encode(text.encode("utf-8", "replace")).decode()
            response.set_cookie(
                NOTE_COOKIE,
                f"{self.session.sign(f'note:{encoded}')}.{encoded}",
                max_age=NOTE_S,
                path=ROOT,
                secure=self._is_secure,
                httponly=True,
                samesite="strict",
            )
        return response

    def log_change(self, action: str, **fields: object) -> None:
        """Write into the log that this person changed something."""
        client = self.request.client
        extra = {
            "action": action,
            **fields,
            "by": self.session.role.value,
            "session": self.session.name,
            "client": client.host if client else "",
        }
        log.info("console.changed", extra=extra)

    @property
    def is_open(self) -> bool:
        return self._is_open

    @property
    def is_sandbox(self) -> bool:
        return self._is_sandbox

    def _note(self) -> str:
        signature, _, encoded = self.request.cookies.get(NOTE_COOKIE, "").partition(".")
        if not self.session.is_signed(f"note:{encoded}", signature):
            return ""
        return urlsafe_b64decode(encoded).decode("utf-8", "replace")
