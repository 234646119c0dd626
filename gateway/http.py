"""Vendor requests over ASGI: bytes to wire values, through the service, and back.

Pure ASGI, since every layer of Starlette's own middleware would cost more than the rest of
a request. Only a dialect words what a client sees; the headers added here tell where an
answer came from (RFC 9211 for `Cache-Status`).
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from starlette.types import Receive, Scope, Send

from adapters.dialect import Dialect, Endpoint, Operation, Problem, ProblemKind, Verify
from adapters.wire import Unreadable, WireReply, WireRequest
from gateway.caller import Books, Caller, Unavailable
from gateway.guard import Guard
from gateway.limits import TooFast
from gateway.observe import Observer, Seen
from gateway.routes import Place, Routes
from gateway.service import Answer, Service

log = logging.getLogger(__name__)

BODY_TIMEOUT_S = 30.0
"""For a client to send its whole body."""

REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
"""An `X-Request-Id` that is taken over as it is; any other is replaced."""

CORS_HEADERS = (("Access-Control-Allow-Origin", "*"),)
PREFLIGHT_HEADERS = (
    *CORS_HEADERS,
    ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, X-API-Key"),
    ("Access-Control-Max-Age", "86400"),
)

STATUS_OF_ACCOUNT = {
    "suspended": ProblemKind.SUSPENDED,
    "unconfirmed": ProblemKind.UNCONFIRMED,
}


class Disconnected(Exception):
    """The client left before its request was whole."""


class VendorApp:
    """Answers every address that belongs to a dialect."""

    def __init__(
        self,
        routes: Routes,
        accounts: Books,
        service: Service,
        guard: Guard,
        observer: Observer,
        *,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._routes = routes
        self._accounts = accounts
        self._service = service
        self._guard = guard
        self._observer = observer
        self._timer = timer

    async def __call__(self, place: Place, scope: Scope, receive: Receive, send: Send) -> None:
        began = self._timer()
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        request_id = headers.get("x-request-id", "")
        if not REQUEST_ID.fullmatch(request_id):
            request_id = uuid4().hex
        exchange = _Exchange(place, scope, headers, request_id)
        try:
            reply = await self._exchange(exchange, receive)
        except Disconnected:
            return
        await _send(send, reply, exchange)
        self._observer.request(
            Seen(
                request_id=request_id,
                dialect=place.dialect.name,
                endpoint=exchange.endpoint.name if exchange.endpoint else "",
                method=scope["method"],
                status=reply.status,
                source=exchange.answer.source,
                seconds=self._timer() - began,
                key=exchange.caller.key_label if exchange.caller else "",
                domain=_domain(exchange.op),
                problem=exchange.problem.kind if exchange.problem else "",
            )
        )

    async def _exchange(self, x: _Exchange, receive: Receive) -> WireReply:
        """One request from address to reply, with every way it can go wrong."""
        dialect = x.place.dialect
        x.endpoint, path_params, problem = self._routes.endpoint(x.place, x.method)
        try:
            if problem is not None:
                if x.method == "OPTIONS" and x.endpoint is not None and x.endpoint.cors:
                    return WireReply(204, headers=PREFLIGHT_HEADERS)
                raise problem
            assert x.endpoint is not None
            body = await _read_body(x, receive, x.endpoint.body_limit)
            x.request = x.wire_request(body, path_params)
            return await self._run(x, x.endpoint, x.request)
        except Problem as exc:
            x.problem = exc
        except Unreadable as exc:
            x.problem = Problem(ProblemKind.UNREADABLE, str(exc))
        except Disconnected:
            raise
        except Unavailable as exc:
            log.warning("storage unavailable", extra={"why": str(exc)})
            x.problem = Problem(ProblemKind.UNAVAILABLE, retry_after_s=1)
        except Exception:
            log.exception("request failed", extra={"request_id": x.request_id})
            x.problem = Problem(ProblemKind.INTERNAL)
        self._guard.note(dialect, x.client_ip, x.problem.kind)
        return dialect.write_problem(x.request, x.problem, x.endpoint)

    async def _run(self, x: _Exchange, endpoint: Endpoint[Any], request: WireRequest) -> WireReply:
        dialect = x.place.dialect
        if endpoint.needs_key:
            if self._guard.blocks(dialect, x.client_ip):
                raise Problem(ProblemKind.CLIENT_BLOCKED)
            x.caller = await self._authenticate(dialect, dialect.credential(request))
            if x.caller.test:
                x.answer = Answer(None, source="sandbox")
            if endpoint.bucket is not None:
                await self._admit(x.caller, endpoint.bucket)
        x.op = endpoint.read(request)
        x.answer = await self._service.run(dialect, x.caller, x.op)
        return endpoint.write(x.op, x.answer.outcome)

    async def _authenticate(self, dialect: Dialect, credential: str | None) -> Caller:
        if credential is None:
            raise Problem(ProblemKind.NO_CREDENTIAL)
        caller = await self._accounts.authenticate(dialect.name, credential)
        if caller is None:
            raise Problem(ProblemKind.BAD_CREDENTIAL)
        kind = STATUS_OF_ACCOUNT.get(caller.status)
        if kind is not None:
            raise Problem(kind)
        return caller

    async def _admit(self, caller: Caller, bucket: str) -> None:
        try:
            await self._accounts.admit(caller, bucket)
        except TooFast as exc:
            raise Problem(
                ProblemKind.TOO_FAST,
                limit=exc.limit,
                retry_after_s=exc.retry_after_s,
                reset_at=exc.reset_at,
            ) from exc


class _Exchange:
    """One request on its way: what is known of it so far."""

    def __init__(
        self, place: Place, scope: Scope, headers: dict[str, str], request_id: str
    ) -> None:
        self.place = place
        self.method: str = scope["method"]
        self.query_string: str = scope["query_string"].decode("latin-1")
        self.headers = headers
        self.request_id = request_id
        client = scope.get("client")
        self.client_ip: str = client[0] if client else ""
        self.endpoint: Endpoint[Any] | None = None
        self.caller: Caller | None = None
        self.op: Operation | None = None
        self.problem: Problem | None = None
        self.answer = Answer(None)
        self.request = self.wire_request(b"", {})

    def wire_request(self, body: bytes, path_params: Any) -> WireRequest:
        return WireRequest(
            method=self.method,
            path=self.place.path,
            query_string=self.query_string,
            headers=self.headers,
            body=body,
            client_ip=self.client_ip,
            path_params=path_params,
        )


async def _read_body(x: _Exchange, receive: Receive, limit: int) -> bytes:
    """The whole body, at most `limit` bytes of it and `BODY_TIMEOUT_S` long.

    Raises `Problem` (`TOO_LARGE`, `UNREADABLE`) and `Disconnected`.
    """
    declared = x.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise Problem(ProblemKind.TOO_LARGE, limit=limit)
    if declared in ("", "0") and "transfer-encoding" not in x.headers:
        return b""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise Problem(ProblemKind.TOO_LARGE, limit=limit)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise Problem(ProblemKind.UNREADABLE, "The body did not arrive in time.") from None


async def _send(send: Send, reply: WireReply, x: _Exchange) -> None:
    headers = [
        *reply.headers,
        ("Content-Length", str(len(reply.body))),
        ("X-Request-Id", x.request_id),
        ("X-Veriplex-Source", x.answer.source),
        ("X-Veriplex-Attempts", str(x.answer.attempts)),
        ("Cache-Status", f"veriplex; {x.answer.cache}"),
    ]
    if reply.body:
        headers.append(("Content-Type", reply.media_type))
    if x.endpoint is not None and x.endpoint.cors and x.method != "OPTIONS":
        headers.extend(CORS_HEADERS)
    await send(
        {
            "type": "http.response.start",
            "status": reply.status,
            "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers],
        }
    )
    await send({"type": "http.response.body", "body": reply.body})


def _domain(op: Operation | None) -> str:
    """The domain asked about, for the log: never the mailbox."""
    if not isinstance(op, Verify):
        return ""
    _, at, domain = op.email.rpartition("@")
    return domain[:255] if at else ""
