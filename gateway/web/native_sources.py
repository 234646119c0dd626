"""The native API's calls that change sources, which operators alone may use.

They take `console.password` as a bearer token: a key belongs to a client, who must not take away
the sources of the others.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.accounts.console_access import Role, TooManyAttempts
from gateway.web.problem_json import problem_response

if TYPE_CHECKING:
    from gateway.status.sources import SourceControl
    from gateway.web.console.services import ConsoleServices

log = logging.getLogger("veriplex.console")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A problem document (RFC 9457) of these calls."""

    status: int
    title: str
    detail: str


NO_TOKEN = Refusal(401, "no_credential", "Send console.password as `Authorization: Bearer …`.")
WRONG = Refusal(
    403, "operators_only", "Operators alone may do this; console.password is their bearer token."
)
NO_PASSWORD = Refusal(
    403, "no_password", "This call takes console.password, which the settings do not have."
)
UNKNOWN_SOURCE = Refusal(404, "source_unknown", "There is no such source.")
TOO_FAST = Refusal(429, "too_fast", "There were too many wrong passwords.")
REFUSALS = (NO_TOKEN, WRONG, NO_PASSWORD, UNKNOWN_SOURCE, TOO_FAST)


class Refused(Exception):
    """The caller may not do this, or not this often."""

    def __init__(self, refusal: Refusal, retry_after_s: int = 0) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal
        self.headers = {"Retry-After": str(retry_after_s)} if retry_after_s else {}


Change = Callable[["SourceControl", str], Awaitable[dict[str, Any]]]


class NativeSources:
    """`console` has the services; None, or the sandbox's, has no sources."""

    def __init__(self, console: ConsoleServices | None) -> None:
        self._access = console.access if console is not None else None
        overview = console.overview if console is not None else None
        self._sources = overview.sources if overview is not None else None

    async def pause(self, request: Request) -> Response:
        """Ask a source no more, in any process, until it is resumed; for operators."""

        async def change(sources: SourceControl, name: str) -> dict[str, Any]:
            await sources.pause(name)
            return {"name": name, "paused": True}

        return await self._answer(request, "source.pause", change)

    async def resume(self, request: Request) -> Response:
        """Ask a paused source again; for operators."""

        async def change(sources: SourceControl, name: str) -> dict[str, Any]:
            await sources.resume(name)
            return {"name": name, "paused": False}

        return await self._answer(request, "source.resume", change)

    async def try_now(self, request: Request) -> Response:
        """End the rest of an upstream, and ask for its balance; for operators."""

        async def change(sources: SourceControl, name: str) -> dict[str, Any]:
            result = await sources.try_now(name)
            return {"name": name, "works": result.works, "text": result.text}

        return await self._answer(request, "source.try", change)

    async def _answer(self, request: Request, action: str, change: Change) -> Response:
        from gateway.status.sources import NoSuchSource

        client = request.client.host if request.client else ""
        name: str = request.path_params["name"]
        try:
            self._admit(request.headers.get("authorization", ""), client)
            if self._sources is None:
                raise Refused(UNKNOWN_SOURCE)
            try:
                shown = await change(self._sources, name)
            except NoSuchSource:
                raise Refused(UNKNOWN_SOURCE) from None
        except Refused as exc:
            why = exc.refusal
            return problem_response(why.status, why.detail, title=why.title, headers=exc.headers)
        extra = {"action": action, "source": name, "by": Role.OPERATOR.value, "client": client}
        log.info("console.changed", extra=extra)
        return Response(orjson.dumps(shown), media_type="application/json")

    def _admit(self, authorization: str, client: str) -> None:
        """Raises Refused for anybody but an operator."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refused(NO_TOKEN)
        if self._access is None or self._access.needs_link:
            raise Refused(NO_PASSWORD)
        try:
            role = self._access.check_password(token.strip(), client)
        except TooManyAttempts as exc:
            raise Refused(TOO_FAST, exc.retry_after_s) from exc
        if role is not Role.OPERATOR:
            raise Refused(WRONG)
