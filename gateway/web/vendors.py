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
from adapters.contract.wire import StreamReply, UnreadableRequest, WireReply, WireRequest
from gateway.accounts.caller import AccountService, Caller
from gateway.accounts.limits import RateLimitExceeded
from gateway.errors import NO_SOURCE, NoAnswer, StorageUnavailable
from gateway.observability.metrics import AccessLogEntry, Metrics
from gateway.sandbox import Sandbox
from gateway.sandbox.keys import find_simulating_caller
from gateway.sandbox.simulate import PROBLEM_WORDS, SimulatedProblem, problem_for_word
from gateway.service import Service, ServiceResult
from gateway.web.client_blocks import ClientBlocks
from gateway.web.exchange import (
    REQUEST_ID,
    ClientDisconnected,
    RequestState,
    domain_of,
    read_body,
    read_off_loop_if_large,
    send_reply,
)
from gateway.web.faulty_send import ConnectionDropped, faulty_send
from gateway.web.reply_cache import ReplyCache
from gateway.web.routing import VendorPath, VendorRoutes

log = logging.getLogger(__name__)


PREFLIGHT_HEADERS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, X-API-Key"),
    ("Access-Control-Max-Age", "86400"),
)

SANDBOX_RESULT = ServiceResult(None, source="sandbox")
SAME_SAMPLE = object()
"""Stands for samples in the memo: the same question has the same one again."""

PROBLEM_OF_STATUS = {
    "suspended": ProblemKind.SUSPENDED,
    "unconfirmed": ProblemKind.UNCONFIRMED,
}


