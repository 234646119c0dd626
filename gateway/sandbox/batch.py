"""One submitted batch of a test key, in memory."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from adapters.contract.batch_rules import BatchRules
from adapters.contract.dialect import Dialect
from adapters.contract.filters import Filters
from engine.model import Checks
from gateway.accounts.account_state import NO_FILTERS
from gateway.sandbox.rows import StoredRows, Tally

BATCH_OVERHEAD_BYTES = 3_000
"""Of a batch, beside its rows and its other texts."""


@dataclass(slots=True)
class SandboxBatch:
    """One submitted batch."""

    id: str
    number: int
    scope: int
    dialect: Dialect
    checks: Checks
    created_at: float
    total: int
    rows: StoredRows
    """Without duplicates if the dialect merges them."""
    tally: Tally
    valid: int
    headers: tuple[str, ...]
    options: Mapping[str, object]
    started_at: float | None
    has_failed: bool = False
    """Whether there was no list to read."""
    sampled: int = 0
    """Rows of its sample, which are the first ones."""
    name: str = ""
    webhook_url: str = ""
    base_url: str = ""
    """Where the request came to, for links in webhooks."""
    filters: Filters = NO_FILTERS
    """Of its owner at the time of the submission."""
    simulation_word: str = ""
    """The word in one of its addresses for the state, or the pace, to show."""
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    version: int = 0
    """How often a client has changed it, for batches that several processes have."""
    removed: bool = False
    """Whether its rows are gone."""

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        headers = sum(len(header.encode()) + 60 for header in self.headers)
        options = len(orjson.dumps(self.options))
        texts = len(self.name.encode("utf-8", "replace")) + len(
            self.webhook_url.encode("utf-8", "replace")
        )
        parts = headers + options + texts
        return BATCH_OVERHEAD_BYTES + self.rows.size + len(self.rows) + parts


def rules_of(dialect: Dialect) -> BatchRules:
    assert dialect.batch_rules is not None
    return dialect.batch_rules
