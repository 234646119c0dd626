"""Batches as a dialect sees them: entries, jobs and rows.

A job's counters have names that its dialect chose (`BatchRules.row_word` and
`BatchRules.extra_counters`), so counters and rows cannot differ.
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
    """Without surrounding blanks."""
    cells: tuple[str, ...] = ()
    """The complete uploaded row, with the address; empty if there was only the address."""


class JobState(StrEnum):
    """The state of a batch."""

    PREPARING = "preparing"
    READY = "ready"  # waits for a StartJob
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
    """A batch and its progress."""

    id: str
    state: JobState
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    total: int
    """Entries submitted."""
    row_count: int
    """Rows: the entries, without repeats if the dialect merges them."""
    valid_count: int
    """Rows whose address is well formed."""
    done_count: int
    """Rows answered."""
    counts: Mapping[str, int]
    """By the names that the dialect gives them; a missing one is 0."""
    headers: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    rows_expired: bool = False
    """Whether the rows were removed after the time that the vendor keeps them."""
    base_url: str = ""
    """This dialect's root on this server, such as `http://127.0.0.1:8025/emailable`."""
    token: str = ""
    """An unguessable name for links."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some of the caller's batches."""

    jobs: tuple[Job, ...]
    total: int
    """How many there are on all pages."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """One answered row."""

    email: str
    cells: tuple[str, ...]
    verification: Verification
    word: str


@dataclass(frozen=True, slots=True)
class JobRows:
    """A batch and its rows, which are read from the database while they are iterated."""

    job: Job
    matching_count: int
    """Rows that pass the filter `words`, on all pages."""
    rows: AsyncIterator[JobRow]
