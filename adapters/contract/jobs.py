"""Batches as a dialect sees them: entries, jobs and rows.

The counters of a job have the names that its dialect gives them (`BatchRules.row_word` and
`BatchRules.extra_counters`), so that the dialect finds in `Job.counts` the numbers that it shows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from engine.model import Verification


class BatchEntry(NamedTuple):
    """One submitted address."""

    email: str
    """The text without surrounding blanks; it may be malformed."""
    cells: tuple[str, ...] = ()
    """The whole row of the submitted table, the address included; empty for an address alone."""


class JobState(StrEnum):
    """The states of a batch."""

    PREPARING = "preparing"
    READY = "ready"  # a StartJob begins it
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Job:
    """A batch in its present state."""

    id: str
    state: JobState
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    total: int
    """Submitted entries."""
    row_count: int
    """The entries, or fewer where the dialect merges equal addresses."""
    valid_count: int
    """Rows whose address is well formed, without marked duplicates."""
    done_count: int
    """Verified rows."""
    counts: Mapping[str, int]
    """By counter; a missing one is 0."""
    postponed_count: int = 0
    """Of a running batch that is shown alone: rows that were refused for now, and are retried."""
    name: str = ""
    """As in `SubmitJob`."""
    headers: tuple[str, ...] = ()
    """As in `SubmitJob`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """As in `SubmitJob`, with those of a later `StartJob` or `AmendJob`."""
    rows_expired: bool = False
    """Whether the rows were deleted after the retention period."""
    base_url: str = ""
    """The dialect's root on this server, such as `http://127.0.0.1:8025/emailable`."""
    token: str = ""
    """The batch's secret."""
    link_token: str = ""
    """What stands in links to the results, and leads to them without a key: the secret, or where
    links expire (`BatchRules.link_lifetime_s`) a token that is valid from now."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some of the caller's batches."""

    jobs: tuple[Job, ...]
    total: int
    """On all pages."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """One verified row."""

    email: str
    cells: tuple[str, ...]
    """As in `BatchEntry`."""
    verification: Verification
    word: str
    """`BatchRules.row_word` of the verification."""


@dataclass(frozen=True, slots=True)
class JobRows:
    """A batch and its rows, which are read from the database while they are iterated."""

    job: Job
    matching_count: int
    """Rows that match the operation's `row_words`, before `offset` and `limit`."""
    rows: AsyncIterator[JobRow]
