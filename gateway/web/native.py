"""The native API, `/veriplex/v1/…`, whose answers show the whole internal model."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response

from adapters.contract.dialect import Dialect
from adapters.contract.forms import TooManyFields, parse_form
from adapters.contract.operations import AccountInfo, Operation, ShowAccount, Verify
from adapters.contract.problems import Problem, ProblemKind
from adapters.kit.words import parse_bool
from engine.model import Checks
from gateway.accounts.caller import PROBLEM_OF_STATUS, AccountService, Caller
from gateway.cluster.limits import RateLimitExceeded
from gateway.errors import NO_SOURCE, NoAnswer
from gateway.sandbox.simulate import KIND_WORDS, SimulatedProblem
from gateway.service import Service, ServiceResult
from gateway.verdicts.as_json import verification_as_json
from gateway.web.exchange import domain_of
from gateway.web.problem_json import problem_response

if TYPE_CHECKING:
    from engine.smtp.egress import Egress
    from gateway.reputation import RecentRefusals, ReputationStore

Out = TypeVar("Out")

PROBLEM_STATUSES: dict[ProblemKind, tuple[int, str]] = {
    ProblemKind.MISSING: (400, "Send the address as the query parameter `email`."),
    ProblemKind.NO_CREDENTIAL: (401, "Send a key of any dialect as `Authorization: Bearer …`."),
    ProblemKind.BAD_CREDENTIAL: (401, "This key is not known, or was revoked."),
    ProblemKind.SUSPENDED: (403, "The account is suspended."),
    ProblemKind.UNCONFIRMED: (403, "The email address of the account is not verified."),
    ProblemKind.NO_CREDITS: (402, "The account has no credits left."),
    ProblemKind.TOO_FAST: (429, "The plan of this key allows fewer requests in this time."),
    ProblemKind.JOB_MALFORMED: (404, "There is no such batch."),
    ProblemKind.JOB_UNKNOWN: (404, "There is no such batch."),
    ProblemKind.JOB_STATE: (409, "The batch is in a state in which this cannot be done."),
    ProblemKind.TOO_LARGE: (413, "The body is too large."),
    ProblemKind.BATCHES_WAITING: (429, "The plan of this key allows fewer batches that wait."),
    ProblemKind.BATCHES_RUNNING: (429, "The plan of this key allows fewer batches at a time."),
    ProblemKind.BATCHES_SPENT: (429, "The plan of this key allows fewer batches a day."),
    ProblemKind.INTERNAL: (500, "The server has a bug."),
    ProblemKind.NOT_READY: (503, "The verification takes too long; try again."),
    ProblemKind.UNAVAILABLE: (503, "Too much is going on; try again."),
}
"""Status and detail of the errors of this API (RFC 9457)."""

MAX_OPERATORS = 200
"""Operators in one answer: those that refused us most often."""


def reputation_as_dict(
    egresses: Iterable[Egress], recent: Sequence[RecentRefusals] = ()
) -> dict[str, Any]:
    """Our reputation with the operators of mail hosts by each egress, the worst first.

    `egresses` have what this process has seen since its start; `recent` are the refusals of the
    last seven days, by all processes that share the database.
    """
    egresses = tuple(egresses)
    operators = [
        (egress.name, operator) for egress in egresses for operator in egress.reputation.operators()
    ]
    operators.sort(key=lambda row: (-row[1].refusal_count, -row[1].conversations))
    return {
        "egresses": [_egress_as_dict(egress) for egress in egresses],
        "recent": [
            {
                "egress": refusals.egress,
                "operator": refusals.operator,
                "meaning": refusals.meaning,
                "block_list": refusals.block_list,
                "last_24_hours": refusals.day,
                "last_7_days": refusals.week,
                "since": refusals.since,
                "paused_s": refusals.paused_s,
                "paused_hosts": refusals.paused_hosts,
                "last": {"at": refusals.last_at, "host": refusals.host, "text": refusals.text},
            }
            for refusals in recent
        ],
        "operators": [
            {
                "egress": egress,
                "operator": operator.operator,
                "conversations": operator.conversations,
                "refused": operator.refusal_count,
                "refusals": {m.value: count for m, count in operator.refusals.items()},
                "paused_s": math.ceil(operator.paused_s),
                "paused_hosts": operator.paused_hosts,
                "last": None
                if operator.refused_at is None
                else {
                    "at": operator.refused_at,
                    "host": operator.host,
                    "text": operator.text,
                    "block_list": operator.block_list,
                },
            }
            for egress, operator in operators[:MAX_OPERATORS]
        ],
        "total": len(operators),
    }


def _egress_as_dict(egress: Egress) -> dict[str, Any]:
    health = egress.health
    return {
        "name": egress.name,
        "conversations": egress.reputation.conversations,
        "resting_s": math.ceil(health.left_s),
        "faults": health.faults,
        "fault": health.reason or None,
        "ipv6": health.reaches_ipv6,
    }


class Asker(NamedTuple):
    """Whose request it is, and the dialect of the key."""

    dialect: Dialect
    caller: Caller


class NativeApi:
    """The calls of the native API, with a key of any dialect; `native_batches` has the others."""

    def __init__(
        self,
        dialects: tuple[Dialect, ...],
        accounts: AccountService,
        service: Service,
        egresses: Iterable[Egress] = (),
        reputation_store: ReputationStore | None = None,
        report_sources: Callable[[], Awaitable[list[dict[str, Any]]]] | None = None,
    ) -> None:
        self._dialects = dialects
        self._accounts = accounts
        self._service = service
        self._egresses = egresses
        self._reputation_store = reputation_store
        self._report_sources = report_sources

    async def verify(self, request: Request) -> Response:
        """Verify `email`; the result has all evidence and every source that was asked."""

        async def answer(asker: Asker) -> Response:
            op = _read_verify(request)
            request.state.domain = domain_of(op)
            await self.count_request(asker)
            found = await self.run(request, asker, op)
            return Response(verification_as_json(found), media_type="application/json")

        return await self.answer(request, answer)

    async def usage(self, request: Request) -> Response:
        """Show the plan of the key's account, its use this month and its credits."""

        async def answer(asker: Asker) -> Response:
            account = await self.run(request, asker, ShowAccount())
            return _json_response(account_as_dict(account))

        return await self.answer(request, answer)

    async def reputation(self, request: Request) -> Response:
        """Our reputation with mail hosts. Test keys are public, so they get empty lists."""

        async def answer(asker: Asker) -> Response:
            if self._reputation_store is None or asker.caller.test:
                return _json_response(reputation_as_dict(()))
            recent = await self._reputation_store.recent_refusals(MAX_OPERATORS)
            return _json_response(reputation_as_dict(self._egresses, recent))

        return await self.answer(request, answer)

    async def sources(self, request: Request) -> Response:
        """Show the sources: their state, latency and spending. Test keys get an empty list."""

        async def answer(asker: Asker) -> Response:
            is_shown = self._report_sources is not None and not asker.caller.test
            rows = await self._report_sources() if self._report_sources and is_shown else []
            return _json_response({"sources": rows})

        return await self.answer(request, answer)

    # -- what all calls have in common -----------------------------------------------------

    async def answer(
        self, request: Request, write: Callable[[Asker], Awaitable[Response]]
    ) -> Response:
        """The reply to a request with a key, or the problem document of what went wrong."""
        try:
            return await write(await self._authenticate(request))
        except Problem as problem:
            if isinstance(problem, NoAnswer):
                request.state.answer = ServiceResult(
                    None, NO_SOURCE, problem.sources_asked, "fwd=miss"
                )
            return _error_response(request, problem)
        except RateLimitExceeded as exc:
            too_fast = Problem(ProblemKind.TOO_FAST, retry_after_s=exc.retry_after_s)
            return _error_response(request, too_fast)
        except SimulatedProblem as simulated:
            return _simulated_response(request, simulated.word)

    async def run(self, request: Request, asker: Asker, op: Operation[Out]) -> Out:
        """The outcome of an operation; the reply's headers will say where it came from."""
        result = await self._service.run(asker.dialect, asker.caller, op)
        request.state.answer = result
        return result.outcome

    async def count_request(self, asker: Asker, *, endpoint_takes_batches: bool = False) -> None:
        """Count the request as one of the vendor's own. Raises RateLimitExceeded."""
        if bucket := _bucket(asker.dialect, endpoint_takes_batches):
            await self._accounts.enforce_rate_limit(asker.caller, bucket)

    async def find_caller(self, key: str) -> Caller | None:
        """The caller with a key of any dialect, if its account is active."""
        for dialect in self._dialects:
            caller = await self._accounts.authenticate(dialect.name, key)
            if caller is not None:
                return caller if caller.status == "active" else None
        return None

    async def _authenticate(self, request: Request) -> Asker:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Problem(ProblemKind.NO_CREDENTIAL)
        for dialect in self._dialects:
            caller = await self._accounts.authenticate(dialect.name, token.strip())
            if caller is not None and caller.status == "active":
                request.state.key_label = caller.key_label
                return Asker(dialect, caller)
            if caller is not None:
                raise Problem(PROBLEM_OF_STATUS[caller.status])
        raise Problem(ProblemKind.BAD_CREDENTIAL)


