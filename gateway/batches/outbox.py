"""The webhooks that are not delivered yet, in the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import delete, func, or_, select, update

from gateway.batches.ports import WebhookDelivery
from gateway.store import Store
from gateway.store.tables import deliveries

LEASE_S = 120.0
"""How long a delivery may take before another process tries it: more than it can."""
MAX_FAILURE_CHARACTERS = 200


class SqlOutbox:
    """`gateway.batches.ports.Outbox` over the tables."""

    def __init__(self, store: Store, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def claim(self) -> WebhookDelivery | None:
        if await self.next_due() is None:
            return None
        now = self._clock()
        async with self._store.write() as connection:
            found = await connection.execute(
                select(deliveries)
                .where(
                    deliveries.c.due_at <= now,
                    or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= now),
                )
                .order_by(deliveries.c.due_at)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            row = found.first()
            if row is None:
                return None
            await connection.execute(
                update(deliveries)
                .where(deliveries.c.batch_id == row.batch_id)
                .values(lease_until=now + LEASE_S)
            )
        return WebhookDelivery(row.batch_id, row.url, row.attempts, row.give_up_at)

    async def mark_delivered(self, delivery: WebhookDelivery) -> None:
        async with self._store.write() as connection:
            await connection.execute(delete(deliveries).where(_is_delivery(delivery)))

    async def mark_failed(
        self, delivery: WebhookDelivery, failure: str, retry_at: float | None
    ) -> None:
        async with self._store.write() as connection:
            if retry_at is None:
                await connection.execute(delete(deliveries).where(_is_delivery(delivery)))
                return
            await connection.execute(
                update(deliveries)
                .where(_is_delivery(delivery))
                .values(
                    due_at=retry_at,
                    attempts=delivery.attempts + 1,
                    last_word=failure[:MAX_FAILURE_CHARACTERS],
                    lease_until=None,
                )
            )

    async def next_due(self) -> float | None:
        async with self._store.read() as connection:
            due_at = await connection.scalar(
                select(func.min(func.coalesce(deliveries.c.lease_until, deliveries.c.due_at)))
            )
        return None if due_at is None else float(due_at)


def _is_delivery(delivery: WebhookDelivery) -> Any:
    return deliveries.c.batch_id == delivery.batch_id
