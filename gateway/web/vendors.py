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
from functools import lru_cache
from random import getrandbits
from typing import Any, BinaryIO, TypeVar

from starlette.types import Receive, Scope, Send

from adapters.contract.dialect import Dialect, Endpoint, Operation, Problem, ProblemKind, Verify
from adapters.contract.wire import StreamReply, Unreadable, WireReply, WireRequest
from gateway.accounts.caller import Books, Caller, Unavailable
from gateway.accounts.limits import TooFast
from gateway.observability.metrics import Observer, Seen
from gateway.sandbox import Sandbox
from gateway.sandbox.faults import Effects
from gateway.sandbox.keys import with_word
from gateway.sandbox.requests import Exchange
from gateway.sandbox.simulate import PROBLEM_WORDS, Simulated, problem_of
from gateway.service import Answer, Service
from gateway.upstreams.routing.outcome import NOBODY, NoAnswer
from gateway.web.bodies import Spool
from gateway.web.client_blocks import Guard
from gateway.web.faulty_send import ConnectionLost, faulty
from gateway.web.reply_cache import Memo
from gateway.web.routing import Place, Routes
from gateway.web.streaming import chunks

log = logging.getLogger(__name__)

T = TypeVar("T")

BODY_TIMEOUT_S = 30.0
"""For a client to send its whole body."""

REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
"""An `X-Request-Id` that is taken over as it is; any other is replaced."""

CORS_HEADER = (b"access-control-allow-origin", b"*")
PREFLIGHT_HEADERS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, X-API-Key"),
    ("Access-Control-Max-Age", "86400"),
)

NO_ANSWER = Answer(None)
FROM_SANDBOX = Answer(None, source="sandbox")
REPEATED = object()
"""Stands for samples in the memo: the same question has the same one again."""

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
        sandbox: Sandbox,
        *,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._routes = routes
        self._accounts = accounts
        self._service = service
        self._guard = guard
        self._observer = observer
        self._sandbox = sandbox
        self._memo = Memo()
        self._timer = timer

    async def __call__(self, place: Place, scope: Scope, receive: Receive, send: Send) -> None:
        began = self._timer()
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        request_id = headers.get("x-request-id", "")
        if not REQUEST_ID.fullmatch(request_id):
            request_id = f"{getrandbits(128):032x}"
        x = _Exchange(place, scope, headers, request_id)
        try:
            reply = await self._exchange(x, receive)
            if self._sandbox.logs(x.caller):
                now = self._sandbox.clocks.now(x.scope)
                self._sandbox.log.add(x.logged(now, reply))
            if x.effects is not None:
                send = faulty(send, receive, scope, x.effects)
            await _send(send, reply, x)
        except (Disconnected, ConnectionLost):
            return
        finally:
            if x.spool is not None:
                x.spool.close()
        self._observer.request(
            Seen(
                request_id,
                place.dialect.name,
                x.endpoint.name if x.endpoint else "",
                x.method,
                reply.status,
                x.answer.source,
                self._timer() - began,
                x.caller.key_label if x.caller else "",
                _domain(x.op),
                x.problem.kind if x.problem else "",
            )
        )

    async def _exchange(self, x: _Exchange, receive: Receive) -> WireReply | StreamReply:
        """One request from address to reply, with every way it can go wrong."""
        dialect = x.place.dialect
        x.endpoint, path_params, problem = self._routes.endpoint(x.place, x.method)
        try:
            if problem is not None:
                if x.method == "OPTIONS" and x.endpoint is not None and x.endpoint.cors:
                    return WireReply(204, headers=PREFLIGHT_HEADERS)
                raise problem
            assert x.endpoint is not None
            body, body_file = await _read_body(x, receive, x.endpoint)
            x.request = x.wire_request(body, path_params, body_file)
            return await self._run(x, x.endpoint, x.request)
        except Problem as exc:
            x.problem = exc
            if isinstance(exc, NoAnswer):
                x.answer = Answer(None, NOBODY, exc.asked, "fwd=miss")
        except Simulated as exc:
            assert x.endpoint is not None
            x.simulated = exc.word
            assert x.request is not None
            now = self._sandbox.clocks.now(x.scope)
            x.problem = problem_of(exc.word, dialect, x.request, x.endpoint, now)
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
        # without a body, where the request did not come as far as that
        request = x.request or x.wire_request(b"", {})
        return dialect.write_problem(request, x.problem, x.endpoint)

    async def _run(
        self, x: _Exchange, endpoint: Endpoint[Any], request: WireRequest
    ) -> WireReply | StreamReply:
        dialect = x.place.dialect
        if endpoint.needs_key:
            if self._guard.blocks(dialect, x.client_ip):
                raise Problem(ProblemKind.CLIENT_BLOCKED)
            x.credential = await _apart(request, dialect.credential)
            x.caller = await self._authenticate(dialect, x.credential)
            if x.caller.test:
                x.answer = FROM_SANDBOX
                if x.caller.simulate in PROBLEM_WORDS:
                    raise Simulated(x.caller.simulate)
            if endpoint.bucket is not None:
                await self._admit(x.caller, endpoint.bucket)
        if self._sandbox.faults:
            await self._strike(x, endpoint)
        key = None if request.body_file else self._memo.key(dialect.name, endpoint, request)
        kept = None if key is None else self._memo.get(key)
        if kept is not None and kept.outcome is REPEATED and self._sandbox.repeats(x.caller):
            x.op = kept.op
            return kept.reply
        x.op = op = await _apart(request, endpoint.read) if kept is None else kept.op
        x.answer = await self._service.run(dialect, x.caller, op)
        outcome = x.answer.outcome
        if kept is not None and kept.outcome is outcome:
            return kept.reply
        reply = endpoint.write(x.op, outcome)
        if key is not None and isinstance(x.op, Verify):
            known_by = REPEATED if self._sandbox.repeats(x.caller) else outcome
            return self._memo.keep(key, x.op, known_by, reply)
        return reply

    async def _authenticate(self, dialect: Dialect, credential: str | None) -> Caller:
        if credential is None:
            raise Problem(ProblemKind.NO_CREDENTIAL)
        caller = await self._accounts.authenticate(dialect.name, credential)
        if caller is None:
            caller = await with_word(self._accounts, dialect.name, credential)
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

    async def _strike(self, x: _Exchange, endpoint: Endpoint[Any]) -> None:
        """Let the faults that are set do their work. Raises `Problem` and `Simulated`."""
        dialect = x.place.dialect.name
        effects = await self._sandbox.faults.strike(x.scope, dialect, endpoint.name)
        if effects is None:
            return
        x.effects = effects
        x.simulated = effects.cause
        if effects.delay_s:
            await asyncio.sleep(effects.delay_s)
        if effects.problem is not None:
            raise effects.problem
        if effects.word:
            raise Simulated(effects.word)


