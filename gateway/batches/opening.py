"""Putting the parts of batches together."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from adapters.contract.dialect import Dialect
from gateway.accounts.caller import Caller
from gateway.batches.holder import is_holder_dead, lease_holder_name
from gateway.batches.http_post import HttpWebhookPost
from gateway.batches.intake import CHUNK_SIZE
from gateway.batches.jobs import BatchOperations
from gateway.batches.outbox import SqlOutbox
from gateway.batches.ports import ChooseVerifier
from gateway.batches.queue import SqlChunkQueue
from gateway.batches.records import BatchRecords, Billing
from gateway.batches.runner import Runner
from gateway.batches.sweeper import Sweeper
from gateway.batches.webhooks import PostWebhook, WebhookSender
from gateway.store import Store
from gateway.verdicts.cache import VerdictCache


@dataclass(frozen=True, slots=True)
class BatchServices:
    """Everything that serves batches."""

    operations: BatchOperations
    runner: Runner
    webhook_sender: WebhookSender
    sweeper: Sweeper

    async def drain(self) -> None:
        """Do all that is due, and come back when nothing is: for who runs no workers."""
        await self.runner.drain()
        await self.webhook_sender.drain()


@contextlib.asynccontextmanager
async def open_batches(
    store: Store,
    billing: Billing,
    dialects: Sequence[Dialect],
    choose_verifier: ChooseVerifier,
    verdicts: VerdictCache,
    *,
    retries_s: Sequence[float],
    allow_private_networks: bool,
    base_url: Callable[[], str],
    clock: Callable[[], float],
    run_workers: bool = True,
    post_webhook: PostWebhook | None = None,
    chunk_size: Callable[[Caller], int] = lambda _: CHUNK_SIZE,
) -> AsyncIterator[BatchServices]:
    """Batches over an open store; with `work` they are worked on in this process.

    `post` stands in for HTTP; `choose` and `chunk_size` are as in `Runner` and `Records`. Raises
    StoreError.
    """
    by_name = {dialect.name: dialect for dialect in dialects}
    async with contextlib.AsyncExitStack() as stack:
        if post_webhook is None:
            post_webhook = http = HttpWebhookPost(
                allow_private_networks=allow_private_networks,
                user_agent=f"veriplex/{version('veriplex')}",
            )
            stack.push_async_callback(http.aclose)
        records = BatchRecords(
            store,
            billing,
            by_name,
            clock=clock,
            randbelow=secrets.randbelow,
            base_url=base_url,
            chunk_size=chunk_size,
        )
        queue = SqlChunkQueue(store, by_name, clock=clock)
        me = lease_holder_name(secrets.token_hex(8))
        sweeper = Sweeper(store, by_name, clock=clock)
        courier = WebhookSender(
            SqlOutbox(store, clock=clock),
            records,
            records.job_rows,
            post_webhook,
            clock=clock,
        )
        runner = Runner(
            queue,
            choose_verifier,
            verdicts,
            holder=me,
            retries_s=retries_s,
            clock=clock,
            on_chunk_finished=courier.wake,
        )
        await queue.free_dead_leases(lambda of: is_holder_dead(of, own_name=me))
        if run_workers:
            await stack.enter_async_context(sweeper.running())
            await stack.enter_async_context(courier.running())
            await stack.enter_async_context(runner.running())
        yield BatchServices(
            BatchOperations(records, on_work=runner.wake, on_deleted=sweeper.wake),
            runner,
            courier,
            sweeper,
        )
