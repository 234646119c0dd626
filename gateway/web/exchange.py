"""One HTTP exchange with a vendor's client: what is known of its request, and the reply sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, BinaryIO, TypeVar

from starlette.types import Receive, Scope, Send

from adapters.contract.dialect import AnyEndpoint
from adapters.contract.jobs import JobRow, JobRows
from adapters.contract.operations import Operation, Verify
from adapters.contract.problems import Problem
from adapters.contract.streaming import render_body
from adapters.contract.wire import Reply, StreamReply, UnreadableRequest, WireReply, WireRequest
from adapters.kit.csv import neutralise_formula
from engine.model import Verification
from engine.turns import FairSlots, Party
from gateway.accounts.caller import Caller
from gateway.observability.access_line import loggable_path
from gateway.observability.metrics import AccessLogEntry
from gateway.sandbox import requests as sandbox_requests
from gateway.sandbox.faults import Effects
from gateway.service import ServiceResult
from gateway.web.bodies import BodyBudget, incoming_body
from gateway.web.compression import MIN_BYTES, compressing
from gateway.web.faulty_send import ClientConnection
from gateway.web.open_requests import OpenRequest
from gateway.web.provenance import provenance_headers, request_id
from gateway.web.routing import VendorPath

CORS_HEADER = (b"access-control-allow-origin", b"*")
CLOSE_HEADER = (b"connection", b"close")

MAX_LOGGED_DOMAIN_CHARACTERS = 255
MAX_BYTES_PARSED_ON_LOOP = 16 * 1024
"""Of a body that is parsed on the event loop; the worst list takes 0.5 ms for each kB."""

EMPTY_RESULT = ServiceResult(None)

T = TypeVar("T")


class RequestState:
    """What is known of one request so far; filled in step by step."""

    __slots__ = (
        "body",
        "caller",
        "client_ip",
        "connection",
        "credential",
        "effects",
        "endpoint",
        "explains_problem",
        "headers",
        "hint",
        "method",
        "op",
        "open_request",
        "path",
        "path_params",
        "problem",
        "query_string",
        "request",
        "request_id",
        "result",
        "simulated",
        "vendor_path",
        "verdict",
    )

    def __init__(
        self, vendor_path: VendorPath, scope: Scope, receive: Receive, bodies: BodyBudget
    ) -> None:
        self.vendor_path = vendor_path
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        """With the dialect's prefix, if it has one."""
        self.query_string: str = scope["query_string"].decode("latin-1")
        self.headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        self.request_id = request_id(self.headers.get("x-request-id", ""))
        client = scope.get("client")
        self.client_ip: str = client[0] if client else ""
        self.connection = ClientConnection(scope, receive)
        self.body = incoming_body(self.headers, receive, bodies)
        self.endpoint: AnyEndpoint | None = None
        self.path_params: Any = {}
        self.request: WireRequest | None = None
        """With its body."""
        self.credential: str | None = None
        self.caller: Caller | None = None
        self.open_request: OpenRequest | None = None
        """If the caller's plan limits how many are open at a time."""
        self.effects: Effects | None = None
        """Of the sandbox's faults."""
        self.simulated = ""
        """What the sandbox simulated: a word, or the ids of faults."""
        self.op: Operation[Any] | None = None
        self.result = EMPTY_RESULT
        self.verdict = ""
        """Of a verification; empty for any other operation."""
        self.problem: Problem | None = None
        self.hint = ""
        self.explains_problem = False
        """Whether a header says what is wrong with the request, in plain words."""
        """What the client probably does wrong, for the operator."""

    @property
    def scope(self) -> int | None:
        """The sandbox scope of its caller, once that is known."""
        return None if self.caller is None else self.caller.sandbox_scope

    @property
    def party(self) -> Party:
        """Whom it is for (`engine.turns`): its account, or its client until that is known."""
        return self.client_ip if self.caller is None else self.caller.account_id

    @property
    def leaves_body_unread(self) -> bool:
        """Whether a large body is still to come when the reply is known."""
        return self.body is not None and self.body.may_be_large and not self.body.complete

    def wire_request(self, body: bytes = b"", body_file: BinaryIO | None = None) -> WireRequest:
        return WireRequest(
            method="GET" if self.method == "HEAD" else self.method,
            path=self.vendor_path.path,
            query_string=self.query_string,
            headers=self.headers,
            body=body,
            body_file=body_file,
            client_ip=self.client_ip,
            path_params=self.path_params,
        )

    def to_logged_exchange(self, now: float, reply: Reply) -> sandbox_requests.Exchange:
        """The entry in the sandbox's request log."""
        problem = self.problem
        return sandbox_requests.Exchange(
            id=0,
            at=now,
            scope=self.scope,
            dialect=self.vendor_path.dialect.name,
            operation=self.endpoint.name if self.endpoint else "",
            method=self.method,
            path=self.vendor_path.path,
            query=self.query_string,
            headers=self.headers,
            body=self.request.first_chunk if self.request else b"",
            credential=self.credential or self._any_credential(),
            status=reply.status,
            reply=reply.body if isinstance(reply, WireReply) else reply.head,
            problem=problem.kind if problem else "",
            reason="; ".join(
                text for text in (problem_text(problem) if problem else "", self.hint) if text
            ),
            simulated=self.simulated,
            request_id=self.request_id,
        )

    def to_access_log_entry(self, status: int, at: float, seconds: float) -> AccessLogEntry:
        """The line in the access log; `at` is when the request came."""
        return AccessLogEntry(
            self.request_id,
            self.vendor_path.dialect.name,
            self.endpoint.name if self.endpoint else "",
            self.method,
            status,
            self.result.source,
            seconds,
            self.caller.key_label if self.caller else "",
            domain_of(self.op),
            self.problem.kind if self.problem else "",
            at,
            self._path_for_log(),
            self.verdict,
            self.result.cache_status if self.verdict else "",
            self.client_ip,
            self.hint,
        )

    def _path_for_log(self) -> str:
        endpoint = self.endpoint
        if endpoint is not None and not endpoint.needs_key and self.path_params:
            # such a path is the key to what it leads to
            return self.path.removesuffix(self.vendor_path.path) + endpoint.path
        return loggable_path(self.path, is_known=endpoint is not None)

    def _any_credential(self) -> str:
        """The key of a request that was refused before its key was needed."""
        try:
            request = self.request or self.wire_request()
            return self.vendor_path.dialect.credential_for(self.endpoint).read(request) or ""
        except UnreadableRequest:
            return ""


