"""What the runner and the sender of webhooks need of a queue, whatever it is made of.

A queue holds pieces of work. A claim makes one ours for a while (its lease); whoever lost the
lease may write no more, so that a row is answered once however many work on a batch.
`tests/gateway/batches/test_queue.py` is what an implementation must pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.batches.model import Claim, Postponed, RowResult
from gateway.verdicts.verifier import BulkVerifier


class ChunkQueue(Protocol):
    """Work on batches. Every method may raise StoreError and is then to be asked again."""

    async def claim(self, holder: str, *, skip_batches: Collection[int] = ()) -> Claim | None:
        """The next piece of work that is due, of the account and batch that waited longest.

        Batches in `only_idle` are passed over. None if nothing is due.
        """
        ...

    async def write_results(self, claim: Claim, results: Sequence[RowResult]) -> bool:
        """Write answers and renew the lease; False if the lease is lost, and nothing written."""
        ...

    async def finish_chunk(
        self, claim: Claim, results: Sequence[RowResult], postponed: Sequence[Postponed] = ()
    ) -> bool:
        """Write the last answers and end the piece of work, and the batch if it was the last.

        False if the lease is lost, and nothing written.
        """
        ...

    async def prepare_batch(self, claim: Claim) -> bool:
        """Do what a batch needs before it is ready. False if the lease is lost."""
        ...

    async def release(self, claim: Claim) -> None:
        """Give a claim back, for whoever comes next."""
        ...

    async def free_dead_leases(self, is_dead: Callable[[str], bool]) -> int:
        """Free the leases of holders that are no more; how many there were."""
        ...

    async def next_due(self) -> float | None:
        """Unix time at which a piece of work can be claimed next; None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """A webhook to be sent."""

    batch_id: int
    url: str
    attempts: int
    """Those before this one."""
    give_up_at: float
    """Unix time in seconds."""


class Outbox(Protocol):
    """Webhooks that are not delivered yet."""

    async def claim(self) -> WebhookDelivery | None:
        """The next one that is due, ours for a while."""
        ...

    async def mark_delivered(self, delivery: WebhookDelivery) -> None: ...

    async def mark_failed(
        self, delivery: WebhookDelivery, failure: str, retry_at: float | None
    ) -> None:
        """Keep it for `again_at`, or give it up."""
        ...

    async def next_due(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class ChunkVerifier:
    """Who answers a piece of work."""

    verifier: BulkVerifier
    cache_partition: str = ""
    """Which cached verdicts may serve it (`gateway.verdicts.cache`)."""
    is_remote: bool = False
    """Whether others do the work, so that much may be under way."""


ChooseVerifier = Callable[[Claim, bool], ChunkVerifier]
"""Takes a piece of work, and whether what is greylisted in it will be asked about again."""


def always_use(verifier: BulkVerifier, *, is_remote: bool = False) -> ChooseVerifier:
    """One verifier for everything."""
    chosen = ChunkVerifier(verifier, is_remote=is_remote)
    return lambda *_: chosen
