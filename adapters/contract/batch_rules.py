"""How a vendor treats batches, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from adapters.contract.jobs import BatchEntry, Job, JobRow, JobRows
from adapters.contract.operations import ReadRows
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import Reply
from engine.model import Address, Evidence, Verification

MAX_BATCH_ENTRIES = 50_000
"""Addresses in one request, at most vendors."""
MAX_ENTRY_CHARACTERS = 1_000
"""Of one entry. RFC 5321 section 4.5.3.1 allows an address 320 octets; a much longer entry shows
that the list is broken."""


class ChargeTime(StrEnum):
    """When a batch is charged."""

    SUBMIT = "submit"
    START = "start"


class BilledUnit(StrEnum):
    """What of a batch one credit is charged for."""

    ENTRIES = "entries"
    ROWS = "rows"
    VALID = "valid"  # rows whose address is well formed


class IdSource(NamedTuple):
    """The sources for the id of a new batch."""

    number: int
    """The batch's number on this server, from 1."""
    random_below: Callable[[int], int]
    """A random integer that is at least 0 and below the argument."""


DUPLICATE = "duplicate"
"""The counter of the rows that `BatchRules.marks_duplicates` marks."""


def duplicate_word(word: str) -> str:
    """The word of a marked row whose address has this word."""
    return f"{DUPLICATE} {word}"


class JobEvent(StrEnum):
    """What happens to a batch, as far as a webhook may report it."""

    SUBMITTED = "submitted"
    STARTED = "started"  # with the submission, or by a StartJob
    COMPLETED = "completed"
    SAMPLE_STARTED = "sample started"
    SAMPLE_FINISHED = "sample finished"
    AMENDED = "amended"  # by an AmendJob
    FAILED = "failed"  # its list could not be read
    DELETED = "deleted"  # by its owner


def is_200(status: int) -> bool:
    return status == 200


def is_success(status: int) -> bool:
    return status // 100 == 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchWebhook:
    """The POSTs to a client's URL about its batch: their bodies, and when they are repeated.

    A vendor has one or more of: a POST when the batch is done, one for each event, and one for each
    row. Each is stored when it is due, and sent at least once.
    """

    build_operation: Callable[[str], ReadRows] = lambda job_id: ReadRows(job_id=job_id)
    """The operation for a job's id whose outcome `write_body` takes."""
    write_body: Callable[[ReadRows, JobRows], Reply] | None = None
    """The body when the batch is done; None for no such POST."""
    events: Mapping[JobEvent, tuple[str, ...]] = field(default_factory=dict)
    """The vendor's names of events, each of which is a POST."""
    reports: Callable[[JobEvent, Mapping[str, Any]], bool] = lambda _, __: True
    """Whether a batch with these options (`Job.options`) reports an event."""
    write_event: Callable[[str, Job], bytes] | None = None
    """The body for one of these names."""
    write_row: Callable[[Job, JobRow], bytes] | None = None
    """The body for a row that has its result; None for no such POSTs."""
    headers: Callable[[Job], Mapping[str, str]] = lambda _: {}
    """Further headers, which the client chose. Those of a connection are left out, and `Host`,
    `Content-Length` and malformed ones."""
    is_accepted: Callable[[int], bool] = is_200
    """Whether a status means that the receiver has it."""
    retry_interval_s: float = 3_600.0
    """Between two attempts."""
    give_up_after_s: float = 3 * 86_400.0
    """After it was first due; then it is not sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRules:
    """How a vendor treats batches."""

    new_id: Callable[[IdSource], str]
    row_word: Callable[[Verification], str]
    """The vendor's word for a row's result. Rows are filtered and counted by it."""
    extra_counters: Callable[[Verification], Iterable[str]] = lambda _: ()
    """Further counters that a verified row adds one to."""
    counters_before_start: Callable[[Address, Evidence], Iterable[str]] | None = None
    """Counters that a row adds one to before it is verified, from the facts in its address; None if
    the vendor has no such counters."""
    shows_names: bool = False
    """Whether rows show the owner's name."""
    merge_duplicates: bool = False
    """Whether equal addresses make one row."""
    marks_duplicates: bool = False
    """Whether of equal addresses only the first row is verified and charged. The others are rows
    with its result and a word of their own (`duplicate_word`), and count as `DUPLICATE`."""
    sample_size: Callable[[int], int] | None = None
    """How many of so many rows a sample verifies, free of charge; None if there are no samples."""
    charged_at: ChargeTime = ChargeTime.SUBMIT
    billed_unit: BilledUnit = BilledUnit.ENTRIES
    must_cover_unit: BilledUnit = BilledUnit.ENTRIES
    """The credits must cover each of these, even if fewer are charged."""
    refund_word: str = ""
    """Rows with this word are refunded; empty for none."""
    retention_s: Callable[[int], int | None]
    """How long rows are stored after the end, by the number of entries; None is until deleted."""
    link_lifetime_s: float | None = None
    """How long a link to the results is valid (`Job.link_token`); None for as long as the rows."""
    is_public: bool = False
    """Whether who knows a batch's id may read it without a key: its `Job.link_token` is the id."""
    own_retention_s: Callable[[Mapping[str, Any]], int | None] = lambda _: None
    """How long the rows of a batch with these options (`Job.options`) are stored instead; None for
    as long as those of any other."""
    delete_with_rows: bool = True
    """Whether the job is deleted with its rows; else it stays, with its counts."""
    webhook: BatchWebhook | None = None


def parse_entries(texts: Iterable[object], field_name: str) -> tuple[BatchEntry, ...]:
    """Texts as entries, blank ones left out. Raises `Problem` (`INVALID`)."""
    entries = []
    for text in texts:
        if not isinstance(text, str) or len(text) > MAX_ENTRY_CHARACTERS:
            raise Problem(ProblemKind.INVALID, "Every address must be a text.", field_name)
        if email := text.strip():
            entries.append(BatchEntry(email))
    return tuple(entries)
