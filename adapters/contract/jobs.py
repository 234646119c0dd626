"""Batches as a dialect sees them: operations, outcomes, and the rules that a vendor plays by.

The counterpart of `adapters.contract.dialect` for many addresses at once. A job's counters have
names that its dialect chose (`BatchRules.word` and `BatchRules.flags`), so that what is counted
and what is shown cannot differ.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from adapters.contract.operations import Operation
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import StreamReply, WireReply
from engine.model import Address, Checks, Evidence, Verification

MAX_BATCH_ENTRIES = 50_000
"""Addresses in one request, by four of the five vendors."""
MAX_ENTRY_CHARACTERS = 1_000
"""Of one entry; RFC 5321 section 4.5.3.1 allows an address 320. What is longer is no address
but a broken list."""

# -- operations --------------------------------------------------------------------------


class BatchEntry(NamedTuple):
    """One submitted address."""

    email: str
    """Without surrounding blanks."""
    cells: tuple[str, ...] = ()
    """The whole row it came in, the address included; empty if there was only the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOperation(Operation):
    """Something a client asks about batches."""

    simulate: str = ""
    """What a test key wants to see simulated; live keys are not heard on this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitJob(JobOperation):
    """Take a batch in. The outcome is a `Job`."""

    entries: Iterable[BatchEntry]
    """Read once and lazily; may raise `Problem`, and then nothing is kept."""
    headers: tuple[str, ...] = ()
    """Names of the entries' cells, as they are to be written."""
    start: bool = True
    """Whether to begin at once, or to wait for a `StartJob`."""
    retry_greylisted: bool = True
    """Whether greylisted addresses are asked about again, later."""
    checks: Checks = Checks()
    webhook_url: str = ""
    """Who is to be told when it is done; empty for nobody."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What only the dialect's writer needs later; fit for JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartJob(JobOperation):
    """Begin with a batch that is ready. The outcome is a `Job`."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowJob(JobOperation):
    """The outcome is a `Job`."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowJobs(JobOperation):
    """Those of several that exist, in the order asked. The outcome is a tuple of `Job`."""

    job_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListJobs(JobOperation):
    """A page of the caller's batches, newest first. The outcome is a `JobPage`."""

    page: int = 1
    per_page: int = 10
    oldest_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteJob(JobOperation):
    """Forget a batch that is not being worked on. The outcome is the `Job` as it was."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRows(JobOperation):
    """Answered rows in the order submitted. The outcome is a `JobRows`."""

    job_id: str = ""
    token: str = ""
    """The job's unguessable name, which stands for both its id and a key."""
    row_words: frozenset[str] | None = None
    """Only rows with one of these; see `BatchRules.word`. None for all."""
    offset: int = 0
    limit: int | None = None
    reverse_order: bool = False


# -- outcomes ----------------------------------------------------------------------------


class JobState(StrEnum):
    """How far a batch is."""

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
    """A batch as it stands."""

    id: str
    state: JobState
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    total: int
    """Entries submitted."""
    row_count: int
    """Rows it has: the entries, without repeats where the dialect merges them."""
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
    """A batch and its rows, which are read only by whoever iterates."""

    job: Job
    matching_count: int
    """Rows that `words` leaves, on all pages."""
    rows: AsyncIterator[JobRow]


# -- rules -------------------------------------------------------------------------------


class ChargeTime(StrEnum):
    """When a batch is paid for."""

    SUBMIT = "submit"
    START = "start"


class BilledUnit(StrEnum):
    """What of a batch counts."""

    ENTRIES = "entries"
    ROWS = "rows"
    VALID = "valid"  # rows whose address is well formed


@dataclass(frozen=True, slots=True)
class CompletionWebhook:
    """How the completion of a batch is told: the body of a webhook."""

    build_operation: Callable[[str], ReadRows]
    """From a job's id."""
    write_body: Callable[[Any, JobRows], WireReply | StreamReply]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRules:
    """What a vendor does with batches, as data."""

    new_id: Callable[[int, Callable[[int], int]], str]
    """From the batch's number, 1 and up, and a source of random integers below a bound."""
    row_word: Callable[[Verification], str]
    """What a row is called; rows are filtered and counted by it."""
    extra_counters: Callable[[Verification], Iterable[str]] = lambda _: ()
    """Further counters that an answered row adds to."""
    counters_before_start: Callable[[Address, Evidence], Iterable[str]] | None = None
    """Counters that a row adds to before it is verified; None needs no preparation."""
    shows_names: bool = False
    """Whether rows show whom an address may belong to."""
    merge_duplicates: bool = False
    """Whether equal addresses make one row."""
    charged_at: ChargeTime = ChargeTime.SUBMIT
    billed_unit: BilledUnit = BilledUnit.ENTRIES
    must_cover_unit: BilledUnit = BilledUnit.ENTRIES
    """What the credits must suffice for."""
    refund_word: str = ""
    """Rows called so are given back for; empty for none."""
    retention_s: Callable[[int], int | None]
    """How long rows are kept after the end, by the number of entries; None until deleted."""
    delete_with_rows: bool = True
    """Whether the job goes with its rows, or stays behind with its counts."""
    completion_webhook: CompletionWebhook | None = None


# -- reading entries ---------------------------------------------------------------------


def parse_entries(texts: Iterable[object], field_name: str) -> tuple[BatchEntry, ...]:
    """Texts as entries, blank ones left out. Raises `Problem` (`INVALID`)."""
    entries = []
    for text in texts:
        if not isinstance(text, str) or len(text) > MAX_ENTRY_CHARACTERS:
            raise Problem(ProblemKind.INVALID, "Every address must be a text.", field_name)
        if email := text.strip():
            entries.append(BatchEntry(email))
    return tuple(entries)
