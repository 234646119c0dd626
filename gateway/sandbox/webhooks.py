"""Webhooks of test keys' batches, repeated as the dialect's rule says until one gets a 200.

They go by the sandbox's clock, so that an hour passes when a test says so. Faults of the operation
`webhook` make tries fail that are then not sent at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from adapters.contract.batch_rules import CompletionWebhook
from gateway.sandbox.clock import Clocks
from gateway.sandbox.faults import FaultInjector
from gateway.tasks import in_background

log = logging.getLogger(__name__)

WEBHOOK_OPERATION = "webhook"
CLOCK_POLL_S = 0.5
"""How often the clock is looked at while something waits for it; moving it wakes at once."""
MAX_DELIVERIES = 1_000
"""Deliveries that may wait; one more takes the place of the oldest."""


PostWebhook = Callable[[str, bytes], Awaitable[str]]
"""Sends a body to a URL. Returns an empty text if it was taken, else what happened instead."""


@dataclass(slots=True)
class SandboxDelivery:
    """A batch whose end somebody wants to be told."""

    scope: int
    dialect: str
    url: str
    read_body: Callable[[], Awaitable[bytes | None]]
    """What is told; None as long as the batch is not over."""
    due_at: float
    give_up_at: float
    """Both by the scope's clock."""
    retry_interval_s: float


class SandboxWebhooks:
    """Delivers, by the clocks of those whose batches they are."""

    def __init__(self, faults: FaultInjector, clocks: Clocks) -> None:
        self._faults = faults
        self._clocks = clocks
        self._waiting: list[SandboxDelivery] = []
        self._wake = asyncio.Event()

    def schedule(
        self,
        scope: int,
        dialect: str,
        webhook: CompletionWebhook,
        url: str,
        body: Callable[[], Awaitable[bytes | None]],
    ) -> None:
        """Call `url` when the batch is over, as often as `webhook` says."""
        now = self._clocks.now(scope)
        del self._waiting[: max(0, len(self._waiting) + 1 - MAX_DELIVERIES)]
        give_up_at = now + webhook.give_up_after_s
        self._waiting.append(
            SandboxDelivery(scope, dialect, url, body, now, give_up_at, webhook.retry_interval_s)
        )
        self.wake()

    def wake(self) -> None:
        """The clock was moved, or there is something new."""
        self._wake.set()

    def clear(self, scope: int | None) -> None:
        """Tell nobody any more."""
        self._waiting = [d for d in self._waiting if scope not in (None, d.scope)]

    @contextlib.asynccontextmanager
    async def running(self, post: PostWebhook) -> AsyncIterator[None]:
        """Deliver while inside."""
        async with in_background(self._run(post)):
            yield

    async def _run(self, post: PostWebhook) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOCK_POLL_S if self._waiting else None):
                    await self._wake.wait()
            self._wake.clear()
            now = self._clocks.now
            due = [delivery for delivery in self._waiting if delivery.due_at <= now(delivery.scope)]
            await asyncio.gather(*(self._attempt(delivery, post) for delivery in due))

    async def _attempt(self, delivery: SandboxDelivery, post: PostWebhook) -> None:
        body = await delivery.read_body()
        if body is None:
            return
        # from the beginning of this try: the clock may be moved while it lasts
        delivery.due_at = self._clocks.now(delivery.scope) + delivery.retry_interval_s
        effects = await self._faults.inject(delivery.scope, delivery.dialect, WEBHOOK_OPERATION)
        word = effects.description if effects else await post(delivery.url, body)
        if word and delivery.due_at <= delivery.give_up_at:
            extra = {"dialect": delivery.dialect, "reason": word}
            log.info("webhook.rejected", extra=extra)
        elif delivery in self._waiting:
            self._waiting.remove(delivery)
