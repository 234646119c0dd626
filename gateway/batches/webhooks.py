"""Sends a webhook to the URL of a batch when it is completed.

Which statuses count as delivered, how often it is sent again and for how long, are rules of the
dialect (`BatchWebhook`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Protocol

from adapters.contract.batch_rules import BatchWebhook
from adapters.contract.jobs import Job
from adapters.contract.streaming import render_body
from adapters.contract.wire import StreamReply
from engine.turns import Turns
from gateway.batches.model import rules_of
from gateway.batches.ports import Outbox, WebhookDelivery
from gateway.batches.records import BatchRecords
from gateway.store import StoreError
from gateway.tasks import WorkLoop

log = logging.getLogger(__name__)

CONCURRENT_DELIVERIES = 64
"""Of all accounts; one without any does not wait for the others' receivers."""
POLL_S = 5.0
"""How often the outbox is read for batches that another process completed."""


class PostWebhook(Protocol):
    """Sends a body to a URL. Returns an empty text if it was accepted, else the reason why not."""

    def __call__(
        self,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str] = ...,
        is_accepted: Callable[[int], bool] = ...,
    ) -> Coroutine[Any, Any, str]: ...


class _Gone(Exception):
    """What the webhook reports is not stored any more."""


class WebhookSender:
    """Delivers the webhooks of the outbox."""

    def __init__(
        self,
        outbox: Outbox,
        records: BatchRecords,
        post_webhook: PostWebhook,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._outbox = outbox
        self._records = records
        self._post_webhook = post_webhook
        self._clock = clock
        self._turns = Turns()
        self._loop = WorkLoop()

    def wake(self) -> None:
        """A batch may have been completed."""
        self._loop.wake()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver while inside. Posts that are under way on leaving are due again at once."""
        async with self._loop.running(self._run()):
            yield

    async def drain(self) -> None:
        """Attempt every delivery that is due, once."""
        while (delivery := await self._outbox.claim(self._turns)) is not None:
            self._turns.take(delivery.account_id)
            try:
                await self._deliver(delivery)
            finally:
                self._turns.give_back(delivery.account_id)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while not self._loop.stopping:
                try:
                    is_full = self._turns.total >= CONCURRENT_DELIVERIES
                    delivery = await self._outbox.claim(self._turns, only_idle_accounts=is_full)
                except StoreError as exc:
                    log.warning("webhook.claim_failed", extra={"error": str(exc)})
                    delivery = None
                if delivery is None:
                    await self._loop.pause(POLL_S)
                else:
                    self._turns.take(delivery.account_id)
                    group.create_task(self._deliver_logged(delivery))

    async def _deliver_logged(self, delivery: WebhookDelivery) -> None:
        try:
            await self._deliver(delivery)
        # in both cases its lease expires, and it is sent again
        except StoreError as exc:
            extra = {"batch": delivery.batch_id, "error": str(exc)}
            log.warning("webhook.delayed", extra=extra)
        except Exception:
            log.exception("webhook.failed", extra={"batch": delivery.batch_id})
        finally:
            self._turns.give_back(delivery.account_id)
            self._loop.wake()  # there may be others that had to wait

    async def _deliver(self, delivery: WebhookDelivery) -> None:
        webhook = rules_of(self._records.dialect(delivery.dialect)).webhook
        try:
            if webhook is None:
                raise _Gone
            headers, body = await self._render(webhook, delivery)
        except _Gone:
            await self._outbox.mark_delivered(delivery)
            return
        posting = self._post_webhook(
            delivery.url, body, headers=headers, is_accepted=webhook.is_accepted
        )
        failure = await self._until_stopped(posting)
        if failure is None:
            await self._outbox.mark_failed(delivery, "interrupted", self._clock())
            return
        if not failure:
            await self._outbox.mark_delivered(delivery)
            return
        retry_at = self._clock() + webhook.retry_interval_s
        given_up = retry_at > delivery.give_up_at
        await self._outbox.mark_failed(delivery, failure, None if given_up else retry_at)
        log.warning(
            "webhook.rejected",
            extra={
                "batch": delivery.batch_id,
                "reason": failure,
                "attempt": delivery.attempts + 1,
                "given_up": given_up,
            },
        )

    async def _until_stopped(self, post: Coroutine[Any, Any, str]) -> str | None:
        """The outcome of `PostWebhook`; None if the server stops before there is one."""
        posting = asyncio.create_task(post)
        await self._loop.wait_for(posting)
        if posting.done():
            return posting.result()
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)
        return None

    async def _render(
        self, webhook: BatchWebhook, delivery: WebhookDelivery
    ) -> tuple[Mapping[str, str], bytes]:
        """The headers and the body. Raises _Gone."""
        if delivery.body is not None:
            return delivery.headers, delivery.body
        found = await self._records.find_by_id(delivery.batch_id)
        if found is None:
            raise _Gone
        job = found[1]
        return webhook.headers(job), await self._render_body(webhook, job, delivery)

    async def _render_body(
        self, webhook: BatchWebhook, job: Job, delivery: WebhookDelivery
    ) -> bytes:
        if delivery.position is not None:
            if webhook.write_row is None or job.rows_expired:
                raise _Gone
            return webhook.write_row(job, await self._records.row_at(job, delivery.position))
        if delivery.event:
            if webhook.write_event is None:
                raise _Gone
            return webhook.write_event(delivery.event, job)
        if webhook.write_body is None:
            raise _Gone
        op = webhook.build_operation(job.id)
        reply = webhook.write_body(op, self._records.job_rows(job, op))
        if isinstance(reply, StreamReply):
            return b"".join([chunk async for chunk in render_body(reply)])
        return reply.body
