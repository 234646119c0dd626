"""The error bodies."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.contract.dialect import AnyEndpoint
from adapters.contract.jobs import JobState
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import WireReply, WireRequest, json_reply
from adapters.kit.problems import problem_headers

INVALID_FILE = "Invalid file data"
REQUIRED_EMAIL = "Invalid request. Required email."

PROBLEMS: Mapping[ProblemKind, tuple[int, str]] = {
    ProblemKind.UNREADABLE: (400, REQUIRED_EMAIL),
    ProblemKind.MISSING: (400, REQUIRED_EMAIL),
    ProblemKind.INVALID: (400, REQUIRED_EMAIL),
    ProblemKind.TOO_LARGE: (400, REQUIRED_EMAIL),
    ProblemKind.SUSPENDED: (400, "Verify restricted"),
    ProblemKind.UNCONFIRMED: (400, "Verify restricted"),
    ProblemKind.CLIENT_BLOCKED: (400, "Verify restricted"),
    # the text was seen live; the status is ours, since a 408 makes some HTTP clients repeat the
    # call, which would be charged twice
    ProblemKind.NOT_READY: (400, "Validation timedout"),
    ProblemKind.TOO_MANY: (400, INVALID_FILE),
    ProblemKind.JOB_MALFORMED: (400, "Job not found. Invalid jobId"),
    ProblemKind.JOB_UNKNOWN: (400, "Job not found."),
    ProblemKind.JOB_STATE: (400, "Verification has already started."),
    ProblemKind.BATCHES_WAITING: (400, "The maximum number of lists has been reached."),
    ProblemKind.BATCHES_RUNNING: (
        400,
        "The maximum number of active verification lists has been reached.",
    ),
    ProblemKind.BATCHES_SPENT: (400, "The maximum number of lists has been reached."),
    ProblemKind.NO_CREDENTIAL: (401, "Invalid API Key"),
    ProblemKind.BAD_CREDENTIAL: (401, "Invalid API Key"),
    ProblemKind.NO_CREDITS: (402, "Insufficient verification credits"),
    # undocumented
    ProblemKind.UNKNOWN_PATH: (404, "Not found"),
    ProblemKind.WRONG_METHOD: (404, "Not found"),
    ProblemKind.TOO_FAST: (429, "Too many requests"),
    ProblemKind.INTERNAL: (500, "Internal server error"),
    ProblemKind.UNAVAILABLE: (503, "Service unavailable"),
}

_INVALID_FILE = dict.fromkeys(
    (
        ProblemKind.UNREADABLE,
        ProblemKind.MISSING,
        ProblemKind.INVALID,
        ProblemKind.TOO_LARGE,
    ),
    INVALID_FILE,
)
_INVALID_ACTION = dict.fromkeys(
    (ProblemKind.UNREADABLE, ProblemKind.INVALID, ProblemKind.TOO_LARGE), "Invalid action"
)
_INVALID_FILTER = dict.fromkeys(
    (ProblemKind.UNREADABLE, ProblemKind.INVALID, ProblemKind.TOO_LARGE),
    "Invalid filterResult. Please provide correct filterResult options",
)

ENDPOINT_TEXTS: Mapping[str, Mapping[ProblemKind, str]] = {
    "info": {
        ProblemKind.NO_CREDENTIAL: "Invalid API key",
        ProblemKind.BAD_CREDENTIAL: "Invalid API key",
    },
    "bulk": _INVALID_FILE,
    "bulk_start": {
        **_INVALID_ACTION,
        ProblemKind.NO_CREDITS: "Insufficient verification credits. Please order a plan.",
    },
    "bulk_delete": {ProblemKind.JOB_UNKNOWN: "List not found, may be already deleted."},
    "download": {
        **_INVALID_FILTER,
        ProblemKind.SUSPENDED: "DOWNLOAD-RESTRICTED",
        ProblemKind.UNCONFIRMED: "DOWNLOAD-RESTRICTED",
        ProblemKind.CLIENT_BLOCKED: "DOWNLOAD-RESTRICTED",
    },
}
"""Texts that differ at one endpoint."""

_PREPARING = (
    "Job is being prepared for verification, please start verifying and then download you result."
)
_VERIFYING = "Job is being verified, please wait until it completes."
_INVALID_LIST = "List cannot be downloaded, The uploaded list contains invalid data."
_BUSY = "List is being processed, and cannot be deleted."

STATE_TEXTS: Mapping[str, Mapping[JobState, str]] = {
    "bulk_start": {
        JobState.PREPARING: "Job is not ready for verification, please call the /status endpoint"
        " and start verification once the status of the job turns to ready.",
    },
    "bulk_delete": {
        JobState.PREPARING: _BUSY,
        JobState.QUEUED: _BUSY,
        JobState.RUNNING: _BUSY,
        JobState.PAUSED: _BUSY,
    },
    "download": {
        JobState.PREPARING: _PREPARING,
        JobState.READY: "Job is ready for verification, please start verification and download"
        " your results once list verified.",
        JobState.QUEUED: _VERIFYING,
        JobState.RUNNING: _VERIFYING,
        JobState.PAUSED: _VERIFYING,
        JobState.FAILED: _INVALID_LIST,
        JobState.CANCELLED: _INVALID_LIST,
    },
}
"""Texts of `JOB_STATE` at an endpoint, by the state of the list."""

KINDS_WITH_MESSAGE = (ProblemKind.BATCHES_WAITING, ProblemKind.BATCHES_RUNNING)
"""Errors whose text is in `message`, as that of a success is."""

STATUSES_WITH_TEXT_SUCCESS = (401, 402, 429)
"""Statuses with which a single verification has `success` as the text `"false"`, and first."""


def write_problem(_: WireRequest, problem: Problem, endpoint: AnyEndpoint | None) -> WireReply:
    status, text = PROBLEMS[problem.kind]
    # without Allow: the vendor has no error for a wrong method, which is an unknown path here
    headers = problem_headers(problem)
    if endpoint is not None and endpoint.name == "verify" and status in STATUSES_WITH_TEXT_SUCCESS:
        return json_reply({"success": "false", "result": text}, status, headers=headers)
    if endpoint is not None:
        text = ENDPOINT_TEXTS.get(endpoint.name, {}).get(problem.kind, text)
        if problem.job_state:
            text = STATE_TEXTS.get(endpoint.name, {}).get(JobState(problem.job_state), text)
    if problem.kind in KINDS_WITH_MESSAGE:
        return json_reply({"success": False, "message": text}, status, headers=headers)
    return json_reply({"result": text, "success": False}, status, headers=headers)