class _Exchange:
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
        self, place: Place, scope: Scope, headers: dict[str, str], request_id: str
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
        self.answer = NO_ANSWER
        self.request: WireRequest | None = None
        self.spool: Spool | None = None

    @property
    def scope(self) -> int | None:
        """Whose request it is, once that is known."""
        return None if self.caller is None else self.caller.scope

    def logged(self, now: float, reply: WireReply | StreamReply) -> Exchange:
        """As the request log keeps it."""
        problem = self.problem
        return Exchange(
            id=0,
            at=now,
            scope=self.scope,
            dialect=self.place.dialect.name,
            operation=self.endpoint.name if self.endpoint else "",
            method=self.method,
            path=self.place.path,
            query=self.query_string,
            headers=self.headers,
            body=self.request.head if self.request else b"",
            credential=self.credential or self._any_credential(),
            status=reply.status,
            reply=reply.body if isinstance(reply, WireReply) else reply.head,
            problem=problem.kind if problem else "",
            reason=why(problem) if problem else "",
            simulated=self.simulated,
            request_id=self.request_id,
        )

    def _any_credential(self) -> str:
        """The key of a request that was refused before anybody looked for one."""
        try:
            request = self.request or self.wire_request(b"", {})
            return self.place.dialect.credential(request) or ""
        except Unreadable:
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


async def _read_body(
    x: _Exchange, receive: Receive, endpoint: Endpoint[Any]
) -> tuple[bytes, BinaryIO | None]:
    """The whole body, or the file it is in; bounded in size and in time (`BODY_TIMEOUT_S`).

    Raises `Problem` (`TOO_LARGE`, `UNREADABLE`), `Disconnected` and Unavailable.
    """
    limit = endpoint.body_limit
    declared = x.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise Problem(ProblemKind.TOO_LARGE, limit=limit)
    if declared in ("", "0") and "transfer-encoding" not in x.headers:
        return b"", None
    x.spool = spool = Spool(in_file=endpoint.spooled)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                piece = message.get("body", b"")
                if spool.size + len(piece) > limit:
                    raise Problem(ProblemKind.TOO_LARGE, limit=limit)
                await spool.add(piece)
                if not message.get("more_body", False):
                    return await spool.end()
    except TimeoutError:
        raise Problem(ProblemKind.UNREADABLE, "The body did not arrive in time.") from None
    except OSError as exc:
        raise Unavailable(f"a body cannot be kept: {exc}") from exc


async def _apart(request: WireRequest, read: Callable[[WireRequest], T]) -> T:
    """Read a request, a large one where it keeps nobody up."""
    return read(request) if request.body_file is None else await asyncio.to_thread(read, request)


async def _send(send: Send, reply: WireReply | StreamReply, x: _Exchange) -> None:
    headers = [
        (b"x-request-id", x.request_id.encode("latin-1")),
        *_provenance(x.answer.source, x.answer.attempts, x.answer.cache),
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
        async for chunk in chunks(reply, x.answer.outcome.rows):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        whole = b""
    await send({"type": "http.response.body", "body": whole})


@lru_cache(1024)
def _provenance(source: str, attempts: int, cache: str) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that tell where an answer came from: few there are, and often the same."""
    return (
        (b"x-veriplex-source", source.encode("latin-1")),
        (b"x-veriplex-attempts", b"%d" % attempts),
        (b"cache-status", f"veriplex; {cache}".encode("latin-1")),
    )


def why(problem: Problem) -> str:
    """What was wrong, in plain words."""
    about = f"{problem.field}: " if problem.field else ""
    return about + (problem.detail or problem.kind.replace("_", " "))


def _domain(op: Operation | None) -> str:
    """The domain asked about, for the log: never the mailbox."""
    if not isinstance(op, Verify):
        return ""
    _, at, domain = op.email.rpartition("@")
    return domain[:255] if at else ""
