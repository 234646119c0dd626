"""The error replies, which differ by endpoint, and a firewall's page for bad keys if wished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.contract.dialect import AnyEndpoint
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.kit.problems import problem_headers

KEY_OR_CREDITS = "Invalid API key or your account ran out of credits"
SHIELD = "error code: 1020"
NOT_FOUND, NOT_PROCESSED, SCORE_NOT_FOUND = (
    "File cannot be found.",
    "File not processed.",
    "file_id is invalid.",
)
PENDING = "Greylist validation still in progress. Please try again later."
KEY_STATUS = (("Zb-Status", "4001"),)
NO_KEY_401 = (("WWW-Authenticate", "api_key realm=bulkapi"), ("Allow", "POST, OPTIONS"))

PROBLEMS: Mapping[ProblemKind, tuple[int, str]] = {
    ProblemKind.UNREADABLE: (400, "The request could not be read."),
    ProblemKind.MISSING: (400, "Missing parameter: {field}."),
    ProblemKind.INVALID: (400, "Invalid parameter: {field}."),
    ProblemKind.NO_CREDENTIAL: (200, KEY_OR_CREDITS),
    ProblemKind.BAD_CREDENTIAL: (200, KEY_OR_CREDITS),
    ProblemKind.NO_CREDITS: (200, KEY_OR_CREDITS),
    ProblemKind.SUSPENDED: (403, "The account is suspended"),
    ProblemKind.UNCONFIRMED: (403, "The account is not confirmed"),
    ProblemKind.CLIENT_BLOCKED: (403, "Your address is blocked"),
    ProblemKind.TOO_FAST: (429, "Too many requests"),
    ProblemKind.UNKNOWN_PATH: (404, "Not found"),
    ProblemKind.WRONG_METHOD: (405, "Method not allowed"),
    ProblemKind.TOO_LARGE: (413, "The request is too large"),
    ProblemKind.NOT_READY: (524, "Timed out"),
    ProblemKind.INTERNAL: (500, "Internal error"),
    ProblemKind.UNAVAILABLE: (503, "Temporarily unavailable"),
    ProblemKind.TOO_MANY: (400, "Maximum number of emails exceeded"),
    ProblemKind.JOB_MALFORMED: (200, NOT_FOUND),
    ProblemKind.JOB_UNKNOWN: (200, NOT_FOUND),
    ProblemKind.JOB_STATE: (200, NOT_PROCESSED),
    ProblemKind.BATCHES_WAITING: (429, "Too many requests"),
    ProblemKind.BATCHES_RUNNING: (429, "Too many requests"),
    ProblemKind.BATCHES_SPENT: (429, "Too many requests"),
}
"""Statuses and texts."""
KEY_PROBLEMS = frozenset(
    {ProblemKind.NO_CREDENTIAL, ProblemKind.BAD_CREDENTIAL, ProblemKind.NO_CREDITS}
)
JOB_PROBLEMS = frozenset(
    {ProblemKind.JOB_MALFORMED, ProblemKind.JOB_UNKNOWN, ProblemKind.JOB_STATE}
)
FIELDS = {"name": "file_name", "url": "return_url", "": "file"}
"""The vendor's parameters, by those that batches of all dialects have."""
BULK_PREFIXES = ("file_", "score_file_")
"""Beginnings of the names of endpoints that the bulk host serves."""


def write_problem(
    key_error: str, request: WireRequest, problem: Problem, endpoint: AnyEndpoint | None
) -> WireReply:
    headers = problem_headers(problem)
    status, text = PROBLEMS[problem.kind]
    name = endpoint.name if endpoint is not None else ""
    field = FIELDS.get(problem.field, problem.field)
    text = problem.detail if problem.word else text.format(field=field)
    if key_error == "shield" and _is_shielded(request, problem, name):
        return WireReply(403, SHIELD.encode(), "text/plain; charset=UTF-8", headers)
    is_bulk = name.startswith(BULK_PREFIXES)
    if problem.kind in KEY_PROBLEMS:
        return _write_key_problem(name, text, is_bulk=is_bulk)
    if problem.kind is ProblemKind.JOB_STATE and name == "validate":
        return json_reply({"Message": PENDING}, headers=headers)
    if problem.kind in JOB_PROBLEMS:
        if name.startswith("score_"):
            text = NOT_PROCESSED if problem.kind is ProblemKind.JOB_STATE else SCORE_NOT_FOUND
        elif name.endswith("_delete"):
            text = NOT_FOUND
        return json_reply({"success": False, "message": text}, status, headers=headers)
    if problem.kind is ProblemKind.TOO_MANY and name == "filters_add":
        text = "Maximum number of filters exceeded"
    if name == "batch" and status == 400:
        return _write_batch_problem(problem, text)
    if is_bulk and status == 400:
        return json_reply({"success": False, "message": [text]}, 400, headers=headers)
    return json_reply({"error": text}, status, headers=headers)


def _is_shielded(request: WireRequest, problem: Problem, name: str) -> bool:
    """Whether the firewall answers before the service does."""
    match problem.kind:
        case ProblemKind.NO_CREDENTIAL | ProblemKind.BAD_CREDENTIAL:
            return not name.endswith("_send")
        case ProblemKind.JOB_MALFORMED:
            return name != "file_status"
        case ProblemKind.MISSING:
            return request.method == "GET"
        case ProblemKind.WRONG_METHOD:
            return True
    return False


def _write_key_problem(name: str, text: str, *, is_bulk: bool) -> WireReply:
    if is_bulk:
        body: dict[str, Any] = {"success": "False", "message": ["api_key is invalid"]}
        return json_reply(body, 401, headers=NO_KEY_401)
    match name:
        case "credits":
            body = {"Credits": "-1"}
        case "usage":
            body = {"error": "Invalid API key"}
        case "guess":
            body = {"Message": text}
        case "filters" | "filters_add" | "filters_delete":
            body = {"Error": text}
        case "batch":
            body = {"errors": [{"email_address": "all", "error": text}], "email_batch": []}
        case _:
            body = {"error": text}
    return json_reply(body, headers=KEY_STATUS)


def _write_batch_problem(problem: Problem, text: str) -> WireReply:
    if problem.kind is ProblemKind.TOO_MANY:
        errors = [{"email_address": "all", "error": text}]
        return json_reply({"errors": errors, "email_batch": []})
    if problem.field == "email_address":
        missing = "Missing email_batch key: email_address."
        return json_reply({"error": missing, "email_address": "unknown"}, 400)
    return json_reply({"Message": text}, 400)
