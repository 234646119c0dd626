"""Webhooks of test keys' batches, repeated as the dialect's rule says until one is accepted.

They are timed by the sandbox's clock, so that a test can let an hour pass. A fault of the operation
`webhook` makes an attempt fail, which is then not sent at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from engine.turns import FairQueue, Turns
from gateway.sandbox.budget import ScopedStore
from gateway.sandbox.clock import Clocks
from gateway.sandbox.deliveries import DeliveryLog, DeliveryRecord, DeliveryStatus
from gateway.sandbox.faults import FaultInjector
from gateway.sandbox.redact import redact_keys
from gateway.sandbox.reports import Report
from gateway.tasks import in_background

log = logging.getLogger(__name__)

WEBHOOK_OPERATION = "webhook"
CLOCK_POLL_S = 0.5
"""Interval of reading the clock while deliveries wait; moving the clock wakes at once."""
MAX_DELIVERIES = 1_000
MAX_DELIVERIES_BYTES = 4 * 1024 * 1024
"""Of the deliveries that may wait; another one replaces older ones."""
DELIVERY_OVERHEAD_BYTES = 1_000
MAX_IN_FLIGHT = 32
"""Attempts at a time; a scope without any does not wait for slow receivers of the others."""


class PostWebhook(Protocol):
    """Sends a body to a URL, within a time limit. Returns an empty text if it was accepted, else
    the reason."""

    def __call__(
        self,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str] = ...,
        is_accepted: Callable[[int], bool] = ...,
    ) -> Awaitable[str]: ...


@dataclass(slots=True, eq=False)
class SandboxDelivery:
    """The webhook of one batch."""

    id: int
    report: Report
    record: DeliveryRecord
    due_at: float
    give_up_at: float
    """Both times are of the scope's clock."""
    in_flight: bool = False

    @property
    def scope(self) -> int:
        return self.report.batch.scope

    @property
    def dialect(self) -> str:
        return self.report.batch.dialect.name


class SandboxWebhooks:
    """Delivers webhooks, each timed by the clock of its batch's scope."""

    def __init__(self, faults: FaultInjector, clocks: Clocks) -> None:
        self._faults = faults
        self._clocks = clocks
        self.log = DeliveryLog()
        self._deliveries: ScopedStore[int, SandboxDelivery] = ScopedStore(
            max_values=MAX_DELIVERIES,
            max_size=MAX_DELIVERIES_BYTES,
            on_removal=self._note_removal,
        )
        self._next_id = 1
        self._turns = Turns()
        """Counts attempts in flight, by scope."""
        self._wake = asyncio.Event()

    def schedule(self, report: Report) -> None:
        """Post the report once it has happened, as often as the dialect says."""
        scope, url = report.batch.scope, report.batch.webhook_url
        now = self._clocks.now(scope)
        id_, self._next_id = self._next_id, self._next_id + 1
        record = DeliveryRecord(
            id_,
            scope,
            report.batch.dialect.name,
            report.batch.id,
            report.name,
            url,
            next_attempt_at=now,
        )
        self.log.add(record)
        give_up_at = now + report.webhook.give_up_after_s
        delivery = SandboxDelivery(id_, report, record, now, give_up_at)
        self._deliveries.put(scope, id_, delivery, DELIVERY_OVERHEAD_BYTES + 4 * len(url))
        self.wake()

    def wake(self) -> None:
        """Look for due deliveries now: the clock was moved, or there is a new delivery."""
        self._wake.set()

    def clear(self, scope: int | None) -> None:
        """Remove the deliveries of a scope, and what became of earlier ones; for None all."""
        self._deliveries.clear(scope)
        self.log.clear(scope)

    def _note_removal(self, delivery: SandboxDelivery) -> None:
        """A delivery is over, or gave way to another."""
        record = delivery.record
        record.next_attempt_at = None
        if record.status is DeliveryStatus.WAITING:
            record.status = DeliveryStatus.DROPPED
        self.log.note_change()

    @contextlib.asynccontextmanager
    async def running(self, post: PostWebhook) -> AsyncIterator[None]:
        """A context in which webhooks are delivered."""
        async with in_background(self._run(post)):
            yield

    async def _run(self, post: PostWebhook) -> None:
        async with asyncio.TaskGroup() as attempts:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CLOCK_POLL_S if self._deliveries else None):
                        await self._wake.wait()
                self._wake.clear()
                for delivery in self._take_due():
                    attempts.create_task(self._attempt(delivery, post))

    def _take_due(self) -> Iterator[SandboxDelivery]:
        """The deliveries to attempt now, which are in flight from then on."""
        due: FairQueue[SandboxDelivery] = FairQueue(self._turns)
        for delivery in self._deliveries.values(None):
            if delivery.report.is_removed:
                self._deliveries.remove(delivery.id)
            elif (
                not delivery.in_flight
                and delivery.due_at <= self._clocks.now(delivery.scope)
                and delivery.report.is_due
            ):
                due.put(delivery, delivery.scope)
        while due:
            _, scope = due.next_key()
            if self._turns.total >= MAX_IN_FLIGHT and self._turns.in_flight(scope):
                return
            _, delivery = due.take()
            delivery.in_flight = True
            yield delivery

    async def _attempt(self, delivery: SandboxDelivery, post: PostWebhook) -> None:
        # from the start of this attempt, since the clock may be moved while it lasts
        delivery.due_at = (
            self._clocks.now(delivery.scope) + delivery.report.webhook.retry_interval_s
        )
        record = delivery.record
        record.attempts += 1
        record.last_attempt_at = self._clocks.now(delivery.scope)
        record.next_attempt_at = delivery.due_at
        try:
            reason = await self._deliver(delivery, post)
        except Exception as exc:
            # whatever is odd about one webhook, the others are sent
            log.error("webhook.failed", extra={"dialect": delivery.dialect}, exc_info=exc)
            reason = type(exc).__name__
        finally:
            delivery.in_flight = False
            self._turns.give_back(delivery.scope)
            self.wake()
        record.error = redact_keys(reason, "")
        if reason and delivery.due_at <= delivery.give_up_at:
            extra = {
                "dialect": delivery.dialect,
                "batch": record.batch,
                "attempt": record.attempts,
                "reason": reason,
            }
            log.info("webhook.rejected", extra=extra)
            self.log.note_change()
            return
        record.status = DeliveryStatus.GIVEN_UP if reason else DeliveryStatus.DELIVERED
        if not self._deliveries.remove(delivery.id):
            self.log.note_change()  # it was removed meanwhile

    async def _deliver(self, delivery: SandboxDelivery, post: PostWebhook) -> str:
        """Why the webhook was not accepted; empty if it was."""
        body = await delivery.report.read_body()
        effects = await self._faults.inject(delivery.scope, delivery.dialect, WEBHOOK_OPERATION)
        if effects:
            return effects.description
        return await post(
            delivery.report.batch.webhook_url,
            body,
            headers=delivery.report.headers,
            is_accepted=delivery.report.webhook.is_accepted,
        )
