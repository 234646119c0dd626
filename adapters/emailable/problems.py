"""The error bodies."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.contract.dialect import AnyEndpoint
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply

PROBLEMS: Mapping[ProblemKind, tuple[int, str]] = {
    ProblemKind.UNREADABLE: (400, "The request is not well-formed."),
    ProblemKind.MISSING: (400, "The {field} parameter is required."),
    ProblemKind.INVALID: (400, "The {field} parameter is invalid."),
    ProblemKind.TOO_LARGE: (400, "The request is too large."),
    ProblemKind.TOO_MANY: (400, "Up to {limit} emails can be sent per batch."),
    ProblemKind.BATCHES_WAITING: (400, "Too many batches."),
    ProblemKind.BATCHES_RUNNING: (400, "Too many batches are being processed."),
    ProblemKind.BATCHES_SPENT: (400, "Too many batches for one day."),
    ProblemKind.JOB_MALFORMED: (404, "Batch not found."),
    ProblemKind.JOB_UNKNOWN: (404, "Batch not found."),
    ProblemKind.JOB_STATE: (404, "Batch not found."),
    ProblemKind.NO_CREDENTIAL: (401, "API key is required"),
    ProblemKind.NO_CREDITS: (402, "You do not have enough credits."),
    ProblemKind.BAD_CREDENTIAL: (403, "API key is invalid"),
    ProblemKind.SUSPENDED: (403, "Your account has been suspended."),
    ProblemKind.UNCONFIRMED: (403, "Your email address has not been confirmed."),
    ProblemKind.CLIENT_BLOCKED: (403, "Your IP address is not allowed."),
    ProblemKind.UNKNOWN_PATH: (404, "Not Found"),
    ProblemKind.WRONG_METHOD: (404, "Not Found"),
    ProblemKind.TOO_FAST: (429, "Rate Limit Exceeded"),
    ProblemKind.NOT_READY: (
        249,
        "Your request is taking longer than normal. Please send your request again.",
    ),
    ProblemKind.INTERNAL: (500, "Internal Server Error"),
    ProblemKind.UNAVAILABLE: (503, "Service Unavailable"),
}
"""The texts of 249, 401 and 429 are documented; the others are not, and are ours.
The statuses are those of the documentation: no 405, 413 or 422, which the Ruby client fails on."""


BILLING_TEXTS: Mapping[str, str] = {
    "payment-error": "Your payment could not be processed.",
    "card-error": "Your card was declined.",
}
"""A 402 about a payment for credits, by `Problem.word`: the page names three errors, and calls the
messages of these two "billing related". Their texts are ours; nobody with a declined card should be
told to buy credits."""


def write_problem(_: WireRequest, problem: Problem, __: AnyEndpoint | None) -> WireReply:
    status, text = PROBLEMS[problem.kind]
    if problem.kind is ProblemKind.NO_CREDITS:
        text = BILLING_TEXTS.get(problem.word, text)
    headers: tuple[tuple[str, str], ...] = ()
    # the page on rate limits has these, with a Unix time, in place of Retry-After
    if problem.kind is ProblemKind.TOO_FAST:
        headers = (
            ("ratelimit-limit", str(problem.limit)),
            ("ratelimit-remaining", "0"),
            ("ratelimit-reset", str(problem.reset_at)),
        )
    return json_reply(
        {"message": text.format(field=problem.field, limit=problem.limit)}, status, headers=headers
    )
