"""The error bodies: one for the single-address API and the balance, one for the bulk API."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.contract.dialect import AnyEndpoint
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import UnreadableRequest, WireReply, WireRequest, json_reply
from adapters.kit.problems import problem_headers
from adapters.whoisxml.params import request_params, wants_xml
from adapters.whoisxml.xml import xml_reply

PROBLEMS: Mapping[ProblemKind, tuple[int, str, str]] = {
    ProblemKind.UNREADABLE: (400, "BAD_REQUEST", "The request cannot be read."),
    ProblemKind.MISSING: (400, "MISSING_PARAMETER", "The {field} parameter is required."),
    ProblemKind.INVALID: (400, "INVALID_PARAMETER", "The {field} parameter is not valid."),
    ProblemKind.NO_CREDENTIAL: (401, "API_KEY", "Authorisation or authentication failed"),
    ProblemKind.BAD_CREDENTIAL: (401, "API_KEY", "Authorisation or authentication failed"),
    ProblemKind.SUSPENDED: (403, "ACCOUNT", "The account is suspended."),
    ProblemKind.UNCONFIRMED: (403, "ACCOUNT", "The account is not confirmed yet."),
    ProblemKind.CLIENT_BLOCKED: (403, "ACCESS", "Requests from this address are not allowed."),
    ProblemKind.NO_CREDITS: (403, "BALANCE", "Insufficient balance"),
    ProblemKind.UNKNOWN_PATH: (404, "NOT_FOUND", "Not found."),
    ProblemKind.WRONG_METHOD: (405, "METHOD", "The method is not allowed here."),
    ProblemKind.TOO_LARGE: (413, "TOO_LARGE", "The request is too large."),
    ProblemKind.TOO_FAST: (429, "RATE_LIMIT", "Too many requests."),
    ProblemKind.TOO_MANY: (
        400,
        "TOO_MANY",
        "The {field} field should contain at most {limit} elements.",
    ),
    # The page describes 403 and 422 alike; the vendor's test asks for an id of another account, and
    # expects the exception of a 422. An unknown id looks the same, so that no id can be probed.
    ProblemKind.JOB_MALFORMED: (422, "REQUEST_ID", "Wrong request id"),
    ProblemKind.JOB_UNKNOWN: (422, "REQUEST_ID", "Wrong request id"),
    ProblemKind.JOB_STATE: (422, "REQUEST_ID", "Wrong request id"),
    ProblemKind.BATCHES_WAITING: (429, "RATE_LIMIT", "Too many requests."),
    ProblemKind.BATCHES_RUNNING: (429, "RATE_LIMIT", "Too many requests."),
    ProblemKind.BATCHES_SPENT: (429, "RATE_LIMIT", "Too many requests."),
    ProblemKind.INTERNAL: (500, "INTERNAL", "Internal server error."),
    ProblemKind.UNAVAILABLE: (503, "UNAVAILABLE", "The service is not available."),
    # the probe continues, so a repeated request finds its result
    ProblemKind.NOT_READY: (504, "TIMEOUT", "The request took too long; send it again."),
}
"""Status, `errorCode` and text. They are undocumented: the two texts without a full stop are those
of the bulk API, the others are ours."""

V1_STATUSES: Mapping[ProblemKind, int] = {
    # to the PHP client, 403 is a bad key, and 401 a fault of the server
    ProblemKind.NO_CREDENTIAL: 403,
    ProblemKind.BAD_CREDENTIAL: 403,
}

BULK_PATH = "/api/bevService"
BULK_TEXTS: Mapping[ProblemKind, str] = {
    ProblemKind.MISSING: "The {field} field is required.",
    ProblemKind.INVALID: "The {field} field is not valid.",
}
BULK_STATUSES: Mapping[ProblemKind, int] = {ProblemKind.NO_CREDITS: 402}
"""Documented for the bulk API; the single API documents no status for it."""


def write_problem(request: WireRequest, problem: Problem, _: AnyEndpoint | None) -> WireReply:
    status, code, text = PROBLEMS[problem.kind]
    headers = problem_headers(problem)
    if request.path.startswith(BULK_PATH):
        status = BULK_STATUSES.get(problem.kind, status)
        # errors of the request may have several texts, so a single text is a list, too
        error: dict[str, object] = (
            {"errors": [_bulk_text(each) for each in (problem, *problem.others)]}
            if status == 400
            else {"error": _bulk_text(problem)}
        )
        return json_reply({"response": error}, status, headers=headers)
    text = text.format(field=problem.field, limit=problem.limit)
    if request.path == "/api/v1":
        status = V1_STATUSES.get(problem.kind, status)
    body = {"errorCode": code, "msg": text, "Error": text}
    if _wants_xml(request):
        return xml_reply("ErrorMessage", body, status, headers=headers)
    return json_reply({"ErrorMessage": body}, status, headers=headers)


def _bulk_text(problem: Problem) -> str:
    if problem.kind is ProblemKind.INVALID and problem.detail:
        return problem.detail
    text = BULK_TEXTS.get(problem.kind, PROBLEMS[problem.kind][2])
    return text.format(field=problem.field, limit=problem.limit)


def _wants_xml(request: WireRequest) -> bool:
    try:
        return wants_xml(request_params(request))
    except UnreadableRequest:
        return False
