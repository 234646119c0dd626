"""The values that batches are made of: states, items, claims, results."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from adapters.contract.batch_rules import BatchRules
from adapters.contract.dialect import Dialect
from engine.model import Checks, Verification


class InternalState(StrEnum):
    """States beside `adapters.contract.jobs.JobState`, in which clients do not see a batch."""

    STORING = "storing"  # not yet acknowledged
    DELETED = "deleted"  # its rows are still to be deleted


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One address to verify."""

    position: int
    email: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A chunk under a lease, which ends unless it is renewed."""

    batch_id: int
    chunk_number: int
    origin_chunk: int
    """Number of the chunk that its addresses were in first; retries are chunks of their own."""
    lease: str
    dialect: str
    checks: Checks
    retries: bool
    batch_rows: int
    """Rows of the whole batch."""
    attempt: int
    """How often its addresses were refused for now before."""
    started_at: float
    """Unix time in seconds when the first chunk of the batch was claimed."""
    account_id: int
    key_id: int
    """The key of the submission; 0 if there is none."""
    key_label: str
    items: tuple[BatchItem, ...]
    """Its addresses without a result."""
    refresh: bool = False
    """Whether no result is taken from the verdict cache."""
    is_preparation: bool = False
    """Whether it prepares the batch instead of verifying addresses; it has no items then."""


@dataclass(frozen=True, slots=True)
class RowResult:
    """The result for one row."""

    position: int
    verification: Verification


@dataclass(frozen=True, slots=True)
class Postponed:
    """Addresses to be verified later, in a chunk of their own."""

    positions: Sequence[int]
    due_at: float
    """Unix time in seconds."""
    attempt: int
    """`Claim.attempt` of that chunk."""
    egress: str = ""
    """Name of the egress that the mail hosts know from the first attempt; empty if it is open."""


def rules_of(dialect: Dialect) -> BatchRules:
    if dialect.batch_rules is None:
        raise TypeError(f"{dialect.name} has no batches")
    return dialect.batch_rules


BYTES_PER_POSITION = 4


def pack_positions(positions: Sequence[int]) -> bytes:
    """Positions as bytes, in the order in which they are to be verified."""
    return struct.pack(f"<{len(positions)}I", *positions)


def unpack_positions(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // BYTES_PER_POSITION}I", data)


_FLAGS = ("dns", "smtp", "catch_all", "policies")


def checks_to_text(checks: Checks) -> str:
    return ",".join(name for name in _FLAGS if getattr(checks, name))


def checks_from_text(text: str) -> Checks:
    names = text.split(",")
    return Checks(**{flag: flag in names for flag in _FLAGS})