class BodyReader:
    """Reads requests, those with a large body in a thread: parsing it would block the loop.

    One body in memory and one in a file are parsed at a time, of the clients in turn
    (`engine.turns`). Parsing takes memory, and several threads would keep the loop waiting for the
    interpreter's lock.
    """

    def __init__(self) -> None:
        self._in_memory = FairSlots(1, is_strict=True)
        self._in_file = FairSlots(1, is_strict=True)

    async def run(self, read: Callable[[WireRequest], T], request: WireRequest, party: Party) -> T:
        """`read(request)`."""
        if request.body_file is None and len(request.body) <= MAX_BYTES_PARSED_ON_LOOP:
            return read(request)
        slots = self._in_memory if request.body_file is None else self._in_file
        async with slots.slot(party):
            return await asyncio.to_thread(read, request)


async def send_reply(send: Send, reply: Reply, state: RequestState) -> None:
    """Send a reply, compressed if it is long; to a HEAD its head alone (RFC 9110 section 9.3.2)."""
    result = state.result
    headers = [
        (b"x-request-id", state.request_id.encode("latin-1")),
        *provenance_headers(result.source, result.attempts, result.cache_status),
    ]
    for name, value in reply.headers:
        # in the dialect's case: some clients compare names to the letter
        headers.append((name.encode(), value.encode("latin-1")))
    whole = reply.body if isinstance(reply, WireReply) else None
    if whole is not None:
        headers.append((b"content-length", b"%d" % len(whole)))
    if whole != b"":
        headers.append((b"content-type", reply.media_type.encode()))
    if state.endpoint is not None and state.endpoint.cors and state.method != "OPTIONS":
        headers.append(CORS_HEADER)
    if state.explains_problem and state.problem is not None:
        text = " ".join(problem_text(state.problem).split())
        headers.append((b"x-veriplex-problem", text.encode("ascii", "replace")))
    if state.leaves_body_unread:
        # the server goes on receiving until the client has read the reply (gateway.web.edge)
        headers.append(CLOSE_HEADER)
    if whole is None or len(whole) >= MIN_BYTES:
        send = compressing(send, state.headers.get("accept-encoding", ""))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if state.method == "HEAD":
        whole = b""
    if whole is None:
        assert isinstance(reply, StreamReply)
        async for chunk in render_body(reply):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        whole = b""
    await send({"type": "http.response.body", "body": whole})


def problem_text(problem: Problem) -> str:
    """What was wrong, in plain words."""
    about = f"{problem.field}: " if problem.field else ""
    return about + (problem.detail or problem.kind.replace("_", " "))


def domain_of(op: Operation[Any] | None) -> str:
    """The domain of a verified address, for the log; empty for any other operation."""
    if not isinstance(op, Verify):
        return ""
    _, at, domain = op.email.rpartition("@")
    return domain[:MAX_LOGGED_DOMAIN_CHARACTERS] if at else ""


def verdict_of(outcome: object) -> str:
    """The verdict of a verification, for the log; empty for any other outcome."""
    return outcome.verdict.value if isinstance(outcome, Verification) else ""


def without_formulas(found: JobRows) -> JobRows:
    """The rows of a batch with the client's own texts fit for a spreadsheet."""

    async def rows() -> AsyncIterator[JobRow]:
        async for row in found.rows:
            cells = tuple(map(neutralise_formula, row.cells))
            yield replace(row, email=neutralise_formula(row.email), cells=cells)

    headers = tuple(map(neutralise_formula, found.job.headers))
    return replace(found, job=replace(found.job, headers=headers), rows=rows())
