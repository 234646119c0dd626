"""What the runner and the sender of webhooks need of a queue, whatever it is made of.

A queue holds pieces of work. A claim makes one ours for a while (its lease); whoever lost the
lease may write no more, so that a row is answered once however many work on a batch.
`tests/gateway/batches/test_queue.py` is what an implementation must pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.batches.model import Answered, Claim, PutOff
from gateway.verdicts.verifier import BulkVerifier


class Queue(Protocol):
    """Work on batches. Every method may raise StoreError and is then to be asked again."""

    async def claim(self, holder: str, *, only_idle: Collection[int] = ()) -> Claim | None:
        """The next piece of work that is due, of the account and batch that waited longest.

        Batches in `only_idle` are passed over. None if nothing is due.
        """
        ...

    async def record(self, claim: Claim, answers: Sequence[Answered]) -> bool:
        """Write answers and renew the lease; False if the lease is lost, and nothing written."""
        ...

    async def finish(
        self, claim: Claim, answers: Sequence[Answered], put_off: Sequence[PutOff] = ()
    ) -> bool:
        """Write the last answers and end the piece of work, and the batch if it was the last.

        False if the lease is lost, and nothing written.
        """
        ...

    async def prepare(self, claim: Claim) -> bool:
        """Do what a batch needs before it is ready. False if the lease is lost."""
        ...

    async def release(self, claim: Claim) -> None:
        """Give a claim back, for whoever comes next."""
        ...

    async def recover(self, is_dead: Callable[[str], bool]) -> int:
        """Free the leases of holders that are no more; how many there were."""
        ...

    async def next_due(self) -> float | None:
        """Unix time at which a piece of work can be claimed next; None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook to be sent."""

    batch_id: int
    url: str
    attempts: int
    """Those before this one."""
    give_up_at: float
    """Unix time in seconds."""


class Outbox(Protocol):
    """Webhooks that are not delivered yet."""

    async def claim(self) -> Delivery | None:
        """The next one that is due, ours for a while."""
        ...

    async def delivered(self, delivery: Delivery) -> None: ...

    async def failed(self, delivery: Delivery, word: str, again_at: float | None) -> None:
        """Keep it for `again_at`, or give it up."""
        ...

    async def next_due(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who answers a piece of work."""

    verifier: BulkVerifier
    shares: str = ""
    """Whose kept answers may serve it (`gateway.verdicts.cache`)."""
    waits: bool = False
    """Whether others do the work, so that much may be under way."""


Choose = Callable[[Claim, bool], Chosen]
"""Takes a piece of work, and whether what is greylisted in it will be asked about again."""


def always(verifier: BulkVerifier, *, waits: bool = False) -> Choose:
    """One verifier for everything."""
    chosen = Chosen(verifier, waits=waits)
    return lambda *_: chosen
