"""Vendor requests over ASGI: bytes to wire values, through the service, and back.

Pure ASGI, since every layer of Starlette's own middleware would cost more than the rest of
a request. Only a dialect words what a client sees; the headers added here tell where an
answer came from (RFC 9211 for `Cache-Status`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from random import getrandbits
from typing import Any

from starlette.types import Receive, Scope, Send

from adapters.contract.dialect import Dialect, Endpoint
from adapters.contract.operations import Verify
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import StreamReply, Unreadable, WireReply, WireRequest
from gateway.accounts.caller import Books, Caller
from gateway.accounts.limits import TooFast
from gateway.errors import NOBODY, NoAnswer, Unavailable
from gateway.observability.metrics import Observer, Seen
from gateway.sandbox import Sandbox
from gateway.sandbox.keys import with_word
from gateway.sandbox.simulate import PROBLEM_WORDS, Simulated, problem_of
from gateway.service import Answer, Service
from gateway.web.client_blocks import Guard
from gateway.web.exchange import (
    REQUEST_ID,
    Disconnected,
    Exchange,
    domain_of,
    read_apart,
    read_body,
    send_reply,
)
from gateway.web.faulty_send import ConnectionLost, faulty
from gateway.web.reply_cache import Memo
from gateway.web.routing import Place, Routes

log = logging.getLogger(__name__)


PREFLIGHT_HEADERS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, X-API-Key"),
    ("Access-Control-Max-Age", "86400"),
)

FROM_SANDBOX = Answer(None, source="sandbox")
REPEATED = object()
"""Stands for samples in the memo: the same question has the same one again."""

STATUS_OF_ACCOUNT = {
    "suspended": ProblemKind.SUSPENDED,
    "unconfirmed": ProblemKind.UNCONFIRMED,
}


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
        x = Exchange(place, scope, headers, request_id)
        try:
            reply = await self._exchange(x, receive)
            if self._sandbox.logs(x.caller):
                now = self._sandbox.clocks.now(x.scope)
                self._sandbox.log.add(x.logged(now, reply))
            if x.effects is not None:
                send = faulty(send, receive, scope, x.effects)
            await send_reply(send, reply, x)
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
                domain_of(x.op),
                x.problem.kind if x.problem else "",
            )
        )

    async def _exchange(self, x: Exchange, receive: Receive) -> WireReply | StreamReply:
        """One request from address to reply, with every way it can go wrong."""
        dialect = x.place.dialect
        x.endpoint, path_params, problem = self._routes.endpoint(x.place, x.method)
        try:
            if problem is not None:
                if x.method == "OPTIONS" and x.endpoint is not None and x.endpoint.cors:
                    return WireReply(204, headers=PREFLIGHT_HEADERS)
                raise problem
            assert x.endpoint is not None
            body, body_file = await read_body(x, receive, x.endpoint)
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
        self, x: Exchange, endpoint: Endpoint[Any], request: WireRequest
    ) -> WireReply | StreamReply:
        dialect = x.place.dialect
        if endpoint.needs_key:
            if self._guard.blocks(dialect, x.client_ip):
                raise Problem(ProblemKind.CLIENT_BLOCKED)
            x.credential = await read_apart(request, dialect.credential)
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
        x.op = op = await read_apart(request, endpoint.read) if kept is None else kept.op
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

    async def _strike(self, x: Exchange, endpoint: Endpoint[Any]) -> None:
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
