"""What a batch is while it is kept and worked on."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from adapters.contract.batch_rules import BatchRules
from adapters.contract.dialect import Dialect
from engine.model import Checks, Verification


class InternalState(StrEnum):
    """States beside `adapters.contract.jobs.JobState` in which a batch is nobody's."""

    STORING = "storing"  # not acknowledged yet
    DELETED = "deleted"  # its rows are still to be removed


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One address to verify."""

    position: int
    email: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A piece of work, ours until `lease_until` unless it is renewed."""

    batch_id: int
    chunk_number: int
    origin_chunk: int
    """Number of the first piece that its addresses were in."""
    lease: str
    dialect: str
    checks: Checks
    retries: bool
    batch_rows: int
    """Of the whole batch."""
    attempt: int
    """How often its addresses were greylisted already."""
    started_at: float
    """Unix time in seconds when the work on the batch began."""
    key_id: int
    """Of the key it was submitted with; 0 for nobody's."""
    key_label: str
    items: tuple[BatchItem, ...]
    """Those that have no answer yet."""
    is_preparation: bool = False
    """Whether the work is to prepare the batch; there are no items then."""


@dataclass(frozen=True, slots=True)
class RowResult:
    """A row's answer."""

    position: int
    verification: Verification


@dataclass(frozen=True, slots=True)
class Postponed:
    """Addresses to be asked about again later."""

    positions: Sequence[int]
    due_at: float
    """Unix time in seconds."""
    attempt: int
    """`Claim.attempt` of the piece of work that they make."""


def rules_of(dialect: Dialect) -> BatchRules:
    if dialect.batch_rules is None:
        raise TypeError(f"{dialect.name} has no batches")
    return dialect.batch_rules


def pack_positions(positions: Sequence[int]) -> bytes:
    """Row numbers as bytes, in the order to work on them."""
    return struct.pack(f"<{len(positions)}I", *positions)


def unpack_positions(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data)


_FLAGS = ("dns", "smtp", "catch_all")


def checks_to_text(checks: Checks) -> str:
    return ",".join(name for name in _FLAGS if getattr(checks, name))


def checks_from_text(text: str) -> Checks:
    wanted = text.split(",")
    return Checks(**{name: name in wanted for name in _FLAGS})
