"""Webhooks of test keys' batches, repeated as the dialect's rule says until one gets a 200.

They are timed by the sandbox's clock, so that a test can let an hour pass. A fault of the operation
`webhook` makes an attempt fail, which is then not sent at all.
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
"""Interval of reading the clock while deliveries wait; moving the clock wakes at once."""
MAX_DELIVERIES = 1_000
"""Deliveries that may wait; another one replaces the oldest."""


PostWebhook = Callable[[str, bytes], Awaitable[str]]
"""Sends a body to a URL. Returns an empty text if it was accepted, else the reason."""


@dataclass(slots=True)
class SandboxDelivery:
    """The webhook of one batch."""

    scope: int
    dialect: str
    url: str
    read_body: Callable[[], Awaitable[bytes | None]]
    """Reads the body, which is None until the batch is complete."""
    due_at: float
    give_up_at: float
    """Both times are of the scope's clock."""
    retry_interval_s: float


class SandboxWebhooks:
    """Delivers webhooks, each timed by the clock of its batch's scope."""

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
        """Call `url` once the batch is complete, as often as `webhook` says."""
        now = self._clocks.now(scope)
        del self._waiting[: max(0, len(self._waiting) + 1 - MAX_DELIVERIES)]
        give_up_at = now + webhook.give_up_after_s
        self._waiting.append(
            SandboxDelivery(scope, dialect, url, body, now, give_up_at, webhook.retry_interval_s)
        )
        self.wake()

    def wake(self) -> None:
        """Look for due deliveries now: the clock was moved, or there is a new delivery."""
        self._wake.set()

    def clear(self, scope: int | None) -> None:
        """Remove the deliveries of a scope; for None all."""
        self._waiting = [d for d in self._waiting if scope not in (None, d.scope)]

    @contextlib.asynccontextmanager
    async def running(self, post: PostWebhook) -> AsyncIterator[None]:
        """A context in which webhooks are delivered."""
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
        # from the start of this attempt, since the clock may be moved while it lasts
        delivery.due_at = self._clocks.now(delivery.scope) + delivery.retry_interval_s
        effects = await self._faults.inject(delivery.scope, delivery.dialect, WEBHOOK_OPERATION)
        reason = effects.description if effects else await post(delivery.url, body)
        if reason and delivery.due_at <= delivery.give_up_at:
            extra = {"dialect": delivery.dialect, "reason": reason}
            log.info("webhook.rejected", extra=extra)
        elif delivery in self._waiting:
            self._waiting.remove(delivery)
