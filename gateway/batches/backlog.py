"""What all processes of a database have to do: for metrics, and for `veriplex cluster`."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, case, func, or_, select

from gateway.batches.queue import ACTIVE
from gateway.store import Store
from gateway.store.tables import batch_chunks, batches, webhooks


@dataclass(frozen=True, slots=True)
class Backlog:
    """The work that waits and that is in flight."""

    due_chunks: int
    """Chunks that no process works on."""
    oldest_due_s: float
    """For how long one of them has been due, in seconds; 0 without any."""
    chunks_in_flight: int
    expired_leases: int
    """Chunks whose worker has not renewed its lease in time, and that nobody has taken over."""
    webhooks_due: int


async def read_backlog(store: Store, now: float) -> Backlog:
    """`now` is Unix time in seconds. Raises StoreError."""
    in_flight = batch_chunks.c.lease_until > now
    is_due = and_(
        batch_chunks.c.due_at <= now,
        or_(batch_chunks.c.lease_until.is_(None), batch_chunks.c.lease_until <= now),
    )
    per_batch = (
        select(
            batches.c.created_at,
            func.count(case((is_due, 1))),
            func.min(case((is_due, batch_chunks.c.due_at))),
            func.count(case((in_flight, 1))),
            func.count(case((and_(is_due, batch_chunks.c.lease.is_not(None)), 1))),
        )
        .join_from(batches, batch_chunks, batches.c.id == batch_chunks.c.batch_id)
        .where(batches.c.state.in_(ACTIVE))
        .group_by(batches.c.id, batches.c.created_at)
    )
    found = [tuple(row) for row in await store.fetch_all(per_batch)]
    deliveries = select(func.count()).where(
        webhooks.c.due_at <= now,
        or_(webhooks.c.lease_until.is_(None), webhooks.c.lease_until <= now),
    )
    ((webhooks_due,),) = await store.fetch_all(deliveries)
    # chunks that are due at once have no due time of their own
    due_since = [max(due_at, created.timestamp()) for created, due, due_at, _, _ in found if due]
    return Backlog(
        due_chunks=sum(row[1] for row in found),
        oldest_due_s=max(now - min(due_since), 0.0) if due_since else 0.0,
        chunks_in_flight=sum(row[3] for row in found),
        expired_leases=sum(row[4] for row in found),
        webhooks_due=int(webhooks_due),
    )