class VendorApp:
    """Answers every address that belongs to a dialect."""

    def __init__(
        self,
        routes: VendorRoutes,
        accounts: AccountService,
        service: Service,
        client_blocks: ClientBlocks,
        metrics: Metrics,
        sandbox: Sandbox,
        *,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._routes = routes
        self._accounts = accounts
        self._service = service
        self._client_blocks = client_blocks
        self._metrics = metrics
        self._sandbox = sandbox
        self._reply_cache = ReplyCache()
        self._timer = timer

    async def __call__(
        self, vendor_path: VendorPath, scope: Scope, receive: Receive, send: Send
    ) -> None:
        began = self._timer()
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        request_id = headers.get("x-request-id", "")
        if not REQUEST_ID.fullmatch(request_id):
            request_id = f"{getrandbits(128):032x}"
        x = RequestState(vendor_path, scope, headers, request_id)
        try:
            reply = await self._handle(x, receive)
            if self._sandbox.should_log(x.caller):
                now = self._sandbox.clocks.now(x.scope)
                self._sandbox.request_log.add(x.to_logged_exchange(now, reply))
            if x.effects is not None:
                send = faulty_send(send, receive, scope, x.effects)
            await send_reply(send, reply, x)
        except (ClientDisconnected, ConnectionDropped):
            return
        finally:
            if x.spool is not None:
                x.spool.close()
        self._metrics.record_request(
            AccessLogEntry(
                request_id,
                vendor_path.dialect.name,
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

    async def _handle(self, x: RequestState, receive: Receive) -> WireReply | StreamReply:
        """One request from address to reply, with every way it can go wrong."""
        dialect = x.place.dialect
        x.endpoint, path_params, problem = self._routes.find_endpoint(x.place, x.method)
        try:
            if problem is not None:
                if x.method == "OPTIONS" and x.endpoint is not None and x.endpoint.cors:
                    return WireReply(204, headers=PREFLIGHT_HEADERS)
                raise problem
            assert x.endpoint is not None
            body, body_file = await read_body(x, receive, x.endpoint)
            x.request = x.wire_request(body, path_params, body_file)
            return await self._run_operation(x, x.endpoint, x.request)
        except Problem as exc:
            x.problem = exc
            if isinstance(exc, NoAnswer):
                x.answer = ServiceResult(None, NO_SOURCE, exc.sources_asked, "fwd=miss")
        except SimulatedProblem as exc:
            assert x.endpoint is not None
            x.simulated = exc.word
            assert x.request is not None
            now = self._sandbox.clocks.now(x.scope)
            x.problem = problem_for_word(exc.word, dialect, x.request, x.endpoint, now)
        except UnreadableRequest as exc:
            x.problem = Problem(ProblemKind.UNREADABLE, str(exc))
        except ClientDisconnected:
            raise
        except StorageUnavailable as exc:
            extra = {"request_id": x.request_id, "error": str(exc)}
            log.warning("request.storage_unavailable", extra=extra)
            x.problem = Problem(ProblemKind.UNAVAILABLE, retry_after_s=1)
        except Exception:
            log.exception(
                "request.failed",
                extra={
                    "request_id": x.request_id,
                    "dialect": dialect.name,
                    "endpoint": x.endpoint.name if x.endpoint else "",
                },
            )
            x.problem = Problem(ProblemKind.INTERNAL)
        self._client_blocks.count_failed_attempt(dialect, x.client_ip, x.problem.kind)
        # without a body, where the request did not come as far as that
        request = x.request or x.wire_request(b"", {})
        return dialect.write_problem(request, x.problem, x.endpoint)

    async def _run_operation(
        self, x: RequestState, endpoint: Endpoint[Any], request: WireRequest
    ) -> WireReply | StreamReply:
        dialect = x.place.dialect
        if endpoint.needs_key:
            if self._client_blocks.is_blocked(dialect, x.client_ip):
                raise Problem(ProblemKind.CLIENT_BLOCKED)
            x.credential = await read_off_loop_if_large(request, dialect.read_credential)
            x.caller = await self._authenticate(dialect, x.credential)
            if x.caller.test:
                x.answer = SANDBOX_RESULT
                if x.caller.simulate in PROBLEM_WORDS:
                    raise SimulatedProblem(x.caller.simulate)
            if endpoint.bucket is not None:
                await self._enforce_rate_limit(x.caller, endpoint.bucket)
        if self._sandbox.faults:
            await self._apply_faults(x, endpoint)
        key = (
            None if request.body_file else self._reply_cache.digest(dialect.name, endpoint, request)
        )
        kept = None if key is None else self._reply_cache.get(key)
        if (
            kept is not None
            and kept.outcome is SAME_SAMPLE
            and self._sandbox.is_repeatable(x.caller)
        ):
            x.op = kept.op
            return kept.reply
        x.op = op = (
            await read_off_loop_if_large(request, endpoint.read) if kept is None else kept.op
        )
        x.answer = await self._service.run(dialect, x.caller, op)
        outcome = x.answer.outcome
        if kept is not None and kept.outcome is outcome:
            return kept.reply
        reply = endpoint.write(x.op, outcome)
        if key is not None and isinstance(x.op, Verify):
            known_by = SAME_SAMPLE if self._sandbox.is_repeatable(x.caller) else outcome
            return self._reply_cache.put(key, x.op, known_by, reply)
        return reply

    async def _authenticate(self, dialect: Dialect, credential: str | None) -> Caller:
        if credential is None:
            raise Problem(ProblemKind.NO_CREDENTIAL)
        caller = await self._accounts.authenticate(dialect.name, credential)
        if caller is None:
            caller = await find_simulating_caller(self._accounts, dialect.name, credential)
        if caller is None:
            raise Problem(ProblemKind.BAD_CREDENTIAL)
        kind = PROBLEM_OF_STATUS.get(caller.status)
        if kind is not None:
            raise Problem(kind)
        return caller

    async def _enforce_rate_limit(self, caller: Caller, bucket: str) -> None:
        try:
            await self._accounts.enforce_rate_limit(caller, bucket)
        except RateLimitExceeded as exc:
            raise Problem(
                ProblemKind.TOO_FAST,
                limit=exc.limit,
                retry_after_s=exc.retry_after_s,
                reset_at=exc.reset_at,
            ) from exc

    async def _apply_faults(self, x: RequestState, endpoint: Endpoint[Any]) -> None:
        """Let the faults that are set do their work. Raises `Problem` and `SimulatedProblem`."""
        dialect = x.place.dialect.name
        effects = await self._sandbox.faults.inject(x.scope, dialect, endpoint.name)
        if effects is None:
            return
        x.effects = effects
        x.simulated = effects.description
        if effects.delay_s:
            await asyncio.sleep(effects.delay_s)
        if effects.problem is not None:
            raise effects.problem
        if effects.simulation_word:
            raise SimulatedProblem(effects.simulation_word)
