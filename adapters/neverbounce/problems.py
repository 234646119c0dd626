"""The error replies: HTTP 200 with a word in `status`, which every client decides on."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.contract.dialect import AnyEndpoint
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.kit.problems import problem_headers

GENERAL, AUTH = "general_failure", "auth_failure"
THROTTLED, AWAY, REFERRER = "throttle_triggered", "temp_unavail", "bad_referrer"

PROBLEMS: Mapping[ProblemKind, tuple[int, str, str]] = {
    ProblemKind.UNREADABLE: (400, GENERAL, "The request could not be decoded"),
    ProblemKind.MISSING: (200, GENERAL, "Missing required parameter '{field}'"),
    ProblemKind.INVALID: (200, GENERAL, "Invalid value of parameter '{field}'"),
    ProblemKind.NO_CREDENTIAL: (200, GENERAL, "Missing required parameter 'key'"),
    # the vendor repeats the key here, which we do not
    ProblemKind.BAD_CREDENTIAL: (200, AUTH, "Invalid API key"),
    ProblemKind.SUSPENDED: (200, AUTH, "The account is suspended"),
    ProblemKind.UNCONFIRMED: (200, AUTH, "The account is not confirmed"),
    ProblemKind.CLIENT_BLOCKED: (200, REFERRER, "Requests from this address are not allowed"),
    ProblemKind.NO_CREDITS: (200, GENERAL, "Insufficient credits"),
    ProblemKind.TOO_FAST: (200, THROTTLED, "Too many requests"),
    ProblemKind.UNKNOWN_PATH: (404, GENERAL, "Not found"),
    ProblemKind.WRONG_METHOD: (405, GENERAL, "Method not allowed"),
    ProblemKind.TOO_LARGE: (413, GENERAL, "The payload is too large"),
    ProblemKind.NOT_READY: (200, AWAY, "Temporarily unavailable"),
    ProblemKind.INTERNAL: (500, GENERAL, "Internal error"),
    ProblemKind.UNAVAILABLE: (503, AWAY, "Temporarily unavailable"),
    ProblemKind.TOO_MANY: (200, GENERAL, "The list is too long"),
    ProblemKind.JOB_MALFORMED: (200, GENERAL, "Invalid job ID"),
    ProblemKind.JOB_UNKNOWN: (200, GENERAL, "Invalid job ID"),
    ProblemKind.JOB_STATE: (200, GENERAL, "Job has already been started"),
    ProblemKind.BATCHES_WAITING: (200, THROTTLED, "Too many requests"),
    ProblemKind.BATCHES_RUNNING: (200, THROTTLED, "Too many requests"),
    ProblemKind.BATCHES_SPENT: (200, THROTTLED, "Too many requests"),
}
"""Status, word, and text; the texts are ours but for that of a missing key."""

NOT_COMPLETE = "Job is not complete"
ALREADY_PARSED = "Job has already been parsed"
ALREADY_SAMPLED = "Job has already been sampled"
NOT_PARSED = "Job has not been parsed"
FIELDS = {"name": "filename", "url": "callback_url", "": "input"}
"""The vendor's parameters, by those that batches of all dialects have."""
READING = ("results", "download")


def write_problem(_: WireRequest, problem: Problem, endpoint: AnyEndpoint | None) -> WireReply:
    status, word, text = PROBLEMS[problem.kind]
    if problem.kind is ProblemKind.JOB_STATE and endpoint and endpoint.name.endswith(READING):
        text = NOT_COMPLETE
    message = problem.word or text.format(field=FIELDS.get(problem.field, problem.field))
    return json_reply(
        {"status": word, "message": message, "execution_time": 0},
        status,
        headers=problem_headers(problem),
    )
