"""The error bodies: `success` and `message`; everything about keys and credits is a 403."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.contract.dialect import AnyEndpoint
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.kit.problems import problem_headers

CONTENT_TYPE_FIELD = "content-type"
"""`Problem.field` of a list whose content type is refused, which has a status of its own."""

INVALID_KEY = "Invalid API key"
NO_BALANCE = "Insufficient balance"
NOT_GRANTED = "This API key has not been granted access to this resource."
NOT_FOUND = "Not Found"
TOO_FAST = "Rate Limit Exceeded"

PROBLEMS: Mapping[ProblemKind, tuple[int, str, str]] = {
    # status, code, message
    ProblemKind.UNREADABLE: (400, "BAD_REQUEST", "The request could not be read"),
    ProblemKind.MISSING: (400, "BAD_REQUEST", "The {field} parameter is required"),
    ProblemKind.INVALID: (400, "BAD_REQUEST", "The {field} parameter is invalid"),
    ProblemKind.TOO_LARGE: (400, "BAD_REQUEST", "The list is too large"),
    ProblemKind.TOO_MANY: (400, "BAD_REQUEST", "A list may have up to {limit} email addresses"),
    ProblemKind.NO_CREDENTIAL: (403, "FORBIDDEN", INVALID_KEY),
    ProblemKind.BAD_CREDENTIAL: (403, "FORBIDDEN", INVALID_KEY),
    ProblemKind.NO_CREDITS: (403, "FORBIDDEN", NO_BALANCE),
    ProblemKind.SUSPENDED: (403, "FORBIDDEN", NOT_GRANTED),
    ProblemKind.UNCONFIRMED: (403, "FORBIDDEN", NOT_GRANTED),
    ProblemKind.CLIENT_BLOCKED: (403, "FORBIDDEN", NOT_GRANTED),
    ProblemKind.UNKNOWN_PATH: (404, "NOT_FOUND", NOT_FOUND),
    ProblemKind.WRONG_METHOD: (404, "NOT_FOUND", NOT_FOUND),
    ProblemKind.JOB_MALFORMED: (404, "NOT_FOUND", NOT_FOUND),
    ProblemKind.JOB_UNKNOWN: (404, "NOT_FOUND", NOT_FOUND),
    ProblemKind.JOB_STATE: (404, "NOT_FOUND", NOT_FOUND),
    ProblemKind.TOO_FAST: (429, "TOO_MANY_REQUESTS", TOO_FAST),
    ProblemKind.BATCHES_WAITING: (429, "TOO_MANY_REQUESTS", TOO_FAST),
    ProblemKind.BATCHES_RUNNING: (429, "TOO_MANY_REQUESTS", TOO_FAST),
    ProblemKind.BATCHES_SPENT: (429, "TOO_MANY_REQUESTS", TOO_FAST),
    ProblemKind.INTERNAL: (500, "INTERNAL_ERROR", "An unexpected error has occurred"),
    ProblemKind.NOT_READY: (503, "UNAVAILABLE", "The service is not available"),
    ProblemKind.UNAVAILABLE: (503, "UNAVAILABLE", "The service is not available"),
}
"""Documented are 403 with its first two texts, 429, and the statuses 400, 415 and 500; NOT_GRANTED
and `FORBIDDEN` were seen in 2026. The other texts and codes are ours, as is 503."""
REFUSED_TYPE = (415, "UNSUPPORTED_MEDIA_TYPE", "Invalid content type")


def write_problem(_: WireRequest, problem: Problem, __: AnyEndpoint | None) -> WireReply:
    return _reply(problem, with_code=False)


def write_problem_newer(_: WireRequest, problem: Problem, __: AnyEndpoint | None) -> WireReply:
    """With the `code` that was seen in 2026."""
    return _reply(problem, with_code=True)


def _reply(problem: Problem, *, with_code: bool) -> WireReply:
    status, code, text = PROBLEMS[problem.kind]
    if problem.kind is ProblemKind.INVALID and problem.field == CONTENT_TYPE_FIELD:
        status, code, text = REFUSED_TYPE
    message = text.format(field=problem.field, limit=f"{problem.limit or 0:,}")
    if problem.kind is ProblemKind.INVALID and problem.detail:
        message = problem.detail
    body: dict[str, Any] = {"success": False}
    if with_code:
        body["code"] = code
    body["message"] = message
    return json_reply(body, status, headers=problem_headers(problem))
