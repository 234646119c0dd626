"""Why a request gets no outcome. Only a dialect writes the error's body."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ProblemKind(StrEnum):
    """Why a request gets no outcome. Every dialect has a row for each."""

    UNREADABLE = "unreadable"
    MISSING = "missing"
    INVALID = "invalid"
    NO_CREDENTIAL = "no_credential"
    BAD_CREDENTIAL = "bad_credential"
    SUSPENDED = "suspended"
    UNCONFIRMED = "unconfirmed"
    CLIENT_BLOCKED = "client_blocked"
    NO_CREDITS = "no_credits"
    TOO_FAST = "too_fast"
    UNKNOWN_PATH = "unknown_path"
    WRONG_METHOD = "wrong_method"
    TOO_LARGE = "too_large"
    NOT_READY = "not_ready"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    TOO_MANY = "too_many"  # addresses in a batch
    JOB_MALFORMED = "job_malformed"  # its id has not our form
    JOB_UNKNOWN = "job_unknown"
    JOB_STATE = "job_state"  # not in the state that this asks for; `state` has its own
    BATCHES_WAITING = "batches_waiting"  # too many
    BATCHES_RUNNING = "batches_running"  # too many
    BATCHES_SPENT = "batches_spent"  # those of this day


@dataclass(eq=False)
class Problem(Exception):
    """The request is wrong, or cannot be served now. Only a dialect writes the error's body."""

    kind: ProblemKind
    detail: str = ""
    """For the client, in plain words; a dialect with a fixed text ignores it."""
    field: str = ""
    """The parameter meant."""
    used: int | None = None
    limit: int | None = None
    retry_after_s: int | None = None
    """Whole seconds, at least 1."""
    reset_at: int | None = None
    """Unix time in seconds at which the window opens again."""
    allowed_methods: tuple[str, ...] = ()
    """Methods that this path knows."""
    job_state: str = ""
    """The `adapters.contract.jobs.JobState` that prevents it."""
