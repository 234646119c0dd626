"""One vendor request on its way: its state, its body, and the reply sent for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, BinaryIO, TypeVar

from starlette.types import Receive, Scope, Send

from adapters.contract.dialect import Endpoint
from adapters.contract.operations import Operation, Verify
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.streaming import render_body
from adapters.contract.wire import StreamReply, UnreadableRequest, WireReply, WireRequest
from gateway.accounts.caller import Caller
from gateway.errors import StorageUnavailable
from gateway.sandbox import requests as sandbox_requests
from gateway.sandbox.faults import Effects
from gateway.service import ServiceResult
from gateway.web.bodies import Spool
from gateway.web.routing import VendorPath

BODY_TIMEOUT_S = 30.0
"""For a client to send its whole body."""

REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
"""An `X-Request-Id` that is taken over as it is; any other is replaced."""

CORS_HEADER = (b"access-control-allow-origin", b"*")

EMPTY_RESULT = ServiceResult(None)

T = TypeVar("T")


class ClientDisconnected(Exception):
    """The client left before its request was whole."""


class RequestState:
    """One request on its way: what is known of it so far."""

    __slots__ = (
        "answer",
        "caller",
        "client_ip",
        "credential",
        "effects",
        "endpoint",
        "headers",
        "method",
        "op",
        "place",
        "problem",
        "query_string",
        "request",
        "request_id",
        "simulated",
        "spool",
    )

    def __init__(
        self, place: VendorPath, scope: Scope, headers: dict[str, str], request_id: str
    ) -> None:
        self.place = place
        self.method = scope["method"]
        self.query_string = scope["query_string"].decode("latin-1")
        self.headers = headers
        self.request_id = request_id
        client = scope.get("client")
        self.client_ip: str = client[0] if client else ""
        self.endpoint: Endpoint[Any] | None = None
        self.caller: Caller | None = None
        self.op: Operation | None = None
        self.problem: Problem | None = None
        self.credential: str | None = None
        self.effects: Effects | None = None
        self.simulated = ""
        self.answer = EMPTY_RESULT
        self.request: WireRequest | None = None
        self.spool: Spool | None = None

    @property
    def scope(self) -> int | None:
        """Whose request it is, once that is known."""
        return None if self.caller is None else self.caller.sandbox_scope

    def to_logged_exchange(
        self, now: float, reply: WireReply | StreamReply
    ) -> sandbox_requests.Exchange:
        """As the request log keeps it."""
        problem = self.problem
        return sandbox_requests.Exchange(
            id=0,
            at=now,
            scope=self.scope,
            dialect=self.place.dialect.name,
            operation=self.endpoint.name if self.endpoint else "",
            method=self.method,
            path=self.place.path,
            query=self.query_string,
            headers=self.headers,
            body=self.request.first_chunk if self.request else b"",
            credential=self.credential or self._any_credential(),
            status=reply.status,
            reply=reply.body if isinstance(reply, WireReply) else reply.head,
            problem=problem.kind if problem else "",
            reason=problem_text(problem) if problem else "",
            simulated=self.simulated,
            request_id=self.request_id,
        )

    def _any_credential(self) -> str:
        """The key of a request that was refused before anybody looked for one."""
        try:
            request = self.request or self.wire_request(b"", {})
            return self.place.dialect.read_credential(request) or ""
        except UnreadableRequest:
            return ""

    def wire_request(
        self, body: bytes, path_params: Any, body_file: BinaryIO | None = None
    ) -> WireRequest:
        return WireRequest(
            method=self.method,
            path=self.place.path,
            query_string=self.query_string,
            headers=self.headers,
            body=body,
            body_file=body_file,
            client_ip=self.client_ip,
            path_params=path_params,
        )


async def read_body(
    x: RequestState, receive: Receive, endpoint: Endpoint[Any]
) -> tuple[bytes, BinaryIO | None]:
    """The whole body, or the file it is in; bounded in size and in time (`BODY_TIMEOUT_S`).

    Raises `Problem` (`TOO_LARGE`, `UNREADABLE`), `ClientDisconnected` and Unavailable.
    """
    limit = endpoint.body_limit
    declared = x.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise Problem(ProblemKind.TOO_LARGE, limit=limit)
    if declared in ("", "0") and "transfer-encoding" not in x.headers:
        return b"", None
    x.spool = spool = Spool(spill_to_file=endpoint.accepts_body_file)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnected
                piece = message.get("body", b"")
                if spool.size + len(piece) > limit:
                    raise Problem(ProblemKind.TOO_LARGE, limit=limit)
                await spool.write(piece)
                if not message.get("more_body", False):
                    return await spool.finish()
    except TimeoutError:
        raise Problem(ProblemKind.UNREADABLE, "The body did not arrive in time.") from None
    except OSError as exc:
        raise StorageUnavailable(f"a body cannot be kept: {exc}") from exc


async def read_off_loop_if_large(request: WireRequest, read: Callable[[WireRequest], T]) -> T:
    """Read a request, a large one where it keeps nobody up."""
    return read(request) if request.body_file is None else await asyncio.to_thread(read, request)


async def send_reply(send: Send, reply: WireReply | StreamReply, x: RequestState) -> None:
    headers = [
        (b"x-request-id", x.request_id.encode("latin-1")),
        *provenance_headers(x.answer.source, x.answer.attempts, x.answer.cache_status),
    ]
    for name, value in reply.headers:
        headers.append((name.lower().encode(), value.encode("latin-1")))
    whole = reply.body if isinstance(reply, WireReply) else None
    if whole is not None:
        headers.append((b"content-length", b"%d" % len(whole)))
    if whole != b"":
        headers.append((b"content-type", reply.media_type.encode()))
    if x.endpoint is not None and x.endpoint.cors and x.method != "OPTIONS":
        headers.append(CORS_HEADER)
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if whole is None:
        assert isinstance(reply, StreamReply)
        async for chunk in render_body(reply, x.answer.outcome.rows):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        whole = b""
    await send({"type": "http.response.body", "body": whole})


@lru_cache(1024)
def provenance_headers(source: str, attempts: int, cache: str) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that tell where an answer came from: few there are, and often the same."""
    return (
        (b"x-veriplex-source", source.encode("latin-1")),
        (b"x-veriplex-attempts", b"%d" % attempts),
        (b"cache-status", f"veriplex; {cache}".encode("latin-1")),
    )


def problem_text(problem: Problem) -> str:
    """What was wrong, in plain words."""
    about = f"{problem.field}: " if problem.field else ""
    return about + (problem.detail or problem.kind.replace("_", " "))


def domain_of(op: Operation | None) -> str:
    """The domain asked about, for the log: never the mailbox."""
    if not isinstance(op, Verify):
        return ""
    _, at, domain = op.email.rpartition("@")
    return domain[:255] if at else ""
