"""The outbox: webhooks that are not yet delivered, in the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from sqlalchemy import Row, Select, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract.batch_rules import BatchWebhook, JobEvent
from adapters.contract.dialect import Dialect
from adapters.contract.jobs import Job
from engine.turns import Turns
from gateway.batches.model import rules_of
from gateway.batches.ports import WebhookDelivery
from gateway.cluster.embedded import EmbeddedDispatch
from gateway.cluster.ports import WEBHOOKS, Dispatch
from gateway.store import Store
from gateway.store.tables import batches, webhooks

LEASE_S = 40.0
"""After this time another process may attempt the delivery; longer than an attempt takes
(`gateway.batches.http_post.TIMEOUT_S`)."""
MAX_FAILURE_CHARACTERS = 200
WHEN_DONE = ""
"""The event of the webhook that has no name of the vendor's: the batch is done."""


class SqlOutbox:
    """`gateway.batches.ports.Outbox` over the tables."""

    def __init__(
        self, store: Store, *, clock: Callable[[], float], dispatch: Dispatch | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._dispatch = dispatch or EmbeddedDispatch()

    async def claim(
        self, turns: Turns, *, only_idle_accounts: bool = False
    ) -> WebhookDelivery | None:
        now = self._clock()
        rows = await self._store.fetch_all(_accounts_with_deliveries(now))
        accounts: list[int] = [row[0] for row in rows]
        if only_idle_accounts:
            accounts = [account for account in accounts if not turns.in_flight(account)]
        if not accounts:
            return None
        account_id = min(accounts, key=turns.order)
        async with self._store.write() as connection:
            row = (await connection.execute(_next_delivery(now, account_id))).first()
            if row is None:
                return None
            await connection.execute(
                update(webhooks).where(webhooks.c.id == row.id).values(lease_until=now + LEASE_S)
            )
        return WebhookDelivery(
            id=row.id,
            batch_id=row.batch_id,
            account_id=account_id,
            dialect=row.dialect,
            url=row.url,
            attempts=row.attempts,
            give_up_at=row.give_up_at,
            event=row.event,
            position=row.position,
            body=row.body,
            headers=orjson.loads(row.headers) if row.headers else {},
        )

    async def mark_delivered(self, delivery: WebhookDelivery) -> None:
        async with self._store.write() as connection:
            await connection.execute(delete(webhooks).where(_is_delivery(delivery)))

    async def mark_failed(
        self, delivery: WebhookDelivery, failure: str, retry_at: float | None
    ) -> None:
        async with self._store.write() as connection:
            if retry_at is None:
                await connection.execute(delete(webhooks).where(_is_delivery(delivery)))
                return
            await connection.execute(
                update(webhooks)
                .where(_is_delivery(delivery))
                .values(
                    due_at=retry_at,
                    attempts=delivery.attempts + 1,
                    last_word=failure[:MAX_FAILURE_CHARACTERS],
                    lease_until=None,
                )
            )
            await self._dispatch.tell_at(connection, WEBHOOKS, retry_at)

    async def next_due(self) -> float | None:
        async with self._store.read() as connection:
            due_at = await connection.scalar(
                select(func.min(func.coalesce(webhooks.c.lease_until, webhooks.c.due_at)))
            )
        return None if due_at is None else float(due_at)


async def add_event(
    connection: AsyncConnection,
    dispatch: Dispatch,
    batch: Row[Any],
    dialect: Dialect,
    event: JobEvent,
    now: float,
    *,
    job: Job | None = None,
) -> None:
    """Store the webhooks of an event, in the transaction of the event itself.

    `batch` is its row. With `job` their bodies are made now, since the batch is about to go.
    """
    webhook = rules_of(dialect).webhook
    if webhook is None or not batch.webhook_url:
        return
    names: list[str] = []
    if webhook.reports(event, orjson.loads(batch.options)):
        names = list(webhook.events.get(event, ()))
    if event is JobEvent.COMPLETED and webhook.write_body is not None:
        names.append(WHEN_DONE)
    rows = [_row(batch, webhook, name, now) for name in names]
    if job is not None and webhook.write_event is not None:
        headers = orjson.dumps(dict(webhook.headers(job))).decode()
        for row in rows:
            row |= {"body": webhook.write_event(row["event"], job), "headers": headers}
    if rows:
        await connection.execute(insert(webhooks), rows)
        await dispatch.tell_at(connection, WEBHOOKS, now)


async def add_rows(
    connection: AsyncConnection,
    dispatch: Dispatch,
    batch: Row[Any],
    dialect: Dialect,
    positions: Sequence[int],
    now: float,
) -> None:
    """Store the webhooks of rows, in the transaction that writes their results."""
    webhook = rules_of(dialect).webhook
    if webhook is None or webhook.write_row is None or not batch.webhook_url or not positions:
        return
    rows = [_row(batch, webhook, "", now) | {"position": position} for position in positions]
    await connection.execute(insert(webhooks), rows)
    await dispatch.tell_at(connection, WEBHOOKS, now)


def _row(batch: Row[Any], webhook: BatchWebhook, event: str, now: float) -> dict[str, Any]:
    return {
        "batch_id": batch.id,
        "dialect": batch.dialect,
        "url": batch.webhook_url,
        "event": event,
        "due_at": now,
        "give_up_at": now + webhook.give_up_after_s,
        "attempts": 0,
        "last_word": "",
    }


_WITH_BATCHES = webhooks.outerjoin(batches, batches.c.id == webhooks.c.batch_id)
_ACCOUNT_ID: Any = func.coalesce(batches.c.account_id, 0)


def _is_due(now: float) -> tuple[Any, ...]:
    return (
        webhooks.c.due_at <= now,
        or_(webhooks.c.lease_until.is_(None), webhooks.c.lease_until <= now),
    )


def _accounts_with_deliveries(now: float) -> Select[Any]:
    return select(_ACCOUNT_ID).select_from(_WITH_BATCHES).where(*_is_due(now)).distinct()


def _next_delivery(now: float, account_id: int) -> Select[Any]:
    """The delivery of an account that is due for longest."""
    return (
        select(webhooks)
        .select_from(_WITH_BATCHES)
        .where(*_is_due(now), account_id == _ACCOUNT_ID)
        .order_by(webhooks.c.due_at, webhooks.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=webhooks)
    )


def _is_delivery(delivery: WebhookDelivery) -> Any:
    return webhooks.c.id == delivery.id
