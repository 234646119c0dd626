"""The error bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.dialect import Endpoint, Problem, ProblemKind
from adapters.wire import WireReply, WireRequest, json_reply

REQUIRED_EMAIL = "Invalid request. Required email."

PROBLEMS: Mapping[ProblemKind, tuple[int, str]] = {
    ProblemKind.UNREADABLE: (400, REQUIRED_EMAIL),
    ProblemKind.MISSING: (400, REQUIRED_EMAIL),
    ProblemKind.INVALID: (400, REQUIRED_EMAIL),
    ProblemKind.TOO_LARGE: (400, REQUIRED_EMAIL),
    ProblemKind.SUSPENDED: (400, "Verify restricted"),
    ProblemKind.UNCONFIRMED: (400, "Verify restricted"),
    ProblemKind.CLIENT_BLOCKED: (400, "Verify restricted"),
    # text seen live, status recommended: a 408 makes some HTTP stacks repeat the call
    ProblemKind.NOT_READY: (400, "Validation timedout"),
    ProblemKind.NO_CREDENTIAL: (401, "Invalid API Key"),
    ProblemKind.BAD_CREDENTIAL: (401, "Invalid API Key"),
    ProblemKind.NO_CREDITS: (402, "Insufficient verification credits"),
    ProblemKind.UNKNOWN_PATH: (404, "Not found"),
    ProblemKind.WRONG_METHOD: (404, "Not found"),
    ProblemKind.TOO_FAST: (429, "Too many requests"),
    ProblemKind.INTERNAL: (500, "Internal server error"),
    ProblemKind.UNAVAILABLE: (503, "Service unavailable"),
}

INFO_TEXTS: Mapping[ProblemKind, str] = {
    ProblemKind.NO_CREDENTIAL: "Invalid API key",
    ProblemKind.BAD_CREDENTIAL: "Invalid API key",
}

TEXT_SUCCESS = (401, 402, 429)
"""Statuses on which a single verification says `"false"` in quotes."""


def write_problem(_: WireRequest, problem: Problem, endpoint: Endpoint[Any] | None) -> WireReply:
    status, text = PROBLEMS[problem.kind]
    headers: tuple[tuple[str, str], ...] = ()
    if problem.retry_after_s is not None:
        headers = (("Retry-After", str(problem.retry_after_s)),)
    if endpoint is not None and endpoint.name == "verify" and status in TEXT_SUCCESS:
        return json_reply({"success": "false", "result": text}, status, headers=headers)
    if endpoint is not None and endpoint.name == "info":
        text = INFO_TEXTS.get(problem.kind, text)
    return json_reply({"result": text, "success": False}, status, headers=headers)
