"""The native API, `/veriplex/v1/…`, whose answers show the whole internal model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from adapters.contract.dialect import Dialect
from adapters.contract.forms import TooManyFields, parse_form
from adapters.contract.operations import Verify
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

PROBLEM_STATUSES: dict[ProblemKind, tuple[int, str]] = {
    ProblemKind.MISSING: (400, "Send the address as the query parameter `email`."),
    ProblemKind.NO_CREDENTIAL: (401, "Send a key of any dialect as `Authorization: Bearer …`."),
    ProblemKind.BAD_CREDENTIAL: (401, "This key is not known, or was revoked."),
    ProblemKind.SUSPENDED: (403, "The account is suspended."),
    ProblemKind.UNCONFIRMED: (403, "The email address of the account is not verified."),
    ProblemKind.NO_CREDITS: (402, "The account has no credits left."),
    ProblemKind.TOO_FAST: (429, "The plan of this key allows fewer requests in this time."),
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


class NativeApi:
    """`/veriplex/v1/verify?email=…` and `/veriplex/v1/standing`, with a key of any dialect."""

    def __init__(
        self,
        dialects: tuple[Dialect, ...],
        accounts: AccountService,
        service: Service,
        egresses: Iterable[Egress] = (),
        reputation_store: ReputationStore | None = None,
    ) -> None:
        self._dialects = dialects
        self._accounts = accounts
        self._service = service
        self._egresses = egresses
        self._reputation_store = reputation_store

    async def verify(self, request: Request) -> Response:
        """Verify `email`; the result has all evidence and every source that was asked."""
        try:
            dialect, caller = await self._authenticate(request)
            op = _read_verify(request)
            request.state.domain = domain_of(op)
            if bucket := _verify_bucket(dialect):
                await self._accounts.enforce_rate_limit(caller, bucket)
            answer = await self._service.run(dialect, caller, op)
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
        request.state.answer = answer
        return Response(verification_as_json(answer.outcome), media_type="application/json")

    async def reputation(self, request: Request) -> Response:
        """Our reputation with mail hosts. Test keys are public, so they get empty lists."""
        try:
            _, caller = await self._authenticate(request)
            body = reputation_as_dict(())
            if self._reputation_store is not None and not caller.test:
                recent = await self._reputation_store.recent_refusals(MAX_OPERATORS)
                body = reputation_as_dict(self._egresses, recent)
        except Problem as problem:
            return _error_response(request, problem)
        return Response(orjson.dumps(body), media_type="application/json")

    async def find_caller(self, key: str) -> Caller | None:
        """The caller with a key of any dialect, if its account is active."""
        for dialect in self._dialects:
            caller = await self._accounts.authenticate(dialect.name, key)
            if caller is not None:
                return caller if caller.status == "active" else None
        return None

    async def _authenticate(self, request: Request) -> tuple[Dialect, Caller]:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Problem(ProblemKind.NO_CREDENTIAL)
        for dialect in self._dialects:
            caller = await self._accounts.authenticate(dialect.name, token.strip())
            if caller is not None and caller.status == "active":
                request.state.key_label = caller.key_label
                return dialect, caller
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


def _verify_bucket(dialect: Dialect) -> str | None:
    """The rate that counts a verification in the key's own dialect: every dialect names its
    endpoint for single verifications first."""
    return next((endpoint.bucket for endpoint in dialect.endpoints if endpoint.bucket), None)


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
