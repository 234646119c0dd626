"""The error replies: plain text of the server's framework, or `{"error": text}` of its handlers."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.contract.dialect import AnyEndpoint
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import UnreadableRequest, WireReply, WireRequest, json_reply
from adapters.kit.problems import problem_headers

TEXT = "text/plain; charset=utf-8"
SECRET_HEADER = "x-reacher-secret"  # noqa: S105
HOSTED = "api.reacher.email"
"""The vendor's own service, which has keys in `Authorization`."""
NO_ROWS = "no rows returned by a query that expected to return at least one row"
UNREADABLE_BODY = "Request body deserialize error: {detail}"

TEXTS: Mapping[ProblemKind, tuple[int, str]] = {
    ProblemKind.UNREADABLE: (400, UNREADABLE_BODY),
    ProblemKind.MISSING: (400, UNREADABLE_BODY),
    ProblemKind.INVALID: (400, UNREADABLE_BODY),
    ProblemKind.TOO_MANY: (400, UNREADABLE_BODY),
    ProblemKind.WRONG_METHOD: (405, "HTTP method not allowed"),
    ProblemKind.TOO_LARGE: (413, "The request payload is too large"),
}
"""Statuses and plain texts."""
JSON_TEXTS: Mapping[ProblemKind, tuple[int, str]] = {
    # the accounts of the vendor's service are not described
    ProblemKind.SUSPENDED: (403, "The account is suspended."),
    ProblemKind.UNCONFIRMED: (403, "The account is not confirmed."),
    ProblemKind.CLIENT_BLOCKED: (403, "Too many failed requests."),
    ProblemKind.NO_CREDITS: (
        429,
        "Too many requests this month. Please upgrade your Reacher plan to make more requests.",
    ),
    ProblemKind.TOO_FAST: (429, "Rate limit per {period} exceeded, please wait {wait_s}s"),
    ProblemKind.BATCHES_WAITING: (429, "Worker at full capacity"),
    ProblemKind.BATCHES_RUNNING: (429, "Worker at full capacity"),
    ProblemKind.BATCHES_SPENT: (429, "Worker at full capacity"),
    ProblemKind.JOB_UNKNOWN: (400, NO_ROWS),
    ProblemKind.JOB_STATE: (400, "Job {job_id} is still running, please try again later"),
    ProblemKind.INTERNAL: (500, "Internal server error"),
    ProblemKind.UNAVAILABLE: (503, "Failed to get a reply from the worker."),
    ProblemKind.NOT_READY: (
        504,
        "The email {email} can't be verified within 90s. This is because the email provider"
        " imposes obstacles to prevent real-time email verification, such as greylisting. Please"
        " try again later.",
    ),
}
"""Statuses, and the texts of `error`."""
PERIODS = ((1, "second"), (60, "minute"), (3_600, "hour"))
"""The longest wait, in seconds, that a limit by this period leads to; else it is by the day."""

# What `Problem.word` says of an INVALID request.
NOT_JSON = "not_json"
CHUNKED = "chunked"
BAD_QUERY = "bad_query"
REFUSED_BY_HANDLER = "handler"
BY_WORD: Mapping[str, tuple[int, str]] = {
    NOT_JSON: (415, "The request's content-type is not supported"),
    CHUNKED: (411, "A content-length header is required"),
    BAD_QUERY: (400, "Invalid query string"),
}


def write_problem(
    request: WireRequest, problem: Problem, endpoint: AnyEndpoint | None
) -> WireReply:
    kind, headers = problem.kind, problem_headers(problem)
    if kind in (ProblemKind.NO_CREDENTIAL, ProblemKind.BAD_CREDENTIAL):
        return _write_key_problem(request, kind)
    if kind in (ProblemKind.UNKNOWN_PATH, ProblemKind.JOB_MALFORMED):
        return WireReply(404, b"", "", headers)
    if problem.word == REFUSED_BY_HANDLER:
        return json_reply({"error": problem.detail}, 400)
    if problem.word in BY_WORD or kind in TEXTS:
        status, text = BY_WORD.get(problem.word) or TEXTS[kind]
        return _text_reply(status, text.format(detail=problem.detail), headers)
    status, text = JSON_TEXTS[kind]
    if kind is ProblemKind.JOB_UNKNOWN and endpoint is not None and "results" in endpoint.name:
        status = 500
    wait_s = problem.retry_after_s or 1
    text = text.format(
        period=next((name for most_s, name in PERIODS if wait_s <= most_s), "day"),
        wait_s=wait_s,
        job_id=request.path_params.get("job_id", ""),
        email=_email(request) if kind is ProblemKind.NOT_READY else "",
    )
    return json_reply({"error": text}, status, headers=headers)


def _write_key_problem(request: WireRequest, kind: ProblemKind) -> WireReply:
    """A refused key: in the words of the place that it was sent in, or of the host without any."""
    if SECRET_HEADER in request.headers:
        return _text_reply(400, f'Invalid request header "{SECRET_HEADER}"')
    authorization = request.headers.get("authorization")
    if authorization:
        return json_reply({"error": "Invalid API token."}, 401)
    host = request.headers.get("host", "").partition(":")[0].rstrip(".").lower()
    if authorization is not None or host == HOSTED:
        text = "Expected API token in the Authorization header."
        return json_reply({"error": text}, 401)
    return _text_reply(400, f'Missing request header "{SECRET_HEADER}"')


def _text_reply(status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> WireReply:
    return WireReply(status, text.encode(), TEXT, headers)


def _email(request: WireRequest) -> str:
    try:
        return str(request.json_object.get("to_email", ""))
    except UnreadableRequest:
        return ""