def _read_verify(request: Request) -> Verify:
    try:
        query = parse_form(request.url.query)
    except TooManyFields as exc:
        raise Problem(ProblemKind.UNREADABLE, str(exc)) from exc
    if not query.get("email", "").strip():
        raise Problem(ProblemKind.MISSING, field="email")
    return Verify(
        email=query["email"].strip(),
        checks=Checks(
            smtp=parse_bool(query.get("smtp"), True),
            catch_all=parse_bool(query.get("catch_all"), True),
            policies=True,
        ),
        refresh=parse_bool(query.get("refresh"), False),
    )


def _bucket(dialect: Dialect, takes_batches: bool) -> str | None:
    """The rate that counts such a request in the key's own dialect: every dialect names its
    endpoint for single verifications first."""
    return next(
        (
            endpoint.bucket
            for endpoint in dialect.endpoints
            if endpoint.bucket and endpoint.accepts_body_file is takes_batches
        ),
        None,
    )


def account_as_dict(account: AccountInfo) -> dict[str, Any]:
    plan = account.plan
    return {
        "plan": plan.name,
        "month": account.month,
        "used": account.used,
        "included": plan.included,
        "credits": account.credits,
        "test": account.is_test,
    }


def _json_response(body: Any) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")


def _error_response(request: Request, problem: Problem) -> Response:
    request.state.problem = problem.kind
    status, detail = PROBLEM_STATUSES.get(problem.kind, (400, problem.detail))
    headers = {"Retry-After": str(problem.retry_after_s)} if problem.retry_after_s else {}
    if isinstance(problem, NoAnswer):
        return problem_response(
            status, problem.detail, title=problem.kind, headers=headers, attempts=problem.attempts
        )
    return problem_response(status, detail, title=problem.kind, headers=headers)


def _simulated_response(request: Request, word: str) -> Response:
    """The error that a test key asked for: a kind of problem, or a bare status."""
    kind = KIND_WORDS.get(word)
    if kind is not None:
        return _error_response(request, Problem(kind, "This answer was simulated, as asked."))
    return problem_response(int(word), title="simulated")
