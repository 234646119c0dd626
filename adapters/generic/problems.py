"""The error bodies."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.contract.dialect import AnyEndpoint
from adapters.contract.jobs import JobState
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.generic.words import STATUSES
from adapters.kit.problems import problem_headers

PROBLEMS: Mapping[ProblemKind, tuple[int, str, str]] = {
    ProblemKind.UNREADABLE: (400, "invalid_request", "The request body must be a JSON object."),
    ProblemKind.MISSING: (400, "invalid_request", "{field} is required."),
    ProblemKind.INVALID: (400, "invalid_request", "{detail}"),
    ProblemKind.TOO_MANY: (400, "too_many_emails", "At most {limit} emails fit in one job."),
    ProblemKind.BATCHES_WAITING: (400, "too_many_jobs", "Too many jobs."),
    ProblemKind.BATCHES_RUNNING: (400, "too_many_jobs", "Too many jobs are running."),
    ProblemKind.BATCHES_SPENT: (400, "too_many_jobs", "Too many jobs for one day."),
    ProblemKind.JOB_STATE: (400, "job_not_completed", "The job is not completed."),
    # 404 and 405 are not in the vendor's list, which has no status for these
    ProblemKind.JOB_MALFORMED: (404, "not_found", "Job not found."),
    ProblemKind.JOB_UNKNOWN: (404, "not_found", "Job not found."),
    ProblemKind.NO_CREDENTIAL: (401, "unauthorized", "API key is missing."),
    ProblemKind.BAD_CREDENTIAL: (401, "unauthorized", "API key is invalid."),
    ProblemKind.NO_CREDITS: (
        402,
        "usage_limit_reached",
        "Monthly limit reached ({limit} verifications). Upgrade to continue.",
    ),
    ProblemKind.SUSPENDED: (403, "account_suspended", "Your account has been suspended."),
    ProblemKind.UNCONFIRMED: (
        403,
        "email_not_verified",
        "Verify the email address of your account first.",
    ),
    ProblemKind.CLIENT_BLOCKED: (403, "forbidden", "Your IP address is not allowed."),
    ProblemKind.UNKNOWN_PATH: (404, "not_found", "Not found."),
    ProblemKind.WRONG_METHOD: (405, "method_not_allowed", "Method not allowed."),
    ProblemKind.TOO_LARGE: (413, "payload_too_large", "The request body is too large."),
    ProblemKind.TOO_FAST: (
        429,
        "rate_limit_exceeded",
        "Rate limit exceeded. Retry in {retry_after_s} seconds.",
    ),
    ProblemKind.INTERNAL: (500, "server_error", "Internal server error."),
    ProblemKind.NOT_READY: (503, "server_error", "The verification takes too long. Retry later."),
    ProblemKind.UNAVAILABLE: (503, "server_error", "Service unavailable. Retry later."),
}
"""The page has the complete 402, and the statuses 400 to 403, 429 and 500 of the others."""


def write_problem(_: WireRequest, problem: Problem, __: AnyEndpoint | None) -> WireReply:
    status, code, text = PROBLEMS[problem.kind]
    message = text.format(
        field=problem.field,
        detail=problem.detail or "A parameter is invalid.",
        limit=problem.limit,
        retry_after_s=problem.retry_after_s,
    )
    body: dict[str, object] = {"error": code, "message": message}
    if problem.field:
        body["field"] = problem.field
    if problem.kind is ProblemKind.TOO_MANY:
        body["limit"] = problem.limit
    if problem.job_state:
        body["status"] = STATUSES[JobState(problem.job_state)]
    if problem.kind is ProblemKind.NO_CREDITS:
        body |= {"used": problem.used, "limit": problem.limit}
    if problem.retry_after_s is not None:
        body["retryAfter"] = problem.retry_after_s
    return json_reply(body, status, headers=problem_headers(problem))
