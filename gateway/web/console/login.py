"""Logging in and out: by a password, or by the link that the server prints."""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import parse_qsl, quote

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from gateway.accounts.console_access import ConsoleAccess, Session, TooManyAttempts
from gateway.web.console.templates import render
from gateway.web.console.visit import PAGE_HEADERS, ROOT, Visit

log = logging.getLogger("veriplex.console")

COOKIE = "veriplex_console"
SECURE_COOKIE = "__Host-veriplex_console"
"""A browser takes it only with Secure and Path=/, and from no other host (RFC 6265bis)."""
MAX_LOGIN_BYTES = 4096
MAX_LOGIN_FIELDS = 10
LOGIN_URL = f"{ROOT}/login"

NOT_RIGHT = "This password is wrong."
USED_LINK = "This link was used already, or is too old."


class Login:
    """The page of the login, and the cookie of a session."""

    def __init__(self, access: ConsoleAccess, is_secure: Callable[[Request], bool]) -> None:
        self._access = access
        self._is_secure = is_secure

    async def find_session(self, request: Request) -> Session | None:
        name = SECURE_COOKIE if self._is_secure(request) else COOKIE
        return await self._access.find_session(request.cookies.get(name, ""))

    def lead_to_login(self, request: Request) -> Response:
        """The answer to somebody without a session."""
        if request.method not in ("GET", "HEAD"):
            raise HTTPException(403, "Your session has ended. Log in, and repeat.")
        if request.headers.get("hx-request"):
            # htmx would put the page of the login into this one
            return Response(status_code=204, headers={"HX-Refresh": "true", **PAGE_HEADERS})
        if request.headers.get("sec-fetch-site") == "cross-site":
            # The browser has kept the cookie back, since a page of another site led here. Asked
            # again by a page of our own, it sends it.
            return _page("again.html", url=_safe_path(_path_of(request)))
        return _redirect(f"{LOGIN_URL}?next={quote(_path_of(request), safe='/')}")

    async def show(self, request: Request) -> Response:
        """The page of the login, or a login by a link."""
        target = _safe_path(request.query_params.get("next", ""))
        token = request.query_params.get("token", "")
        is_asked_for = request.headers.get("sec-fetch-site", "none") == "none"
        if token and (request.method == "HEAD" or not is_asked_for):
            # not by itself: a page of another site, or a preview, must not use the link up
            return self._form(target, token=token)
        if token:
            return await self._log_in_by_link(request, token, target)
        if await self.find_session(request) is not None:
            return _redirect(target)
        return self._form(target)

    async def log_in(self, request: Request) -> Response:
        """Log in by what the form has sent."""
        fields = await _read_fields(request)
        target = _safe_path(fields.get("next", ""))
        if token := fields.get("token", ""):
            return await self._log_in_by_link(request, token, target)
        client = request.client.host if request.client else ""
        try:
            session = await self._access.log_in(fields.get("password", ""), client)
        except TooManyAttempts as exc:
            log.warning("console.login_blocked", extra={"client": client})
            minutes = -(-exc.retry_after_s // 60)
            error = f"Too many wrong passwords. Try again in {minutes} min."
            response = self._form(target, 429, error=error)
            response.headers["Retry-After"] = str(exc.retry_after_s)
            return response
        if session is None:
            log.warning("console.login_failed", extra={"client": client})
            return self._form(target, 403, error=NOT_RIGHT)
        return await self._begin(request, session, target)

    async def log_out(self, visit: Visit) -> Response:
        """End the session, here and in every window."""
        await self._access.end_session(visit.session)
        response = _redirect(LOGIN_URL)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        response.delete_cookie(SECURE_COOKIE, path="/", secure=True, httponly=True)
        return response

    async def _log_in_by_link(self, request: Request, token: str, target: str) -> Response:
        session = await self._access.log_in_by_link(token)
        if session is None:
            if await self.find_session(request) is not None:
                return _redirect(target)  # the link was opened twice
            return self._form(target, 403, error=USED_LINK)
        return await self._begin(request, session, target)

    async def _begin(self, request: Request, session: Session, target: str) -> Response:
        before = await self.find_session(request)
        if before is not None:
            await self._access.end_session(before)
        client = request.client.host if request.client else ""
        extra = {"role": session.role.value, "session": session.name, "client": client}
        log.info("console.login", extra=extra)
        response = _redirect(target)
        is_secure = self._is_secure(request)
        response.set_cookie(
            SECURE_COOKIE if is_secure else COOKIE,
            session.token,
            path="/",
            secure=is_secure,
            httponly=True,
            samesite="strict",
        )
        return response

    def _form(
        self, target: str, status: int = 200, *, token: str = "", error: str = ""
    ) -> Response:
        return _page(
            "login.html",
            status,
            target=target,
            token=token,
            error=error,
            has_passwords=self._access.has_passwords,
            needs_link=self._access.needs_link,
        )


async def _read_fields(request: Request) -> dict[str, str]:
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_LOGIN_BYTES:
                raise HTTPException(413, "This is too long for a password.")
        text = body.decode("utf-8", "replace")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_LOGIN_FIELDS))
    except (ClientDisconnect, ValueError):
        raise HTTPException(400, "The form did not arrive whole.") from None


def _path_of(request: Request) -> str:
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{request.url.path}{query}"


def _safe_path(target: str) -> str:
    """A path of the console, whatever was asked for: never another site."""
    is_ours = target == ROOT or target.startswith((f"{ROOT}/", f"{ROOT}?"))
    path = target.partition("?")[0]
    is_plain = target.isascii() and target.isprintable() and "\\" not in target
    is_plain = is_plain and "//" not in path and "/." not in path
    is_loop = target.startswith((LOGIN_URL, f"{ROOT}/logout"))
    return target if is_ours and is_plain and not is_loop and len(target) <= 2000 else ROOT


def _redirect(to: str) -> Response:
    return RedirectResponse(to, 303, headers=PAGE_HEADERS)


def _page(template: str, status: int = 200, **values: object) -> Response:
    return Response(render(template, values), status, PAGE_HEADERS, media_type="text/html")
