"""A vendor's rules for batches, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from adapters.contract.jobs import BatchEntry, JobRows
from adapters.contract.operations import ReadRows
from adapters.contract.problems import Problem, ProblemKind
from adapters.contract.wire import Reply
from engine.model import Address, Evidence, Verification

MAX_BATCH_ENTRIES = 50_000
"""Addresses in one request, by four of the five vendors."""
MAX_ENTRY_CHARACTERS = 1_000
"""Of one entry; RFC 5321 section 4.5.3.1 allows an address 320. A longer
entry comes from a broken list."""


class ChargeTime(StrEnum):
    """When a batch is paid for."""

    SUBMIT = "submit"
    START = "start"


class BilledUnit(StrEnum):
    """The rows of a batch that are charged."""

    ENTRIES = "entries"
    ROWS = "rows"
    VALID = "valid"  # rows whose address is well formed


class IdSource(NamedTuple):
    """The sources for the id of a new batch."""

    number: int
    """The batch's number on this server, from 1."""
    random_below: Callable[[int], int]
    """A random integer that is at least 0 and below the argument."""


@dataclass(frozen=True, slots=True)
class CompletionWebhook:
    """The call to a client's URL when its batch is done: its body, and when it is repeated."""

    build_operation: Callable[[str], ReadRows]
    """From a job's id."""
    write_body: Callable[[ReadRows, JobRows], Reply]
    retry_interval_s: float = 3_600.0
    """Between two tries."""
    give_up_after_s: float = 3 * 86_400.0
    """After the end of the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRules:
    """A vendor's rules for batches."""

    new_id: Callable[[IdSource], str]
    row_word: Callable[[Verification], str]
    """The word for a row, by which rows are filtered and counted."""
    extra_counters: Callable[[Verification], Iterable[str]] = lambda _: ()
    """Further counters that an answered row adds to."""
    counters_before_start: Callable[[Address, Evidence], Iterable[str]] | None = None
    """Counters that a row adds to before it is verified; None needs no preparation."""
    shows_names: bool = False
    """Whether rows show a guess at the owner of an address."""
    merge_duplicates: bool = False
    """Whether equal addresses make one row."""
    charged_at: ChargeTime = ChargeTime.SUBMIT
    billed_unit: BilledUnit = BilledUnit.ENTRIES
    must_cover_unit: BilledUnit = BilledUnit.ENTRIES
    """The rows that the credits must suffice for."""
    refund_word: str = ""
    """Rows with these words are refunded; empty for none."""
    retention_s: Callable[[int], int | None]
    """How long rows are kept after the end, by the number of entries; None until deleted."""
    delete_with_rows: bool = True
    """Whether the job is deleted with its rows; otherwise it stays, with its counts."""
    completion_webhook: CompletionWebhook | None = None


def parse_entries(texts: Iterable[object], field_name: str) -> tuple[BatchEntry, ...]:
    """Texts as entries, blank ones left out. Raises `Problem` (`INVALID`)."""
    entries = []
    for text in texts:
        if not isinstance(text, str) or len(text) > MAX_ENTRY_CHARACTERS:
            raise Problem(ProblemKind.INVALID, "Every address must be a text.", field_name)
        if email := text.strip():
            entries.append(BatchEntry(email))
    return tuple(entries)
