"""Errors of requests, as values: only a dialect words them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ProblemKind(StrEnum):
    """Why a request has no outcome. Every dialect has an error body for each."""

    UNREADABLE = "unreadable"  # the body or the query string cannot be decoded
    MISSING = "missing"  # a parameter
    INVALID = "invalid"  # a parameter's value
    NO_CREDENTIAL = "no_credential"
    BAD_CREDENTIAL = "bad_credential"
    SUSPENDED = "suspended"  # the account
    UNCONFIRMED = "unconfirmed"  # the email address of the account's owner
    CLIENT_BLOCKED = "client_blocked"  # the client's IP address, after failed attempts
    NO_CREDITS = "no_credits"
    TOO_FAST = "too_fast"
    UNKNOWN_PATH = "unknown_path"
    WRONG_METHOD = "wrong_method"
    TOO_LARGE = "too_large"  # the body
    NOT_READY = "not_ready"  # the verification takes longer than the client waits
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"  # no source, no database or no memory for it now
    TOO_MANY = "too_many"  # addresses in a batch
    JOB_MALFORMED = "job_malformed"  # the id cannot be one of this dialect
    JOB_UNKNOWN = "job_unknown"
    JOB_STATE = "job_state"  # the operation needs another; `Problem.job_state` has the present one
    BATCHES_WAITING = "batches_waiting"  # more than the plan allows
    BATCHES_RUNNING = "batches_running"  # more than the plan allows
    BATCHES_SPENT = "batches_spent"  # as many today as the plan allows


@dataclass(eq=False)
class Problem(Exception):
    """A request that has no outcome. The dialect makes the error reply of it."""

    kind: ProblemKind
    detail: str = ""
    """For the client, in plain words; not shown by a dialect with fixed texts."""
    field: str = ""
    """The name of the parameter that is missing or invalid."""
    used: int | None = None
    """Verifications this month, with `NO_CREDITS`."""
    limit: int | None = None
    """The highest number that is allowed, of what `kind` is about."""
    retry_after_s: int | None = None
    """Whole seconds, at least 1."""
    reset_at: int | None = None
    """Unix time in seconds at which the window opens again."""
    allowed_methods: tuple[str, ...] = ()
    """Methods of the path, with `WRONG_METHOD`."""
    job_state: str = ""
    """The batch's `adapters.contract.jobs.JobState`, with `JOB_STATE`."""
    others: tuple[Problem, ...] = ()
    """Further problems of the same request, for a vendor that lists all of them."""
    word: str = ""
    """The vendor's word, where it divides the kind further, such as Emailable's `card-error`."""
