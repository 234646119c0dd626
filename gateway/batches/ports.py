"""What the runner and the sender of webhooks need of a queue, and the choice of a verifier.

A queue holds chunks of batches. A worker claims a chunk under a lease. A worker that lost the lease
can write no more, so that a row gets one result however many workers share a batch.
`tests/gateway/batches/test_queue.py` is the contract that an implementation must pass.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from adapters.contract.filters import Filters
from engine.turns import Turns
from gateway.accounts.account_state import NO_FILTERS
from gateway.batches.model import Claim, Postponed, RowResult
from gateway.verdicts.verifier import BulkVerifier

EGRESS_PATIENCE_S = 600.0
"""How long a chunk waits for a process with its egress; then any process may have it."""


class ChunkQueue(Protocol):
    """Chunks of batches. Every method may raise StoreError, and may then be called again."""

    async def claim(
        self,
        holder: str,
        turns: Turns,
        *,
        skip_batches: Collection[int] = (),
        only_idle_accounts: bool = False,
        only_idle_batches: bool = False,
        egresses: Collection[str] | None = None,
    ) -> Claim | None:
        """Claim the next chunk that is due, of the account whose turn it is.

        `turns` counts the chunks that the caller has in flight, by account. None if no chunk is
        due, or only chunks of `skip_batches`, or (`only_idle_accounts`) of accounts with chunks
        in flight, or (`only_idle_batches`) of batches of which a chunk is in flight anywhere.
        A chunk that is to go by another egress than `egresses` is not due before
        `EGRESS_PATIENCE_S`; None: any will do.
        """
        ...

    async def write_results(self, claim: Claim, results: Sequence[RowResult]) -> bool:
        """Write results and renew the lease. If the lease is lost, nothing is written: False."""
        ...

    async def finish_chunk(
        self, claim: Claim, results: Sequence[RowResult], postponed: Sequence[Postponed] = ()
    ) -> bool:
        """Write the last results and end the chunk, and the batch if it was its last.

        False if the lease is lost; then nothing is written.
        """
        ...

    async def prepare_batch(self, claim: Claim) -> bool:
        """Analyse a batch before its start, as its dialect wants. False if the lease is lost."""
        ...

    async def release(self, claim: Claim) -> None:
        """Give up a claim, so that another worker can have it at once."""
        ...

    async def holders(self) -> frozenset[str]:
        """The holders of leases."""
        ...

    async def free_dead_leases(self, is_dead: Callable[[str], bool]) -> int:
        """Free the leases of processes that have ended. Returns their number."""
        ...

    async def reconcile(self) -> int:
        """See that a turn waits for each chunk that is due (`Dispatch.top_up`). Returns how many
        were missing."""
        ...

    async def next_due(self) -> float | None:
        """The Unix time at which the next chunk is due; None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """A webhook to be sent."""

    id: int
    batch_id: int
    account_id: int
    """0 if the batch was deleted."""
    dialect: str
    url: str
    attempts: int
    """The attempts before this one."""
    give_up_at: float
    """Unix time in seconds."""
    event: str = ""
    """The vendor's name of the event; empty if the batch is done, or for a row."""
    position: int | None = None
    """Of the row that it reports; None if it reports none."""
    body: bytes | None = None
    """None if it is made of the batch now."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """With a `body`."""


class Outbox(Protocol):
    """Webhooks that are to be delivered."""

    async def claim(
        self, turns: Turns, *, only_idle_accounts: bool = False
    ) -> WebhookDelivery | None:
        """Claim the next webhook that is due, of the account whose turn it is, under a lease.

        `turns` counts the webhooks that the caller has in flight, by account. With
        `only_idle_accounts` it is one of an account that has none in flight.
        """
        ...

    async def mark_delivered(self, delivery: WebhookDelivery) -> None: ...

    async def mark_failed(
        self, delivery: WebhookDelivery, failure: str, retry_at: float | None
    ) -> None:
        """Keep it for another attempt at `retry_at`, or abandon it if that is None."""
        ...

    async def next_due(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class ChunkVerifier:
    """The verifier of a chunk."""

    verifier: BulkVerifier
    cache_partition: str = ""
    """Which cached verdicts may serve it (`gateway.verdicts.cache`)."""
    is_remote: bool = False
    """Whether an upstream does the work, so that many chunks may be in flight."""


FindFilters = Callable[[Claim], Awaitable[Filters]]
"""The filters of the owner of a claim. May raise StoreError."""


async def no_filters(_: Claim) -> Filters:
    return NO_FILTERS


ChooseVerifier = Callable[[Claim, bool], ChunkVerifier]
"""Takes a claim, and whether addresses of it that are refused for now are tried again later."""


def always_use(verifier: BulkVerifier, *, is_remote: bool = False) -> ChooseVerifier:
    """Use one verifier for all chunks."""
    chosen = ChunkVerifier(verifier, is_remote=is_remote)
    return lambda *_: chosen
