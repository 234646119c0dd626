"""The error bodies."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.contract.dialect import AnyEndpoint
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.kit.problems import problem_headers

PROBLEMS: Mapping[ProblemKind, tuple[int, str]] = {
    ProblemKind.UNREADABLE: (400, "Invalid request body"),
    ProblemKind.MISSING: (400, "Invalid request body"),
    ProblemKind.INVALID: (400, "Invalid request body"),
    ProblemKind.TOO_MANY: (400, "Invalid request body"),
    ProblemKind.JOB_STATE: (400, "Invalid request body"),
    ProblemKind.NO_CREDENTIAL: (401, "Unauthorized"),
    ProblemKind.BAD_CREDENTIAL: (401, "Unauthorized"),
    ProblemKind.NO_CREDITS: (402, "Insufficient credits"),
    # also with a valid key
    ProblemKind.CLIENT_BLOCKED: (403, "IP address blocked"),
    ProblemKind.SUSPENDED: (403, "Account suspended"),
    ProblemKind.UNCONFIRMED: (403, "Account not confirmed"),
    ProblemKind.UNKNOWN_PATH: (404, "Not found"),
    ProblemKind.JOB_MALFORMED: (404, "Batch not found"),
    ProblemKind.JOB_UNKNOWN: (404, "Batch not found"),
    ProblemKind.WRONG_METHOD: (405, "Method not allowed"),
    ProblemKind.TOO_LARGE: (413, "Payload too large"),
    ProblemKind.TOO_FAST: (429, "Too many requests"),
    ProblemKind.BATCHES_WAITING: (429, "Batch limit reached"),
    ProblemKind.BATCHES_RUNNING: (429, "Batch limit reached"),
    ProblemKind.BATCHES_SPENT: (429, "Batch limit reached"),
    ProblemKind.INTERNAL: (500, "Internal server error"),
    ProblemKind.NOT_READY: (503, "Service unavailable"),
    ProblemKind.UNAVAILABLE: (503, "Service unavailable"),
}
"""The page shows no errors: statuses and texts are ours, and one text serves each status."""


def write_problem(_: WireRequest, problem: Problem, __: AnyEndpoint | None) -> WireReply:
    status, text = PROBLEMS[problem.kind]
    return json_reply({"error": text}, status, headers=problem_headers(problem))


FAILED_ATTEMPTS = frozenset(
    {kind for kind, (status, _) in PROBLEMS.items() if status == 401}
    # the page: "failed attempts to retrieve the batch response"
    | {ProblemKind.JOB_MALFORMED, ProblemKind.JOB_UNKNOWN}
)
"""The errors that count towards the block of a client's address."""
