"""Requests to a path that neither a dialect nor the server has.

Mostly a client's base URL is wrong. So the reply names the nearest path, in `message` as well,
since some clients show nothing else; and the sandbox's request log has the request.
"""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from adapters.contract.dialect import Dialect
from adapters.contract.wire import UnreadableRequest, WireRequest
from gateway.accounts.caller import Caller
from gateway.observability.access_line import loggable_path
from gateway.sandbox import Sandbox
from gateway.sandbox.requests import Exchange
from gateway.web.native import NativeApi
from gateway.web.problem_json import problem_response
from gateway.web.routing import NearestPaths, VendorRoutes

OWN_PATHS = "/livez, /readyz, /metrics and /veriplex/v1"
UNMATCHED = "unmatched"
"""The endpoint's name in metrics and in the log."""


class UnmatchedRequests:
    """Answers requests that have no path here."""

    def __init__(
        self, routes: VendorRoutes, native: NativeApi, sandbox: Sandbox, own_paths: tuple[str, ...]
    ) -> None:
        self._dialects = routes.dialects
        self._native = native
        self._sandbox = sandbox
        self._nearest = NearestPaths(routes.dialects, own_paths)

    async def answer(self, request: Request) -> Response:
        path = request.url.path
        shown = loggable_path(path, is_known=False)
        nearest, dialect = self._nearest.find(path)
        hint = f"did you mean {nearest}?" if nearest else ""
        detail = f"This server has no path {shown}"
        detail += f"; {hint}" if hint else "."
        if dialect is not None:
            detail += f" It is {dialect.title}'s, whose base URL here ends in {dialect.base_path}."
        elif not nearest:
            prefixes = ", ".join(f"/{each.name}{each.base_path}" for each in self._dialects)
            detail += f" It has the vendors' own paths, {prefixes}, {OWN_PATHS}."
        state = request.state
        state.problem, state.hint, state.endpoint_name = "unknown_path", hint, UNMATCHED
        members: dict[str, Any] = {"message": detail}
        if nearest:
            members["nearest"] = nearest
        reply = problem_response(404, detail, **members)
        await self._add_to_request_log(request, bytes(reply.body), hint)
        return reply

    async def _add_to_request_log(self, request: Request, reply: bytes, hint: str) -> None:
        wire = WireRequest(
            request.method, request.url.path, request.url.query, dict(request.headers)
        )
        caller, credential = await self._find_caller(wire)
        if not self._sandbox.should_log(caller):
            return
        scope = None if caller is None else caller.sandbox_scope
        self._sandbox.request_log.add(
            Exchange(
                id=0,
                at=self._sandbox.clocks.now(scope) if scope is not None else time.time(),
                scope=scope,
                dialect="",
                operation="",
                method=request.method,
                path=wire.path,
                query=wire.query_string,
                headers=dict(wire.headers),
                body=b"",
                credential=credential,
                status=404,
                reply=reply,
                problem="unknown_path",
                reason=hint or "unknown path",
                simulated="",
                request_id=request.state.request_id,
            )
        )

    async def _find_caller(self, wire: WireRequest) -> tuple[Caller | None, str]:
        """Whose request it is, by a key where any of the dialects has it in the head."""
        credential = ""
        for key in dict.fromkeys(_keys_in(wire, self._dialects)):
            credential = credential or key
            caller = await self._native.find_caller(key)
            if caller is not None:
                return caller, key
        return None, credential


def _keys_in(wire: WireRequest, dialects: tuple[Dialect, ...]) -> list[str]:
    found = []
    for dialect in dialects:
        try:
            key = dialect.credential.read(wire)
        except UnreadableRequest:
            continue
        if key:
            found.append(key)
    return found
