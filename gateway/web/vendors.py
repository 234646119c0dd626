"""A vendor's HTTP API: each request step by step, from its endpoint to its reply.

Pure ASGI, since every layer of Starlette's own middleware would cost more than the rest of a
request. What a client reads, errors included, is written by its dialect.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.types import Receive, Scope, Send

from adapters.contract.dialect import AnyEndpoint, Dialect
from adapters.contract.jobs import JobRows
from adapters.contract.operations import Operation
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import Reply, UnreadableRequest, WireReply, WireRequest, is_csv
from engine.turns import Party
from gateway.accounts.caller import PROBLEM_OF_STATUS, AccountService, Caller
from gateway.cluster.limits import RateLimitExceeded
from gateway.errors import NO_SOURCE, NoAnswer, StorageUnavailable
from gateway.observability.metrics import Metrics
from gateway.sandbox import Sandbox
from gateway.sandbox.keys import find_simulating_caller
from gateway.sandbox.links import URL_OF_REQUEST
from gateway.sandbox.simulate import PROBLEM_WORDS, SimulatedProblem, problem_for_word
from gateway.service import Service, ServiceResult
from gateway.web.bodies import BodyBudget, ClientDisconnected
from gateway.web.browsers import FOREIGN_PAGE, BrowserGuard
from gateway.web.client_blocks import ClientBlocks
from gateway.web.exchange import (
    BodyReader,
    RequestState,
    send_reply,
    verdict_of,
    without_formulas,
)
from gateway.web.faulty_send import ConnectionDropped, faulty_send
from gateway.web.open_requests import OpenRequest, OpenRequests, RequestPlaces
from gateway.web.reply_cache import ReplyCache
from gateway.web.routing import NearestPaths, VendorPath, VendorRoutes, host_name

log = logging.getLogger(__name__)


PREFLIGHT_REPLY = WireReply(
    204,
    headers=(
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
        ("Access-Control-Allow-Headers", "Authorization, Content-Type, X-API-Key"),
        ("Access-Control-Max-Age", "86400"),
    ),
)
"""The answer to a browser that asks whether it may call a `cors` endpoint."""

HOST = re.compile(r"[\w.-]{1,253}(?::\d{1,5})?|\[[\da-fA-F:.]{2,45}\](?::\d{1,5})?", re.ASCII)
"""A `Host` header that can stand in a link."""

PUBLISHED_KEY_REFUSED = (
    "this is a published test key, for veriplex sandbox; use one of veriplex keys create --test"
)

SANDBOX_RESULT = ServiceResult(None, source="sandbox")

STOPPING_RETRY_AFTER_S = 5
"""Seconds after which a client may try again at a server that is being restarted."""
STORAGE_RETRY_AFTER_S = 1
"""Seconds after which a client may try again when the database was unavailable."""


class VendorApp:
    """Serves all paths of the dialects."""

    def __init__(
        self,
        routes: VendorRoutes,
        accounts: AccountService,
        service: Service,
        client_blocks: ClientBlocks,
        metrics: Metrics,
        sandbox: Sandbox,
        *,
        neutralise_formulas: bool = False,
        links_by_proxy: bool = False,
        browser_guard: BrowserGuard | None = None,
        timer: Callable[[], float] = time.perf_counter,
        request_places: RequestPlaces | None = None,
    ) -> None:
        """`neutralise_formulas` is as in the settings (`server.neutralise_formulas`),
        and `links_by_proxy` as well.

        `browser_guard` is for a server whose keys are published, so that any web page knows one.
        `request_places` count the open requests at all servers.
        """
        self._routes = routes
        self._accounts = accounts
        self._service = service
        self._client_blocks = client_blocks
        self._metrics = metrics
        self._sandbox = sandbox
        self._browser_guard = browser_guard
        self._nearest = {each.name: NearestPaths((each,)) for each in routes.dialects}
        self._reply_cache = ReplyCache()
        self._bodies = BodyBudget()
        self._body_reader = BodyReader()
        self._open_requests = OpenRequests(request_places)
        self._neutralise_formulas = neutralise_formulas
        self._links_by_proxy = links_by_proxy
        self._timer = timer
        self.is_ending = False

    async def __call__(
        self, vendor_path: VendorPath, scope: Scope, receive: Receive, send: Send
    ) -> None:
        at, began = time.time(), self._timer()
        state = RequestState(vendor_path, scope, receive, self._bodies)
        if self._links_by_proxy:
            URL_OF_REQUEST.set(url_by_proxy(scope, vendor_path))
        try:
            reply = await self._reply(state, began)
            if self._sandbox.should_log(state.caller):
                state.explains_problem = True
                now = self._sandbox.clocks.now(state.scope)
                self._sandbox.request_log.add(state.to_logged_exchange(now, reply))
            if state.effects is not None:
                send = faulty_send(send, receive, scope, state.effects)
            try:
                await send_reply(send, reply, state)
            except StorageUnavailable as exc:
                # the rows of a batch cannot be read on, or were deleted meanwhile: the client
                # sees that the reply is not whole
                log.warning("reply.cut_off", extra={"error": str(exc)})
                connection = state.connection
                # to a client of HTTP/1.0 the end of the connection is the end of the reply
                is_old = scope.get("http_version") == "1.0"
                await (connection.reset() if is_old else connection.close())
        except (ClientDisconnected, ConnectionDropped):
            return
        finally:
            if state.body is not None:
                state.body.close()
            if state.open_request is not None:
                self._open_requests.end(state.open_request)
            if state.effects is not None:
                self._sandbox.faults.end(state.effects)
        seconds = self._timer() - began
        self._metrics.record_request(state.to_access_log_entry(reply.status, at, seconds))

    def end_requests(self) -> None:
        """From now on a request that is cancelled is answered: the server stops at once."""
        self.is_ending = True

    # -- one request, step by step -------------------------------------------------------

    async def _reply(self, state: RequestState, began: float) -> Reply:
        """The reply to a request, whatever goes wrong. Raises ClientDisconnected alone."""
        try:
            reply = await self._answer(state)
        except ClientDisconnected:
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self.is_ending or task is None:
                raise
            task.uncancel()  # the answer is still sent
            reply = self._error_reply(state, stopping_problem())
        except Exception as exc:
            reply = self._error_reply(state, exc)
            _forget_frames(exc)
            if state.problem is not None:
                await self._client_blocks.count_failed_attempt(
                    state.vendor_path.dialect, state.client_ip, state.problem.kind
                )
        dialect = state.vendor_path.dialect
        if state.caller is None:
            return reply
        hosts = dialect.account_header_hosts
        if dialect.account_headers is not None and (
            not hosts or host_name(state.headers.get("host", "")) in hosts
        ):
            try:
                account = await self._service.show_credits(state.vendor_path.dialect, state.caller)
            except StorageUnavailable as exc:
                return self._error_reply(state, exc)
            has = {name.lower() for name, _ in reply.headers}
            added = dialect.account_headers(account)
            added = tuple((name, value) for name, value in added if name.lower() not in has)
            reply = replace(reply, headers=reply.headers + added)
        if dialect.timing_header:
            took_ms = round((self._timer() - began) * 1000)
            timing = (dialect.timing_header, str(took_ms))
            reply = replace(reply, headers=(*reply.headers, timing))
        return reply

    async def _answer(self, state: RequestState) -> Reply:
        endpoint, state.path_params, problem = self._routes.find_endpoint(
            state.vendor_path, state.method
        )
        state.endpoint = endpoint
        if problem is not None:
            if state.method == "OPTIONS" and endpoint is not None and endpoint.cors:
                return PREFLIGHT_REPLY
            raise problem
        assert endpoint is not None
        guard = self._browser_guard
        if guard is not None and not endpoint.cors and guard.is_foreign(state.headers):
            # a form of any page could make us call a receiver in the user's network
            raise Problem(ProblemKind.CLIENT_BLOCKED, FOREIGN_PAGE)
        admitted = await self._admit_by_head(state, endpoint)
        state.request = request = await self._read_request(state, endpoint, admitted)
        if endpoint.needs_key and not admitted:
            await self._reject_unknown_key(state, endpoint, request)
            await self._admit(state, endpoint, request)
        if self._sandbox.faults.may_affect(state.scope):
            await self._inject_faults(state, endpoint)
        if request.body_file is not None and state.caller is not None and state.caller.test:
            async with self._sandbox.large_bodies.slot(state.scope):
                return await self._run(state, endpoint, request)
        return await self._run(state, endpoint, request)

    async def _admit_by_head(self, state: RequestState, endpoint: AnyEndpoint) -> bool:
        """Judge the key before a large body is read, if the head decides about it.

        Smaller bodies are read first, so that the sandbox's request log can show them.
        """
        if not endpoint.needs_key or state.body is None or not state.body.may_be_large:
            return False
        head = state.wire_request()
        if not state.vendor_path.dialect.credential_for(endpoint).is_decided_by_head(head):
            return False
        state.request = head
        await self._admit(state, endpoint, head)
        return True

    async def _read_request(
        self, state: RequestState, endpoint: AnyEndpoint, admitted: bool
    ) -> WireRequest:
        if state.body is None:
            return state.wire_request()
        try:
            body, body_file = await state.body.read(
                max_bytes=endpoint.body_limit,
                spill_to_file=endpoint.accepts_body_file,
                party=state.party if admitted else await self._account_shown(state, endpoint),
            )
        except Problem as problem:
            head = state.wire_request()
            credential = state.vendor_path.dialect.credential_for(endpoint)
            is_admissible = endpoint.needs_key and not admitted
            if (
                problem.kind is ProblemKind.TOO_LARGE
                and is_admissible
                and credential.is_decided_by_head(head)
            ):
                await self._admit(state, endpoint, head)  # a wrong key is the first problem
            raise
        return state.wire_request(body, body_file)

    async def _account_shown(self, state: RequestState, endpoint: AnyEndpoint) -> Party | None:
        """The account of the key in a request's head, while bodies of strangers are many."""
        if not self._bodies.is_tight or not endpoint.needs_key:
            return None
        head = state.wire_request()
        dialect = state.vendor_path.dialect
        credential = dialect.credential_for(endpoint)
        key = credential.read(head) if credential.is_decided_by_head(head) else None
        caller = None if key is None else await self._accounts.authenticate(dialect.name, key)
        return None if caller is None else caller.account_id

    async def _reject_unknown_key(
        self, state: RequestState, endpoint: AnyEndpoint, request: WireRequest
    ) -> None:
        """Refuse a large body that holds no key of ours before it is parsed. Raises `Problem`."""
        if request.body_file is None:
            return
        dialect = state.vendor_path.dialect
        credential = dialect.credential_for(endpoint)
        if credential.is_decided_by_head(request):
            return
        keys = await self._body_reader.run(credential.scan, request, state.party)
        if keys is None:
            return
        problem = Problem(ProblemKind.NO_CREDENTIAL)
        for key in keys:
            try:
                await self._authenticate(dialect, key)
            except Problem as exc:
                problem = exc
            else:
                return
        raise problem

    async def _admit(
        self, state: RequestState, endpoint: AnyEndpoint, request: WireRequest
    ) -> None:
        """Find the caller by its key, and check that it may ask this now.

        Raises `Problem`, SimulatedProblem and RateLimitExceeded.
        """
        dialect = state.vendor_path.dialect
        if await self._client_blocks.is_blocked(dialect, state.client_ip):
            raise Problem(ProblemKind.CLIENT_BLOCKED)
        credential = dialect.credential_for(endpoint)
        state.credential = await self._body_reader.run(credential.read, request, state.party)
        state.caller = caller = await self._authenticate(dialect, state.credential)
        if caller.test:
            state.result = SANDBOX_RESULT
            if caller.simulate in PROBLEM_WORDS:
                raise SimulatedProblem(caller.simulate)
        if endpoint.bucket is not None:
            await self._enforce_parallel(state, caller)
            await self._accounts.enforce_rate_limit(caller, endpoint.bucket)

    async def _enforce_parallel(self, state: RequestState, caller: Caller) -> None:
        """Refuse a request beyond those that the plan allows at a time. Raises `Problem`."""
        most = caller.plan.parallel
        if most is None or caller.test:
            return
        request = OpenRequest((caller.key_id, state.client_ip), state.connection.is_closed)
        if not await self._open_requests.begin(request, most):
            # it may be repeated as soon as another has its reply: no `Retry-After`
            raise Problem(ProblemKind.TOO_FAST, limit=most)
        state.open_request = request

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

    async def _inject_faults(self, state: RequestState, endpoint: AnyEndpoint) -> None:
        """Apply the sandbox's faults. Raises `Problem` and SimulatedProblem."""
        dialect = state.vendor_path.dialect.name
        effects = await self._sandbox.faults.inject(state.scope, dialect, endpoint.name)
        if effects is None:
            return
        self._sandbox.faults.begin(effects)
        state.effects = effects
        state.simulated = effects.description
        if effects.delay_s:
            await asyncio.sleep(effects.delay_s)
        if effects.problem is not None:
            raise effects.problem
        if effects.simulation_word:
            raise SimulatedProblem(effects.simulation_word)

    async def _run(self, state: RequestState, endpoint: AnyEndpoint, request: WireRequest) -> Reply:
        """Read the operation, run it and write its outcome, as far as the cache does not know."""
        dialect = state.vendor_path.dialect
        is_sample = self._sandbox.is_repeatable(state.caller)
        key = self._reply_cache.key(dialect.name, endpoint, request, is_sample=is_sample)
        cached = self._reply_cache.find(key)
        if cached is not None:
            state.op = op = cached.op
            if is_sample:
                state.verdict = cached.verdict
                return cached.reply
        else:
            state.op = op = await self._body_reader.run(endpoint.read, request, state.party)
        state.result = await self._service.run(dialect, state.caller, op)
        outcome = state.result.outcome
        state.verdict = verdict = verdict_of(outcome)
        kept = None if is_sample else outcome
        return self._reply_cache.reply_for(
            key, op, kept, lambda: self._write(endpoint, op, outcome), verdict
        )

    def _write(self, endpoint: AnyEndpoint, op: Operation[Any], outcome: Any) -> Reply:
        reply: Reply = endpoint.write(op, outcome)
        if not self._neutralise_formulas or not isinstance(outcome, JobRows) or not is_csv(reply):
            return reply
        # Written anew, since the head is bytes already; rows are only read while they are sent.
        rewritten: Reply = endpoint.write(op, without_formulas(outcome))
        return rewritten

    # -- what can go wrong ---------------------------------------------------------------

    def _error_reply(self, state: RequestState, exc: Exception) -> WireReply:
        dialect = state.vendor_path.dialect
        state.problem = problem = self._problem_for(state, exc)
        if isinstance(problem, NoAnswer):
            state.result = ServiceResult(None, NO_SOURCE, problem.sources_asked, "fwd=miss")
        state.hint = self._hint(state, problem)
        request = state.request or state.wire_request()
        return dialect.write_problem(request, problem, state.endpoint)

    def _hint(self, state: RequestState, problem: Problem) -> str:
        """What the client probably does wrong; only the log shows it."""
        dialect = state.vendor_path.dialect
        if problem.kind is ProblemKind.UNKNOWN_PATH:
            nearest, _ = self._nearest[dialect.name].find(state.vendor_path.path)
            return f"did you mean {nearest}?" if nearest else ""
        if problem.kind is not ProblemKind.BAD_CREDENTIAL or not state.credential:
            return ""
        owner = self._accounts.other_dialect(dialect.name, state.credential)
        for other in self._routes.dialects:
            if other.name == owner:
                url = f"{self._sandbox.url}/{other.name}{other.base_path}"
                return f"this is a key of {other.name}; its base URL is {url}"
        if any(state.credential == other.sandbox_key for other in self._routes.dialects):
            return PUBLISHED_KEY_REFUSED
        return ""

    def _problem_for(self, state: RequestState, exc: Exception) -> Problem:
        """The problem that the client is shown for an exception; a bug is logged."""
        match exc:
            case Problem():
                return exc
            case SimulatedProblem(word=word):
                assert state.request is not None
                assert state.endpoint is not None
                state.simulated = word
                now = self._sandbox.clocks.now(state.scope)
                dialect = state.vendor_path.dialect
                return problem_for_word(word, dialect, state.request, state.endpoint, now)
            case UnreadableRequest():
                return Problem(ProblemKind.UNREADABLE, str(exc))
            case RateLimitExceeded():
                return Problem(
                    ProblemKind.TOO_FAST,
                    limit=exc.limit,
                    retry_after_s=exc.retry_after_s,
                    reset_at=exc.reset_at,
                )
            case StorageUnavailable():
                extra = {"request_id": state.request_id, "error": str(exc)}
                log.warning("request.storage_unavailable", extra=extra)
                return Problem(ProblemKind.UNAVAILABLE, retry_after_s=STORAGE_RETRY_AFTER_S)
        log.error(
            "request.failed",
            extra={
                "request_id": state.request_id,
                "dialect": state.vendor_path.dialect.name,
                "endpoint": state.endpoint.name if state.endpoint else "",
            },
            exc_info=exc,
        )
        return Problem(ProblemKind.INTERNAL)


def url_by_proxy(scope: Scope, vendor_path: VendorPath) -> str:
    """Where a trusted proxy was called for this request; empty if it did not come from one.

    uvicorn gives an address that it takes from X-Forwarded-For the port 0. A vendor's own host
    name has none of our prefixes, which links begin with.
    """
    client = scope.get("client")
    host = next(
        (value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), ""
    )
    if client is None or client[1] != 0 or not HOST.fullmatch(host):
        return ""
    if host_name(host) in vendor_path.dialect.hosts:
        return ""
    return f"{scope['scheme']}://{host}"


def stopping_problem() -> Problem:
    """For a request whose answer is not waited for, since the server stops."""
    return Problem(ProblemKind.UNAVAILABLE, retry_after_s=STOPPING_RETRY_AFTER_S)


def _forget_frames(exc: BaseException | None) -> None:
    """Free what the functions that raised an exception have in their variables.

    The exception is in the request's state, and the state in those variables: the body of a request
    that was refused would stay in memory until the garbage collector finds the cycle.
    """
    while exc is not None:
        exc.__traceback__ = None
        exc = exc.__cause__ or exc.__context__
