"""Batches of test keys where several processes find them: the port, and what is stored of one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from adapters.contract.dialect import Dialect
from adapters.contract.filters import AddressFilter, Filters, FilterTarget
from engine.model import Checks
from gateway.sandbox.batch import SandboxBatch
from gateway.sandbox.rows import RowKind, StoredRows, Tally

_CHECKS = Checks.__slots__


class Selection(NamedTuple):
    """Which batches are meant; None leaves a choice open."""

    scope: int | None = None
    dialect: str | None = None
    job_ids: Sequence[str] | None = None
    token: str | None = None

    def has(self, batch: SandboxBatch) -> bool:
        return (
            self.scope in (None, batch.scope)
            and self.dialect in (None, batch.dialect.name)
            and (self.job_ids is None or batch.id in self.job_ids)
            and self.token in (None, batch.token)
        )


EVERYTHING = Selection()


class BatchTable(Protocol):
    """The batches of all processes. Every method may raise StorageUnavailable."""

    async def add(self, batch: SandboxBatch, max_batches: int, max_bytes: int) -> None:
        """Store a new batch, and give it its number and its id.

        Others make room for it as in `gateway.sandbox.budget`.
        """

    async def save(self, batch: SandboxBatch) -> bool:
        """Store what has changed of a batch; False if another process did so since it was read."""

    async def remove(self, selection: Selection) -> None: ...

    async def versions(self, selection: Selection) -> dict[int, int]:
        """The number and the version of the selected batches."""

    async def states(self, numbers: Sequence[int]) -> dict[int, tuple[int, str]]:
        """The version of each batch that is still there, and its `state_to_text`."""

    async def load(self, number: int) -> SandboxBatch | None:
        """A batch with its rows; None if it is gone."""


# -- what is stored of a batch ------------------------------------------------------------


def fixed_to_text(batch: SandboxBatch) -> str:
    """What of a batch never changes, beside its rows.

    As ASCII, in which the odd characters of a client fit that no database takes.
    """
    return json.dumps(
        {
            "checks": [name for name in _CHECKS if getattr(batch.checks, name)],
            "created_at": batch.created_at,
            "total": batch.total,
            "valid": batch.valid,
            "headers": batch.headers,
            "has_failed": batch.has_failed,
            "name": batch.name,
            "webhook_url": batch.webhook_url,
            "base_url": batch.base_url,
            "filters": [(each.allows, each.target, each.value) for each in batch.filters.all],
            "starts": batch.rows.starts,
            "rows": len(batch.rows),
            "kinds": batch.tally.kinds,
        }
    )


def state_to_text(batch: SandboxBatch) -> str:
    """What a client can change of a batch."""
    return json.dumps(
        {
            "options": batch.options,
            "started_at": batch.started_at,
            "sampled": batch.sampled,
            "simulation_word": batch.simulation_word,
        }
    )


def apply_state(batch: SandboxBatch, version: int, text: str) -> None:
    state = json.loads(text)
    batch.version = version
    batch.options = state["options"]
    batch.started_at = state["started_at"]
    batch.sampled = state["sampled"]
    batch.simulation_word = state["simulation_word"]


def read_batch(
    *,
    number: int,
    job_id: str,
    scope: int,
    dialect: Dialect,
    token: str,
    version: int,
    fixed: str,
    state: str,
    rows: bytes,
    codes: bytes,
) -> SandboxBatch:
    """A batch as it was stored."""
    stored = json.loads(fixed)
    kinds = [RowKind(word, tuple(own), tuple(early)) for word, own, early in stored["kinds"]]
    batch = SandboxBatch(
        id=job_id,
        number=number,
        scope=scope,
        dialect=dialect,
        checks=Checks(**{name: name in stored["checks"] for name in _CHECKS}),
        created_at=stored["created_at"],
        total=stored["total"],
        rows=StoredRows.unpack(rows, stored["starts"], stored["rows"]),
        tally=Tally.of_codes(kinds, codes),
        valid=stored["valid"],
        headers=tuple(stored["headers"]),
        options={},
        started_at=None,
        has_failed=stored["has_failed"],
        name=stored["name"],
        webhook_url=stored["webhook_url"],
        base_url=stored["base_url"],
        filters=Filters(
            AddressFilter(allows, FilterTarget(target), value)
            for allows, target, value in stored["filters"]
        ),
        token=token,
    )
    apply_state(batch, version, state)
    return batch
