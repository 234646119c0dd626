"""The outbox: webhooks that are not yet delivered, in the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Select, delete, func, or_, select, update

from gateway.batches.ports import WebhookDelivery
from gateway.store import Store
from gateway.store.tables import batches, deliveries

LEASE_S = 40.0
"""After this time another process may attempt the delivery; longer than an attempt takes
(`gateway.batches.http_post.TIMEOUT_S`)."""
MAX_IN_FLIGHT_PER_ACCOUNT = 8
"""Deliveries, so that an account whose receivers never answer leaves slots to the others."""
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
            row = (await connection.execute(_next_delivery(now))).first()
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


def _next_delivery(now: float) -> Select[Any]:
    """The delivery that is due, of the account with the fewest in flight."""
    in_flight = (
        select(batches.c.account_id, func.count().label("count"))
        .join_from(deliveries, batches, batches.c.id == deliveries.c.batch_id)
        .where(deliveries.c.lease_until > now)
        .group_by(batches.c.account_id)
        .subquery()
    )
    count = func.coalesce(in_flight.c.count, 0)
    return (
        select(deliveries)
        .join_from(deliveries, batches, batches.c.id == deliveries.c.batch_id, isouter=True)
        .outerjoin(in_flight, in_flight.c.account_id == batches.c.account_id)
        .where(
            deliveries.c.due_at <= now,
            or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= now),
            count < MAX_IN_FLIGHT_PER_ACCOUNT,
        )
        .order_by(count, deliveries.c.due_at)
        .limit(1)
        .with_for_update(skip_locked=True, of=deliveries)
    )


def _is_delivery(delivery: WebhookDelivery) -> Any:
    return deliveries.c.batch_id == delivery.batch_id
